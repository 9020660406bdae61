#include "libs/rpc/payload.h"

#include <algorithm>
#include <cstring>

namespace postfleet::rpc {
namespace {

constexpr uint32_t kPayloadField = 15;
constexpr uint8_t kPayloadTag = (kPayloadField << 3) | 2;
// A frame's head: envelopes, not contents.
constexpr size_t kHeadBytesMax = kMessageBytesMax;

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

size_t WriteVarint(uint64_t value, uint8_t* out) {
  size_t size = 0;
  for (; value >= 0x80; value >>= 7) out[size++] = static_cast<uint8_t>(value) | 0x80;
  out[size++] = static_cast<uint8_t>(value);
  return size;
}

// Reads bytes over the borders of slices.
class Scanner {
 public:
  explicit Scanner(const Payload& slices) : slices_(slices), left_(PayloadBytes(slices)) {}

  size_t position() const { return position_; }
  size_t left() const { return left_; }

  bool Skip(uint64_t bytes) {
    if (bytes > left_) return false;
    position_ += bytes;
    left_ -= bytes;
    offset_ += bytes;
    while (slice_ < slices_.size() && offset_ >= slices_[slice_].size()) {
      offset_ -= slices_[slice_].size();
      ++slice_;
    }
    return true;
  }

  bool ReadVarint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (left_ == 0) return false;
      while (offset_ >= slices_[slice_].size()) {
        offset_ -= slices_[slice_].size();
        ++slice_;
      }
      const uint8_t byte = slices_[slice_].begin()[offset_];
      Skip(1);
      *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return true;
    }
    return false;
  }

 private:
  const Payload& slices_;
  size_t slice_ = 0;
  size_t offset_ = 0;
  size_t position_ = 0;
  size_t left_;
};

bool SkipField(uint32_t wire_type, Scanner* scanner) {
  uint64_t value;
  switch (wire_type) {
    case kVarint:
      return scanner->ReadVarint(&value);
    case kFixed64:
      return scanner->Skip(8);
    case kLengthDelimited:
      return scanner->ReadVarint(&value) && scanner->Skip(value);
    case kFixed32:
      return scanner->Skip(4);
    default:
      return false;
  }
}

// Where the head ends and how much payload follows its tag and length.
struct Split {
  size_t head_bytes = 0;
  size_t payload_start = 0;
};

bool FindPayload(const Payload& slices, Split* split) {
  Scanner scanner(slices);
  while (scanner.left() > 0) {
    split->head_bytes = scanner.position();
    uint64_t tag;
    if (!scanner.ReadVarint(&tag)) return false;
    if (tag == kPayloadTag) {
      uint64_t size;
      if (!scanner.ReadVarint(&size) || size != scanner.left()) return false;
      split->payload_start = scanner.position();
      return true;
    }
    if (!SkipField(static_cast<uint32_t>(tag & 7), &scanner)) return false;
  }
  split->head_bytes = split->payload_start = scanner.position();
  return true;
}

bool ParseHead(const Payload& slices, size_t bytes, google::protobuf::MessageLite* head) {
  if (bytes > kHeadBytesMax) return false;
  if (bytes == 0) {
    head->Clear();
    return true;
  }
  if (slices.front().size() >= bytes) {
    return head->ParseFromArray(slices.front().begin(), static_cast<int>(bytes));
  }
  std::string joined;
  joined.reserve(bytes);
  for (const grpc::Slice& slice : slices) {
    joined.append(AsView(slice).substr(0, bytes - joined.size()));
    if (joined.size() == bytes) break;
  }
  return head->ParseFromString(joined);
}

}  // namespace

size_t PayloadBytes(const Payload& payload) {
  size_t bytes = 0;
  for (const grpc::Slice& slice : payload) bytes += slice.size();
  return bytes;
}

grpc::Slice OwningSlice(std::string bytes) {
  // Small strings are cheaper to copy than to own.
  constexpr size_t kCopyBytesMax = 256;
  if (bytes.size() <= kCopyBytesMax) return grpc::Slice(bytes);
  auto* owned = new std::string(std::move(bytes));
  return grpc::Slice(
      owned->data(), owned->size(), [](void* string) { delete static_cast<std::string*>(string); },
      owned);
}

grpc::ByteBuffer EncodeFrame(const google::protobuf::MessageLite& head, const Payload& payload) {
  constexpr size_t kPrefixBytesMax = 11;  // tag and length of field 15
  const size_t head_bytes = head.ByteSizeLong();
  const size_t payload_bytes = PayloadBytes(payload);
  std::string text;
  text.resize(head_bytes + kPrefixBytesMax);
  auto* at = reinterpret_cast<uint8_t*>(text.data());
  head.SerializeWithCachedSizesToArray(at);
  size_t size = head_bytes;
  if (payload_bytes > 0) {
    at[size++] = kPayloadTag;
    size += WriteVarint(payload_bytes, at + size);
  }
  text.resize(size);
  std::vector<grpc::Slice> slices;
  slices.reserve(payload.size() + 1);
  slices.push_back(OwningSlice(std::move(text)));
  if (payload_bytes > 0) slices.insert(slices.end(), payload.begin(), payload.end());
  return grpc::ByteBuffer(slices.data(), slices.size());
}

bool DecodeFrame(const grpc::ByteBuffer& frame, google::protobuf::MessageLite* head,
                 Payload* payload) {
  payload->clear();
  Payload slices;
  if (!frame.Dump(&slices).ok()) return false;
  Split split;
  if (!FindPayload(slices, &split) || !ParseHead(slices, split.head_bytes, head)) return false;
  size_t skip = split.payload_start;
  for (const grpc::Slice& slice : slices) {
    if (skip >= slice.size()) {
      skip -= slice.size();
      continue;
    }
    payload->push_back(skip == 0 ? slice : slice.sub(skip, slice.size()));
    skip = 0;
  }
  return true;
}

bool PayloadReader::Take(size_t bytes, Payload* out) {
  while (bytes > 0) {
    if (slice_ == payload_.size()) return false;
    const grpc::Slice& slice = payload_[slice_];
    const size_t part = std::min(bytes, slice.size() - offset_);
    if (part > 0) {
      const bool whole = part == slice.size();
      out->push_back(whole ? slice : slice.sub(offset_, offset_ + part));
    }
    bytes -= part;
    offset_ += part;
    if (offset_ == slice.size()) {
      ++slice_;
      offset_ = 0;
    }
  }
  return true;
}

}  // namespace postfleet::rpc
