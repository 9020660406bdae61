// The scheduler service: the pure core (core/step.h) between three streams.
//
//   queue  <- Schedule (client)   activations in; outcomes, notices, releases out
//   lookup <- Resolve  (client)   queries of each activation
//   worker -> Work     (served)   deliveries out, results in
//
// One loop owns the core and all of this. A lost stream is opened again (rpc::LastingStream), to
// the queue at whichever of its replicas leads then: another leader is a lost queue and no more. An
// answer by another configuration of the lookup service than the one before asks again for whatever
// has not started. Losing the queue forgets what waits (the queue gives it out again), and stops no
// delivery; losing the lookup service holds its queries for kLookupPatience, then their recipients
// are deferred, and so are those whose query is not answered for SchedulerOptions::lookup_patience;
// losing a worker hands its deliveries to others.
#pragma once

#include <grpcpp/channel.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/base/queue_id.h"
#include "libs/config/config.h"
#include "libs/metrics/metrics.h"
#include "libs/rpc/lasting_stream.h"
#include "libs/rpc/leader_channel.h"
#include "libs/rpc/outbox.h"
#include "libs/rpc/payload.h"
#include "libs/rpc/stream.h"
#include "libs/runtime/event_loop.h"
#include "proto/postfleet/queue/v1/queue.pb.h"
#include "proto/postfleet/scheduler/v1/scheduler.grpc.pb.h"
#include "services/scheduler/core/step.h"

namespace postfleet::scheduler {

// Contents that came along with an activation or a notice.
struct Body {
  rpc::Payload slices;
};

struct SchedulerOptions {
  std::string name = "scheduler";
  Config config;
  const Clock* clock = &SystemClock();
  metrics::Registry* metrics = nullptr;
  // As long as Postfix's queue manager waits for its address resolver (qmgr_ipc_timeout).
  std::chrono::milliseconds lookup_patience{60'000};
};

class SchedulerService {
 public:
  static constexpr std::chrono::milliseconds kLookupPatience{10'000};

  explicit SchedulerService(SchedulerOptions options);
  ~SchedulerService();

  // The contract to register with a server; it must outlive the server.
  grpc::Service* service();
  void Start(rpc::LeaderChannel queue, std::shared_ptr<grpc::Channel> lookup);

  // Other parameters from now on (events.h, Configured). Any thread.
  void Reconfigure(Config config);
  // What Reconfigures by another main.cf and master.cf. Errors: as ConfigFrom.
  absl::StatusOr<std::function<void()>> Prepare(const config::Config& config);

  // Starts no more deliveries; `drained` comes once when those at workers are answered and their
  // outcomes are durable. Any thread.
  void Drain(std::function<void()> drained);
  // Ends the streams and the loop.
  void Stop();

  // It holds its partition.
  bool Ready() const { return ready_; }

 private:
  class WorkService;
  class Worker;

  // A ScheduleRequest to be, and its payload.
  struct QueuePart {
    queue::v1::ScheduleRequest request;
    rpc::Payload payload;
  };
  // What is to be said on the current Schedule stream.
  class QueueOutbox {
   public:
    void Reset(QueuePart first);
    void Add(QueuePart part);
    bool NextFrame(grpc::ByteBuffer* frame);

   private:
    std::mutex mutex_;
    std::vector<QueuePart> parts_;
  };

  void PrepareQueue(rpc::LastingStream::Prepared done);
  rpc::StreamCallbacks OpenQueue();
  void OnQueueFrame(const grpc::ByteBuffer& frame);
  void OnQueueLost();
  rpc::StreamCallbacks OpenLookup();
  void OnLookupFrame(const grpc::ByteBuffer& frame);
  void NoteLookupConfiguration(uint64_t configuration);
  void OnLookupLost();
  void GiveUpLookups();
  void WatchLookups();
  void GiveUpSlowLookups();

  void OnWorkerFrame(const std::shared_ptr<Worker>& worker, const grpc::ByteBuffer& frame);
  void OnWorkerClosed(const std::shared_ptr<Worker>& worker);

  void Step(Event event);
  // Carries out what the steps since the last call owe. At the end of each event of the loop.
  void Act();
  void ActOnQueue();
  void ActOnWorkers();
  void MakeMetrics();
  void NameTransports(const Config& config);
  metrics::Counter& InDoubt(const std::string& transport);
  void Count(const LogLine& line);
  void Count(const SendNotify& send);
  void CountChoices();
  void CheckDrained();

  // All null without a registry.
  struct Metrics {
    metrics::Gauge* runnable = nullptr;
    metrics::Counter* expired = nullptr;
    metrics::Counter* force_expired = nullptr;
    metrics::Counter* failure_notices = nullptr;
    metrics::Counter* delay_notices = nullptr;
    metrics::Counter* success_notices = nullptr;
    metrics::Counter* copies = nullptr;
    metrics::Counter* preemptions = nullptr;
    metrics::Counter* put_off = nullptr;
  };

  const SchedulerOptions options_;
  bool delays_are_told_;  // delay_warning_time is set; on the loop
  Metrics metrics_;
  Counters counted_;      // what the metrics say; on the loop
  bool stopped_ = false;  // whoever calls Stop
  runtime::EventLoop loop_{"scheduler"};
  std::unique_ptr<WorkService> service_;
  rpc::LeaderChannel queue_channel_;
  std::atomic<bool> ready_{false};
  QueueOutbox queue_outbox_;
  rpc::Outbox<lookup::v1::Query> lookup_outbox_;

  // On the loop only.
  std::optional<QueueIdMinter> minter_;
  Scheduler core_;
  Actions actions_;
  runtime::Timer timer_;
  runtime::Timer lookup_patience_;
  runtime::Timer lookup_watch_;
  rpc::LastingStream queue_;
  rpc::LastingStream lookup_;
  bool lookup_patience_runs_ = false;
  bool lookup_watch_runs_ = false;
  struct SentQuery {
    lookup::v1::Query query;
    std::chrono::steady_clock::time_point asked;
  };
  std::map<uint64_t, SentQuery> queries_;  // not answered, in the order in which they were asked
  uint64_t lookup_configuration_ = 0;      // ResolveResponse.configuration of the last frame
  std::map<uint64_t, std::shared_ptr<Worker>> workers_;
  uint64_t next_worker_ = 1;
  size_t deliveries_out_ = 0;
  size_t commits_out_ = 0;  // outcomes and notifies sent and not yet durable
  bool stopping_ = false;
  bool draining_ = false;
  std::function<void()> drained_;  // until it was called
};

}  // namespace postfleet::scheduler
