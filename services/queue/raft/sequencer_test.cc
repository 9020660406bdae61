#include "services/queue/raft/sequencer.h"

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/queue/raft/group_under_test.h"

namespace postfleet::queue::raft {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;

constexpr uint64_t kSeed = 20;

class SequencerTest : public ::testing::Test {
 protected:
  SequencerTest() { Sequencer::SeedRandomness(kSeed); }
};

Options Single() {
  Options options;
  options.id = 1;
  options.snapshot = {1, 1, {{1}, {}}};
  options.hard_state = {1, 0, 1};
  options.applied = 1;
  return options;
}

TEST_F(SequencerTest, ThreeReplicasElectOneLeader) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  ASSERT_NE(leader, 0u);
  for (uint64_t id = 1; id <= 3; ++id) {
    EXPECT_EQ(group.replica(id).sequencer().standing().soft_state.leader, leader);
  }
}

TEST_F(SequencerTest, CommandsAreAppliedInTheirOrderOnAll) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  const std::vector<Reference> batch = {{7, 1, 10, 0}, {7, 2, 10, 0}, {7, 3, 10, 0}};
  ASSERT_TRUE(group.replica(leader).sequencer().Propose(batch).ok());
  group.Settle();
  group.Commit(leader, 4, 50);
  for (uint64_t id = 1; id <= 3; ++id) EXPECT_EQ(group.replica(id).applied, NumbersTo(50));
}

TEST_F(SequencerTest, FollowersTakeNoProposals) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  EXPECT_TRUE(absl::IsUnavailable(group.Propose(OtherThan(leader), 1)));
  EXPECT_TRUE(absl::IsUnavailable(group.replica(OtherThan(leader))
                                      .sequencer()
                                      .ProposeConfChange({ConfChange::Type::kRemove, 1, ""})));
}

TEST_F(SequencerTest, AppendsOfALeaderGoBeforeItsSyncAndAnswersDoNot) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  group.filter = [&](const Message& message) {
    EXPECT_EQ(message.before_sync, message.type == MessageType::kAppend && message.from == leader)
        << static_cast<int>(message.type);
    return true;
  };
  group.Commit(leader, 1, 5);
  EXPECT_GT(group.replica(leader).before_sync_messages, 0u);
}

TEST_F(SequencerTest, WhatRestsOnTheLeadersDiskAloneWaitsForItsSync) {
  // With a learner, the only voter commits by itself: the learner must not hear of the commit
  // before it is on that disk.
  GroupUnderTest group(1);
  ASSERT_EQ(group.Elect(), 1u);
  group.AddJoining(2);
  Sequencer& leader = group.replica(1).sequencer();
  ASSERT_TRUE(leader.ProposeConfChange({ConfChange::Type::kAddLearner, 2, ""}).ok());
  group.Settle();
  group.replica(1).Checkpoint();
  for (int i = 0; i < 5; ++i) group.Tick();
  ASSERT_EQ(group.replica(2).members().learners, std::vector<uint64_t>{2});
  uint64_t durable = group.replica(1).last_index();
  group.filter = [&](const Message& message) {
    if (message.type == MessageType::kAppend && !message.entries.empty()) {
      EXPECT_FALSE(message.before_sync && message.entries.back().index > durable);
    }
    return true;
  };
  group.Commit(1, 1, 3);
  EXPECT_EQ(group.replica(2).applied, NumbersTo(3));
}

TEST_F(SequencerTest, ConflictingSuffixIsReplaced) {
  GroupUnderTest group(3);
  const uint64_t old_leader = group.Elect();
  group.Commit(old_leader, 1, 2);
  group.Isolate(old_leader);
  ASSERT_TRUE(group.Propose(old_leader, 100).ok());
  ASSERT_TRUE(group.Propose(old_leader, 101).ok());
  group.Settle();
  const uint64_t new_leader = group.Elect();
  ASSERT_NE(new_leader, 0u);
  ASSERT_NE(new_leader, old_leader);
  group.Commit(new_leader, 3, 4);
  group.Heal();
  for (int i = 0; i < 30; ++i) group.Tick();
  EXPECT_EQ(group.replica(old_leader).applied, NumbersTo(4));
  EXPECT_GE(group.replica(old_leader).replaced_entries, 2);
}

TEST_F(SequencerTest, ReplacedSuffixIsNotSentToOthers) {
  GroupUnderTest group(3);
  const uint64_t old_leader = group.Elect();
  group.Isolate(old_leader);
  ASSERT_TRUE(group.Propose(old_leader, 100).ok());
  ASSERT_TRUE(group.Propose(old_leader, 101).ok());
  group.Settle();
  const uint64_t new_leader = group.Elect();
  group.Heal();
  const uint64_t lagging = 6 - old_leader - new_leader;
  group.Isolate(lagging);
  group.Tick();
  group.Commit(new_leader, 1, 5);
  group.replica(new_leader).sequencer().TransferLeadership(old_leader);
  group.Settle();
  ASSERT_EQ(group.replica(old_leader).role(), Role::kLeader);
  group.Heal();
  for (int i = 0; i < 30; ++i) group.Tick();
  EXPECT_EQ(group.replica(lagging).applied, NumbersTo(5));
}

TEST_F(SequencerTest, LeaderWithoutAQuorumStepsDown) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  group.Isolate(leader);
  for (int i = 0; i < 25; ++i) group.Tick();
  EXPECT_NE(group.replica(leader).role(), Role::kLeader);
  EXPECT_THAT(group.replica(leader).remarks,
              Contains(::testing::HasSubstr("quorum is not active")));
}

TEST_F(SequencerTest, RestartGoesOnFromHardStateAndEntries) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  group.Commit(leader, 1, 5);
  const HardState before = group.replica(2).sequencer().standing().hard_state;
  for (uint64_t id = 1; id <= 3; ++id) group.replica(id).Crash();
  EXPECT_EQ(group.replica(2).sequencer().standing().hard_state, before);
  const uint64_t next = group.Elect();
  ASSERT_NE(next, 0u);
  group.Commit(next, 6, 8);
  for (uint64_t id = 1; id <= 3; ++id) EXPECT_EQ(group.replica(id).applied, NumbersTo(8));
}

TEST_F(SequencerTest, RestartAppliesAgainWhatTheStateDidNotKeep) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  group.Commit(leader, 1, 5);
  group.Tick();
  group.replica(3).Crash(false);
  EXPECT_THAT(group.replica(3).applied, IsEmpty());
  group.Settle();
  EXPECT_EQ(group.replica(3).applied, NumbersTo(5));
}

TEST_F(SequencerTest, CommitBelowAppliedIsTakenAsApplied) {
  Options options = Single();
  const std::vector<Entry> entries = {{.term = 1, .index = 2}, {.term = 1, .index = 3}};
  options.entries = entries;
  options.applied = 3;
  auto sequencer = Sequencer::Start(options);
  ASSERT_TRUE(sequencer.ok()) << sequencer.status();
  EXPECT_EQ((*sequencer)->standing().hard_state.commit, 3u);
}

TEST_F(SequencerTest, DiskThatContradictsItselfIsRefused) {
  const std::vector<Entry> gap = {{.term = 1, .index = 3}};
  const std::vector<Entry> backwards = {{.term = 3, .index = 2}, {.term = 2, .index = 3}};
  const std::vector<Entry> later = {{.term = 9, .index = 2}};
  const std::vector<Entry> no_change = {
      {.term = 1, .index = 2, .kind = EntryKind::kConfChange, .conf_change = "x"}};
  std::vector<Options> broken(7, Single());
  broken[0].entries = gap;
  broken[1].entries = backwards;
  broken[1].hard_state.term = 3;
  broken[2].entries = later;
  broken[3].hard_state.commit = 2;
  broken[4].applied = 2;
  broken[5].snapshot.conf_state.voters = {1, 1};
  broken[6].entries = no_change;
  for (const Options& options : broken) {
    EXPECT_EQ(Sequencer::Start(options).status().code(), absl::StatusCode::kDataLoss);
  }
  Options options = Single();
  options.id = 0;
  EXPECT_EQ(Sequencer::Start(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(SequencerTest, SingleVoterCommitsInOneReady) {
  auto sequencer = *Sequencer::Start(Single());
  sequencer->Campaign();
  while (sequencer->HasReady()) {
    sequencer->TakeReady();
    sequencer->Advance();
  }
  ASSERT_TRUE(sequencer->Propose({7, 1, 10, 99}).ok());
  const Ready ready = sequencer->TakeReady();
  EXPECT_TRUE(ready.must_sync);
  ASSERT_EQ(ready.entries.size(), 1u);
  ASSERT_EQ(ready.committed.size(), 1u);
  EXPECT_EQ(ready.committed[0].reference, (Reference{7, 1, 10, 99}));
  EXPECT_EQ(ready.entries[0].index, ready.committed[0].index);
  sequencer->Advance();
  EXPECT_FALSE(sequencer->HasReady());
}

TEST_F(SequencerTest, ReadIndexIsAnsweredOnLeaderAndFollower) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  group.Commit(leader, 1, 5);
  const uint64_t follower = OtherThan(leader);
  // The same context on both: neither gets the other's answer.
  for (const uint64_t id : {leader, follower}) {
    ASSERT_TRUE(group.replica(id).sequencer().ReadIndex(77).ok());
  }
  group.Settle();
  for (const uint64_t id : {leader, follower}) {
    ASSERT_EQ(group.replica(id).reads.size(), 1u) << id;
    EXPECT_EQ(group.replica(id).reads[0].context, 77u);
    EXPECT_EQ(group.replica(id).reads[0].index, group.replica(leader).applied_index());
  }
}

TEST_F(SequencerTest, ReadsAreBoundedAndNeedALeader) {
  Options options;
  options.reads_per_tick_max = 2;
  GroupUnderTest group(3, options);
  EXPECT_TRUE(absl::IsUnavailable(group.replica(1).sequencer().ReadIndex(1)));
  Sequencer& sequencer = group.replica(group.Elect()).sequencer();
  EXPECT_TRUE(sequencer.ReadIndex(1).ok());
  EXPECT_TRUE(sequencer.ReadIndex(2).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(sequencer.ReadIndex(3)));
  group.Tick();
  EXPECT_TRUE(sequencer.ReadIndex(3).ok());
}

TEST_F(SequencerTest, LeadershipIsTransferredWithoutAnElectionTimeout) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  group.Commit(leader, 1, 3);
  const uint64_t next = OtherThan(leader);
  group.replica(leader).sequencer().TransferLeadership(next);
  EXPECT_TRUE(absl::IsUnavailable(group.Propose(leader, 100)));
  group.Settle();
  EXPECT_EQ(group.replica(next).role(), Role::kLeader);
  EXPECT_EQ(group.replica(leader).role(), Role::kFollower);
  // A follower asks for itself.
  group.replica(leader).sequencer().TransferLeadership(leader);
  group.Settle();
  EXPECT_EQ(group.replica(leader).role(), Role::kLeader);
}

TEST_F(SequencerTest, PreVoteKeepsAReturningReplicaFromDisturbing) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  const uint64_t away = OtherThan(leader);
  group.Commit(leader, 1, 2);
  const uint64_t term = group.replica(leader).sequencer().standing().hard_state.term;
  group.Isolate(away);
  for (int i = 0; i < 100; ++i) group.Tick();
  EXPECT_EQ(group.replica(away).sequencer().standing().hard_state.term, term);
  group.Heal();
  for (int i = 0; i < 30; ++i) group.Tick();
  EXPECT_EQ(group.replica(leader).role(), Role::kLeader);
  EXPECT_EQ(group.replica(leader).sequencer().standing().hard_state.term, term);
}

TEST_F(SequencerTest, TooMuchUncommittedIsRefused) {
  Options options;
  options.uncommitted_entries_max = 10;
  GroupUnderTest group(3, options);
  const uint64_t leader = group.Elect();
  group.filter = [](const Message&) { return false; };
  int taken = 0;
  while (taken < 100 && group.Propose(leader, taken).ok()) ++taken;
  EXPECT_EQ(taken, 10);
  EXPECT_TRUE(absl::IsResourceExhausted(group.Propose(leader, 100)));
  const std::vector<Reference> batch(11);
  EXPECT_TRUE(absl::IsResourceExhausted(group.replica(leader).sequencer().Propose(batch)));
}

TEST_F(SequencerTest, LogThatIsNotCompactedIsBounded) {
  Options options;
  options.log_entries_max = 20;
  GroupUnderTest group(3, options);
  const uint64_t leader = group.Elect();
  uint64_t taken = 0;
  while (taken < 100 && group.Propose(leader, taken + 1).ok()) {
    group.Settle();
    ++taken;
  }
  EXPECT_EQ(taken, 19u);  // and the leader's empty entry
  EXPECT_TRUE(absl::IsResourceExhausted(group.Propose(leader, 100)));
  group.replica(leader).Checkpoint();
  EXPECT_TRUE(group.Propose(leader, taken + 1).ok());
}

TEST_F(SequencerTest, SplitAppendsAreTheWhole) {
  Options options;
  options.append_payload_bytes_max = 1000;
  GroupUnderTest group(3, options);
  const uint64_t leader = group.Elect();
  std::vector<Reference> batch;
  for (uint64_t sequence = 1; sequence <= 30; ++sequence) {
    batch.push_back({7, sequence, static_cast<uint32_t>(sequence % 5 == 0 ? 5000 : 300), 0});
  }
  std::vector<uint64_t> sent;
  int messages = 0;
  group.filter = [&](const Message& message) {
    if (message.type != MessageType::kAppend || message.to != OtherThan(leader) ||
        message.entries.empty())
      return true;
    ++messages;
    uint64_t bytes = 0;
    for (const Entry& entry : message.entries) {
      bytes += entry.reference.bytes;
      sent.push_back(entry.reference.sequence);
    }
    EXPECT_TRUE(bytes <= 1000 || message.entries.size() == 1) << bytes;
    return true;
  };
  ASSERT_TRUE(group.replica(leader).sequencer().Propose(batch).ok());
  group.Settle();
  EXPECT_EQ(sent, NumbersTo(30));
  EXPECT_EQ(messages, 18);  // 3 and 1 of 300 bytes before each of 5000
  for (uint64_t id = 1; id <= 3; ++id) EXPECT_EQ(group.replica(id).applied, NumbersTo(30));
}

TEST_F(SequencerTest, InspectSaysWhatAMessageHas) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  std::vector<std::string> appends;
  group.filter = [&](const Message& message) {
    if (message.type == MessageType::kAppend && !message.entries.empty())
      appends.emplace_back(message.bytes);
    return true;
  };
  ASSERT_TRUE(group.Propose(leader, 1, 4711).ok());
  group.Settle();
  ASSERT_FALSE(appends.empty());
  const auto message = group.replica(1).sequencer().Inspect(appends[0]);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(message->type, MessageType::kAppend);
  EXPECT_EQ(message->from, leader);
  ASSERT_EQ(message->entries.size(), 1u);
  EXPECT_EQ(message->entries[0].reference, (Reference{7, 1, 4711, 0}));
  EXPECT_EQ(message->bytes, appends[0]);
}

TEST_F(SequencerTest, SameSeedSameRun) {
  std::vector<std::string> runs;
  for (const uint64_t seed : {kSeed, kSeed, kSeed + 1}) {
    Sequencer::SeedRandomness(seed);
    GroupUnderTest group(3);
    for (uint64_t round = 1; round <= 3; ++round) {
      const uint64_t leader = group.Elect();
      group.Commit(leader, round * 10, round * 10 + 3);
      group.replica(leader).Crash();
      group.Isolate(leader);
      group.Elect();
      group.Heal();
    }
    runs.push_back(group.transcript);
  }
  EXPECT_EQ(runs[0], runs[1]);
  EXPECT_NE(runs[0], runs[2]);
}

// Every thread but this one: "SigBlk" of /proc.
std::vector<uint64_t> BlockedByOtherThreads() {
  std::vector<uint64_t> blocked;
  DIR* tasks = opendir("/proc/self/task");
  while (const dirent* task = readdir(tasks)) {
    if (task->d_name[0] == '.' || std::stoi(task->d_name) == getpid()) continue;
    std::ifstream status(std::string("/proc/self/task/") + task->d_name + "/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("SigBlk:")) blocked.push_back(std::stoull(line.substr(7), nullptr, 16));
    }
  }
  closedir(tasks);
  return blocked;
}

TEST_F(SequencerTest, GoThreadsTakeNoSignalOfTheProgram) {
  GroupUnderTest group(1);
  group.Elect();
  const std::vector<uint64_t> threads = BlockedByOtherThreads();
  ASSERT_FALSE(threads.empty());
  for (const uint64_t blocked : threads) {
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
      EXPECT_TRUE(blocked & (uint64_t{1} << (signal - 1))) << signal;
    }
  }
  sigset_t own;
  pthread_sigmask(SIG_SETMASK, nullptr, &own);
  EXPECT_FALSE(sigismember(&own, SIGTERM));
}

}  // namespace
}  // namespace postfleet::queue::raft
