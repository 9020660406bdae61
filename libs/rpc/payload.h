// Frames: protobuf messages whose field 15, `payload`, carries message contents as
// reference-counted slices.
//
// Writing: the other fields are serialized, then come the tag and the length of field 15, then the
// slices as they are. Reading: the top-level fields are scanned up to field 15; what stands before
// it is parsed, the rest is taken as sub-slices of what arrived. Contents are copied neither way,
// and any plain protobuf reader understands the same bytes. Field 15 must be the last: a frame with
// anything behind it is refused.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <string>
#include <string_view>
#include <vector>

namespace postfleet::rpc {

// Pieces of contents, in order. Copying it copies references.
using Payload = std::vector<grpc::Slice>;

inline std::string_view AsView(const grpc::Slice& slice) {
  return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
}

// What every channel and server is told to take (gRPC's default is 4 MB). Senders cut frames at
// kFrameBytes; one item that is bigger alone (an envelope of 100,000 recipients) still fits.
inline constexpr int kMessageBytesMax = 64 << 20;
inline constexpr size_t kFrameBytes = 1 << 20;

size_t PayloadBytes(const Payload& payload);

// Gives the bytes to a slice: no copy; freed with the last reference.
grpc::Slice OwningSlice(std::string bytes);

// `head` must not have its field 15 set.
grpc::ByteBuffer EncodeFrame(const google::protobuf::MessageLite& head, const Payload& payload);

// False when the bytes are not a frame. `head` and `payload` are replaced.
bool DecodeFrame(const grpc::ByteBuffer& frame, google::protobuf::MessageLite* head,
                 Payload* payload);

// Hands a frame's payload out to its items, in order.
class PayloadReader {
 public:
  explicit PayloadReader(const Payload& payload) : payload_(payload) {}

  // Appends the next `bytes` to `out`, by reference. False when there are fewer.
  bool Take(size_t bytes, Payload* out);

 private:
  const Payload& payload_;
  size_t slice_ = 0;
  size_t offset_ = 0;
};

}  // namespace postfleet::rpc
