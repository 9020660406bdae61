#include "services/queue/membership/member_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postfleet::queue::membership {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

cluster::v1::Member MemberOf(uint64_t id) {
  cluster::v1::Member member;
  member.set_id(id);
  member.set_name("q" + std::to_string(id));
  return member;
}

std::string After(const std::string& members, ChangeKind kind, uint64_t id, uint64_t index = 9) {
  return Changed(members, ConfChangeOf({kind, MemberOf(id)}), index);
}

TEST(MemberChanges, ALearnerBecomesAVoterAndGoes) {
  const std::string one = MembersOf(MemberOf(1));
  EXPECT_EQ(*ConfStateOf(one), (raft::ConfState{.voters = {1}}));
  const std::string learns = After(one, ChangeKind::kAddLearner, 2);
  EXPECT_EQ(*ConfStateOf(learns), (raft::ConfState{.voters = {1}, .learners = {2}}));
  const std::string two = After(learns, ChangeKind::kPromote, 2);
  EXPECT_EQ(*ConfStateOf(two), (raft::ConfState{.voters = {1, 2}}));
  EXPECT_EQ(*ConfStateOf(After(two, ChangeKind::kRemove, 1)), (raft::ConfState{.voters = {2}}));
  EXPECT_EQ(ParseMembers(two)->index(), 9u);
}

TEST(MemberChanges, AChangeWritesNameAndAddressAnew) {
  Change change{ChangeKind::kPromote, MemberOf(1)};
  change.member.set_address("h:1");
  const std::string members = Changed(MembersOf(MemberOf(1)), ConfChangeOf(change), 3);
  ASSERT_EQ(ParseMembers(members)->members_size(), 1);
  EXPECT_EQ(ParseMembers(members)->members(0).address(), "h:1");
}

TEST(MemberChanges, WhatWouldLeaveNobodyToVoteChangesNothing) {
  const std::string one = MembersOf(MemberOf(1));
  EXPECT_EQ(After(one, ChangeKind::kRemove, 1), one);
  EXPECT_EQ(After(one, ChangeKind::kAddLearner, 1), one);
}

TEST(MemberChanges, NobodyIsAMemberOfWhatCannotBeRead) {
  EXPECT_FALSE(ConfStateOf("\xff").ok());
  EXPECT_THAT(ConfStateOf("")->voters, IsEmpty());
}

TEST(MemberChanges, AChangeWhoseContextSaysNothingKnowsTheIdOnly) {
  const raft::ConfChange change{.type = raft::ConfChange::Type::kAddLearner, .node = 5};
  const std::string members = Changed(MembersOf(MemberOf(1)), change, 3);
  EXPECT_THAT(ConfStateOf(members)->learners, ElementsAre(5));
}

}  // namespace
}  // namespace postfleet::queue::membership
