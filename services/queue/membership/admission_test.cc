#include "services/queue/membership/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "libs/base/concat.h"

namespace postfleet::queue::membership {
namespace {

using testing::HasSubstr;

namespace v1 = cluster::v1;

constexpr uint64_t kClusterId = 7;
constexpr uint64_t kLastIndex = 100'000;

Admission::TimePoint At(int64_t ms) {
  return Admission::TimePoint() + std::chrono::milliseconds(ms);
}

v1::Member MemberNamed(uint64_t id, const std::string& name, uint32_t version = 1) {
  v1::Member member;
  member.set_id(id);
  member.set_name(name);
  member.set_address(Concat("host-", name, ":1"));
  member.set_version(version);
  return member;
}

v1::JoinRequest Request(const v1::Member& member) {
  v1::JoinRequest request;
  *request.mutable_member() = member;
  request.set_version(member.version());
  return request;
}

v1::JoinRequest Return(const v1::Member& member) {
  v1::JoinRequest request = Request(member);
  request.set_returning(true);
  request.set_cluster_id(kClusterId);
  return request;
}

// A group as its leader, q1, sees it.
class Group {
 public:
  Group() {
    shard_.set_role(v1::ShardStatus::ROLE_LEADER);
    shard_.set_leader(1);
    shard_.set_last_index(kLastIndex);
  }
  Group& With(const v1::Member& member, bool active = true, uint64_t match = kLastIndex) {
    *shard_.mutable_membership()->add_members() = member;
    v1::MemberProgress* progress = shard_.add_progress();
    progress->set_id(member.id());
    progress->set_active(active);
    progress->set_match_index(match);
    return *this;
  }
  Group& WithLearner(v1::Member member, uint64_t match, bool active = true) {
    member.set_learner(true);
    return With(member, active, match);
  }
  // What raft makes of the change.
  void Apply(const Change& change) {
    v1::ShardStatus before = shard_;
    shard_.mutable_membership()->clear_members();
    shard_.clear_progress();
    for (int i = 0; i < before.membership().members_size(); ++i) {
      if (before.membership().members(i).id() == change.member.id()) continue;
      *shard_.mutable_membership()->add_members() = before.membership().members(i);
      *shard_.add_progress() = before.progress(i);
    }
    if (change.kind != ChangeKind::kRemove) With(change.member, true, 0);
  }
  v1::ShardStatus& shard() { return shard_; }
  operator const v1::ShardStatus&() const { return shard_; }

 private:
  v1::ShardStatus shard_;
};

Group OneVoter() { return Group().With(MemberNamed(1, "q1")); }
Group ThreeVoters(bool third_alive = true) {
  return OneVoter().With(MemberNamed(2, "q2")).With(MemberNamed(3, "q3"), third_alive);
}

Admission Leader(uint32_t version = 1) {
  return Admission(MemberNamed(1, "q1", version), kClusterId);
}

// "add q2", "promote q2", "remove q2" or "".
std::string NextOf(Admission& admission, const Group& group, int64_t ms) {
  const std::optional<Change> change = admission.Step(group, At(ms));
  if (!change) return "";
  constexpr const char* kVerbs[] = {"add ", "promote ", "remove "};
  return Concat(kVerbs[static_cast<size_t>(change->kind)], change->member.name());
}

std::string Refusal(const absl::Status& status) {
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  return std::string(status.message());
}

TEST(Admission, NothingIsDueInAGroupThatIsAsItShouldBe) {
  Admission admission = Leader();
  EXPECT_EQ(NextOf(admission, ThreeVoters(), 0), "");
}

TEST(Admission, WhoAsksBecomesALearner) {
  Admission admission = Leader();
  ASSERT_TRUE(admission.AskJoin(Request(MemberNamed(2, "q2")), OneVoter(), At(0)).ok());
  const std::optional<Change> change = admission.Step(OneVoter(), At(0));
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(change->kind, ChangeKind::kAddLearner);
  EXPECT_TRUE(change->member.learner());
  EXPECT_EQ(change->member.address(), "host-q2:1");
}

TEST(Admission, OneChangeAtATime) {
  Admission admission = Leader();
  ASSERT_TRUE(admission.AskJoin(Request(MemberNamed(2, "q2")), OneVoter(), At(0)).ok());
  ASSERT_TRUE(admission.AskJoin(Request(MemberNamed(3, "q3")), OneVoter(), At(0)).ok());
  EXPECT_EQ(NextOf(admission, OneVoter(), 0), "add q2");
  EXPECT_EQ(NextOf(admission, OneVoter(), 1), "");
  admission.OnChanged(absl::OkStatus(), At(2));
  EXPECT_EQ(NextOf(admission, OneVoter().WithLearner(MemberNamed(2, "q2"), 0), 2), "add q3");
}

TEST(Admission, AChangeThatCameToNothingIsProposedAgainAfterAWhile) {
  Admission admission = Leader();
  ASSERT_TRUE(admission.AskJoin(Request(MemberNamed(2, "q2")), OneVoter(), At(0)).ok());
  EXPECT_EQ(NextOf(admission, OneVoter(), 0), "add q2");
  admission.OnChanged(absl::AbortedError("not the leader"), At(10));
  EXPECT_EQ(NextOf(admission, OneVoter(), 1'009), "");
  EXPECT_EQ(NextOf(admission, OneVoter(), 1'010), "add q2");
}

TEST(Admission, ALearnerIsPromotedOnceItHasKeptUpForASecond) {
  Admission admission = Leader();
  const uint64_t near = kLastIndex - Admission::kCaughtUpEntriesMax;
  const v1::Member q2 = MemberNamed(2, "q2");
  EXPECT_EQ(NextOf(admission, OneVoter().WithLearner(q2, near - 1), 0), "");
  EXPECT_EQ(NextOf(admission, OneVoter().WithLearner(q2, near), 5'000), "");
  EXPECT_EQ(NextOf(admission, OneVoter().WithLearner(q2, near), 5'999), "");
  EXPECT_EQ(NextOf(admission, OneVoter().WithLearner(q2, near), 6'000), "promote q2");
}

TEST(Admission, ALearnerThatFellBackBeginsAnew) {
  Admission admission = Leader();
  const v1::Member q2 = MemberNamed(2, "q2");
  NextOf(admission, OneVoter().WithLearner(q2, kLastIndex), 0);
  NextOf(admission, OneVoter().WithLearner(q2, 1), 900);
  EXPECT_EQ(NextOf(admission, OneVoter().WithLearner(q2, kLastIndex), 1'000), "");
  EXPECT_EQ(NextOf(admission, OneVoter().WithLearner(q2, kLastIndex), 2'000), "promote q2");
}

TEST(Admission, ALearnerThatIsAwayOrGetsASnapshotIsNotPromoted) {
  Admission admission = Leader();
  const v1::Member q2 = MemberNamed(2, "q2");
  Group away = OneVoter().WithLearner(q2, kLastIndex, /*active=*/false);
  Group snapshot = OneVoter().WithLearner(q2, kLastIndex);
  snapshot.shard().mutable_progress(1)->set_snapshot(true);
  for (const Group& group : {away, snapshot}) {
    NextOf(admission, group, 0);
    EXPECT_EQ(NextOf(admission, group, 60'000), "");
  }
}

// Of a log with fewer entries than the bound, too.
TEST(Admission, ALearnerThatHasNothingIsNotPromoted) {
  Admission admission = Leader();
  Group group = OneVoter().WithLearner(MemberNamed(2, "q2"), 0);
  group.shard().set_last_index(5);
  NextOf(admission, group, 0);
  EXPECT_EQ(NextOf(admission, group, 60'000), "");
}

TEST(Admission, ANewDiskReplacesTheReplicaOfItsNameOnceThatIsGone) {
  Admission admission = Leader();
  Group group = ThreeVoters(/*third_alive=*/false);
  ASSERT_TRUE(admission.AskJoin(Request(MemberNamed(33, "q3")), group, At(0)).ok());
  EXPECT_EQ(NextOf(admission, group, 0), "");
  EXPECT_EQ(NextOf(admission, group, 1'999), "");
  const std::optional<Change> removal = admission.Step(group, At(2'000));
  ASSERT_TRUE(removal.has_value());
  EXPECT_EQ(removal->kind, ChangeKind::kRemove);
  EXPECT_EQ(removal->member.id(), 3u);
  group.Apply(*removal);
  admission.OnChanged(absl::OkStatus(), At(2'001));
  EXPECT_EQ(NextOf(admission, group, 2'001), "add q3");
}

TEST(Admission, AReplicaThatIsAliveIsNotReplaced) {
  Admission admission = Leader();
  const absl::Status status =
      admission.AskJoin(Request(MemberNamed(33, "q3")), ThreeVoters(), At(0));
  EXPECT_TRUE(absl::IsAlreadyExists(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("is alive at host-q3:1"));
  EXPECT_EQ(NextOf(admission, ThreeVoters(), 60'000), "");
}

TEST(Admission, AReplicaThatComesBackBeforeItIsReplacedStays) {
  Admission admission = Leader();
  ASSERT_TRUE(admission.AskJoin(Request(MemberNamed(33, "q3")), ThreeVoters(false), At(0)).ok());
  EXPECT_EQ(NextOf(admission, ThreeVoters(true), 1'900), "");
  EXPECT_EQ(NextOf(admission, ThreeVoters(false), 2'000), "");
}

TEST(Admission, WhoComesBackUnderAnotherAddressOrVersionIsWrittenAnew) {
  Admission admission = Leader();
  v1::Member q2 = MemberNamed(2, "q2", /*version=*/2);
  q2.set_address("elsewhere:1");
  ASSERT_TRUE(admission.AskJoin(Return(q2), ThreeVoters(), At(0)).ok());
  const std::optional<Change> change = admission.Step(ThreeVoters(), At(0));
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(change->kind, ChangeKind::kPromote);
  EXPECT_EQ(change->member.address(), "elsewhere:1");
  EXPECT_EQ(change->member.version(), 2u);
}

TEST(Admission, ALearnerThatIsWrittenAnewStaysOne) {
  Admission admission = Leader();
  v1::Member q2 = MemberNamed(2, "q2");
  Group group = OneVoter().WithLearner(q2, 1);
  q2.set_address("elsewhere:1");
  ASSERT_TRUE(admission.AskJoin(Return(q2), group, At(0)).ok());
  const std::optional<Change> change = admission.Step(group, At(0));
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(change->kind, ChangeKind::kAddLearner);
  EXPECT_TRUE(change->member.learner());
}

TEST(Admission, AQueueOfBeforeTheClusterGetsItsNameAndVersion) {
  Admission admission = Leader();
  v1::Member nameless;
  nameless.set_id(1);
  EXPECT_EQ(NextOf(admission, Group().With(nameless), 0), "promote q1");
}

TEST(Admission, WhoWasRemovedIsToldSo) {
  Admission admission = Leader();
  EXPECT_THAT(Refusal(admission.AskJoin(Return(MemberNamed(4, "q4")), ThreeVoters(), At(0))),
              HasSubstr("was removed from the cluster"));
}

TEST(Admission, WhoIsOfAnotherClusterIsToldSo) {
  Admission admission = Leader();
  v1::JoinRequest request = Return(MemberNamed(2, "q2"));
  request.set_cluster_id(8);
  const absl::Status status = admission.AskJoin(request, ThreeVoters(), At(0));
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << "no reason to stop";
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("q2 is of cluster 0000000000000008, and this is 0000000000000007"));
}

TEST(Admission, WhoIsTooOldForTheGroupIsRefused) {
  Admission admission = Leader(2);
  Group group = Group().With(MemberNamed(1, "q1", 2));
  EXPECT_THAT(Refusal(admission.AskJoin(Request(MemberNamed(2, "q2", 1)), group, At(0))),
              HasSubstr("q2 is of version 1"));
}

TEST(Admission, ARequestWithoutAProperNameIsRefused) {
  Admission admission = Leader();
  for (const char* name : {"", "a b", "q/2"}) {
    const absl::Status status = admission.AskJoin(Request(MemberNamed(2, name)), OneVoter(), At(0));
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << name;
  }
}

TEST(Admission, JoinersAndMembersAreBounded) {
  Admission admission = Leader();
  for (uint64_t id = 2; id < 2 + Admission::kJoinersMax; ++id) {
    ASSERT_TRUE(
        admission.AskJoin(Request(MemberNamed(id, Concat("q", id))), OneVoter(), At(0)).ok());
  }
  EXPECT_TRUE(absl::IsResourceExhausted(
      admission.AskJoin(Request(MemberNamed(99, "q99")), OneVoter(), At(0))));
  Group full;
  for (int id = 1; id <= Admission::kMembersMax; ++id) {
    full.With(MemberNamed(static_cast<uint64_t>(id), Concat("q", id)));
  }
  Admission of_full = Leader();
  EXPECT_TRUE(
      absl::IsResourceExhausted(of_full.AskJoin(Request(MemberNamed(99, "q99")), full, At(0))));
}

TEST(Admission, WhoDoesNotAskAgainIsForgotten) {
  Admission admission = Leader();
  ASSERT_TRUE(admission.AskJoin(Request(MemberNamed(2, "q2")), OneVoter(), At(0)).ok());
  EXPECT_EQ(NextOf(admission, OneVoter(), 30'001), "");
}

TEST(Admission, AnotherLeaderIsAskedAnew) {
  Admission admission = Leader();
  ASSERT_TRUE(admission.AskJoin(Request(MemberNamed(2, "q2")), OneVoter(), At(0)).ok());
  Group follower = OneVoter();
  follower.shard().set_role(v1::ShardStatus::ROLE_FOLLOWER);
  EXPECT_EQ(NextOf(admission, follower, 0), "");
  EXPECT_EQ(NextOf(admission, OneVoter(), 1), "");
}

TEST(Removal, AVoterIsRemovedWhereAMajorityIsLeft) {
  Admission admission = Leader();
  ASSERT_TRUE(admission.AskRemoval("q3", ThreeVoters(false)).ok());
  EXPECT_EQ(NextOf(admission, ThreeVoters(false), 0), "remove q3");
}

TEST(Removal, NoMajorityLeftIsRefused) {
  Admission admission = Leader();
  EXPECT_THAT(Refusal(admission.AskRemoval("q2", ThreeVoters(/*third_alive=*/false))),
              HasSubstr("without q2 there are 2 voters, and 1 of them alive"));
  EXPECT_EQ(NextOf(admission, ThreeVoters(false), 0), "");
}

TEST(Removal, TheLastVoterStays) {
  Admission admission = Leader();
  EXPECT_THAT(Refusal(admission.AskRemoval("q1", OneVoter())), HasSubstr("q1 leads"));
}

TEST(Removal, WhatHasBecomeWrongMeanwhileIsNotDone) {
  Admission admission = Leader();
  ASSERT_TRUE(admission.AskRemoval("q2", ThreeVoters(true)).ok());
  EXPECT_EQ(NextOf(admission, ThreeVoters(false), 0), "");
}

TEST(Removal, ALearnerGoesWithoutAVote) {
  Admission admission = Leader();
  Group group = OneVoter().WithLearner(MemberNamed(2, "q2"), 1, /*active=*/false);
  ASSERT_TRUE(admission.AskRemoval("q2", group).ok());
  EXPECT_EQ(NextOf(admission, group, 0), "remove q2");
}

TEST(Removal, AnUnknownNameIsToldTheNamesThereAre) {
  Admission admission = Leader();
  const absl::Status status = admission.AskRemoval("q9", ThreeVoters());
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("there are q1, q2, q3"));
}

TEST(Successor, IsWhoHasMostOfTheLog) {
  Group group = OneVoter().With(MemberNamed(2, "q2"), true, 5).With(MemberNamed(3, "q3"), true, 9);
  EXPECT_EQ(Successor(group, "")->name(), "q3");
  EXPECT_EQ(Successor(group, "q2")->name(), "q2");
}

TEST(Successor, IsNobodyWhoIsAwayOrHasNoVote) {
  Group group =
      OneVoter().With(MemberNamed(2, "q2"), false).WithLearner(MemberNamed(3, "q3"), kLastIndex);
  EXPECT_THAT(Refusal(Successor(group, "").status()), HasSubstr("no other voter"));
  EXPECT_THAT(Refusal(Successor(group, "q2").status()), HasSubstr("does not answer"));
  EXPECT_THAT(Refusal(Successor(group, "q3").status()), HasSubstr("no vote yet"));
  EXPECT_THAT(Refusal(Successor(group, "q1").status()), HasSubstr("leads already"));
  EXPECT_TRUE(absl::IsNotFound(Successor(group, "q9").status()));
}

// Of the voters without `without`.
bool HasMajority(const v1::ShardStatus& shard, uint64_t without = 0) {
  int voters = 0, active = 0;
  for (int i = 0; i < shard.membership().members_size(); ++i) {
    const v1::Member& member = shard.membership().members(i);
    if (member.learner() || member.id() == without) continue;
    ++voters;
    active += shard.progress(i).active() ? 1 : 0;
  }
  return active >= voters / 2 + 1;
}

// One random life of a leader: nodes ask, administrators ask, members come and go.
class Life {
 public:
  explicit Life(uint64_t seed) : seed_(seed), random_(seed) {}

  void Step(int64_t ms) {
    Ask(ms);
    Move();
    const std::optional<Change> change = admission_.Step(group_, At(ms));
    ASSERT_FALSE(change && under_way_) << "two changes at once, seed " << seed_;
    if (change) Judge(*change);
    if (change) under_way_ = change;
    if (!under_way_ || Pick(3) != 0) return;
    // Nothing commits without a majority.
    const bool commits = HasMajority(group_);
    if (commits) group_.Apply(*under_way_);
    under_way_.reset();
    admission_.OnChanged(commits ? absl::OkStatus() : absl::AbortedError("lost"), At(ms));
  }

  int removals = 0, promotions = 0;

 private:
  size_t Pick(size_t count) { return std::uniform_int_distribution<size_t>(0, count - 1)(random_); }

  void Ask(int64_t ms) {
    const uint64_t id = 2 + Pick(8);
    const std::string name = Concat("q", 2 + id % 4);
    if (Pick(4) == 0) {
      admission_.AskJoin(Request(MemberNamed(id, name)), group_, At(ms)).IgnoreError();
    }
    if (Pick(20) == 0) admission_.AskRemoval(name, group_).IgnoreError();
  }
  void Move() {
    for (v1::MemberProgress& progress : *group_.shard().mutable_progress()) {
      if (progress.id() != 1 && Pick(60) == 0) progress.set_active(!progress.active());
      if (progress.active()) progress.set_match_index(kLastIndex);
    }
  }
  void Judge(const Change& change) {
    promotions += change.kind == ChangeKind::kPromote ? 1 : 0;
    if (change.kind != ChangeKind::kRemove) return;
    ++removals;
    EXPECT_NE(change.member.id(), 1u) << "seed " << seed_;
    EXPECT_TRUE(HasMajority(group_, change.member.id()) || !HasMajority(group_))
        << "a majority was taken away, seed " << seed_;
  }

  const uint64_t seed_;
  std::mt19937_64 random_;
  Admission admission_ = Leader();
  Group group_ = OneVoter();
  std::optional<Change> under_way_;
};

TEST(Admission, NoOrderOfWishesTakesTheMajorityAway) {
  int removals = 0, promotions = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Life life(seed);
    for (int64_t ms = 0; ms < 60'000; ms += 100) life.Step(ms);
    removals += life.removals;
    promotions += life.promotions;
  }
  EXPECT_GT(removals, 100);
  EXPECT_GT(promotions, 100);
}

}  // namespace
}  // namespace postfleet::queue::membership
