#include "services/queue/membership/versions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postfleet::queue::membership {
namespace {

using testing::HasSubstr;

cluster::v1::Membership GroupOf(std::initializer_list<uint32_t> versions) {
  cluster::v1::Membership membership;
  for (const uint32_t version : versions) membership.add_members()->set_version(version);
  return membership;
}

TEST(Versions, AGroupIsAsOldAsItsOldestMember) {
  EXPECT_EQ(GroupVersion(GroupOf({3, 2, 3})), 2u);
  EXPECT_EQ(GroupVersion(GroupOf({3, 3})), 3u);
}

TEST(Versions, WhoHasNotSaidIsOfTheFirst) {
  EXPECT_EQ(GroupVersion(GroupOf({0, 2})), 1u);
  EXPECT_EQ(GroupVersion(GroupOf({})), 1u);
}

TEST(Versions, EntriesOfANewKindWaitForTheLastMemberALearnerToo) {
  cluster::v1::Membership membership = GroupOf({2, 2, 1});
  membership.mutable_members(2)->set_learner(true);
  EXPECT_FALSE(MayPropose(membership, 2));
  membership.mutable_members(2)->set_version(2);
  EXPECT_TRUE(MayPropose(membership, 2));
}

TEST(Versions, ANodeThatKnowsLessThanTheGroupIsRefusedByName) {
  const absl::Status refused = CheckVersions(GroupOf({2, 2}), "q3", {.version = 1});
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("q3 is of version 1, and the cluster is of version 2"));
}

TEST(Versions, ANodeThatHasForgottenTheGroupsVersionIsRefusedByName) {
  const absl::Status refused =
      CheckVersions(GroupOf({1, 3}), "q3", {.version = 3, .version_min = 2});
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("q3 understands no version before 2"));
}

TEST(Versions, OneAfterTheOtherIsUpgraded) {
  EXPECT_TRUE(CheckVersions(GroupOf({1, 1, 1}), "q1", {.version = 2}).ok());
  EXPECT_TRUE(CheckVersions(GroupOf({2, 1, 1}), "q2", {.version = 1}).ok());
}

}  // namespace
}  // namespace postfleet::queue::membership
