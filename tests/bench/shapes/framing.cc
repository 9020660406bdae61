#include "tests/bench/shapes/framing.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace postfleet::bench {
namespace {

constexpr uint8_t kBatchItemTag = (1 << 3) | 2;
constexpr uint8_t kPayloadTag = (15 << 3) | 2;
constexpr int kVarintBytesMax = 10;

size_t VarintSize(uint64_t value) {
  size_t bytes = 1;
  for (; value >= 0x80; value >>= 7) ++bytes;
  return bytes;
}

uint8_t* WriteVarint(uint64_t value, uint8_t* out) {
  for (; value >= 0x80; value >>= 7) *out++ = value | 0x80;
  *out++ = value;
  return out;
}

void Append(const shapes::Head& head, grpc::Slice payload, bool in_batch,
            std::vector<grpc::Slice>* slices) {
  const size_t head_bytes = head.ByteSizeLong();
  const size_t item_bytes = head_bytes + 1 + VarintSize(payload.size()) + payload.size();
  const size_t prefix_bytes = in_batch ? 1 + VarintSize(item_bytes) : 0;
  grpc_slice front = grpc_slice_malloc(prefix_bytes + item_bytes - payload.size());
  uint8_t* out = GRPC_SLICE_START_PTR(front);
  if (in_batch) {
    *out++ = kBatchItemTag;
    out = WriteVarint(item_bytes, out);
  }
  out = head.SerializeWithCachedSizesToArray(out);
  *out++ = kPayloadTag;
  WriteVarint(payload.size(), out);
  slices->emplace_back(front, grpc::Slice::STEAL_REF);
  slices->push_back(std::move(payload));
}

// Moves over one field's value; false for groups and unknown wire types.
bool SkipField(SliceReader* reader, uint64_t tag) {
  uint64_t length;
  switch (tag & 7) {
    case 0:
      return reader->ReadVarint(&length);
    case 1:
      return reader->Skip(8);
    case 2:
      return reader->ReadVarint(&length) && reader->Skip(length);
    case 5:
      return reader->Skip(4);
    default:
      return false;
  }
}

}  // namespace

grpc::Slice OwningSlice(std::string bytes) {
  auto* owner = new std::string(std::move(bytes));
  return grpc::Slice(
      owner->data(), owner->size(), [](void* owned) { delete static_cast<std::string*>(owned); },
      owner);
}

void AppendBatchItem(const shapes::Head& head, grpc::Slice payload,
                     std::vector<grpc::Slice>* slices) {
  Append(head, std::move(payload), true, slices);
}

void AppendItem(const shapes::Head& head, grpc::Slice payload, std::vector<grpc::Slice>* slices) {
  Append(head, std::move(payload), false, slices);
}

SliceReader::SliceReader(const std::vector<grpc::Slice>& slices) : slices_(slices) {
  for (const grpc::Slice& slice : slices) size_ += slice.size();
}

bool SliceReader::Skip(size_t bytes) {
  if (bytes > remaining()) return false;
  position_ += bytes;
  while (bytes > 0) {
    const size_t here = std::min(bytes, slices_[index_].size() - offset_);
    bytes -= here;
    offset_ += here;
    if (offset_ == slices_[index_].size()) {
      ++index_;
      offset_ = 0;
    }
  }
  return true;
}

bool SliceReader::ReadVarint(uint64_t* value) {
  *value = 0;
  for (int i = 0; i < kVarintBytesMax; ++i) {
    while (index_ < slices_.size() && slices_[index_].size() == 0) ++index_;
    if (remaining() == 0) return false;
    const uint8_t byte = slices_[index_].begin()[offset_];
    Skip(1);
    *value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) return true;
  }
  return false;
}

bool SliceReader::ReadContiguous(size_t bytes, std::string* scratch, const char** data) {
  if (bytes > remaining()) return false;
  if (bytes == 0) {
    *data = "";
    return true;
  }
  if (slices_[index_].size() - offset_ >= bytes) {
    *data = reinterpret_cast<const char*>(slices_[index_].begin()) + offset_;
    return Skip(bytes);
  }
  scratch->clear();
  while (scratch->size() < bytes) {
    const size_t here = std::min(bytes - scratch->size(), slices_[index_].size() - offset_);
    scratch->append(reinterpret_cast<const char*>(slices_[index_].begin()) + offset_, here);
    Skip(here);
    if (here == 0) ++index_;
  }
  *data = scratch->data();
  return true;
}

bool SliceReader::ReadSlices(size_t bytes, std::vector<grpc::Slice>* out) {
  if (bytes > remaining()) return false;
  while (bytes > 0) {
    const grpc::Slice& slice = slices_[index_];
    const size_t here = std::min(bytes, slice.size() - offset_);
    if (here == 0) {
      ++index_;
      continue;
    }
    out->push_back(slice.sub(offset_, offset_ + here));
    Skip(here);
    bytes -= here;
  }
  return true;
}

bool ReadItem(SliceReader* reader, size_t bytes, ReceivedItem* item) {
  SliceReader scan = *reader;
  const size_t end = scan.position() + bytes;
  size_t head_bytes = 0;
  uint64_t tag, length;
  while (true) {
    head_bytes = scan.position() - reader->position();
    if (scan.position() >= end || !scan.ReadVarint(&tag)) return false;
    if (tag == kPayloadTag) break;
    if (!SkipField(&scan, tag)) return false;
  }
  if (!scan.ReadVarint(&length) || scan.position() > end) return false;
  if (length != end - scan.position()) return false;
  std::string scratch;
  const char* data;
  if (!reader->ReadContiguous(head_bytes, &scratch, &data) ||
      !item->head.ParseFromArray(data, head_bytes)) {
    return false;
  }
  reader->Skip(scan.position() - reader->position());
  return reader->ReadSlices(length, &item->payload);
}

bool ReadBatch(const grpc::ByteBuffer& buffer, std::vector<ReceivedItem>* items) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return false;
  SliceReader reader(slices);
  while (reader.remaining() > 0) {
    uint64_t tag, bytes;
    if (!reader.ReadVarint(&tag) || tag != kBatchItemTag) return false;
    if (!reader.ReadVarint(&bytes) || bytes > reader.remaining()) return false;
    if (!ReadItem(&reader, bytes, &items->emplace_back())) return false;
  }
  return true;
}

}  // namespace postfleet::bench
