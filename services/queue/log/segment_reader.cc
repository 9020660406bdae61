#include "services/queue/log/segment_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "libs/base/concat.h"

namespace postfleet::queue {
namespace {

constexpr uint64_t kWindowBytesMin = 1 << 20;

bool OnlyZeroes(std::string_view bytes) {
  return bytes.find_first_not_of('\0') == std::string_view::npos;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SegmentReader>> SegmentReader::Open(FileSystem* file_system,
                                                                   const std::string& path,
                                                                   uint64_t first_index) {
  auto file = file_system->Open(path);
  if (!file.ok()) return file.status();
  std::unique_ptr<SegmentReader> reader(new SegmentReader(path, *std::move(file)));
  auto size = reader->file_->Size();
  if (!size.ok()) return size.status();
  reader->file_bytes_ = *size;

  auto bytes = reader->At(0, sizeof(SegmentHeader));
  if (!bytes.ok()) return bytes.status();
  if (bytes->size() == sizeof(SegmentHeader)) {
    std::memcpy(&reader->header_, bytes->data(), sizeof(SegmentHeader));
  }
  if (!SegmentHeaderChecks(reader->header_) || reader->header_.first_index != first_index) {
    return absl::DataLossError(Concat(path, ": damaged at offset 0: not a segment's header"));
  }
  reader->next_index_ = first_index;
  return reader;
}

absl::StatusOr<std::string_view> SegmentReader::At(uint64_t offset, uint64_t bytes) {
  bytes = std::min(bytes, file_bytes_ - std::min(file_bytes_, offset));
  if (offset < window_offset_ || offset + bytes > window_offset_ + window_.size()) {
    window_.resize(std::min(std::max(bytes, kWindowBytesMin), file_bytes_ - offset));
    window_offset_ = offset;
    auto read = file_->Read(offset, window_.size(), window_.data());
    if (!read.ok()) return read.status();
    window_.resize(*read);
  }
  return std::string_view(window_).substr(offset - window_offset_, bytes);
}

// False when no record that checks begins there.
absl::StatusOr<bool> SegmentReader::RecordAt(uint64_t offset, RecordHeader* header,
                                             std::string_view* payload) {
  auto bytes = At(offset, sizeof(RecordHeader));
  if (!bytes.ok()) return bytes.status();
  if (bytes->size() < sizeof(RecordHeader)) return false;
  std::memcpy(header, bytes->data(), sizeof(RecordHeader));
  if (!HeaderChecks(header_, offset, *header)) return false;
  bytes = At(offset, sizeof(RecordHeader) + header->payload_bytes);
  if (!bytes.ok()) return bytes.status();
  *payload = bytes->substr(std::min(bytes->size(), sizeof(RecordHeader)));
  return PayloadChecks(header_, *header, *payload);
}

absl::StatusOr<bool> SegmentReader::Next(EntryView* entry) {
  RecordHeader header;
  std::string_view payload;
  auto checks = RecordAt(offset_, &header, &payload);
  if (!checks.ok()) return checks.status();
  if (!*checks || header.index != next_index_) return false;
  entry->id = {.shard = header.shard, .term = header.term, .index = header.index};
  entry->type = static_cast<EntryType>(header.type);
  entry->payload = payload;
  durable_end_ = std::max(durable_end_, offset_ - header.unsynced_bytes);
  offset_ += RecordBytes(header.payload_bytes);
  ++next_index_;
  return true;
}

absl::StatusOr<bool> SegmentReader::SkipDamage() {
  for (uint64_t offset = offset_ + kRecordAlignment; offset < file_bytes_;
       offset += kRecordAlignment) {
    RecordHeader header{};
    std::string_view payload;
    auto checks = RecordAt(offset, &header, &payload);
    if (!checks.ok()) return checks.status();
    if (!*checks || header.index <= next_index_) continue;
    offset_ = offset;
    next_index_ = header.index;
    return true;
  }
  return false;
}

// Cost: one pass over the file's rest; a checksum is computed only where the magic number stands.
absl::StatusOr<SegmentReader::Rest> SegmentReader::LookAtRest() {
  Rest rest;
  for (uint64_t offset = offset_; offset < file_bytes_; offset += kRecordAlignment) {
    auto word = At(offset, kRecordAlignment);
    if (!word.ok()) return word.status();
    if (OnlyZeroes(*word)) continue;
    RecordHeader header{};
    std::string_view payload;
    auto checks = RecordAt(offset, &header, &payload);
    if (!checks.ok()) return checks.status();
    rest.torn = rest.torn || header_.recycled == 0 || HeaderChecks(header_, offset, header);
    if (*checks && offset - header.unsynced_bytes > offset_) {
      rest.proof_offset = offset;
      return rest;
    }
  }
  return rest;
}

}  // namespace postfleet::queue
