// Members that come and go, and the snapshots that they come by.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/queue/raft/group_under_test.h"
#include "services/queue/raft/sequencer.h"

namespace postfleet::queue::raft {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

constexpr uint64_t kSeed = 20;

class MembersTest : public ::testing::Test {
 protected:
  MembersTest() { Sequencer::SeedRandomness(kSeed); }
};

TEST_F(MembersTest, LearnerJoinsBySnapshotIsPromotedAndRemoved) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  Sequencer& sequencer = group.replica(leader).sequencer();
  group.Commit(leader, 1, 5);
  group.replica(leader).Checkpoint();  // of no use to a member that it does not know
  group.AddJoining(4);
  ASSERT_TRUE(sequencer.ProposeConfChange({ConfChange::Type::kAddLearner, 4, "mx4:2525"}).ok());
  group.Settle();
  for (int i = 0; i < 3; ++i) group.Tick();
  EXPECT_TRUE(group.replica(leader).snapshot_wanted);
  group.replica(leader).Checkpoint();
  for (int i = 0; i < 5; ++i) group.Tick();
  EXPECT_EQ(group.replica(4).applied, NumbersTo(5));
  EXPECT_THAT(group.replica(4).members().learners, ElementsAre(4));

  ASSERT_TRUE(sequencer.ProposeConfChange({ConfChange::Type::kAddVoter, 4, ""}).ok());
  group.Settle();
  EXPECT_THAT(group.replica(4).members().voters, ElementsAre(1, 2, 3, 4));
  const uint64_t other = OtherThan(leader);
  ASSERT_TRUE(sequencer.ProposeConfChange({ConfChange::Type::kRemove, other, ""}).ok());
  group.Settle();
  EXPECT_THAT(group.replica(4).members().voters, ::testing::Not(Contains(other)));
  group.Commit(leader, 6, 9);
  EXPECT_EQ(group.replica(4).applied, NumbersTo(9));
}

TEST_F(MembersTest, ConfChangeKeepsItsContext) {
  GroupUnderTest group(1);
  ASSERT_EQ(group.Elect(), 1u);
  Sequencer& sequencer = group.replica(1).sequencer();
  const ConfChange change{ConfChange::Type::kAddLearner, 4, std::string("a\0b", 3)};
  ASSERT_TRUE(sequencer.ProposeConfChange(change).ok());
  const Ready ready = sequencer.TakeReady();
  ASSERT_EQ(ready.committed.size(), 1u);
  EXPECT_EQ(*sequencer.ParseConfChange(ready.committed[0].conf_change), change);
  EXPECT_EQ(sequencer.ApplyConfChange(change), (ConfState{{1}, {4}}));
  sequencer.Advance();
}

TEST_F(MembersTest, ConfChangesAreOneAtATimeAndLeaveAVoter) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  Sequencer& sequencer = group.replica(leader).sequencer();
  ASSERT_TRUE(sequencer.ProposeConfChange({ConfChange::Type::kAddLearner, 4, ""}).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(
      sequencer.ProposeConfChange({ConfChange::Type::kAddLearner, 5, ""})));
  group.Settle();
  EXPECT_TRUE(sequencer.ProposeConfChange({ConfChange::Type::kAddLearner, 5, ""}).ok());
  EXPECT_TRUE(
      absl::IsInvalidArgument(sequencer.ProposeConfChange({ConfChange::Type::kRemove, 0, ""})));
  EXPECT_TRUE(absl::IsInvalidArgument(sequencer.ProposeConfChange(
      {ConfChange::Type::kAddLearner, 6, std::string(kConfChangeContextBytesMax + 1, 'x')})));
  group.Settle();
  EXPECT_THAT(group.replica(leader).applied_kinds, ::testing::Not(Contains(EntryKind::kCommand)));

  GroupUnderTest alone(1);
  ASSERT_EQ(alone.Elect(), 1u);
  Sequencer& only = alone.replica(1).sequencer();
  for (const auto type : {ConfChange::Type::kRemove, ConfChange::Type::kAddLearner}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(only.ProposeConfChange({type, 1, ""})));
    EXPECT_EQ(only.ApplyConfChange({type, 1, ""}), (ConfState{{1}, {}}));
  }
}

TEST_F(MembersTest, RemovedLeaderHandsOver) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  group.Commit(leader, 1, 3);
  ASSERT_TRUE(group.replica(leader)
                  .sequencer()
                  .ProposeConfChange({ConfChange::Type::kRemove, leader, ""})
                  .ok());
  group.Settle();
  group.Tick();
  group.Tick();
  EXPECT_NE(group.replica(leader).role(), Role::kLeader);
  const uint64_t next = group.Elect();
  ASSERT_NE(next, 0u);
  ASSERT_NE(next, leader);
  group.Commit(next, 4, 5);
  EXPECT_EQ(group.replica(next).applied, NumbersTo(5));
}

TEST_F(MembersTest, FollowerThatLagsBehindTheLogGetsASnapshot) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  const uint64_t lagging = OtherThan(leader);
  group.Commit(leader, 1, 2);
  group.Isolate(lagging);
  group.Commit(leader, 3, 40);
  group.replica(leader).Checkpoint();
  EXPECT_EQ(group.replica(leader).sequencer().standing().first_index,
            group.replica(leader).applied_index() + 1);
  int snapshots = 0;
  group.filter = [&](const Message& message) {
    if (message.type == MessageType::kSnapshot) {
      ++snapshots;
      EXPECT_EQ(message.to, lagging);
      EXPECT_EQ(message.snapshot_index, group.replica(leader).checkpoints().rbegin()->first);
    }
    return true;
  };
  group.Heal();
  for (int i = 0; i < 30; ++i) group.Tick();
  EXPECT_GE(snapshots, 1);
  const uint64_t now = group.Elect();
  group.Commit(now, 41, 45);
  EXPECT_EQ(group.replica(lagging).applied, NumbersTo(45));
}

TEST_F(MembersTest, SnapshotIsWantedOnceAndNotSentBeforeItIsThere) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  const uint64_t lagging = OtherThan(leader);
  group.Isolate(lagging);
  group.Commit(leader, 1, 10);
  ReplicaUnderTest& replica = group.replica(leader);
  replica.Checkpoint();
  replica.sequencer().WithdrawSnapshot();
  group.filter = [&](const Message& message) {
    EXPECT_NE(message.type, MessageType::kSnapshot);
    return true;
  };
  group.Heal();
  for (int i = 0; i < 5; ++i) group.Tick();
  EXPECT_TRUE(replica.snapshot_wanted);
  replica.snapshot_wanted = false;
  for (int i = 0; i < 5; ++i) group.Tick();
  EXPECT_FALSE(replica.snapshot_wanted);
  group.filter = nullptr;
  replica.Checkpoint();
  for (int i = 0; i < 30; ++i) group.Tick();
  EXPECT_EQ(group.replica(lagging).applied, NumbersTo(10));
}

TEST_F(MembersTest, LongInstallationOfASnapshotStartsNoElection) {
  GroupUnderTest group(3);
  const uint64_t leader = group.Elect();
  const uint64_t lagging = OtherThan(leader);
  group.Isolate(lagging);
  group.Commit(leader, 1, 10);
  group.replica(leader).Checkpoint();
  std::string snapshot;
  group.filter = [&](const Message& message) {
    if (message.type == MessageType::kSnapshot) snapshot = message.bytes;
    return message.type != MessageType::kSnapshot;
  };
  group.Heal();
  for (int i = 0; i < 5 && snapshot.empty(); ++i) group.Tick();
  ASSERT_FALSE(snapshot.empty());
  Sequencer& sequencer = group.replica(lagging).sequencer();
  ASSERT_TRUE(sequencer.Step(leader, snapshot).ok());
  for (int i = 0; i < 100; ++i) sequencer.Tick();
  sequencer.Campaign();
  const Ready ready = sequencer.TakeReady();
  ASSERT_TRUE(ready.snapshot.has_value());
  EXPECT_EQ(ready.snapshot->conf_state.voters.size(), 3u);
  for (int i = 0; i < 100; ++i) sequencer.Tick();
  sequencer.Advance();
  EXPECT_EQ(sequencer.standing().soft_state.role, Role::kFollower);
}

}  // namespace
}  // namespace postfleet::queue::raft
