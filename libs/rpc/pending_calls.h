// Counts what gRPC still holds of somebody: streams and calls whose last callback has not come yet.
// Whoever is called back waits for none before it goes away. Thread-safe.
#pragma once

#include <condition_variable>
#include <mutex>

namespace postfleet::rpc {

class PendingCalls {
 public:
  void Begin() {
    std::lock_guard lock(mutex_);
    ++count_;
  }
  void End() {
    std::lock_guard lock(mutex_);
    if (--count_ == 0) none_.notify_all();
  }
  void WaitForNone() {
    std::unique_lock lock(mutex_);
    none_.wait(lock, [this] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable none_;
  int count_ = 0;
};

}  // namespace postfleet::rpc
