// Where a worker's message contents come from: along with the delivery, or from the queue by Fetch.
//
// Fetch is one multiplexed stream; a reader asks for one chunk ahead of what it has given out, so
// an attempt holds two chunks at most. A lost stream fails the reads that are open (Unavailable)
// and is opened again by the next read; where the queue has replicas, they are asked for again at
// the next leader first, for kTriesMax tries without an answer: 9 s, or longer where one hangs.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "libs/rpc/lasting_stream.h"
#include "libs/rpc/leader_channel.h"
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
  static constexpr int kTriesMax = 15;
  static constexpr std::chrono::milliseconds kRetryMax{1000};

  // `pending` counts its streams and calls: wait for none before the loop ends.
  FetchClient(rpc::LeaderChannel queue, runtime::EventLoop* loop,
              std::shared_ptr<rpc::PendingCalls> pending, int tries_max = kTriesMax);

  // On the loop; `done` comes on the loop, later. NotFound: no such chunk. DataLoss: it is damaged.
  // Unavailable: no queue.
  void Fetch(const std::string& queue_id, uint32_t chunk, Done done);

  // Contents of `chunks` chunks.
  std::unique_ptr<ContentReader> Read(std::string queue_id, uint32_t chunks);

  void Stop();

 private:
  struct Waiting {
    queue::v1::FetchRequest request;
    Done done;
  };

  void Open();
  void OnFrame(uint64_t generation, const grpc::ByteBuffer& frame);
  void OnClosed(uint64_t generation, const grpc::Status& status, std::string_view told_leader);
  void TryAgainOrFail();
  void FindLeader();
  void Fail();

  const rpc::LeaderChannel queue_;
  runtime::EventLoop* const loop_;
  const std::shared_ptr<rpc::PendingCalls> pending_;
  const int tries_max_;
  rpc::Outbox<queue::v1::FetchRequest> outbox_;
  // On the loop. Answers come in the order of requests.
  std::shared_ptr<rpc::Stream> stream_;
  uint64_t generation_ = 0;
  size_t replica_ = 0;  // of the stream
  std::deque<Waiting> waiting_;
  runtime::Timer retry_;
  std::chrono::milliseconds retry_after_ = rpc::LastingStream::kRetryFirst;
  int tries_ = 0;           // since the last answer
  bool searching_ = false;  // no stream, and one is to come
  bool stopped_ = false;
};

}  // namespace postfleet::delivery
