// The raft logs of one node's shards, in one log of records (services/queue/log): what all of them
// owe goes out in one write and one sync.
//
// Records carry the shard and raft's term in their header; `index` in the header is the record's
// number in the node's log. Payloads, little-endian:
//
//   kEntry      index64 kind8 zero8[7], then the entry's payload
//   kHardState  term64 vote64 commit64
//   kStart      index64 term64 keeps8, then the members as of it (encoded by the caller)
//   kCommand    of a log from before there were groups: an entry of that term whose index is the
//               record's number
//
// Of several records the last one counts. An entry takes away all that the shard has from its index
// on (raft replaces suffixes). A start takes away all up to its index; one that does not keep what
// follows takes away everything: a group is founded, or a snapshot was taken over.
//
// The log is cut below the first record that any shard needs. The last hard state and start of a
// shard that would be cut off are written again before.
//
// Promises: what a Sync covered is found by the next Open, and is as of the last group of which the
// disk has all; nothing of a refused group (ResourceExhausted) is found. Errors: Open says DataLoss
// with file and offset when a record is damaged that a shard needs. Other errors of Write and Sync
// are final, as Log's.
//
// Costs: a place of 32 bytes in memory for each entry that is kept; no copy of a payload. Reading
// old entries back costs up to the segment that they lie in.
//
// Threads: one. Cut may run on another one, after Write said what it needs.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/queue/log/log.h"
#include "services/queue/raft/sequencer.h"

namespace postfleet::queue {

// Everything up to `index` is in the shard's store; `members` is as of it.
struct LogStart {
  uint64_t index = 0;
  uint64_t term = 0;
  std::string members;

  friend bool operator==(const LogStart&, const LogStart&) = default;
};

// An entry as it is kept. The payload lives as long as its giver says.
struct LogEntry {
  uint64_t term = 0;
  uint64_t index = 0;
  raft::EntryKind kind = raft::EntryKind::kEmpty;
  std::string_view payload;
};

class NodeLog {
 public:
  // Of an entry that is in the log.
  struct Place {
    uint64_t term = 0;
    uint64_t record = 0;
    uint32_t bytes = 0;
    uint32_t crc32c = 0;  // of the payload
    raft::EntryKind kind = raft::EntryKind::kEmpty;
  };
  // To be written: the payload is these slices one after another, which live until Write returns.
  struct NewEntry {
    uint64_t term = 0;
    uint64_t index = 0;
    raft::EntryKind kind = raft::EntryKind::kEmpty;
    uint32_t crc32c = 0;  // of the payload
    absl::Span<const std::string_view> parts = {};
  };

  static absl::StatusOr<std::unique_ptr<NodeLog>> Open(const Log::Options& options,
                                                       Recovery* found);
  // The entry that a record is; nullopt: it is something else. For those who read logs that cannot
  // be opened.
  static std::optional<LogEntry> EntryOf(const EntryView& record);
  // The beginning that a record is; `keeps`: of what is there already.
  static std::optional<LogStart> StartOf(const EntryView& record, bool* keeps);
  // Appends to a log of which records are lost what makes it begin anew behind them, durably: the
  // next Open needs nothing of what is there.
  static absl::Status BeginAnew(Log* log, uint16_t shard, const LogStart& start);

  // False: nothing of that shard was ever written.
  bool Knows(uint16_t shard) const { return shards_.contains(shard); }
  const LogStart& start(uint16_t shard) { return shards_[shard].start; }
  const raft::HardState& hard_state(uint16_t shard) { return shards_[shard].hard_state; }
  uint64_t last_index(uint16_t shard);
  // nullptr: not in the log.
  const Place* Find(uint16_t shard, uint64_t index);

  // Room for a group of so many records with so many bytes of payload in all, so that Write does
  // not meet a full disk. Between groups that are synced. ResourceExhausted: there is none.
  absl::Status Reserve(size_t records, uint64_t payload_bytes);

  // A group: gathers what Write then writes. Entries of a shard follow one another.
  void Add(uint16_t shard, const NewEntry& entry);
  void Add(uint16_t shard, const raft::HardState& state);
  // The log begins anew.
  void Add(uint16_t shard, const LogStart& start);
  // What follows `start` stays; the entry of its index is in the log.
  void Compact(uint16_t shard, const LogStart& start);
  // ResourceExhausted: there is no room; the group stays gathered, and Write may be called again.
  absl::Status Write();
  absl::Status Sync() { return log_->Sync(); }
  bool has_group() const { return !group_.empty(); }

  // Entries from `first` on in order, until `visit` says false or there are no more. What it sees
  // lives until it returns. NotFound: `first` is not in the log.
  absl::Status Read(uint16_t shard, uint64_t first, absl::FunctionRef<bool(const LogEntry&)> visit);

  // One entry. One after another they cost one pass over the log (Log::Read), for kCursors rows of
  // them at the same time. NotFound: it is not in the log.
  absl::Status ReadOne(uint16_t shard, uint64_t index,
                       absl::FunctionRef<void(const LogEntry&)> visit);

  // Adds to the group what must be written again so that everything below the first entry that is
  // kept may go. Then, once that is synced, Cut(CuttableRecord()).
  void PrepareCut();
  uint64_t CuttableRecord() const;
  absl::Status Cut(uint64_t record) { return log_->CutBelow(record); }

  uint64_t bytes_on_disk() const { return log_->bytes_on_disk(); }

 private:
  struct Shard {
    LogStart start;
    uint64_t start_record = 0;
    raft::HardState hard_state;
    uint64_t hard_state_record = 0;  // 0: none was written
    std::deque<Place> places;        // of start.index + 1 on
    // While it is recovered: entries came first, their start is to come.
    bool awaits_start = false;
  };
  struct Pending {
    uint16_t shard = 0;
    EntryType type = EntryType::kCommand;
    uint64_t term = 0;
    uint64_t index = 0;  // of an entry
    raft::EntryKind kind = raft::EntryKind::kEmpty;
    uint64_t payload_bytes = 0;
    uint32_t crc32c = 0;
    std::string head = {};  // what comes before the slices
    std::vector<std::string_view> parts = {};
    raft::HardState hard_state = {};
    LogStart start = {};
    bool keeps = false;
  };

  explicit NodeLog(std::unique_ptr<Log> log) : log_(std::move(log)) {}
  absl::Status Recover();
  absl::Status Recall(const EntryView& record);
  // What a record that is in the log means.
  absl::Status Note(const Pending& pending, uint64_t record);
  static absl::Status NoteEntry(Shard* shard, uint64_t index, const Place& place);
  static absl::StatusOr<Pending> Parse(const EntryView& record);
  static void NoteStart(Shard* shard, LogStart start, bool keeps, uint64_t record);
  static Pending Make(uint16_t shard, const raft::HardState& state);
  static Pending Make(uint16_t shard, const LogStart& start, bool keeps);
  uint64_t FirstNeeded() const;

  const std::unique_ptr<Log> log_;
  std::map<uint16_t, Shard> shards_;
  std::vector<Pending> group_;
  bool recovering_ = false;
  static constexpr size_t kCursors = 4;
  std::array<Log::Cursor, kCursors> cursors_;
  size_t oldest_cursor_ = 0;
};

}  // namespace postfleet::queue
