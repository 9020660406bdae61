#include "services/queue/membership/founding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "libs/base/concat.h"

namespace postfleet::queue::membership {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

namespace v1 = cluster::v1;

const std::vector<config::ClusterMember> kMembers = {{"q1", "h:1"}, {"q2", "h:2"}, {"q3", "h:3"}};

TimePoint At(int64_t ms) { return TimePoint() + std::chrono::milliseconds(ms); }

Founding NodeOf(size_t index, bool has_queue = false) {
  return Founding({.own = kMembers[index], .members = kMembers, .has_queue = has_queue});
}

v1::IntroduceResponse Answer(size_t index, uint64_t cluster_id = 0, uint64_t leader = 0,
                             const std::string& leader_address = "") {
  v1::IntroduceResponse answer;
  answer.set_name(kMembers[index].name);
  answer.set_cluster_id(cluster_id);
  answer.set_leader(leader);
  answer.set_leader_address(leader_address);
  for (const config::ClusterMember& member : kMembers) answer.add_members(member.name);
  return answer;
}

v1::JoinResponse Taken(uint64_t cluster_id) {
  v1::JoinResponse answer;
  answer.set_cluster_id(cluster_id);
  return answer;
}

absl::Status Away() { return absl::UnavailableError("no answer"); }

std::string Refusal(const Founding::Actions& actions) {
  EXPECT_TRUE(absl::IsFailedPrecondition(actions.refused)) << actions.refused;
  return std::string(actions.refused.message());
}

TEST(Founding, TheFirstFoundsOnceAllOthersHaveSaidTwiceThatTheyHaveNoCluster) {
  Founding first = NodeOf(0);
  EXPECT_THAT(first.Step(At(0)).introduce, ElementsAre(kMembers[1], kMembers[2]));
  EXPECT_FALSE(first.OnIntroduction("q2", Answer(1), At(1)).found);
  const auto again = first.OnIntroduction("q3", Answer(2), At(2));
  EXPECT_FALSE(again.found);
  EXPECT_THAT(again.introduce, ElementsAre(kMembers[1], kMembers[2])) << "at once";
  EXPECT_FALSE(first.OnIntroduction("q3", Answer(2), At(3)).found);
  EXPECT_TRUE(first.OnIntroduction("q2", Answer(1), At(4)).found);
}

// q3 answered before it was taken in by q2, and q2 answers after it has lost its disk.
TEST(Founding, WhoWasTakenInMeanwhileIsNotOverlooked) {
  Founding first = NodeOf(0);
  first.Step(At(0));
  first.OnIntroduction("q3", Answer(2), At(1));
  first.OnIntroduction("q2", Answer(1), At(2));
  EXPECT_FALSE(first.OnIntroduction("q2", Answer(1), At(3)).found);
  const auto actions = first.OnIntroduction("q3", Answer(2, 7, 3, "h:3"), At(4));
  EXPECT_FALSE(actions.found);
  EXPECT_EQ(actions.join, "h:3");
}

TEST(Founding, ASecondRoundThatBreaksOffBeginsAnew) {
  Founding first = NodeOf(0);
  first.Step(At(0));
  first.OnIntroduction("q2", Answer(1), At(1));
  first.OnIntroduction("q3", Answer(2), At(2));
  first.OnIntroduction("q2", Answer(1), At(3));
  first.OnIntroduction("q3", Away(), At(4));
  first.Step(At(1'000));
  EXPECT_FALSE(first.OnIntroduction("q2", Answer(1), At(1'001)).found);
  EXPECT_FALSE(first.OnIntroduction("q3", Answer(2), At(1'002)).found) << "the first round";
  EXPECT_FALSE(first.OnIntroduction("q2", Answer(1), At(1'003)).found);
  EXPECT_TRUE(first.OnIntroduction("q3", Answer(2), At(1'004)).found);
}

TEST(Founding, NobodyElseFounds) {
  Founding second = NodeOf(1);
  second.Step(At(0));
  EXPECT_FALSE(second.OnIntroduction("q1", Answer(0), At(1)).found);
  const auto actions = second.OnIntroduction("q3", Answer(2), At(2));
  EXPECT_FALSE(actions.found);
  EXPECT_FALSE(actions.join.has_value());
}

TEST(Founding, AMemberThatIsAwayHoldsUpTheFoundingAndIsNamed) {
  Founding first = NodeOf(0);
  first.Step(At(0));
  first.OnIntroduction("q2", Answer(1), At(1));
  first.OnIntroduction("q3", Away(), At(2));
  EXPECT_FALSE(first.Step(At(20'000)).found);
  EXPECT_THAT(first.Step(At(40'000)).say, Contains(HasSubstr("waiting for q3")));
}

TEST(Founding, AnAnswerOfBeforeTheMemberWentAwayDoesNotCount) {
  Founding first = NodeOf(0);
  first.Step(At(0));
  first.OnIntroduction("q2", Answer(1), At(1));
  first.OnIntroduction("q2", Away(), At(600));
  EXPECT_FALSE(first.OnIntroduction("q3", Answer(2), At(601)).found);
}

TEST(Founding, AMemberWithDataThatAnswersLateIsJoined) {
  Founding first = NodeOf(0);
  first.Step(At(0));
  first.OnIntroduction("q2", Answer(1), At(1));
  const auto actions = first.OnIntroduction("q3", Answer(2, 7, 3, "h:3"), At(90'000));
  EXPECT_FALSE(actions.found);
  EXPECT_EQ(actions.join, "h:3");
}

TEST(Founding, TheFirstWithANewDiskJoinsWhatIsThere) {
  Founding first = NodeOf(0);
  first.Step(At(0));
  EXPECT_EQ(first.OnIntroduction("q2", Answer(1, 7, 2, "h:2"), At(1)).join, "h:2");
  EXPECT_EQ(first.OnJoinAnswer(Taken(7), "", At(2)).joined_cluster_id, 7u);
}

TEST(Founding, ALoneMemberFoundsAtOnce) {
  Founding alone({.own = kMembers[0], .members = {kMembers[0]}});
  EXPECT_TRUE(alone.Step(At(0)).found);
}

TEST(Founding, AQueueIsBroughtInByTheFirst) {
  Founding first = NodeOf(0, /*has_queue=*/true);
  first.Step(At(0));
  first.OnIntroduction("q2", Answer(1), At(1));
  first.OnIntroduction("q3", Answer(2), At(2));
  first.OnIntroduction("q2", Answer(1), At(3));
  EXPECT_TRUE(first.OnIntroduction("q3", Answer(2), At(4)).found);
}

TEST(Founding, AQueueAndAClusterAreNotMadeOne) {
  Founding first = NodeOf(0, /*has_queue=*/true);
  first.Step(At(0));
  EXPECT_THAT(Refusal(first.OnIntroduction("q2", Answer(1, 7, 2, "h:2"), At(1))),
              HasSubstr("two queues cannot be made one"));
}

TEST(Founding, AnotherListOfMembersFoundsNothing) {
  Founding first = NodeOf(0);
  first.Step(At(0));
  first.OnIntroduction("q2", Answer(1), At(1));
  v1::IntroduceResponse other_order = Answer(2);
  other_order.mutable_members()->SwapElements(0, 1);
  const auto actions = first.OnIntroduction("q3", other_order, At(2));
  EXPECT_FALSE(actions.found);
  EXPECT_THAT(actions.say,
              ElementsAre(HasSubstr("of q3 lists q2, q1, q3, and here it lists q1, q2, q3")));
}

TEST(Founding, WhoAnswersUnderAnotherNameIsNotCounted) {
  Founding first = NodeOf(0);
  first.Step(At(0));
  first.OnIntroduction("q2", Answer(1), At(1));
  const auto actions = first.OnIntroduction("q3", Answer(1), At(2));
  EXPECT_FALSE(actions.found);
  EXPECT_THAT(actions.say, ElementsAre("who answers at h:3 is q2, not q3"));
}

TEST(Founding, TheLeaderThatWasNamedIsAskedAtOnce) {
  Founding second = NodeOf(1);
  second.Step(At(0));
  EXPECT_EQ(second.OnIntroduction("q1", Answer(0, 7, 9), At(1)).join, "h:1");
  EXPECT_EQ(second.OnJoinAnswer(Away(), "h:3", At(2)).join, "h:3");
}

TEST(Founding, IsAskedAgainWhileThereIsNoAnswer) {
  Founding second = NodeOf(1);
  second.Step(At(0));
  ASSERT_TRUE(second.OnIntroduction("q1", Answer(0, 7, 1, "h:1"), At(1)).join.has_value());
  EXPECT_FALSE(second.Step(At(10'000)).join.has_value()) << "one at a time";
  EXPECT_FALSE(second.OnJoinAnswer(Away(), "", At(10'001)).join.has_value());
  EXPECT_FALSE(second.Step(At(10'400)).join.has_value());
  EXPECT_EQ(second.Step(At(10'501)).join, "h:1");
}

TEST(Founding, WhatTheLeaderRefusesIsSaidAndIsTheEnd) {
  Founding second = NodeOf(1);
  second.Step(At(0));
  second.OnIntroduction("q1", Answer(0, 7, 1, "h:1"), At(1));
  EXPECT_THAT(Refusal(second.OnJoinAnswer(absl::FailedPreconditionError("version 1 is too old"), "",
                                          At(2))),
              HasSubstr("q2 is not taken into the cluster: version 1 is too old"));
  EXPECT_THAT(second.Step(At(60'000)).introduce, IsEmpty());
}

TEST(Founding, AClusterWithoutALeaderIsWaitedFor) {
  Founding second = NodeOf(1);
  second.Step(At(0));
  const auto actions = second.OnIntroduction("q3", Answer(2, 7), At(1));
  EXPECT_FALSE(actions.join.has_value());
  EXPECT_THAT(actions.say, ElementsAre("waiting for a leader of cluster 0000000000000007 (q3)"));
}

TEST(Founding, OfTwoClustersTheOneWithALeaderIsJoined) {
  Founding second = NodeOf(1);
  second.Step(At(0));
  second.OnIntroduction("q1", Answer(0, 7), At(1));
  EXPECT_EQ(second.OnIntroduction("q3", Answer(2, 8, 3, "h:3"), At(2)).join, "h:3");
}

TEST(Founding, TwoClustersWithLeadersAreRefusedByName) {
  Founding second = NodeOf(1);
  second.Step(At(0));
  second.OnIntroduction("q1", Answer(0, 7, 1, "h:1"), At(1));
  EXPECT_THAT(Refusal(second.OnIntroduction("q3", Answer(2, 8, 3, "h:3"), At(2))),
              HasSubstr("0000000000000007 (q1), 0000000000000008 (q3)"));
}

TEST(Founding, WhatIsWaitedForIsSaidOnceAndThenNowAndThen) {
  Founding second = NodeOf(1);
  EXPECT_THAT(second.Step(At(0)).say, ElementsAre("waiting for q1 to found the cluster"));
  EXPECT_THAT(second.Step(At(200)).say, IsEmpty());
  EXPECT_EQ(second.Step(At(15'000)).say.size(), 1u);
}

// Nodes that start, stop, lose their disks and answer in any order: one list of members never makes
// two clusters, as long as somebody who belongs to the first one is left.
class World {
 public:
  explicit World(uint64_t seed) : random_(seed) {
    for (size_t i = 0; i < kMembers.size(); ++i) nodes_.push_back({});
  }

  void RunOnce() {
    now_ms_ += 100;
    const size_t index = Pick(nodes_.size());
    Node& node = nodes_[index];
    switch (Pick(12)) {
      case 0:
        if (!node.founding && node.cluster_id == 0) node.founding.emplace(NodeOf(index));
        break;
      case 1:
        node.founding.reset();
        node.up = false;
        break;
      case 2:
        // A minority's disks may go. Who has one left keeps what it belongs to.
        if (MembersLeft(index) > 0) LoseDisk(&node);
        break;
      default:
        node.up = true;
        if (node.cluster_id == 0 && !node.founding) node.founding.emplace(NodeOf(index));
        if (node.founding) Take(index, node.founding->Step(At(now_ms_)));
    }
  }

  std::set<uint64_t> founded;
  size_t joined = 0;

 private:
  struct Node {
    bool up = false;
    uint64_t cluster_id = 0;
    std::optional<Founding> founding;
  };

  static void LoseDisk(Node* node) {
    node->up = false;
    node->cluster_id = 0;
    node->founding.reset();
  }
  size_t Pick(size_t count) { return std::uniform_int_distribution<size_t>(0, count - 1)(random_); }
  size_t MembersLeft(size_t without) const {
    size_t left = 0;
    bool any = false;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      any = any || nodes_[i].cluster_id != 0;
      left += i != without && nodes_[i].cluster_id != 0 ? 1 : 0;
    }
    return any ? left : 1;
  }

  absl::StatusOr<v1::IntroduceResponse> Ask(const config::ClusterMember& member) {
    const auto index =
        static_cast<size_t>(std::find(kMembers.begin(), kMembers.end(), member) - kMembers.begin());
    if (!nodes_[index].up || Pick(5) == 0) return Away();
    const uint64_t cluster_id = nodes_[index].cluster_id;
    return Answer(index, cluster_id, cluster_id != 0 ? index + 1 : 0, member.address);
  }

  void Take(size_t index, const Founding::Actions& actions) {
    Node& node = nodes_[index];
    ASSERT_TRUE(actions.refused.ok()) << actions.refused;
    if (actions.found || actions.joined_cluster_id) {
      node.cluster_id = actions.found ? index + 1 + 10 * static_cast<uint64_t>(now_ms_)
                                      : *actions.joined_cluster_id;
      if (actions.found) founded.insert(node.cluster_id);
      joined += actions.found ? 0 : 1;
      node.founding.reset();
      return;
    }
    for (const config::ClusterMember& member : actions.introduce) {
      Take(index, node.founding->OnIntroduction(member.name, Ask(member), At(now_ms_)));
      if (!node.founding) return;
    }
    if (!actions.join) return;
    const auto asked = std::find_if(kMembers.begin(), kMembers.end(), [&](const auto& member) {
      return member.address == *actions.join;
    });
    const Node& leader = nodes_[static_cast<size_t>(asked - kMembers.begin())];
    absl::StatusOr<v1::JoinResponse> answer = Away();
    if (leader.up && leader.cluster_id != 0 && Pick(3) > 0) answer = Taken(leader.cluster_id);
    Take(index, node.founding->OnJoinAnswer(answer, "", At(now_ms_)));
  }

  std::mt19937_64 random_;
  std::vector<Node> nodes_;
  int64_t now_ms_ = 0;
};

TEST(Founding, WhateverHappensOneListMakesOneCluster) {
  size_t founded = 0, joined = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    World world(seed);
    for (int step = 0; step < 400; ++step) world.RunOnce();
    EXPECT_LE(world.founded.size(), 1u) << "seed " << seed;
    founded += world.founded.size();
    joined += world.joined;
  }
  EXPECT_GT(founded, 150u);
  EXPECT_GT(joined, 400u);
}

}  // namespace
}  // namespace postfleet::queue::membership
