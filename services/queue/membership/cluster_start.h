// Brings a node that is in no cluster yet into one: asks the others what founding.h wants to know,
// until it has founded the cluster or was taken in.
//
//   ClusterStart start(options);
//   ... until start.result(): the node serves Introduce meanwhile ...
//
// Threads: a loop of its own.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/runtime/event_loop.h"
#include "services/queue/membership/founding.h"
#include "services/queue/membership/identity.h"
#include "services/queue/membership/peer_calls.h"
#include "services/queue/membership/versions.h"

namespace postfleet::queue::membership {

class ClusterStart {
 public:
  struct Options {
    Founding::Options founding;
    Identity identity;  // kNew
    VersionRange versions;
    PeerCalls::Connect connect;
    std::function<void(const std::string&)> say;  // any thread: a line for the log
    // Of a cluster that is founded here; not 0.
    uint64_t new_cluster_id = 0;
    const Clock* clock = &SystemClock();
  };
  explicit ClusterStart(Options options);  // begins
  ~ClusterStart();                         // ends it, wherever it is

  // nullopt: not decided yet. The identity with its cluster, kFounding or kJoining, to be made
  // durable before anything rests on it; FailedPrecondition: this node cannot start, and why. Any
  // thread.
  std::optional<absl::StatusOr<Identity>> result();

 private:
  void Act(Founding::Actions actions);
  void Introduce(const config::ClusterMember& member);
  void Join(const std::string& address);
  void Decide(absl::StatusOr<Identity> result);
  TimePoint Now() const { return options_.clock->Monotonic(); }

  const Options options_;
  std::mutex mutex_;
  std::optional<absl::StatusOr<Identity>> result_;  // guarded by mutex_

  std::atomic<bool> stopped_ = false;

  // On the loop.
  runtime::EventLoop loop_{"queue-founding"};
  runtime::Timer timer_{loop_};
  Founding founding_;
  PeerCalls calls_;
};

}  // namespace postfleet::queue::membership
