#include "services/queue/log/record.h"

#include <bit>
#include <charconv>
#include <cstring>

#include "libs/base/crc32c.h"

namespace postfleet::queue {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr uint16_t kRecordMagic = 0x52B7;
constexpr uint64_t kSegmentMagic = 0x3130474F4C465001;  // "\1PFLOG01"
constexpr std::string_view kSuffix = ".seg";
constexpr size_t kNameDigits = 20;

template <typename Pod>
std::string_view BytesOf(const Pod& pod, size_t bytes = sizeof(Pod)) {
  return {reinterpret_cast<const char*>(&pod), bytes};
}

uint32_t HeaderCrc(const SegmentHeader& segment, uint64_t offset, const RecordHeader& header) {
  const uint64_t place[2] = {segment.salt, offset};
  return Crc32c(BytesOf(header, offsetof(RecordHeader, header_crc)), Crc32c(BytesOf(place)));
}

// The other half of the salt: whoever guessed the one does not know the other.
uint32_t PayloadSeed(const SegmentHeader& segment) {
  return static_cast<uint32_t>(segment.salt >> 32);
}

}  // namespace

void SealRecord(const SegmentHeader& segment, uint64_t offset, EntryId id, EntryType type,
                uint32_t unsynced_bytes, absl::Span<const std::string_view> parts,
                RecordHeader* header) {
  uint32_t crc = PayloadSeed(segment);
  uint32_t bytes = 0;
  for (std::string_view part : parts) {
    crc = Crc32c(part, crc);
    bytes += static_cast<uint32_t>(part.size());
  }
  *header = RecordHeader{.magic = kRecordMagic,
                         .type = static_cast<uint8_t>(type),
                         .flags = 0,
                         .shard = id.shard,
                         .header_bytes = sizeof(RecordHeader),
                         .term = id.term,
                         .index = id.index,
                         .payload_bytes = bytes,
                         .unsynced_bytes = unsynced_bytes,
                         .payload_crc = crc,
                         .header_crc = 0};
  header->header_crc = HeaderCrc(segment, offset, *header);
}

bool HeaderChecks(const SegmentHeader& segment, uint64_t offset, const RecordHeader& header) {
  return header.magic == kRecordMagic && header.header_bytes == sizeof(RecordHeader) &&
         header.header_crc == HeaderCrc(segment, offset, header);
}

bool PayloadChecks(const SegmentHeader& segment, const RecordHeader& header,
                   std::string_view payload) {
  return payload.size() == header.payload_bytes &&
         Crc32c(payload, PayloadSeed(segment)) == header.payload_crc;
}

SegmentHeader MakeSegmentHeader(uint64_t first_index, uint64_t previous_first_index, uint64_t salt,
                                bool recycled) {
  SegmentHeader header{.magic = kSegmentMagic,
                       .first_index = first_index,
                       .previous_first_index = previous_first_index,
                       .salt = salt,
                       .recycled = recycled,
                       .crc = 0};
  header.crc = Crc32c(BytesOf(header, offsetof(SegmentHeader, crc)));
  return header;
}

bool SegmentHeaderChecks(const SegmentHeader& header) {
  return header.magic == kSegmentMagic &&
         header.crc == Crc32c(BytesOf(header, offsetof(SegmentHeader, crc)));
}

std::string SegmentName(uint64_t first_index) {
  std::string digits = std::to_string(first_index);
  return std::string(kNameDigits - digits.size(), '0').append(digits).append(kSuffix);
}

bool ParseSegmentName(std::string_view name, uint64_t* first_index) {
  if (name.size() != kNameDigits + kSuffix.size() || !name.ends_with(kSuffix)) return false;
  const char* end = name.data() + kNameDigits;
  const auto [stop, error] = std::from_chars(name.data(), end, *first_index);
  return error == std::errc() && stop == end;
}

}  // namespace postfleet::queue
