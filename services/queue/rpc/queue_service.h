// The contract of queue.proto on top of the commit pipeline.
//
// Frames are decoded on gRPC's threads and proposed from there, in the order in which a stream
// brought them. Everything of a partition's dispatch lives on the state loop. Answers wait in the
// stream's outbox and leave in batches.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "libs/base/clock.h"
#include "libs/rpc/outbox.h"
#include "libs/rpc/stream.h"
#include "libs/runtime/event_loop.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"
#include "services/queue/dispatch/dispatcher.h"
#include "services/queue/rpc/commit_pipeline.h"
#include "services/queue/state/reader.h"

namespace postfleet::queue {

// Streams are taken as raw frames (libs/rpc), the rest as messages.
using RawQueueService = v1::Queue::WithRawCallbackMethod_Enqueue<
    v1::Queue::WithRawCallbackMethod_Schedule<v1::Queue::WithRawCallbackMethod_Fetch<
        v1::Queue::WithCallbackMethod_Register<v1::Queue::WithCallbackMethod_List<
            v1::Queue::WithCallbackMethod_Delete<v1::Queue::WithCallbackMethod_Flush<
                v1::Queue::WithCallbackMethod_Stat<v1::Queue::Service>>>>>>>>;

class QueueService final : public RawQueueService {
 public:
  // What it is given outlives it. `pipeline` is set by Attach, before the server starts.
  QueueService(const Reader* reader, const StateMachine* machine, runtime::EventLoop* state_loop,
               const Clock* clock);
  ~QueueService() override;

  void Attach(CommitPipeline* pipeline) { pipeline_ = pipeline; }

  // The pipeline's observer; on the state loop.
  void OnApplied(const Effects& effects);
  void OnGroup();

  // Refuse submissions while the disk is nearly full; tells every ingress when it changes. Any
  // thread.
  void SetDiskNearlyFull(bool full);

  // Ends all streams; what they had proposed is still committed. Any thread.
  void CloseStreams();

  rpc::ServerReactor* Enqueue(grpc::CallbackServerContext* context) override;
  rpc::ServerReactor* Schedule(grpc::CallbackServerContext* context) override;
  rpc::ServerReactor* Fetch(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context,
                                     const v1::RegisterRequest* request,
                                     v1::RegisterResponse* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const v1::ListRequest* request,
                                 v1::ListResponse* response) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context,
                                   const v1::DeleteRequest* request,
                                   v1::DeleteResponse* response) override;
  grpc::ServerUnaryReactor* Flush(grpc::CallbackServerContext* context,
                                  const v1::FlushRequest* request,
                                  v1::FlushResponse* response) override;
  grpc::ServerUnaryReactor* Stat(grpc::CallbackServerContext* context,
                                 const v1::StatRequest* request,
                                 v1::StatResponse* response) override;

 private:
  class EnqueueStream;
  class ScheduleStream;
  class FetchStream;
  // Every stream, so that they can be closed and told.
  class StreamSet;

  // Proposes for a unary call; `fill` makes the response from the effects.
  grpc::ServerUnaryReactor* ProposeFor(grpc::CallbackServerContext* context, state::Command command,
                                       std::function<void(const Effects&)> fill);
  // On the state loop: gives the partition's holder what it may have now, sets the timer.
  void Pump();

  const Reader* const reader_;
  const StateMachine* const machine_;
  runtime::EventLoop* const state_loop_;
  const Clock* const clock_;
  CommitPipeline* pipeline_ = nullptr;
  std::atomic<bool> disk_nearly_full_{false};
  std::unique_ptr<StreamSet> streams_;

  // State loop only.
  Dispatcher dispatcher_;
  std::shared_ptr<ScheduleStream> holder_;
  runtime::Timer due_timer_;
};

}  // namespace postfleet::queue
