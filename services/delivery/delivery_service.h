// The delivery service, a worker: it announces its transports to a scheduler, takes deliveries,
// hands each to the agent of its transport and sends the results back in batches.
//
// One loop owns the agents, their sockets and this. When the scheduler is lost, attempts that run
// are cancelled; those past their final dot go on to their end, and their results are dropped (the
// scheduler has counted them as in doubt). The worker announces itself again once none runs: its
// slots are never promised twice.
//
// Other transports take over between two deliveries: what runs ends with the agent that it began
// with, and the scheduler is told of the new offer.
#pragma once

#include <grpcpp/channel.h>

#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>

#include "libs/base/clock.h"
#include "libs/metrics/metrics.h"
#include "libs/rpc/lasting_stream.h"
#include "libs/rpc/leader_channel.h"
#include "libs/rpc/outbox.h"
#include "libs/rpc/pending_calls.h"
#include "libs/rpc/stream.h"
#include "libs/runtime/event_loop.h"
#include "proto/postfleet/scheduler/v1/scheduler.pb.h"
#include "services/delivery/content_source.h"
#include "services/delivery/core/agent.h"

namespace postfleet::delivery {

struct TransportAgent {
  // The service name in master.cf.
  std::string transport;
  uint32_t slots = 100;
  // Called once, on the loop.
  std::function<std::unique_ptr<Agent>(runtime::EventLoop&)> make;
};

struct DeliveryOptions {
  std::string name = "delivery";
  std::shared_ptr<grpc::Channel> scheduler;
  rpc::LeaderChannel queue;
  std::vector<TransportAgent> transports;
  // What the transports share that are offered one after the other; goes on the loop, after the
  // last agent.
  std::shared_ptr<void> shared;
  // After the stream was lost, attempts that wait for the reply to their final dot may take this
  // long; then others begin beside them, in the slots that are left until those end.
  std::chrono::milliseconds orphan_grace{10'000};
  const Clock* clock = &SystemClock();
  metrics::Registry* metrics = nullptr;
};

class DeliveryService {
 public:
  explicit DeliveryService(DeliveryOptions options);
  ~DeliveryService();

  void Start();
  // Offers these transports from now on. Any thread, after Start.
  void Reconfigure(std::vector<TransportAgent> transports);
  // Takes no more deliveries and waits until those that run are answered, at most `grace`. Blocks;
  // not from the loop.
  void Drain(std::chrono::milliseconds grace);
  // Idle connections are closed; attempts that still run are dropped. Any thread.
  void Stop();

  // A scheduler knows this worker.
  bool Ready() const { return ready_; }

 private:
  // What one configuration made. `agents` ends before what `transports` holds.
  struct Generation {
    std::vector<TransportAgent> transports;
    std::map<std::string, std::unique_ptr<Agent>> agents;
    size_t running = 0;  // attempts that began with it
  };
  struct Running {
    std::string transport;
    Generation* generation = nullptr;
    Agent* agent = nullptr;
    // The scheduler's number, unique within one stream only.
    uint64_t delivery_id = 0;
    bool orphan = false;            // its scheduler is gone
    bool contents_damaged = false;  // nothing of it may go out or back
    // Of those whom the agent decided that passed the others on.
    scheduler::v1::DeliveryResult decided;
  };
  struct ResultPart {
    scheduler::v1::WorkRequest request;
    rpc::Payload payload;
  };
  struct TransportMetrics {
    metrics::Counter* sent = nullptr;
    metrics::Counter* deferred = nullptr;
    metrics::Counter* bounced = nullptr;
    metrics::Histogram* first_attempt_delay = nullptr;
  };

  void Begin(std::vector<TransportAgent> transports);
  void DropRetired();
  rpc::StreamCallbacks Open();
  void OnFrame(const grpc::ByteBuffer& frame);
  void OnLost();
  void StartDelivery(scheduler::v1::Delivery delivery, rpc::Payload payload);
  void OnDamaged(uint64_t attempt_id, const std::string& queue_id);
  void OnDone(uint64_t attempt_id, AttemptResult result);
  // To the agent of another transport of this worker; false: there is none.
  bool PassOn(uint64_t attempt_id, AttemptResult* result);
  void Cancel(uint64_t delivery_id);
  void CancelAll();
  void TellIfNoneRuns();
  void Send(ResultPart part);
  void Offer();
  void Announce(google::protobuf::RepeatedPtrField<scheduler::v1::TransportSlots>* all) const;
  void Refuse(const scheduler::v1::Delivery& delivery, const std::string& why);
  static void DeferAll(const scheduler::v1::Delivery& delivery, const std::string& why,
                       scheduler::v1::DeliveryResult* result);
  bool NextFrame(grpc::ByteBuffer* frame);
  void Count(const std::string& transport, const scheduler::v1::DeliveryResult& result);

  runtime::EventLoop loop_{"delivery"};  // outlives what `options_.transports` makes
  DeliveryOptions options_;
  std::atomic<bool> ready_{false};
  rpc::Outbox<ResultPart> outbox_;

  // Fetch streams.
  const std::shared_ptr<rpc::PendingCalls> pending_ = std::make_shared<rpc::PendingCalls>();
  bool stopped_ = false;  // whoever calls Start and Stop
  bool started_ = false;

  // On the loop only.
  std::shared_ptr<FetchClient> fetch_;
  // The last one is offered; the others end with their last attempt.
  std::list<Generation> generations_;
  std::map<std::string, TransportMetrics> transport_metrics_;
  // By a number of our own, which agents know attempts by.
  std::map<uint64_t, Running> running_;
  uint64_t last_attempt_id_ = 0;
  rpc::LastingStream work_;
  // Waits until no attempt runs; may be null.
  rpc::LastingStream::Prepared may_open_;
  runtime::Timer orphans_end_;
  bool orphans_late_ = false;  // they may have their slots until they end
  bool stopping_ = false;
  bool draining_ = false;
  std::function<void()> drained_;
};

}  // namespace postfleet::delivery
