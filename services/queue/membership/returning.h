// What a node does that has been a member before, beside taking part: as pure code.
//
//   - where the membership has another address or version of it than it has now, it tells the
//   leader
//   - where it hears of no leader for kLeaderlessMax, it asks the others whether it still is a
//   member: who was
//     removed while it was down is told so by nobody else, and would wait for ever
//
// Step is given the shard as this node knows it, now and then; what it says to do is asked by Join
// with `returning`, one question at a time.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/config/cluster_members.h"
#include "proto/postfleet/cluster/v1/cluster.pb.h"

namespace postfleet::queue::membership {

class Returning {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  static constexpr std::chrono::seconds kLeaderlessMax{5};
  static constexpr std::chrono::seconds kAskInterval{1};
  static constexpr std::chrono::seconds kSayInterval{60};

  struct Actions {
    // Not OK: this node was removed, or cannot be in the group any more. It stops.
    absl::Status removed;
    std::optional<std::string> ask;  // at this address
    std::string say;                 // a line for the log; empty: none
  };

  struct Options {
    cluster::v1::Member own;
    std::vector<config::ClusterMember> members;  // of postfleet_cluster_members
    // Where a member is asked, by what this node knows.
    std::function<std::string(const cluster::v1::Member&)> address_of;
  };
  explicit Returning(Options options) : options_(std::move(options)) {}

  Actions Step(const cluster::v1::ShardStatus& shard, TimePoint now);
  Actions OnAnswer(const absl::StatusOr<cluster::v1::JoinResponse>& answer, TimePoint now);

 private:
  Actions AskOthers(TimePoint now);
  std::string Said(std::string line, TimePoint now);

  const Options options_;
  std::optional<TimePoint> leaderless_since_;
  bool was_member_ = false;
  bool asking_ = false;
  TimePoint ask_at_{};
  size_t next_ = 0;  // whom of the members, by turns
  std::string said_;
  TimePoint say_at_{};
};

}  // namespace postfleet::queue::membership
