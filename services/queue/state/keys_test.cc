#include "services/queue/state/keys.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "services/queue/state/message_queue.h"

namespace postfleet::queue {
namespace {

TEST(Keys, NumbersOfAMessageSortByNumber) {
  const std::vector<uint32_t> numbers = {0, 1, 255, 256, 65'536, 0xffffffff};
  for (size_t i = 1; i < numbers.size(); ++i) {
    EXPECT_LT(NumberedKey("A", numbers[i - 1]), NumberedKey("A", numbers[i]));
  }
}

TEST(Keys, NoMessagesRowsLieAmongAnothers) {
  const std::string prefix = MessagePrefix("A1");
  const std::string end = PrefixEnd(prefix);
  for (uint32_t number : {0u, 0xffffffffu}) {
    EXPECT_GE(NumberedKey("A1", number), prefix);
    EXPECT_LT(NumberedKey("A1", number), end);
    EXPECT_GE(NumberedKey("A10", number), end);
    EXPECT_LT(NumberedKey("A0zzz", number), prefix);
  }
}

TEST(Keys, PrefixEndIsAboveAllWithThePrefix) {
  EXPECT_EQ(PrefixEnd("ab"), "ac");
  EXPECT_EQ(PrefixEnd("a\xff\xff"), "b");
  EXPECT_EQ(PrefixEnd("\xff"), "");
  EXPECT_EQ(PrefixEnd(""), "");
  EXPECT_LT(EncodeIntakeKey({0, std::numeric_limits<uint64_t>::max(), 0xffffffff}),
            PrefixEnd(PartitionPrefix(0)));
}

TEST(Keys, IntakeSortsByPartitionIndexOrdinal) {
  const std::vector<IntakeKey> keys = {{0, 1, 0}, {0, 1, 1}, {0, 2, 0}, {0, 256, 0}, {1, 1, 0}};
  for (size_t i = 1; i < keys.size(); ++i) {
    EXPECT_LT(EncodeIntakeKey(keys[i - 1]), EncodeIntakeKey(keys[i]));
  }
}

TEST(Keys, DueSortsByTimeThenMessageThenJob) {
  const std::vector<DueKey> keys = {{0, 0, "", 0},          {0, 5, "A", 0}, {0, 5, "A", 1},
                                    {0, 5, "A1", 0},        {0, 5, "B", 0}, {0, 255, "A", 0},
                                    {0, 1LL << 40, "A", 0}, {1, 0, "A", 0}};
  for (size_t i = 1; i < keys.size(); ++i) {
    EXPECT_LT(EncodeDueKey(keys[i - 1]), EncodeDueKey(keys[i]));
  }
}

TEST(Keys, DecodingGivesWhatWasEncoded) {
  std::string_view queue_id;
  uint32_t number = 0;
  const std::string numbered = NumberedKey("4abcz9", 0x01020304);
  ASSERT_TRUE(ParseNumberedKey(numbered, &queue_id, &number));
  EXPECT_EQ(queue_id, "4abcz9");
  EXPECT_EQ(number, 0x01020304u);

  IntakeKey intake;
  ASSERT_TRUE(ParseIntakeKey(EncodeIntakeKey({3, 1ull << 63, 7}), &intake));
  EXPECT_EQ(intake.partition, 3u);
  EXPECT_EQ(intake.index, 1ull << 63);
  EXPECT_EQ(intake.ordinal, 7u);

  DueKey due;
  ASSERT_TRUE(ParseDueKey(EncodeDueKey({2, 1'800'000'000'123, "4abcz9", 9}), &due));
  EXPECT_EQ(due.partition, 2u);
  EXPECT_EQ(due.due_ms, 1'800'000'000'123);
  EXPECT_EQ(due.queue_id, "4abcz9");
  EXPECT_EQ(due.job, 9u);

  uint64_t incarnation = 0;
  uint64_t sequence = 0;
  ASSERT_TRUE(ParseSubmissionKey(SubmissionKey(5, 6), &incarnation, &sequence));
  EXPECT_EQ(incarnation, 5u);
  EXPECT_EQ(sequence, 6u);

  uint64_t index = 0;
  ASSERT_TRUE(ParseIndex(EncodeIndex(77), &index));
  EXPECT_EQ(index, 77u);
  EXPECT_EQ(ParseChunkHeader(ChunkHeader(0xE3069283)), 0xE3069283u);
}

TEST(Keys, TheQueueIndexSortsByQueueThenId) {
  EXPECT_LT(QueueKey(3, "B"), QueueKey(4, "A"));
  EXPECT_LT(QueueKey(3, "A"), QueueKey(3, "A1"));
  EXPECT_LT(QueueKey(3, std::string(255, 'z')), PrefixEnd(QueuePrefix(3)));
  const std::string key = QueueKey(5, "4abcz9");
  int queue = 0;
  std::string_view queue_id;
  ASSERT_TRUE(ParseQueueKey(key, &queue, &queue_id));
  EXPECT_EQ(queue, 5);
  EXPECT_EQ(queue_id, "4abcz9");
  EXPECT_FALSE(ParseQueueKey("x", &queue, &queue_id));
}

TEST(Keys, NoSitesRowsLieAmongAnothers) {
  const std::string end = PrefixEnd(SitePrefix("a.example"));
  EXPECT_LT(SiteKey("a.example", "z", 0xffffffff), end);
  EXPECT_GE(SiteKey("a.example2", "A", 0), end);
  EXPECT_LT(SiteKey("a.example", "A", 0xffffffff), SiteMessageEnd("a.example", "A"));
  EXPECT_GE(SiteKey("a.example", "A1", 0), SiteMessageEnd("a.example", "A"));
  const std::string key = SiteKey("a.example", "4abcz9", 7);
  std::string_view site;
  std::string_view queue_id;
  uint32_t number = 0;
  ASSERT_TRUE(ParseSiteKey(key, &site, &queue_id, &number));
  EXPECT_EQ(site, "a.example");
  EXPECT_EQ(queue_id, "4abcz9");
  EXPECT_EQ(number, 7u);
  EXPECT_FALSE(ParseSiteKey("a.example", &site, &queue_id, &number));
  int64_t time_ms = 0;
  ASSERT_TRUE(ParseTime(EncodeTime(-5), &time_ms));
  EXPECT_EQ(time_ms, -5);
}

TEST(Keys, ASiteIsTheDomainInLowerCase) {
  EXPECT_EQ(SiteOf("Someone@Example.COM"), "example.com");
  EXPECT_EQ(SiteOf("\"a@b\"@c.example"), "c.example");
  EXPECT_EQ(SiteOf("local"), "");
  EXPECT_EQ(SiteOf("a@[192.0.2.1]"), "[192.0.2.1]");
  EXPECT_EQ(SiteOf(std::string_view("a@b\0c\xff", 6)), "b?c?");
}

TEST(Keys, OtherBytesAreNoKeys) {
  std::string_view queue_id;
  uint32_t number = 0;
  IntakeKey intake;
  DueKey due;
  uint64_t value = 0;
  EXPECT_FALSE(ParseNumberedKey("abc", &queue_id, &number));
  EXPECT_FALSE(ParseNumberedKey("abcdefgh", &queue_id, &number));
  EXPECT_FALSE(ParseIntakeKey("short", &intake));
  EXPECT_FALSE(ParseDueKey("short", &due));
  EXPECT_FALSE(ParseDueKey(std::string(14, 'x'), &due));
  EXPECT_FALSE(ParseIndex("1234567", &value));
  EXPECT_FALSE(ParseSubmissionKey("1234567", &value, &value));
}

}  // namespace
}  // namespace postfleet::queue
