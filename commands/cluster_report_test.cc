#include "commands/cluster_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

namespace v1 = cluster::v1;

constexpr uint64_t kClusterId = 0xabc;

void AddMember(v1::ShardStatus* shard, uint64_t id, bool learner, uint64_t match) {
  v1::Member* member = shard->mutable_membership()->add_members();
  member->set_id(id);
  member->set_name(Concat("q", id));
  member->set_address(Concat("h:", id));
  member->set_learner(learner);
  member->set_version(1);
  v1::MemberProgress* progress = shard->add_progress();
  progress->set_id(id);
  progress->set_match_index(match);
}

// q1 leads q2 and the learner q3.
NodeAnswer Answer(uint64_t id, uint64_t term = 4, uint64_t leader = 1) {
  NodeAnswer answer = {.asked = {Concat("q", id), Concat("h:", id)},
                       .status = v1::GetStatusResponse()};
  answer.status->set_id(id);
  answer.status->set_name(answer.asked.name);
  answer.status->set_cluster_id(kClusterId);
  v1::ShardStatus* shard = answer.status->add_shards();
  shard->set_role(id == leader ? v1::ShardStatus::ROLE_LEADER
                  : id == 3    ? v1::ShardStatus::ROLE_LEARNER
                               : v1::ShardStatus::ROLE_FOLLOWER);
  shard->set_term(term);
  shard->set_leader(leader);
  shard->set_last_index(100);
  shard->set_applied_index(90 + id);
  AddMember(shard, 1, false, 100);
  AddMember(shard, 2, false, 98);
  AddMember(shard, 3, true, 40);
  return answer;
}

NodeAnswer Silent(uint64_t id) {
  return {.asked = {Concat("q", id), Concat("h:", id)}, .status = std::nullopt};
}

TEST(ClusterReport, MembersAndProgressAreTheLeaders) {
  const ClusterView view = ViewOf({Answer(2), Answer(1), Answer(3)});
  EXPECT_EQ(view.leader, "q1");
  EXPECT_EQ(view.leader_address, "h:1");
  ASSERT_THAT(view.rows, SizeIs(3));
  EXPECT_EQ(view.rows[0].role, "leader");
  EXPECT_EQ(view.rows[1].role, "follower");
  EXPECT_EQ(view.rows[2].role, "learner");
  EXPECT_EQ(view.rows[1].match, 98u);
  EXPECT_EQ(view.rows[1].applied, 92u);
}

TEST(ClusterReport, AMemberThatDoesNotAnswerIsUnknownWithWhatTheLeaderKnows) {
  const ClusterView view = ViewOf({Answer(1), Silent(2), Answer(3)});
  EXPECT_EQ(view.rows[1].role, "unknown");
  EXPECT_EQ(view.rows[1].match, 98u);
  EXPECT_FALSE(view.rows[1].applied.has_value());
  EXPECT_THAT(ClusterTable(view), HasSubstr("2  does not answer\n"));
}

TEST(ClusterReport, OfTwoThatSayTheyLeadTheLaterTermCounts) {
  EXPECT_EQ(ViewOf({Answer(1, 4), Answer(2, 5, 2)}).leader, "q2");
  EXPECT_EQ(ViewOf({Answer(2, 5, 2), Answer(1, 4)}).leader, "q2");
}

TEST(ClusterReport, WithoutALeaderNobodyLeads) {
  const ClusterView view = ViewOf({Silent(1), Answer(2), Answer(3)});
  EXPECT_EQ(view.leader, "");
  EXPECT_EQ(view.rows[0].role, "unknown");
  EXPECT_EQ(view.rows[1].role, "follower");
  EXPECT_FALSE(view.rows[1].match.has_value()) << "only a leader knows";
  EXPECT_THAT(ClusterTable(view), HasSubstr("term 4, no leader\n"));
  EXPECT_THAT(ClusterJson(view), HasSubstr("\"leader\": null"));
}

TEST(ClusterReport, AFollowerWithoutALeaderIsUnknown) {
  const ClusterView view = ViewOf({Answer(2, 4, 0), Silent(1)});
  EXPECT_EQ(view.Find("q2")->role, "unknown");
}

TEST(ClusterReport, ANodeThatIsNoMemberYetIsShownBehindThem) {
  NodeAnswer waiting = {.asked = {"q4", "h:4"}, .status = v1::GetStatusResponse()};
  waiting.status->set_name("q4");
  const ClusterView view = ViewOf({waiting, Answer(1), Answer(2), Answer(3)});
  ASSERT_THAT(view.rows, SizeIs(4));
  EXPECT_EQ(view.rows[3].name, "q4");
  EXPECT_FALSE(view.rows[3].member);
  EXPECT_THAT(ClusterTable(view), HasSubstr("is no member yet"));
}

TEST(ClusterReport, BeforeItIsFoundedThereIsNoCluster) {
  const ClusterView view = ViewOf({Silent(1), Silent(2)});
  EXPECT_THAT(ClusterTable(view), HasSubstr("no cluster is founded yet\n"));
  EXPECT_THAT(view.rows, SizeIs(2));
}

TEST(ClusterReport, TheTableIsAligned) {
  EXPECT_EQ(ClusterTable(ViewOf({Answer(1), Answer(2), Answer(3)})),
            "cluster 0000000000000abc, term 4, leader q1\n"
            "name  role      address  index  applied  behind\n"
            "q1    leader    h:1      100    91       0\n"
            "q2    follower  h:2      98     92       2\n"
            "q3    learner   h:3      40     93       60\n");
}

TEST(ClusterReport, TheObjectHasEveryMember) {
  EXPECT_EQ(ClusterJson(ViewOf({Answer(1), Silent(2)})),
            "{\"cluster\": \"0000000000000abc\", \"leader\": \"q1\", \"term\": 4, \"shard\": 0, "
            "\"members\": [{\"name\": \"q1\", \"address\": \"h:1\", \"role\": \"leader\", "
            "\"member\": true, \"match\": 100, \"applied\": 91, \"active\": true, \"version\": 1}, "
            "{\"name\": \"q2\", \"address\": \"h:2\", \"role\": \"unknown\", \"member\": true, "
            "\"match\": 98, \"applied\": null, \"active\": false, \"version\": 1}, "
            "{\"name\": \"q3\", \"address\": \"h:3\", \"role\": \"unknown\", \"member\": true, "
            "\"match\": 40, \"applied\": null, \"active\": false, \"version\": 1}]}\n");
}

TEST(ClusterReport, WhatAPeerCallsItselfBreaksNoLine) {
  NodeAnswer answer = Answer(1);
  v1::Membership* membership = answer.status->mutable_shards(0)->mutable_membership();
  membership->mutable_members(1)->set_name("q\n\"2\\");
  const ClusterView view = ViewOf({answer});
  EXPECT_THAT(ClusterTable(view), HasSubstr("q?\"2\\"));
  EXPECT_THAT(ClusterJson(view), HasSubstr("\"q?\\\"2\\\\\""));
}

}  // namespace
}  // namespace postfleet::commands
