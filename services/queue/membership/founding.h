// How a node whose disk belongs to no cluster yet comes into one: as pure code, which is told what
// the others answered and says what to do.
//
//   Founding founding(options);
//   actions = founding.Step(now);                       // at the start, and every kStepInterval
//   actions = founding.OnIntroduction(name, answer, now);
//   actions = founding.OnJoinAnswer(answer, now);
//
// Exactly one cluster may ever be founded by a list of members, whoever starts first, late, or with
// an empty disk again:
//   - only the first of postfleet_cluster_members founds;
//   - only once each other member has answered that its disk belongs to no cluster, and that its
//   list has
//     the same members in the same order. Who does not answer might belong to one. All are asked
//     twice, the second time after all had answered: what one said may be old by the time the last
//     one speaks (one joins a cluster after it was asked, from one that loses its disk before it
//     is);
//   - all others, and the first where a cluster is, ask to be taken in.
// The cost is that all members must run once, at the beginning; afterwards a majority does.
//
// A queue that was kept without a cluster is brought in by the first member alone. Where a cluster
// is already, two queues cannot be made one: refused.
//
// Members that say they belong to different clusters: the one that has a leader counts (the other
// is a replica that was left behind); none that has: waits and says so; two that have: refused.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/config/cluster_members.h"
#include "proto/postfleet/cluster/v1/cluster.pb.h"

namespace postfleet::queue::membership {

namespace cluster = ::postfleet::cluster;

using TimePoint = std::chrono::steady_clock::time_point;

class Founding {
 public:
  static constexpr std::chrono::milliseconds kStepInterval{200};
  // Between two questions to one member, counted from its answer.
  static constexpr std::chrono::milliseconds kAskInterval{500};
  // What is waited for is said again after this.
  static constexpr std::chrono::seconds kSayInterval{15};

  struct Options {
    config::ClusterMember own;
    std::vector<config::ClusterMember> members;  // `own` is one of them
    bool has_queue = false;                      // the folder brings one
  };

  // In this order.
  struct Actions {
    std::vector<std::string> say;  // lines for the mail log
    absl::Status refused;          // not OK: the node cannot start; over
    // The cluster is founded here; over.
    bool found = false;
    // The leader has taken this node in; over.
    std::optional<uint64_t> joined_cluster_id;
    std::vector<config::ClusterMember> introduce;  // ask each who it is
    std::optional<std::string> join;               // ask there to be taken in
  };

  explicit Founding(Options options);

  Actions Step(TimePoint now);
  // `name`: who was asked. An error: no answer.
  Actions OnIntroduction(const std::string& name,
                         const absl::StatusOr<cluster::v1::IntroduceResponse>& answer,
                         TimePoint now);
  // Unavailable and the like: asks again. FailedPrecondition: the leader says why not.
  // `leader_address`: where to ask instead, if whoever was asked knows.
  Actions OnJoinAnswer(const absl::StatusOr<cluster::v1::JoinResponse>& answer,
                       const std::string& leader_address, TimePoint now);

 private:
  struct Other {
    config::ClusterMember member;
    std::optional<cluster::v1::IntroduceResponse> answer;  // the last one
    std::string wrong;                                     // why it does not count
    bool asking = false;
    bool again = false;  // asked in the second round, and answered since
    TimePoint ask_at{};
  };

  Actions Decide(TimePoint now);
  bool IsFirst() const { return options_.members.front().name == options_.own.name; }
  std::string WrongIn(const Other& other, const cluster::v1::IntroduceResponse& answer) const;
  // Those that have said that they belong to a cluster, by its id.
  std::map<uint64_t, std::vector<const Other*>> Clusters() const;
  void DecideFounding(Actions* actions, TimePoint now);
  void AskAgain(Actions* actions, TimePoint now);
  void DecideJoining(const std::map<uint64_t, std::vector<const Other*>>& clusters,
                     Actions* actions, TimePoint now);
  void AskOthers(Actions* actions, TimePoint now);
  void Join(const std::vector<const Other*>& members, Actions* actions, TimePoint now);
  void Say(std::string line, Actions* actions, TimePoint now);

  const Options options_;
  std::vector<Other> others_;
  bool over_ = false;
  bool second_round_ =
      false;  // all have answered once, and the questions that are asked now are the second
  bool joining_ = false;  // an answer is outstanding
  size_t join_next_ = 0;  // whom to ask, by turns
  TimePoint join_at_{};
  std::string leader_address_;  // a hint, used once
  std::string said_;
  TimePoint say_at_{};
};

}  // namespace postfleet::queue::membership
