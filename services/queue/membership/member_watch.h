// Acts for a member what returning.h decides: tells the leader its address and version, and finds
// out when it was removed.
//
// Threads: a loop of its own. `removed` comes once, from there.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "libs/base/clock.h"
#include "libs/runtime/event_loop.h"
#include "services/queue/membership/group.h"
#include "services/queue/membership/peer_calls.h"
#include "services/queue/membership/returning.h"
#include "services/queue/membership/versions.h"

namespace postfleet::queue::membership {

class MemberWatch {
 public:
  static constexpr std::chrono::milliseconds kStepInterval{200};

  struct Options {
    Returning::Options returning;
    uint64_t cluster_id = 0;
    VersionRange versions;
    Group group;
    PeerCalls::Connect connect;
    std::function<void(const std::string&)> say;  // a line for the log
    std::function<void(const absl::Status&)> removed;
    const Clock* clock = &SystemClock();
  };
  explicit MemberWatch(Options options);  // begins
  ~MemberWatch();

 private:
  void Step();
  void Act(const Returning::Actions& actions);

  const Options options_;
  runtime::EventLoop loop_{"queue-member"};
  // On the loop.
  runtime::Timer timer_{loop_};
  Returning returning_;
  PeerCalls calls_;
  bool over_ = false;
};

}  // namespace postfleet::queue::membership
