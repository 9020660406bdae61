// Deliveries of this process into one mailbox file take turns, in the order in which they came: no
// one waits a second for a lock that another thread of ours holds. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace postfleet::delivery::privileged {

class MailboxTurns {
 public:
  // Waits for the turn; holds it until it is destroyed.
  class Turn {
   public:
    Turn(MailboxTurns& turns, std::string path) : turns_(turns), path_(std::move(path)) {
      turns_.Enter(path_);
    }
    ~Turn() { turns_.Leave(path_); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    MailboxTurns& turns_;
    const std::string path_;
  };

 private:
  struct Line {
    uint64_t next_number = 0;
    uint64_t served = 0;
    std::condition_variable changed;
  };

  void Enter(const std::string& path) {
    std::unique_lock lock(mutex_);
    Line& line = lines_[path];
    const uint64_t number = line.next_number++;
    line.changed.wait(lock, [&] { return line.served == number; });
  }
  void Leave(const std::string& path) {
    std::lock_guard lock(mutex_);
    const auto line = lines_.find(path);
    if (++line->second.served == line->second.next_number) {
      lines_.erase(line);
    } else {
      line->second.changed.notify_all();
    }
  }

  std::mutex mutex_;
  std::map<std::string, Line> lines_;  // those with somebody in them
};

}  // namespace postfleet::delivery::privileged
