// The write-ahead log of one node, in raft's terms (ARCHITECTURE.md, "The log").
//
// Records are appended in groups: Append writes, Sync makes all of it durable. Only what a Sync
// covered may be acknowledged. The format on disk is in record.h, what recovery accepts and refuses
// in segment_reader.h.
//
// Indices rise by one from record to record over the whole log, beginning at 1.
//
// Costs: Append copies no payload and allocates nothing once its arrays have grown; it is one
// pwritev for up to 1,024 slices. Sync is one fdatasync. A new segment costs three syncs and is
// begun before the first group that no longer fits.
//
// Threads: one thread uses the log. CutBelow, first_index() and bytes_on_disk() may be called from
// any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/queue/log/file_system.h"
#include "services/queue/log/record.h"

namespace postfleet::queue {

class SegmentReader;

struct Entry {
  EntryId id;
  EntryType type = EntryType::kCommand;
  // The payload is these slices one after another; at most 4 GiB - 1. They must live until Append
  // returns.
  absl::Span<const std::string_view> parts;
};

// What Open found.
struct Recovery {
  uint64_t first_index = 1;
  uint64_t last_index = 0;
  int segments = 0;
  // A torn tail was left out: never acknowledged. Empty when there was none.
  std::string torn_file;
  uint64_t torn_offset = 0;
  // One line for the mail log when there is something to say: "log/000...1.seg: torn tail at offset
  // 4096 left out ...".
  std::string remark;
};

// Records that were durable and cannot be read any more.
struct Hole {
  std::string path;
  uint64_t offset = 0;
  uint64_t first_index = 0;
  uint64_t last_index = 0;

  // "log/000...1.seg: damaged at offset 4096: records 7 to 9 cannot be read".
  std::string ToString() const;
};

class Log {
 public:
  struct Options {
    std::string dir;  // created when missing
    uint64_t segment_bytes = 64 << 20;
    FileSystem* file_system = nullptr;  // null: the machine's
    std::function<uint64_t()> random;   // salts of segments; null: the machine's
  };

  // Finds the end of the log, and makes what it found durable. Damage on the way is Replay's to
  // judge, and is left as it is. DataLoss with file and offset when the newest segment's header
  // cannot be read; nothing is changed then.
  static absl::StatusOr<std::unique_ptr<Log>> Open(const Options& options, Recovery* found);
  ~Log();

  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // Room for a group of at most `bytes` (RecordBytes of each), so that Append does not meet a full
  // disk. Between groups that are synced. ResourceExhausted: there is none; nothing has changed.
  // Any other error is final.
  absl::Status Reserve(uint64_t bytes);

  // Writes a group; it is not durable yet. The first index must be last_index() + 1.
  // ResourceExhausted: no space. Everything since the last Sync is taken back, durably, and the log
  // goes on: its entries will not be found by a later Open. Any other error is final.
  absl::Status Append(absl::Span<const Entry> entries);

  // Blocks until everything appended is durable. Any error is final: what was appended may or may
  // not be found by a later Open, and the log refuses everything from now on.
  absl::Status Sync();

  // Reads records from `from_index` to last_index() in order; `visit` sees the payload until it
  // returns, and ends the replay by an error, which is returned. DataLoss when a record is missing
  // or damaged, or when `from_index` is past last_index() + 1: whoever asks has seen records that
  // this log has lost.
  absl::Status Replay(uint64_t from_index, absl::FunctionRef<absl::Status(const EntryView&)> visit);
  // The same, but of damaged records `lost` decides: its error ends the replay, OK goes on behind
  // them. Missing segments are DataLoss.
  absl::Status Replay(uint64_t from_index, absl::FunctionRef<absl::Status(const EntryView&)> visit,
                      absl::FunctionRef<absl::Status(const Hole&)> lost);

  // Where a row of Reads stands.
  class Cursor {
   public:
    Cursor();
    ~Cursor();
    // It stands in `index`'s segment, at or before it: the next Read costs what lies between.
    bool IsBefore(uint64_t index, uint64_t first_of_segment) const;

   private:
    friend class Log;
    uint64_t first_index_ = 0;
    std::unique_ptr<SegmentReader> segment_;
  };
  // Reads one record. One after another with the same cursor they cost one pass over the log; the
  // first one, what lies before it in its segment. DataLoss as of Replay.
  absl::Status Read(uint64_t index, Cursor* cursor,
                    absl::FunctionRef<void(const EntryView&)> visit);
  // Of the segment that has `index`.
  uint64_t SegmentOf(uint64_t index) const;

  // Deletes the segments whose records are all below `index`, oldest first; never the newest. Some
  // files are kept for use again. Any thread. The directory is not synced: a segment that comes
  // back after a crash is not read, and is deleted by the next call.
  absl::Status CutBelow(uint64_t index);

  // The lowest index that Replay can begin with, also when the log is empty (last_index() + 1). Any
  // thread.
  uint64_t first_index() const;
  uint64_t last_index() const { return last_index_; }
  uint64_t synced_index() const { return synced_index_; }
  // Space that the segments take up, with what is preallocated or kept for use again. Any thread.
  uint64_t bytes_on_disk() const { return bytes_on_disk_.load(std::memory_order_relaxed); }
  // The error that ended the log; OK while it works.
  const absl::Status& failure() const { return failure_; }

 private:
  struct Spare {
    std::string path;
    uint64_t bytes = 0;
  };
  struct Segment {
    uint64_t first_index = 0;
    uint64_t bytes = 0;    // of the file
    bool in_chain = true;  // false: lies before a gap, left by an interrupted CutBelow
  };

  Log(const Options& options, FileSystem* file_system);

  // Opening and replaying (log_recovery.cc).
  absl::Status FindSegments();
  absl::Status FindEnd(Recovery* found);
  void AdoptSpare(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ReplaySegment(const std::string& path, uint64_t first_index, uint64_t end_index,
                             uint64_t from_index,
                             absl::FunctionRef<absl::Status(const EntryView&)> visit,
                             absl::FunctionRef<absl::Status(const Hole&)> lost);
  // Writing.
  bool RoomFor(absl::Span<const Entry> entries) const;
  uint64_t BuildGroup(absl::Span<const Entry> entries);
  absl::Status StartSegment();
  absl::StatusOr<std::unique_ptr<File>> TakeSpare(Spare* spare);
  absl::Status TakeBack(absl::Status cause);
  absl::Status Fail(absl::Status error);
  // The list of segments.
  std::string PathOf(uint64_t first_index) const;
  uint64_t PreviousFirstIndex(uint64_t first_index) const;
  void AddSegment(uint64_t first_index, uint64_t bytes);
  absl::Status Retire(const Segment& segment) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteSize(uint64_t bytes);

  // Of a segment's name until its header is durable.
  static constexpr std::string_view kUnfinishedSuffix = ".new";
  // Of a file that waits to be used again. Overwriting written blocks changes no metadata: a sync
  // then costs one write of the device instead of two, and half the time (tests/bench/shapes).
  static constexpr std::string_view kSpareSuffix = ".spare";
  static constexpr size_t kSpareSegmentsMax = 4;

  const std::string dir_;
  const uint64_t segment_bytes_;
  FileSystem* const file_system_;
  const std::function<uint64_t()> random_;

  // The log's thread.
  std::unique_ptr<File> file_;  // null until the first Append
  SegmentHeader segment_;
  uint64_t end_ = 0;         // file offset after the last record written
  uint64_t synced_end_ = 0;  // and after the last one known durable
  uint64_t file_bytes_ = 0;  // with what is preallocated
  uint64_t last_index_ = 0;
  uint64_t synced_index_ = 0;
  absl::Status failure_;
  std::vector<RecordHeader> headers_;  // of the group being written, kept for their memory
  std::vector<iovec> slices_;

  std::atomic<uint64_t> bytes_on_disk_{0};
  mutable std::mutex mutex_;  // the standard one: ThreadSanitizer knows it
  std::deque<Segment> segments_ ABSL_GUARDED_BY(mutex_);
  std::vector<Spare> spares_ ABSL_GUARDED_BY(mutex_);  // files of segments that were cut
};

}  // namespace postfleet::queue
