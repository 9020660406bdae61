// What comes on a stream between replicas: a frame is refused by a status, or its messages own
// exactly its payload, are as many as are allowed, and are from whom the stream is.
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string_view>

#include "services/queue/transport/peer_frames.h"

namespace {

using postfleet::queue::transport::DecodePeerFrame;
using postfleet::queue::transport::kFrameMessagesMax;

void Check(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const grpc::Slice slice(data, size);
  const grpc::ByteBuffer frame(&slice, 1);
  const auto messages = DecodePeerFrame(frame, 1, 2);
  if (!messages.ok()) {
    Check(!messages.status().message().empty());
    return 0;
  }
  Check(messages->size() <= kFrameMessagesMax);
  size_t bytes = 0;
  for (const auto& message : *messages) {
    Check(message.from == 1 && message.to == 2);
    bytes += message.raft.size() + postfleet::rpc::PayloadBytes(message.payload);
  }
  Check(bytes <= size);
  return 0;
}
