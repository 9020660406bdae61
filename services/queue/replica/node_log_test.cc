#include "services/queue/replica/node_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "services/queue/log/fake_disk.h"

namespace postfleet::queue {
namespace {

using raft::EntryKind;
using ::testing::ElementsAre;

constexpr uint16_t kShard = 3;
constexpr char kDirectory[] = "/log";

class NodeLogTest : public testing::Test {
 protected:
  NodeLogTest() { Open(); }

  void Open() {
    log_.reset();
    auto opened = TryOpen();
    ASSERT_TRUE(opened.ok()) << opened.status();
    log_ = *std::move(opened);
  }
  absl::StatusOr<std::unique_ptr<NodeLog>> TryOpen() {
    Recovery found;
    return NodeLog::Open({.dir = kDirectory,
                          .segment_bytes = 4096,
                          .file_system = &disk_,
                          .random = [this] { return ++salt_; }},
                         &found);
  }
  void Crash() {
    log_.reset();
    disk_.PowerOn();
    Open();
  }

  void Add(uint64_t term, uint64_t index, const std::string& payload, uint16_t shard = kShard,
           EntryKind kind = EntryKind::kCommand) {
    // A deque-like life: until the group is written.
    payloads_.push_back(std::make_unique<std::string>(payload));
    views_.push_back(std::make_unique<std::string_view>(*payloads_.back()));
    log_->Add(shard, NodeLog::NewEntry{.term = term,
                                       .index = index,
                                       .kind = kind,
                                       .crc32c = Crc32c(payload),
                                       .parts = absl::MakeConstSpan(views_.back().get(), 1)});
  }
  void Commit() {
    ASSERT_TRUE(log_->Write().ok());
    ASSERT_TRUE(log_->Sync().ok());
  }
  void Found(uint64_t index = 1) {
    log_->Add(kShard, LogStart{.index = index, .term = 1, .members = "m"});
    Commit();
  }

  // "index:term payload" of all that is there.
  std::vector<std::string> Entries(uint16_t shard = kShard) {
    std::vector<std::string> found;
    const uint64_t first = log_->start(shard).index + 1;
    if (log_->last_index(shard) < first) return found;
    const absl::Status read = log_->Read(shard, first, [&](const LogEntry& entry) {
      found.push_back(Concat(entry.index, ":", entry.term, " ", entry.payload));
      return true;
    });
    EXPECT_TRUE(read.ok()) << read;
    return found;
  }

  FakeDisk disk_{7};
  uint64_t salt_ = 0;
  std::unique_ptr<NodeLog> log_;
  std::vector<std::unique_ptr<std::string>> payloads_;
  std::vector<std::unique_ptr<std::string_view>> views_;
};

TEST_F(NodeLogTest, WhatWasSyncedIsThereAfterTheNextOpen) {
  EXPECT_FALSE(log_->Knows(kShard));
  Found();
  log_->Add(kShard, raft::HardState{.term = 4, .vote = 9, .commit = 2});
  Add(4, 2, "two");
  Add(4, 3, "");
  Commit();
  Crash();
  EXPECT_TRUE(log_->Knows(kShard));
  EXPECT_EQ(log_->start(kShard), (LogStart{1, 1, "m"}));
  EXPECT_EQ(log_->hard_state(kShard), (raft::HardState{4, 9, 2}));
  EXPECT_THAT(Entries(), ElementsAre("2:4 two", "3:4 "));
  EXPECT_EQ(log_->Find(kShard, 2)->crc32c, Crc32c("two"));
  EXPECT_EQ(log_->Find(kShard, 4), nullptr);
}

TEST_F(NodeLogTest, AnEntryReplacesAllFromItsIndexOn) {
  Found();
  for (uint64_t index = 2; index <= 5; ++index) Add(1, index, Concat("old", index));
  Commit();
  Add(2, 4, "new4");
  Commit();
  EXPECT_THAT(Entries(), ElementsAre("2:1 old2", "3:1 old3", "4:2 new4"));
  Crash();
  EXPECT_THAT(Entries(), ElementsAre("2:1 old2", "3:1 old3", "4:2 new4"));
}

TEST_F(NodeLogTest, ShardsShareALogAndNothingElse) {
  Found();
  log_->Add(5, LogStart{.index = 10, .term = 2, .members = "x"});
  Add(1, 2, "a");
  Add(2, 11, "b", 5);
  Add(1, 3, "c");
  Add(2, 12, "d", 5);
  Commit();
  Crash();
  EXPECT_THAT(Entries(), ElementsAre("2:1 a", "3:1 c"));
  EXPECT_THAT(Entries(5), ElementsAre("11:2 b", "12:2 d"));
}

TEST_F(NodeLogTest, AStartKeepsWhatFollowsIt) {
  Found();
  for (uint64_t index = 2; index <= 5; ++index) Add(1, index, Concat("e", index));
  Commit();
  log_->Compact(kShard, LogStart{.index = 3, .term = 1, .members = "later"});
  Commit();
  EXPECT_THAT(Entries(), ElementsAre("4:1 e4", "5:1 e5"));
  Crash();
  EXPECT_THAT(Entries(), ElementsAre("4:1 e4", "5:1 e5"));
  EXPECT_EQ(log_->start(kShard).members, "later");
}

TEST_F(NodeLogTest, AStartOfAnotherHistoryBeginsAnew) {
  Found();
  for (uint64_t index = 2; index <= 5; ++index) Add(1, index, "e");
  Commit();
  log_->Add(kShard, LogStart{.index = 4, .term = 7, .members = "s"});
  Commit();
  EXPECT_THAT(Entries(), ElementsAre());
  EXPECT_EQ(log_->last_index(kShard), 4);
  log_->Add(kShard, LogStart{.index = 100, .term = 7, .members = "s"});
  Add(7, 101, "x");
  Commit();
  Crash();
  EXPECT_THAT(Entries(), ElementsAre("101:7 x"));
}

TEST_F(NodeLogTest, EntriesAreReadOneByOneFromAnywhere) {
  Found();
  std::vector<std::string> payloads = {"", ""};
  for (uint64_t index = 2; index <= 60; ++index) {
    payloads.push_back(Concat("payload ", index, std::string(300, 'x')));
    Add(1, index, payloads.back());
    Commit();
  }
  const auto expect = [&](uint64_t index) {
    bool seen = false;
    const absl::Status read = log_->ReadOne(kShard, index, [&](const LogEntry& entry) {
      seen = true;
      EXPECT_EQ(entry.index, index);
      EXPECT_EQ(entry.payload, payloads[index]);
    });
    EXPECT_TRUE(read.ok() && seen) << index << " " << read;
  };
  // Two rows, one backwards, and what is written while they stand at the end.
  for (uint64_t index = 2; index <= 60; ++index) {
    expect(index);
    expect(62 - index);
  }
  payloads.push_back("new");
  Add(1, 61, "new");
  Commit();
  expect(61);
  EXPECT_TRUE(absl::IsNotFound(log_->ReadOne(kShard, 62, [](const LogEntry&) {})));
}

TEST_F(NodeLogTest, ARefusedGroupIsWrittenOnceThereIsRoom) {
  Found();
  disk_.set_space_bytes(4200);
  Add(1, 2, std::string(5000, 'x'));
  log_->Add(kShard, raft::HardState{.term = 9});
  EXPECT_TRUE(absl::IsResourceExhausted(log_->Write()));
  EXPECT_TRUE(log_->has_group());
  EXPECT_EQ(log_->last_index(kShard), 1);
  EXPECT_EQ(log_->hard_state(kShard).term, 0);
  disk_.set_space_bytes(UINT64_MAX);
  Commit();
  EXPECT_EQ(log_->last_index(kShard), 2);
  EXPECT_EQ(log_->hard_state(kShard).term, 9);
}

TEST_F(NodeLogTest, ACutKeepsHardStateStartAndEntries) {
  Found();
  log_->Add(kShard, raft::HardState{.term = 2, .vote = 5, .commit = 1});
  log_->Add(8, LogStart{.index = 1, .term = 1, .members = "quiet"});
  log_->Add(8, raft::HardState{.term = 3, .vote = 6});
  Commit();
  for (uint64_t index = 2; index <= 60; ++index) {
    Add(2, index, std::string(500, 'x'));
    Commit();
  }
  const uint64_t before = log_->bytes_on_disk();
  log_->Compact(kShard, LogStart{.index = 58, .term = 2, .members = "now"});
  Commit();
  log_->PrepareCut();
  Commit();
  ASSERT_TRUE(log_->Cut(log_->CuttableRecord()).ok());
  EXPECT_LT(log_->bytes_on_disk(), before);
  Crash();
  EXPECT_EQ(log_->hard_state(kShard), (raft::HardState{2, 5, 1}));
  EXPECT_EQ(log_->start(kShard), (LogStart{58, 2, "now"}));
  EXPECT_EQ(Entries().size(), 2);
  EXPECT_EQ(log_->start(8), (LogStart{1, 1, "quiet"}));
  EXPECT_EQ(log_->hard_state(8), (raft::HardState{3, 6, 0}));
}

TEST_F(NodeLogTest, AFolderFromBeforeGroupsIsAGroupsEntries) {
  {
    log_.reset();
    Recovery found;
    auto log = Log::Open({.dir = kDirectory,
                          .segment_bytes = 4096,
                          .file_system = &disk_,
                          .random = [this] { return ++salt_; }},
                         &found);
    const std::string_view payload = "old";
    std::vector<Entry> entries;
    for (uint64_t index = 1; index <= 3; ++index) {
      entries.push_back({.id = {.shard = 0, .term = 1, .index = index},
                         .type = EntryType::kCommand,
                         .parts = absl::MakeConstSpan(&payload, 1)});
    }
    ASSERT_TRUE((*log)->Append(entries).ok());
    ASSERT_TRUE((*log)->Sync().ok());
  }
  Open();
  EXPECT_THAT(Entries(0), ElementsAre("1:1 old", "2:1 old", "3:1 old"));
  log_->Compact(0, LogStart{.index = 2, .term = 1, .members = "alone"});
  Commit();
  Crash();
  EXPECT_THAT(Entries(0), ElementsAre("3:1 old"));
}

TEST_F(NodeLogTest, DamageThatAShardNeedsIsNamed) {
  Found();
  for (uint64_t index = 2; index <= 20; ++index) {
    Add(1, index, std::string(600, 'x'));
    Commit();
  }
  log_.reset();
  std::string first;
  const std::vector<std::string> names = *disk_.List(kDirectory);
  for (const std::string& name : names) {
    if (first.empty() || name < first) first = name;
  }
  const std::string path = Concat(kDirectory, "/", first);
  std::string contents = disk_.Contents(path);
  contents[900] ^= 1;
  disk_.SetContents(path, contents);
  const auto opened = TryOpen();
  EXPECT_TRUE(absl::IsDataLoss(opened.status())) << opened.status();
}

}  // namespace
}  // namespace postfleet::queue
