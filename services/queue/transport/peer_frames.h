// Frames between replicas (PeerFrame of cluster.proto): messages into frames, and back.
//
// PeerOutbox gathers what is for one peer until its stream asks for a frame. Messages without
// entries (heartbeats, votes, answers) go ahead of all others. A frame holds kFrameBytes, or one
// message that is bigger alone. Payloads are not copied. Thread-safe.
//
// DecodePeerFrame judges a frame that came. Errors: InvalidArgument: it is none, has more than
// kFrameMessagesMax messages, names a shard that cannot be, or its sums are wrong.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <deque>
#include <mutex>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/postfleet/cluster/v1/cluster.pb.h"
#include "services/queue/replica/peer_message.h"

namespace postfleet::queue::transport {

inline constexpr size_t kFrameMessagesMax = 4096;

class PeerOutbox {
 public:
  static constexpr size_t kAppendBytesMax = 64 << 20;
  static constexpr size_t kUrgentBytesMax = 1 << 20;

  // False: it is full of such messages, or no frame could hold this one; it is dropped.
  bool Add(PeerMessage message);
  // False: empty.
  bool TakeFrame(grpc::ByteBuffer* frame);
  void Clear();

 private:
  // In order; their bytes.
  struct Line {
    std::deque<PeerMessage> messages;
    size_t bytes = 0;
  };
  static bool TakeFrom(Line* line, size_t* frame_bytes, cluster::v1::PeerFrame* head,
                       rpc::Payload* payload);

  std::mutex mutex_;
  Line urgent_;
  Line appends_;
};

// The messages of a frame that is not the first, on a stream between these two.
absl::StatusOr<std::vector<PeerMessage>> DecodePeerFrame(const grpc::ByteBuffer& frame,
                                                         uint64_t from, uint64_t to);

}  // namespace postfleet::queue::transport
