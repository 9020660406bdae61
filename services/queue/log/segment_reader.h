// Reads one segment file from its header to the first record that does not check, and judges what
// that means.
//
// A record checks when its header and payload have their checksums and its index follows the one
// before. Behind the last record lies either nothing of this segment, or a group that was being
// written when the power failed, of which any part in any order may be there: a torn tail. Or the
// bytes were durable once and are broken now: damage. The proof of damage is a later record that
// checks and says that the place was durable when it was written (record.h).
//
// Damage to the very last group that was synced has no such proof and counts as torn.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/queue/log/file_system.h"
#include "services/queue/log/record.h"

namespace postfleet::queue {

class SegmentReader {
 public:
  // Reads the header. DataLoss when it does not check or belongs to another segment.
  static absl::StatusOr<std::unique_ptr<SegmentReader>> Open(FileSystem* file_system,
                                                             const std::string& path,
                                                             uint64_t first_index);

  // The next record; its payload lives until the next call. False at the first that does not check:
  // offset() stays there. An error only when the file cannot be read.
  absl::StatusOr<bool> Next(EntryView* entry);

  struct Rest {
    uint64_t proof_offset = 0;  // of a record that proves damage at offset(); 0: there is none
    // A write was under way here: something other than zeroes, or in a recycled file other than
    // what it held before.
    bool torn = false;
  };
  // Looks at everything from offset() to the end of the file.
  absl::StatusOr<Rest> LookAtRest();
  // From damage at offset() to the next record that checks: Next gives it. False: there is none;
  // nothing has changed.
  absl::StatusOr<bool> SkipDamage();

  const SegmentHeader& header() const { return header_; }
  const std::string& path() const { return path_; }
  File& file() { return *file_; }
  uint64_t file_bytes() const { return file_bytes_; }
  // Where Next reads.
  uint64_t offset() const { return offset_; }
  uint64_t next_index() const { return next_index_; }
  // Up to here the records read so far say that the segment is durable.
  uint64_t durable_end() const { return durable_end_; }

 private:
  SegmentReader(std::string path, std::unique_ptr<File> file)
      : path_(std::move(path)), file_(std::move(file)) {}

  // `bytes` of the file at `offset`, fewer at its end. Lives until the next call.
  absl::StatusOr<std::string_view> At(uint64_t offset, uint64_t bytes);
  absl::StatusOr<bool> RecordAt(uint64_t offset, RecordHeader* header, std::string_view* payload);

  const std::string path_;
  const std::unique_ptr<File> file_;
  uint64_t file_bytes_ = 0;
  SegmentHeader header_{};
  uint64_t offset_ = sizeof(SegmentHeader);
  uint64_t next_index_ = 0;
  uint64_t durable_end_ = sizeof(SegmentHeader);

  std::string window_;  // file contents from window_offset_
  uint64_t window_offset_ = 0;
};

}  // namespace postfleet::queue
