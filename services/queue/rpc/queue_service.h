// The contract of queue.proto on top of the commit pipeline.
//
// Frames are decoded on gRPC's threads and proposed from there, in the order in which a stream
// brought them. Everything of a partition's dispatch lives on the state loop. Answers wait in the
// stream's outbox and leave in batches.
//
// What reads the store for long has threads of its own, so that it holds up neither mail nor one
// another: listings and single messages (queue-list), shapes (queue-shape), the scans of bulk jobs
// (bulk_jobs.h), verification (queue-verify, low priority, one at a time). They read beside the
// writer; what is active is then said on the state loop.
//
// Flush is what postqueue -f and -s and SMTP's ETRN ask for. Of a site it takes every domain: its
// callers see to it that fast_flush_domains names it.
//
// Only the replica that leads serves, once it has applied everything that was ever acknowledged.
// The others answer every call with NotLeader (libs/rpc/leader.h), and keep the dispatch's view of
// the state up to date.
//
// A message whose rows or chunks are found damaged, by whom ever, is marked as corrupt: it stays in
// the corrupt queue until an administrator releases, requeues or deletes it.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "libs/base/clock.h"
#include "libs/rpc/outbox.h"
#include "libs/rpc/stream.h"
#include "libs/runtime/event_loop.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"
#include "services/queue/dispatch/dispatcher.h"
#include "services/queue/rpc/bulk_jobs.h"
#include "services/queue/rpc/commit_pipeline.h"
#include "services/queue/rpc/disk_space.h"
#include "services/queue/rpc/withholding.h"
#include "services/queue/state/reader.h"

namespace postfleet::queue {

// Streams of mail are taken as raw frames (libs/rpc), the rest as messages.
using RawQueueService = v1::Queue::WithRawCallbackMethod_Enqueue<
    v1::Queue::WithRawCallbackMethod_Schedule<v1::Queue::WithRawCallbackMethod_Fetch<
        v1::Queue::WithCallbackMethod_Register<v1::Queue::WithCallbackMethod_List<
            v1::Queue::WithCallbackMethod_Administer<v1::Queue::WithCallbackMethod_AdministerAll<
                v1::Queue::WithCallbackMethod_ListJobs<v1::Queue::WithCallbackMethod_StopJob<
                    v1::Queue::WithCallbackMethod_Flush<v1::Queue::WithCallbackMethod_Inspect<
                        v1::Queue::WithCallbackMethod_Shape<v1::Queue::WithCallbackMethod_Verify<
                            v1::Queue::WithCallbackMethod_Stat<v1::Queue::Service>>>>>>>>>>>>>>;

// One pass over everything that is stored. Calls back with what it found so far, now and then, and
// is to stop when that says false. Runs on a thread of low priority.
using VerifyPass =
    std::function<absl::Status(const std::function<bool(const v1::VerifyProgress&)>&)>;

class QueueService final : public RawQueueService {
 public:
  // Chunks of a message that nobody finishes (an ingress died) are deleted after so long without
  // another one.
  static constexpr std::chrono::hours kUploadIdleMax{6};
  static constexpr std::chrono::minutes kUploadCheckInterval{10};
  static constexpr size_t kMarkedMax = 10'000;
  // Ingresses are told to wait while more than that is proposed and not applied, until it is less
  // than the lower one. What lies between it and the pipeline's bound is for what is on its way.
  static constexpr size_t kBacklogBytesHigh = CommitPipeline::kPendingBytesMax / 2;
  static constexpr size_t kBacklogBytesLow = kBacklogBytesHigh / 2;

  // All outlives it. The pipeline comes by Attach, before the server starts.
  struct World {
    const Reader* reader;
    Store* store;
    // The store's folder.
    std::string directory;
    const StateMachine* machine;
    runtime::EventLoop* state_loop;
    const Clock* clock;
    VerifyPass verify;
  };
  explicit QueueService(const World& world);
  ~QueueService() override;

  void Attach(CommitPipeline* pipeline);
  // Takes calls from now on; goes on with bulk jobs if `with_jobs`. On the state loop.
  void Serve(bool with_jobs);
  // Ends what is served, and sends callers to the leader (empty: nobody is known) from now on. Any
  // thread.
  void ServeNoMore(const std::string& leader_address);
  bool serves() const { return serves_; }

  // The pipeline's observer; on the state loop.
  void OnApplied(const Effects& effects);
  void OnGroup();

  // Refuse submissions while the disk is nearly full; tells every ingress when it changes. Any
  // thread.
  void SetDiskNearlyFull(bool full);

  // Ends all streams and calls that wait; what they had proposed is still committed. Any thread.
  void CloseStreams();
  // Ends its threads. After the server and the pipeline, before the state loop.
  void Stop();

  // As Stat answers, and what metrics want beside it. Not on the state loop: waits for it.
  struct QueueFigures {
    uint64_t messages = 0;
    uint64_t bytes = 0;
    // Arrival of the oldest; 0: none. Of incoming and deferred, it may be one that is active.
    int64_t oldest_ms = 0;
  };
  struct Figures {
    // incoming, active, deferred, hold, corrupt. A message is in one of them.
    std::array<QueueFigures, 5> queues;
    uint64_t late_outcomes = 0;
    uint64_t uploads = 0;
    uint64_t bulk_jobs = 0;
    // Since this process began: submissions that came again after they were applied, and
    // unfinished messages that were given up.
    uint64_t duplicate_submissions = 0;
    uint64_t uploads_abandoned = 0;
  };
  Figures ReadFigures();

  rpc::ServerReactor* Enqueue(grpc::CallbackServerContext* context) override;
  rpc::ServerReactor* Schedule(grpc::CallbackServerContext* context) override;
  rpc::ServerReactor* Fetch(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context,
                                     const v1::RegisterRequest* request,
                                     v1::RegisterResponse* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const v1::ListRequest* request,
                                 v1::ListResponse* response) override;
  grpc::ServerUnaryReactor* Administer(grpc::CallbackServerContext* context,
                                       const v1::AdministerRequest* request,
                                       v1::AdministerResponse* response) override;
  grpc::ServerWriteReactor<v1::AdministerAllProgress>* AdministerAll(
      grpc::CallbackServerContext* context, const v1::AdministerAllRequest* request) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* context,
                                     const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerUnaryReactor* StopJob(grpc::CallbackServerContext* context,
                                    const v1::StopJobRequest* request,
                                    v1::StopJobResponse* response) override;
  grpc::ServerUnaryReactor* Flush(grpc::CallbackServerContext* context,
                                  const v1::FlushRequest* request,
                                  v1::FlushResponse* response) override;
  grpc::ServerUnaryReactor* Inspect(grpc::CallbackServerContext* context,
                                    const v1::InspectRequest* request,
                                    v1::InspectResponse* response) override;
  grpc::ServerUnaryReactor* Shape(grpc::CallbackServerContext* context,
                                  const v1::ShapeRequest* request,
                                  v1::ShapeResponse* response) override;
  grpc::ServerWriteReactor<v1::VerifyProgress>* Verify(grpc::CallbackServerContext* context,
                                                       const v1::VerifyRequest* request) override;
  grpc::ServerUnaryReactor* Stat(grpc::CallbackServerContext* context,
                                 const v1::StatRequest* request,
                                 v1::StatResponse* response) override;

 private:
  class EnqueueStream;
  class ScheduleStream;
  class FetchStream;
  class SiteFlush;
  // Every stream, so that they can be closed and told.
  class StreamSet;

  // What a call is told that is not served here.
  grpc::Status NotLeader(grpc::CallbackServerContext* context);
  // nullptr: it is served here.
  grpc::ServerUnaryReactor* Elsewhere(grpc::CallbackServerContext* context);
  template <typename Stream>
  rpc::ServerReactor* Accept(grpc::CallbackServerContext* context);
  // What a call is told of a command that came to nothing.
  static grpc::Status Refusal(const absl::Status& status);

  // Proposes for a unary call; `fill` makes the response from the effects.
  grpc::ServerUnaryReactor* ProposeFor(grpc::CallbackServerContext* context, state::Command command,
                                       std::function<void(const Effects&)> fill);
  // The message must not be delivered any more. Any thread; proposes.
  void MarkCorrupt(const std::string& queue_id, const std::string& reason);
  // A chunk that was asked for could not be given: marks its message if that is why. Says whether
  // the chunk should be there. Any thread.
  bool JudgeMissingChunk(const v1::FetchRequest& request, const absl::StatusOr<Chunk>& chunk);
  // On the state loop: gives the partition's holder what it may have now, sets the timer.
  void Pump();
  void PumpLater();
  // Tells every ingress to wait, or to go on. Any thread.
  void CheckBacklog();
  void SendBatch(DispatchBatch* batch);
  static void LogFoundCorrupt(const Effects& effects);
  void AbandonUploads();

  // Listings. The second halves are on the state loop.
  void ListActive(const v1::ListRequest* request, v1::ListResponse* response,
                  grpc::ServerUnaryReactor* reactor);
  void ListStored(v1::ListRequest wanted, const v1::ListRequest* request,
                  v1::ListResponse* response, grpc::ServerUnaryReactor* reactor,
                  std::optional<std::string> active_next);
  void SayActive(const v1::ListRequest& request, v1::ListResponse* response);
  // Rows that cannot be read are shown as corrupt: makes it so, once a process. Until then no
  // action finds the message.
  void MarkShown(const std::string& queue_id, v1::QueueName queue, const std::string& reason);

  void FillStat(v1::StatResponse* response) const;
  void FillOldest(v1::StatResponse* response) const;
  void SplitActive(const std::vector<std::string>& active, Figures* figures) const;

  const Reader* const reader_;
  const StateMachine* const machine_;
  runtime::EventLoop* const state_loop_;
  const Clock* const clock_;
  const VerifyPass verify_;
  CommitPipeline* pipeline_ = nullptr;
  std::atomic<bool> disk_nearly_full_{false};
  std::atomic<bool> closing_{false};
  std::atomic<bool> serves_{false};
  std::mutex leader_mutex_;
  std::string leader_address_;  // guarded by leader_mutex_
  std::unique_ptr<StreamSet> streams_;
  DiskSpace disk_space_;
  runtime::EventLoop list_loop_{"queue-list"};
  runtime::EventLoop shape_loop_{"queue-shape"};

  std::mutex verify_mutex_;
  std::thread verify_thread_;  // guarded by verify_mutex_
  bool verifying_ = false;     // guarded by verify_mutex_

  // State loop only.
  uint64_t duplicate_submissions_ = 0;
  uint64_t uploads_abandoned_ = 0;
  Dispatcher dispatcher_;
  std::shared_ptr<ScheduleStream> holder_;
  runtime::Timer due_timer_;
  bool pump_posted_ = false;
  // As EnqueueResponse has it.
  std::atomic<bool> behind_{false};
  // Ingresses are told to wait. Written under backlog_mutex_.
  std::atomic<bool> backlogged_{false};
  std::mutex backlog_mutex_;
  runtime::Timer uploads_timer_;
  Withholding withholding_;
  BulkJobs bulk_jobs_;
  absl::flat_hash_set<std::string> marked_;  // at most kMarkedMax
};

}  // namespace postfleet::queue
