#include "libs/base/queue_id.h"

#include <gtest/gtest.h>

#include <set>

namespace postfleet {
namespace {

// An id that Postfix 3.9 made.
TEST(QueueId, IsPostfixsLongForm) {
  EXPECT_EQ(FormatQueueId(1795355495, 584932, 11083902), "4jXVqC48Jhz1cXNP");
}

TEST(QueueId, SortsByTime) {
  EXPECT_LT(FormatQueueId(1795355495, 999999, 1), FormatQueueId(1795355496, 0, 1));
  EXPECT_LT(FormatQueueId(1795355495, 51, 9), FormatQueueId(1795355495, 52, 0));
}

TEST(QueueId, TailHasNoLastDigit) {
  for (uint64_t unique = 0; unique < 51 * 51; ++unique) {
    const std::string id = FormatQueueId(1795355495, 1, unique);
    EXPECT_EQ(id.rfind('z'), 10u) << id;
  }
}

TEST(QueueIdMinter, NeverRepeatsWhileTimeStandsStill) {
  FakeClock clock;
  QueueIdMinter first(0, 7, clock);
  QueueIdMinter second(0, 8, clock);
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(seen.insert(first.Next()).second);
    EXPECT_TRUE(seen.insert(second.Next()).second);
  }
}

TEST(QueueId, CommandsTakeNoPathsOrOptions) {
  EXPECT_TRUE(IsQueueId("4jXVqC48Jhz1cXNP"));
  EXPECT_TRUE(IsQueueId("8CBD3A92082"));
  for (const char* bad : {"", "../x", "-d", "a b", "a\n"}) EXPECT_FALSE(IsQueueId(bad)) << bad;
  EXPECT_FALSE(IsQueueId(std::string(256, 'A')));
}

}  // namespace
}  // namespace postfleet
