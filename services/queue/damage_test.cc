// What flipped bits in the files of a queue that is down cost: never mail that the log has.
// `./dev drill damage` flips them everywhere.
#include <filesystem>
#include <fstream>
#include <iterator>

#include "libs/base/concat.h"
#include "services/queue/log/log.h"
#include "services/queue/queue_node.h"
#include "services/queue/rpc/commit_pipeline.h"
#include "services/queue/state/state_machine.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;

// Writes the rows of a queue that is down to its tables; the one of a family, which `compact` puts
// below the level of flushes.
std::string FlushedTable(const std::string& directory, Family family, bool compact = false) {
  const auto store = *Store::Open({.path = directory + "/state"});
  {
    Recovery found;
    const auto log = *NodeLog::Open({.dir = directory + "/log"}, &found);
    const auto machine = *StateMachine::Load(store.get());
    const uint64_t last = log->last_index(CommitPipeline::kShard);
    EXPECT_TRUE(CommitPipeline::Replay(log.get(), last, machine.get()).ok());
    EXPECT_TRUE(store->Flush().ok());
  }
  if (compact) {
    EXPECT_TRUE(store->db()->CompactRange({}, store->family(family), nullptr, nullptr).ok());
  }
  rocksdb::ColumnFamilyMetaData facts;
  store->db()->GetColumnFamilyMetaData(store->family(family), &facts);
  std::string path;
  for (const auto& level : facts.levels) {
    for (const auto& file : level.files) path = file.db_path + file.name;
  }
  EXPECT_FALSE(path.empty());
  return path;
}

// offset < 0: from the end.
void Flip(const std::string& path, int64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(offset, offset < 0 ? std::ios::end : std::ios::beg);
  const auto place = file.tellg();
  const int byte = file.get();
  file.seekp(place);
  file.put(static_cast<char>(byte ^ 1));
  ASSERT_TRUE(file.good());
}

using DamageTest = QueueTest;

TEST_F(DamageTest, MailOfTheLogSurvivesTheLossOfTheRowsThatKnowItsSubmission) {
  uint64_t incarnation = 0;
  {
    Node node(directory_);
    incarnation = node.Register();
    ASSERT_EQ(Enqueue(&node, incarnation, 1, "Q1").code(), v1::EnqueueResult::COMMITTED);
  }
  const std::string table = FlushedTable(directory_, Family::kSubmission);
  {
    Node node(directory_);
    ASSERT_EQ(Enqueue(&node, incarnation, 2, "Q2").code(), v1::EnqueueResult::COMMITTED);
  }
  Flip(table, 1);
  Node node(directory_);
  EXPECT_THAT(node.List().messages(), SizeIs(2));
}

TEST_F(DamageTest, MailWhoseRecipientsAreDamagedTooIsFoundByItsContents) {
  {
    Node node(directory_);
    EnqueueMany(&node, 3);
  }
  for (const Family family : {Family::kMessage, Family::kRecipient}) {
    Flip(FlushedTable(directory_, family), 1);
  }
  Node node(directory_);
  const v1::ListResponse listed = node.List();
  ASSERT_THAT(listed.messages(), SizeIs(3));
  for (const v1::ListedMessage& message : listed.messages()) {
    EXPECT_EQ(message.queue(), v1::QUEUE_NAME_CORRUPT) << message.queue_id();
  }
}

TEST_F(DamageTest, ATableThatCannotBeOpenedIsNamed) {
  {
    Node node(directory_);
    EnqueueMany(&node, 3);
  }
  const std::string table = FlushedTable(directory_, Family::kMessage);
  // The footer is the last of it.
  Flip(table, -3);
  const auto opened = Queue::Open({.directory = directory_});
  ASSERT_FALSE(opened.ok());
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr(table + " is damaged"));
  Flip(table, -3);
  Node node(directory_);
  EXPECT_THAT(node.List().messages(), SizeIs(3));
}

TEST_F(DamageTest, ATableOfAnIndexThatCannotBeOpenedLosesNoMail) {
  {
    Node node(directory_);
    EnqueueMany(&node, 3);
    node.Administer(v1::ACTION_HOLD, {NumberedId(2)});
  }
  Flip(FlushedTable(directory_, Family::kQueue), -3);
  Node node(directory_);
  EXPECT_THAT(node.List().messages(), SizeIs(3));
  v1::ListRequest held;
  held.add_queues(v1::QUEUE_NAME_HOLD);
  EXPECT_THAT(node.List(held).messages(), SizeIs(1));
}

TEST_F(DamageTest, ATableOfALowerLevelThatCannotBeOpenedHidesItsOwnRangeOnly) {
  {
    Node node(directory_);
    EnqueueMany(&node, 3);
  }
  const std::string table = FlushedTable(directory_, Family::kMessage, /*compact=*/true);
  {
    Node node(directory_);
    ASSERT_EQ(Enqueue(&node, node.Register(), 1, "Q1").code(), v1::EnqueueResult::COMMITTED);
  }
  Flip(table, -3);
  Node node(directory_);
  EXPECT_EQ(Enqueue(&node, node.Register(), 1, "Q2").code(), v1::EnqueueResult::COMMITTED);
  v1::ListRequest request;
  request.add_queue_ids("Q1");
  request.add_queue_ids("Q2");
  EXPECT_THAT(node.List(request).messages(), SizeIs(2));
}

// The newest segment of the log, and where in it `text` stands.
std::pair<std::string, int64_t> PlaceInLog(const std::string& directory, std::string_view text) {
  std::string newest;
  for (const auto& entry : std::filesystem::directory_iterator(directory + "/log")) {
    if (entry.path().extension() == ".seg") newest = std::max(newest, entry.path().string());
  }
  std::ifstream file(newest, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  const size_t at = bytes.find(text);
  EXPECT_NE(at, bytes.npos);
  return {newest, static_cast<int64_t>(at)};
}

TEST_F(DamageTest, ADamagedRecordOfTheLogStopsTheQueueUntilItIsRepaired) {
  {
    Node node(directory_);
    const uint64_t incarnation = node.Register();
    for (const uint64_t number : {1, 2, 3}) {
      ASSERT_EQ(Enqueue(&node, incarnation, number, Concat("Q", number)).code(),
                v1::EnqueueResult::COMMITTED);
    }
  }
  const auto [segment, place] = PlaceInLog(directory_, "Q2");
  Flip(segment, place);
  const auto refused = Queue::Open({.directory = directory_});
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(std::string(refused.status().message()),
              AllOf(HasSubstr(segment + ": damaged at offset"), HasSubstr("queue repair")));
  std::vector<std::string> repaired;
  {
    const auto opened = Queue::Open({.directory = directory_, .repaired = &repaired});
    ASSERT_TRUE(opened.ok()) << opened.status();
    (*opened)->CloseStreams();
    (*opened)->Stop();
  }
  ASSERT_THAT(repaired, SizeIs(1));
  EXPECT_THAT(repaired[0], AllOf(HasSubstr(segment), HasSubstr("mail accepted then")));
  Node node(directory_);
  const v1::ListResponse listed = node.List();
  ASSERT_THAT(listed.messages(), SizeIs(2));
  EXPECT_EQ(listed.messages(0).queue_id(), "Q1");
  EXPECT_EQ(listed.messages(1).queue_id(), "Q3");
}

}  // namespace
}  // namespace postfleet::queue
