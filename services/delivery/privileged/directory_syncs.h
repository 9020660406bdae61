// fsync of directories, shared: deliveries that renamed into one directory while a sync of it ran
// are covered by the next sync, which one of them does for all.
//
// A directory that this process delivers into for the first time may have been made by another one,
// or a moment ago by another delivery: IsRooted says whether its name, and those of the folders
// above, were seen durable.
//
// Sync returns after a sync that *started* after the call: whatever the caller did in the directory
// before is durable then. 0, or the errno of that sync. Thread-safe; holds no lock while it syncs.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "services/delivery/privileged/system.h"

namespace postfleet::delivery::privileged {

class DirectorySyncs {
 public:
  explicit DirectorySyncs(System& system) : system_(system) {}

  int Sync(int directory_fd);

  bool IsRooted(int directory_fd);
  void MarkRooted(int directory_fd);

 private:
  // Syncs of one directory are numbered; `started` and `ended` are the last ones.
  struct Directory {
    int users = 0;
    uint64_t started = 0;
    uint64_t ended = 0;
    int last_error = 0;
    uint64_t last_error_number = 0;  // of the last sync that failed
    std::condition_variable changed;
  };
  using Key = std::pair<dev_t, ino_t>;
  // Past it all are forgotten and seen anew: 100,000 mailboxes are some 6 MB.
  static constexpr size_t kRootedMax = 100'000;

  System& system_;
  std::mutex mutex_;
  std::map<Key, Directory> directories_;  // guarded by mutex_; only those in use
  std::set<Key> rooted_;                  // guarded by mutex_
};

}  // namespace postfleet::delivery::privileged
