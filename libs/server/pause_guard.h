// Ends this process when it was stopped for longer than `limit` (SIGSTOP, a debugger, a frozen
// container): a kernel timer that only a running process renews sends SIGKILL. Its connections
// close with it.
//
// For processes whose peers give up on them after a while and let others take over: one that wakes
// up later would do the same work a second time, and until then its peers hold what it left open.
// So `limit` is shorter than what peers wait (libs/server/process.cc: twice kKeepaliveMs).
//
// Threads: one of its own, which does nothing else: a busy process is not a stopped one.
#pragma once

#include <chrono>
#include <condition_variable>
#include <ctime>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/status/statusor.h"

namespace postfleet::server {

class PauseGuard {
 public:
  static constexpr std::chrono::milliseconds kLimit{3000};

  // Begins. An error: the kernel has no timer for us.
  static absl::StatusOr<std::unique_ptr<PauseGuard>> Begin(
      std::chrono::milliseconds limit = kLimit);
  ~PauseGuard();  // ends

 private:
  PauseGuard(timer_t timer, std::chrono::milliseconds limit);
  void Renew() const;

  const timer_t timer_;
  const std::chrono::milliseconds limit_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ends_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace postfleet::server
