// Where a worker's message contents come from: along with the delivery, or from the queue by Fetch.
//
// Fetch is one multiplexed stream; a reader asks for one chunk ahead of what it has given out, so
// an attempt holds two chunks at most. A lost stream fails the reads that are open (Unavailable)
// and is opened again by the next read.
#pragma once

#include <grpcpp/channel.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "libs/rpc/outbox.h"
#include "libs/rpc/pending_calls.h"
#include "libs/rpc/stream.h"
#include "libs/runtime/event_loop.h"
#include "proto/postfleet/queue/v1/queue.pb.h"
#include "services/delivery/core/agent.h"

namespace postfleet::delivery {

// Contents that came along: one chunk, checked against its CRC-32C.
std::unique_ptr<ContentReader> ReadAttached(runtime::EventLoop& loop, rpc::Payload payload,
                                            uint32_t crc32c);

// `reader`, telling of contents that are damaged (DataLoss).
std::unique_ptr<ContentReader> Watched(std::unique_ptr<ContentReader> reader,
                                       std::function<void()> damaged);

class FetchClient : public std::enable_shared_from_this<FetchClient> {
 public:
  using Done = std::function<void(const absl::Status&, rpc::Payload)>;

  // `pending` counts its streams: wait for none before the loop ends.
  FetchClient(std::shared_ptr<grpc::Channel> queue, runtime::EventLoop* loop,
              std::shared_ptr<rpc::PendingCalls> pending);

  // On the loop; `done` comes on the loop, later. NotFound: no such chunk. DataLoss: it is damaged.
  // Unavailable: no queue.
  void Fetch(const std::string& queue_id, uint32_t chunk, Done done);

  // Contents of `chunks` chunks.
  std::unique_ptr<ContentReader> Read(std::string queue_id, uint32_t chunks);

  void Stop();

 private:
  void Open();
  void OnFrame(uint64_t generation, const grpc::ByteBuffer& frame);
  void OnClosed(uint64_t generation);

  const std::shared_ptr<grpc::Channel> queue_;
  runtime::EventLoop* const loop_;
  const std::shared_ptr<rpc::PendingCalls> pending_;
  rpc::Outbox<queue::v1::FetchRequest> outbox_;
  // On the loop. Answers come in the order of requests.
  std::shared_ptr<rpc::Stream> stream_;
  uint64_t generation_ = 0;
  std::deque<Done> waiting_;
  bool stopped_ = false;
};

}  // namespace postfleet::delivery
