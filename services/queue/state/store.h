// The RocksDB under the state machine. Its write-ahead log is off: the queue's log is that. All
// column families are flushed together (atomic flush), and the applied index is one of the rows, so
// what is on disk is always the whole state as of one command, and the log is replayed from the
// next one. Nothing is applied twice: SingleDelete of keys that are put exactly once between
// deletes stays legal across crashes.
//
//   absl::StatusOr<std::unique_ptr<Store>> store = Store::Open(options);
//   store->SetFlushListener(...); ... when called: log.CutBelow(*store->FlushedIndex());
//
// Errors: Open says what is wrong with the directory, and refuses another format version by name,
// before it changes anything. Any later error of a write is final: the process stops and starts
// again from disk. A damaged block is not: reads of it say Corruption, and a column family in which
// a compaction met one is compacted again ten minutes later; the rest goes on. Nor is a table that
// cannot be opened, if it hides no more than its range of keys, or an index. Threads: one writer
// (the state machine); reads, FlushedIndex and RequestFlush from any thread.
//
// What the values of the options are for is said in store.cc; what they cost, in ARCHITECTURE.md,
// "What was measured".
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/listener.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace postfleet::queue {

enum class Family {
  kDefault,
  kMessage,
  kRecipient,
  kBody,
  kIntake,
  kJob,
  kDue,
  kUpload,
  kSubmission,
  kQueue,
  kSite,
};
inline constexpr size_t kFamilyCount = 11;

struct StoreOptions {
  std::string path;
  // Null: the machine's files. Must outlive the store.
  rocksdb::Env* env = nullptr;
  // Over all column families; past it the store flushes.
  size_t write_buffer_bytes = 64u << 20;
  size_t block_cache_bytes = 32u << 20;
  // Told of RocksDB's events too.
  std::vector<std::shared_ptr<rocksdb::EventListener>> listeners;
  // Bodies at least this long go to blob files: compactions do not copy them.
  uint64_t blob_bytes_min = 1u << 10;
  // For whoever has the store open: a command that lists the queue of a stopped mail system.
  std::chrono::milliseconds lock_wait_max{0};
  // Changes nothing on disk, and takes no lock: for a store that nobody else has open.
  bool read_only = false;
};

// absl's words for RocksDB's. `what` says what was tried.
absl::Status ToStatus(const rocksdb::Status& status, std::string_view what);

class Store {
 public:
  static absl::StatusOr<std::unique_ptr<Store>> Open(const StoreOptions& options);
  // Flushes nothing: the log has everything. A clean stop that wants a fast start calls Flush()
  // first.
  ~Store();

  // The applied index of the state that survives a crash now: log records up to it are not needed
  // any more. 0: none.
  absl::StatusOr<uint64_t> FlushedIndex() const;
  // Called on one of RocksDB's threads whenever a flush of everything has completed. Must not
  // block; post from it. Set once, before the first write.
  void SetFlushListener(std::function<void()> listener);
  // Starts a flush and returns; nothing happens while one is running that covers nothing new.
  absl::Status RequestFlush();
  // Flushes and waits.
  absl::Status Flush();

  rocksdb::DB* db() const { return db_.get(); }
  rocksdb::ColumnFamilyHandle* family(Family family) const {
    return handles_[static_cast<size_t>(family)];
  }
  // Bytes of write buffers and table readers in memory, for metrics.
  uint64_t MemoryBytes() const;
  // Compactions that met damage since Open, for metrics.
  uint64_t damaged_compactions() const;

 private:
  class Listener;
  Store() = default;
  absl::Status CheckFormat(bool read_only);

  std::shared_ptr<Listener> listener_;
  std::array<rocksdb::ColumnFamilyHandle*, kFamilyCount> handles_{};
  std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace postfleet::queue
