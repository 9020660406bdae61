#include "services/queue/transport/peer_frames.h"

#include <limits>
#include <utility>

namespace postfleet::queue::transport {
namespace {

// Tags and numbers of one message in a frame.
constexpr size_t kMessageOverheadBytes = 32;

size_t BytesOf(const PeerMessage& message) {
  return message.raft.size() + rpc::PayloadBytes(message.payload) + kMessageOverheadBytes;
}

}  // namespace

bool PeerOutbox::Add(PeerMessage message) {
  // The rest of a frame's allowance is for its own tags.
  constexpr size_t kMessageBytesMax = rpc::kMessageBytesMax - 1024;
  const size_t bytes = BytesOf(message);
  if (bytes > kMessageBytesMax) return false;
  std::lock_guard lock(mutex_);
  Line& line = message.is_urgent() ? urgent_ : appends_;
  const size_t bytes_max = message.is_urgent() ? kUrgentBytesMax : kAppendBytesMax;
  if (line.bytes + bytes > bytes_max) return false;
  line.bytes += bytes;
  line.messages.push_back(std::move(message));
  return true;
}

bool PeerOutbox::TakeFrom(Line* line, size_t* frame_bytes, cluster::v1::PeerFrame* head,
                          rpc::Payload* payload) {
  while (!line->messages.empty()) {
    PeerMessage& message = line->messages.front();
    const size_t bytes = BytesOf(message);
    const int count = head->messages_size();
    if (count > 0 && *frame_bytes + bytes > rpc::kFrameBytes) return false;
    if (static_cast<size_t>(count) == kFrameMessagesMax) return false;
    *frame_bytes += bytes;
    line->bytes -= bytes;
    cluster::v1::PeerMessage* out = head->add_messages();
    out->set_shard(message.shard);
    out->set_payload_bytes(rpc::PayloadBytes(message.payload));
    out->set_raft(std::move(message.raft));
    payload->insert(payload->end(), message.payload.begin(), message.payload.end());
    line->messages.pop_front();
  }
  return true;
}

bool PeerOutbox::TakeFrame(grpc::ByteBuffer* frame) {
  cluster::v1::PeerFrame head;
  rpc::Payload payload;
  size_t bytes = 0;
  {
    std::lock_guard lock(mutex_);
    if (TakeFrom(&urgent_, &bytes, &head, &payload)) TakeFrom(&appends_, &bytes, &head, &payload);
  }
  if (head.messages_size() == 0) return false;
  *frame = rpc::EncodeFrame(head, payload);
  return true;
}

void PeerOutbox::Clear() {
  std::lock_guard lock(mutex_);
  urgent_ = {};
  appends_ = {};
}

absl::StatusOr<std::vector<PeerMessage>> DecodePeerFrame(const grpc::ByteBuffer& frame,
                                                         uint64_t from, uint64_t to) {
  cluster::v1::PeerFrame head;
  rpc::Payload payload;
  if (!rpc::DecodeFrame(frame, &head, &payload)) {
    return absl::InvalidArgumentError("not a frame");
  }
  if (head.has_hello() || head.has_welcome()) {
    return absl::InvalidArgumentError("a greeting within the stream");
  }
  if (static_cast<size_t>(head.messages_size()) > kFrameMessagesMax) {
    return absl::InvalidArgumentError("too many messages in a frame");
  }
  rpc::PayloadReader reader(payload);
  size_t left = rpc::PayloadBytes(payload);
  std::vector<PeerMessage> messages;
  messages.reserve(static_cast<size_t>(head.messages_size()));
  for (cluster::v1::PeerMessage& in : *head.mutable_messages()) {
    if (in.shard() > std::numeric_limits<uint16_t>::max()) {
      return absl::InvalidArgumentError("no such shard");
    }
    if (in.payload_bytes() > left) return absl::InvalidArgumentError("payload is missing");
    left -= in.payload_bytes();
    PeerMessage& out = messages.emplace_back();
    out.shard = static_cast<uint16_t>(in.shard());
    out.from = from;
    out.to = to;
    out.raft = std::move(*in.mutable_raft());
    reader.Take(in.payload_bytes(), &out.payload);
  }
  if (left > 0) return absl::InvalidArgumentError("payload that no message owns");
  return messages;
}

}  // namespace postfleet::queue::transport
