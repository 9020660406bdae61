// Hands submissions to the queue and brings the results back: Register once, then one Enqueue
// stream.
//
// What was not answered when the stream was lost is sent again on the next one under the same id
// (the queue knows repeated ids). A submission that waits longer than `resend_max` without a stream
// is answered FAILED; it may have been committed all the same, and the client's retry is then a
// second copy. On the loop.
#pragma once

#include <grpcpp/channel.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "libs/base/clock.h"
#include "libs/base/queue_id.h"
#include "libs/rpc/outbox.h"
#include "libs/rpc/payload.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"
#include "services/ingress/adapters/buffer_budget.h"
#include "services/ingress/adapters/requester.h"
#include "services/ingress/adapters/stream_link.h"
#include "services/ingress/core/session.h"

namespace postfleet::ingress {

class EnqueueClient {
 public:
  static constexpr size_t kFramePayloadBytesMax = 1 << 20;

  struct Options {
    std::string name;  // for the queue's logs
    std::shared_ptr<grpc::Channel> channel;
    const Clock* clock = nullptr;
    std::chrono::milliseconds resend_max{30'000};
    // The stream came or went.
    std::function<void()> on_change;
  };
  EnqueueClient(runtime::EventLoop& loop, Options options, BufferBudget& budget);

  void Start();
  void Stop();  // not from the loop

  bool connected() const { return outgoing_ != nullptr; }
  bool NextQueueIdIsKnown() const { return minter_.has_value(); }
  bool disk_nearly_full() const { return disk_nearly_full_; }
  // Empty: not registered yet.
  std::string NextQueueId();
  // `requester` may be null: nobody waits (an abandon).
  void Send(Submit submit, std::shared_ptr<Requester> requester);

 private:
  struct Entry {
    queue::v1::Submission submission;
    rpc::Payload payload;
    std::shared_ptr<Requester> requester;
    std::chrono::steady_clock::time_point since;
  };
  // What a stream's next_frame takes from; a new one for each stream.
  struct Outgoing {
    rpc::Outbox<std::shared_ptr<Entry>> outbox;
    std::shared_ptr<rpc::Stream> stream;
  };

  static bool NextFrame(Outgoing& outgoing, grpc::ByteBuffer* frame);
  void Register(std::function<void(bool)> done);
  rpc::StreamCallbacks Open();
  void Opened(std::shared_ptr<rpc::Stream> stream);
  void Lost();
  void KickSoon();
  void OnResponse(const queue::v1::EnqueueResponse& response);
  void Answer(const std::shared_ptr<Entry>& entry, queue::v1::EnqueueResult::Code code);
  void ForgetIncarnation();
  void GiveUpOld();

  runtime::EventLoop& loop_;
  const Options options_;
  BufferBudget& budget_;
  const std::unique_ptr<queue::v1::Queue::Stub> stub_;
  StreamLink link_;
  runtime::Timer give_up_;

  uint64_t incarnation_ = 0;
  uint64_t next_sequence_ = 1;
  std::optional<QueueIdMinter> minter_;
  absl::flat_hash_map<uint64_t, std::shared_ptr<Entry>> unanswered_;
  std::shared_ptr<Outgoing> opening_;
  std::shared_ptr<Outgoing> outgoing_;
  std::chrono::steady_clock::time_point lost_at_{};
  bool kick_posted_ = false;
  bool disk_nearly_full_ = false;
};

}  // namespace postfleet::ingress
