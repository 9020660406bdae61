// Notices that a table's file was changed or replaced: by device, inode, size and mtime, looked at
// once a second at most.
//
// Use: if (watch.NeedsLoad()) watch.Loaded(load());  The stamp is taken before loading, so a change
// during it is seen the next time.
#pragma once

#include <sys/stat.h>

#include <chrono>
#include <string>
#include <utility>

#include "libs/base/clock.h"

namespace postfleet::tables {

class FileWatch {
 public:
  FileWatch(std::string path, const Clock* clock) : path_(std::move(path)), clock_(clock) {}

  const std::string& path() const { return path_; }
  // True if it was never loaded, failed to load a second ago, or has changed.
  bool NeedsLoad();
  void Loaded(bool ok) { loaded_ = ok; }

 private:
  struct Stamp {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = -1;  // -1: no such file
    int64_t mtime_ns = 0;
    friend bool operator==(const Stamp&, const Stamp&) = default;
  };
  Stamp Take() const;

  std::string path_;
  const Clock* clock_;
  bool looked_ = false;
  bool loaded_ = false;
  std::chrono::steady_clock::time_point last_look_;
  Stamp stamp_;
};

}  // namespace postfleet::tables
