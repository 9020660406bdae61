// Gives the disk back what deleted mail occupied, on a thread of its own.
//
// A delete writes tombstones; the space comes back when the files under them are compacted. RocksDB
// does that by and by; after much was deleted at once it is done here at once, beside the store's
// work. Files are never dropped by range: one may hold mail that came since.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "libs/runtime/event_loop.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {

class DiskSpace {
 public:
  // `directory` is the store's. Both outlive this.
  DiskSpace(Store* store, std::string directory);
  ~DiskSpace();  // Stops

  // Of all the store's files. Looks at the folder: tens of microseconds.
  uint64_t UsedBytes() const;

  // What to do about contents that live among deleted ones, in the same blob files.
  enum class Alive { kLeave, kMove };

  // Flushes and compacts the whole store, then calls `done` on this thread with what is used then;
  // also when that failed. Seconds for a million messages; with kMove, what is left of their
  // contents is written anew. Not called once this is stopped.
  void Reclaim(Alive alive, std::function<void(uint64_t used_bytes)> done);

  // Stops a compaction that runs; waits for the thread.
  void Stop();

 private:
  void Compact(Alive alive);

  Store* const store_;
  const std::string directory_;
  std::atomic<bool> stopping_{false};
  runtime::EventLoop loop_{"queue-space"};
};

}  // namespace postfleet::queue
