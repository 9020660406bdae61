// The log's format on disk. Numbers are little-endian; offsets are multiples of 8.
//
// Segment file `<first index, 20 digits>.seg`: a SegmentHeader, then records. A record is a
// RecordHeader, the payload and zeroes up to a multiple of 8. Behind the last record anything may
// lie (zeroes of preallocation, records of an earlier use).
//
// Both checksums of a record begin with the segment's random salt, and the header's with the
// record's offset: neither a record of an earlier use of the file, nor one at another place, nor
// one that a sender wrote into a message, passes for a record here.
//
// `unsynced_bytes` is what tells a torn tail from damage: when the record was written, everything
// in the segment before (its own offset - unsynced_bytes) was durable. A record that checks thus
// proves that an earlier broken one was whole once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/types/span.h"

namespace postfleet::queue {

enum class EntryType : uint8_t {
  kCommand = 1,
  // Of raft groups (services/queue/replica/node_log.h).
  kHardState = 2,
  kEntry = 3,
  kStart = 4,
};

struct EntryId {
  uint16_t shard = 0;
  uint64_t term = 0;
  uint64_t index = 0;

  friend bool operator==(const EntryId&, const EntryId&) = default;
};

// A record as it is read. The payload lives as long as its caller says.
struct EntryView {
  EntryId id;
  EntryType type = EntryType::kCommand;
  std::string_view payload;
};

struct RecordHeader {
  uint16_t magic;
  uint8_t type;
  uint8_t flags;  // 0
  uint16_t shard;
  uint16_t header_bytes;  // sizeof(RecordHeader)
  uint64_t term;
  uint64_t index;
  uint32_t payload_bytes;
  uint32_t unsynced_bytes;
  uint32_t payload_crc;
  uint32_t header_crc;  // of everything before it
};
static_assert(sizeof(RecordHeader) == 40);

struct SegmentHeader {
  uint64_t magic;
  uint64_t first_index;
  uint64_t previous_first_index;  // of the segment before; 0 for the first of all
  uint64_t salt;
  uint32_t recycled;  // 1: the file held another segment before
  uint32_t crc;       // of everything before it
};
static_assert(sizeof(SegmentHeader) == 40);

inline constexpr uint64_t kRecordAlignment = 8;

inline uint64_t PaddedBytes(uint64_t bytes) {
  return (bytes + kRecordAlignment - 1) & ~(kRecordAlignment - 1);
}

// What a record with this payload takes up in its segment.
inline uint64_t RecordBytes(uint64_t payload_bytes) {
  return sizeof(RecordHeader) + PaddedBytes(payload_bytes);
}

// Fills in the header of a record at `offset`, with both checksums.
void SealRecord(const SegmentHeader& segment, uint64_t offset, EntryId id, EntryType type,
                uint32_t unsynced_bytes, absl::Span<const std::string_view> parts,
                RecordHeader* header);

// Is this the header of a record at `offset` of that segment? `header` needs no alignment.
bool HeaderChecks(const SegmentHeader& segment, uint64_t offset, const RecordHeader& header);
bool PayloadChecks(const SegmentHeader& segment, const RecordHeader& header,
                   std::string_view payload);

SegmentHeader MakeSegmentHeader(uint64_t first_index, uint64_t previous_first_index, uint64_t salt,
                                bool recycled);
bool SegmentHeaderChecks(const SegmentHeader& header);

// "00000000000000000042.seg".
std::string SegmentName(uint64_t first_index);
// False when `name` is not a segment's.
bool ParseSegmentName(std::string_view name, uint64_t* first_index);

}  // namespace postfleet::queue
