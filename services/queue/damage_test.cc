// What flipped bits in the files of a queue that is down cost: never mail that the log has.
// `./dev drill damage` flips them everywhere.
#include <fstream>

#include "services/queue/log/log.h"
#include "services/queue/queue_node.h"
#include "services/queue/rpc/commit_pipeline.h"
#include "services/queue/state/state_machine.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

// Writes the rows of a queue that is down to its tables; those of a family, in which there is one.
std::string FlushedTable(const std::string& directory, Family family) {
  const auto store = *Store::Open({.path = directory + "/state"});
  {
    Recovery found;
    const auto log = *Log::Open({.dir = directory + "/log"}, &found);
    const auto machine = *StateMachine::Load(store.get());
    EXPECT_TRUE(CommitPipeline::Replay(log.get(), machine.get()).ok());
    EXPECT_TRUE(store->Flush().ok());
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

}  // namespace
}  // namespace postfleet::queue
