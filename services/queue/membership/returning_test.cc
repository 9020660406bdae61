#include "services/queue/membership/returning.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"

namespace postfleet::queue::membership {
namespace {

using testing::HasSubstr;

namespace v1 = cluster::v1;

Returning::TimePoint At(int64_t ms) {
  return Returning::TimePoint() + std::chrono::milliseconds(ms);
}

v1::Member MemberNumbered(uint64_t id) {
  v1::Member member;
  member.set_id(id);
  member.set_name(Concat("q", id));
  member.set_address(Concat("h:", id));
  member.set_version(1);
  return member;
}

// q2's, of a group of three.
Returning OfQ2(const std::string& address = "h:2") {
  v1::Member own = MemberNumbered(2);
  own.set_address(address);
  return Returning({.own = own,
                    .members = {{"q1", "h:1"}, {"q2", "h:2"}, {"q3", "h:3"}},
                    .address_of = [](const v1::Member& member) { return member.address(); }});
}

v1::ShardStatus LedBy(uint64_t leader) {
  v1::ShardStatus shard;
  shard.set_leader(leader);
  for (const uint64_t id : {1, 2, 3})
    *shard.mutable_membership()->add_members() = MemberNumbered(id);
  return shard;
}

v1::ShardStatus WithoutQ2() {
  v1::ShardStatus shard = LedBy(1);
  shard.mutable_membership()->mutable_members()->DeleteSubrange(1, 1);
  return shard;
}

TEST(Returning, AMemberAsItShouldBeAsksNobody) {
  Returning returning = OfQ2();
  EXPECT_FALSE(returning.Step(LedBy(1), At(0)).ask.has_value());
}

TEST(Returning, ANewAddressIsToldToTheLeaderUntilTheGroupHasIt) {
  Returning returning = OfQ2("elsewhere:2");
  EXPECT_EQ(returning.Step(LedBy(1), At(0)).ask, "h:1");
  EXPECT_FALSE(returning.Step(LedBy(1), At(1)).ask.has_value()) << "one question at a time";
  EXPECT_TRUE(returning.OnAnswer(absl::UnavailableError("later"), At(2)).removed.ok());
  EXPECT_FALSE(returning.Step(LedBy(1), At(3)).ask.has_value());
  EXPECT_EQ(returning.Step(LedBy(3), At(1'002)).ask, "h:3");
  returning.OnAnswer(v1::JoinResponse(), At(1'003));
  v1::ShardStatus written = LedBy(3);
  written.mutable_membership()->mutable_members(1)->set_address("elsewhere:2");
  EXPECT_FALSE(returning.Step(written, At(9'000)).ask.has_value());
}

TEST(Returning, ALeaderTellsNobody) {
  Returning returning = OfQ2("elsewhere:2");
  EXPECT_FALSE(returning.Step(LedBy(2), At(0)).ask.has_value());
}

TEST(Returning, WithoutALeaderTheOthersAreAskedByTurns) {
  Returning returning = OfQ2();
  EXPECT_FALSE(returning.Step(LedBy(0), At(0)).ask.has_value());
  EXPECT_FALSE(returning.Step(LedBy(0), At(4'999)).ask.has_value());
  const auto actions = returning.Step(LedBy(0), At(5'000));
  EXPECT_EQ(actions.ask, "h:1");
  EXPECT_THAT(actions.say, HasSubstr("no leader"));
  returning.OnAnswer(absl::UnavailableError("away"), At(5'001));
  EXPECT_EQ(returning.Step(LedBy(0), At(6'001)).ask, "h:3");
}

TEST(Returning, ALeaderInBetweenBeginsTheWaitAnew) {
  Returning returning = OfQ2();
  returning.Step(LedBy(0), At(0));
  returning.Step(LedBy(1), At(3'000));
  EXPECT_FALSE(returning.Step(LedBy(0), At(6'000)).ask.has_value());
}

TEST(Returning, WhoIsToldThatItWasRemovedStops) {
  Returning returning = OfQ2();
  returning.Step(LedBy(0), At(0));
  returning.Step(LedBy(0), At(5'000));
  const auto actions =
      returning.OnAnswer(absl::FailedPreconditionError("q2 was removed: delete"), At(5'001));
  EXPECT_THAT(std::string(actions.removed.message()), HasSubstr("q2 was removed: delete"));
}

TEST(Returning, WhoAppliesItsOwnRemovalStops) {
  Returning returning = OfQ2();
  EXPECT_TRUE(returning.Step(LedBy(1), At(0)).removed.ok());
  EXPECT_FALSE(returning.Step(WithoutQ2(), At(1)).removed.ok());
}

TEST(Returning, WhoHasNotReachedItsOwnAdmissionInTheLogWaits) {
  Returning returning = OfQ2("elsewhere:2");
  EXPECT_TRUE(returning.Step(v1::ShardStatus(), At(0)).removed.ok());
  const auto actions = returning.Step(WithoutQ2(), At(1));
  EXPECT_TRUE(actions.removed.ok());
  EXPECT_FALSE(actions.ask.has_value());
}

TEST(Returning, ALeaderOfAnotherClusterIsNoReasonToStop) {
  Returning returning = OfQ2();
  const auto actions = returning.OnAnswer(absl::PermissionDeniedError("another cluster"), At(0));
  EXPECT_TRUE(actions.removed.ok());
  EXPECT_THAT(actions.say, HasSubstr("another cluster"));
}

}  // namespace
}  // namespace postfleet::queue::membership
