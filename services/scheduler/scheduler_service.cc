#include "services/scheduler/scheduler_service.h"

#include <utility>

#include "libs/base/maillog.h"
#include "libs/submission/queue_leader.h"
#include "proto/postfleet/lookup/v1/lookup.pb.h"
#include "services/scheduler/options.h"

namespace postfleet::scheduler {
namespace {

constexpr uint32_t kPartition = 0;

void Append(rpc::Payload* payload, const BodyPtr& body) {
  if (body != nullptr) payload->insert(payload->end(), body->slices.begin(), body->slices.end());
}

}  // namespace

// ---- The queue's outbox ----

void SchedulerService::QueueOutbox::Reset(QueuePart first) {
  std::lock_guard lock(mutex_);
  parts_.clear();
  parts_.push_back(std::move(first));
}

void SchedulerService::QueueOutbox::Add(QueuePart part) {
  std::lock_guard lock(mutex_);
  parts_.push_back(std::move(part));
}

// The queue applies a frame's outcomes before its notifies: outcomes that came after a notify wait
// for the next frame, so that a message's commits are answered in their order.
bool SchedulerService::QueueOutbox::NextFrame(grpc::ByteBuffer* frame) {
  std::unique_lock lock(mutex_);
  if (parts_.empty()) return false;
  QueuePart merged = std::move(parts_.front());
  size_t taken = 1;
  size_t bytes = merged.request.ByteSizeLong() + rpc::PayloadBytes(merged.payload);
  for (; taken < parts_.size() && bytes < rpc::kFrameBytes; ++taken) {
    QueuePart& part = parts_[taken];
    if (merged.request.notifies_size() > 0 && part.request.outcomes_size() > 0) break;
    const uint32_t credit = merged.request.credit_messages() + part.request.credit_messages();
    merged.request.MergeFrom(part.request);
    merged.request.set_credit_messages(credit);
    bytes += part.request.ByteSizeLong() + rpc::PayloadBytes(part.payload);
    merged.payload.insert(merged.payload.end(), std::make_move_iterator(part.payload.begin()),
                          std::make_move_iterator(part.payload.end()));
  }
  parts_.erase(parts_.begin(), parts_.begin() + static_cast<std::ptrdiff_t>(taken));
  lock.unlock();
  *frame = rpc::EncodeFrame(merged.request, merged.payload);
  return true;
}

// ---- Workers ----

class SchedulerService::Worker : public std::enable_shared_from_this<Worker> {
 public:
  explicit Worker(SchedulerService* scheduler) : scheduler_(scheduler) {}

  rpc::StreamCallbacks Open(std::shared_ptr<rpc::Stream> stream) {
    stream_ = std::move(stream);
    return {.next_frame = [self = this](grpc::ByteBuffer* frame) { return self->NextFrame(frame); },
            .on_frame =
                [self = shared_from_this()](grpc::ByteBuffer frame) {
                  self->scheduler_->loop_.Post([self, frame = std::move(frame)] {
                    self->scheduler_->OnWorkerFrame(self, frame);
                  });
                },
            .on_closed =
                [self = shared_from_this()](const grpc::Status&) {
                  self->scheduler_->loop_.Post([self] { self->scheduler_->OnWorkerClosed(self); });
                }};
  }

  void Send(scheduler::v1::WorkResponse response, rpc::Payload payload) {
    const size_t bytes = response.ByteSizeLong() + rpc::PayloadBytes(payload);
    outbox_.Add({.response = std::move(response), .payload = std::move(payload), .bytes = bytes});
  }
  rpc::Stream* stream() const { return stream_.get(); }

  // On the scheduler's loop. 0: no hello yet.
  uint64_t id = 0;
  size_t deliveries_out = 0;

 private:
  struct Part {
    scheduler::v1::WorkResponse response;
    rpc::Payload payload;
    size_t bytes = 0;
  };

  bool NextFrame(grpc::ByteBuffer* frame) {
    std::vector<Part> parts =
        outbox_.Take(rpc::kFrameBytes, [](const Part& part) { return part.bytes; });
    if (parts.empty()) return false;
    scheduler::v1::WorkResponse response = std::move(parts.front().response);
    rpc::Payload payload = std::move(parts.front().payload);
    for (size_t i = 1; i < parts.size(); ++i) {
      response.MergeFrom(parts[i].response);
      payload.insert(payload.end(), parts[i].payload.begin(), parts[i].payload.end());
    }
    *frame = rpc::EncodeFrame(response, payload);
    return true;
  }

  SchedulerService* const scheduler_;
  std::shared_ptr<rpc::Stream> stream_;
  rpc::Outbox<Part> outbox_;
};

class SchedulerService::WorkService final
    : public v1::Scheduler::WithRawCallbackMethod_Work<v1::Scheduler::Service> {
 public:
  explicit WorkService(SchedulerService* scheduler) : scheduler_(scheduler) {}

  rpc::ServerReactor* Work(grpc::CallbackServerContext*) override {
    return rpc::AcceptStream([this](std::shared_ptr<rpc::Stream> stream) {
      return std::make_shared<Worker>(scheduler_)->Open(std::move(stream));
    });
  }

 private:
  SchedulerService* const scheduler_;
};

// ---- The service ----

SchedulerService::SchedulerService(SchedulerOptions options)
    : options_(std::move(options)),
      delays_are_told_(options_.config.delay_warning_ms > 0),
      service_(std::make_unique<WorkService>(this)),
      core_(options_.config, [this] { return minter_->Next(); }),
      timer_(loop_),
      lookup_patience_(loop_),
      lookup_watch_(loop_),
      queue_(
          loop_, "/postfleet.queue.v1.Queue/Schedule",
          {.prepare = [this](rpc::LastingStream::Prepared done) { PrepareQueue(std::move(done)); },
           .open = [this] { return OpenQueue(); },
           .lost = [this](const grpc::Status&) { OnQueueLost(); }}),
      lookup_(loop_, "/postfleet.lookup.v1.Lookup/Resolve",
              {.open = [this] { return OpenLookup(); },
               .lost = [this](const grpc::Status&) { OnLookupLost(); }}) {
  if (options_.metrics != nullptr) MakeMetrics();
}

void SchedulerService::MakeMetrics() {
  metrics::Registry& registry = *options_.metrics;
  const auto expired = [&](const char* reason) {
    return &registry.AddCounter("expired_total", "Messages that became too old while deferred.",
                                {{"reason", reason}});
  };
  const auto notices = [&](const char* kind) {
    return &registry.AddCounter("dsn_sent_total", "Notices to senders.", {{"kind", kind}});
  };
  metrics_ = {.runnable = &registry.AddGauge(
                  "queue_runnable_recipients",
                  "Recipients of active messages that wait only for a worker's slot."),
              .expired = expired("lifetime"),
              .force_expired = expired("forced"),
              .failure_notices = notices("failure"),
              .delay_notices = notices("delay"),
              .success_notices = notices("success"),
              .copies = notices("postmaster"),
              .preemptions = &registry.AddCounter("preemptions_total",
                                                  "Small messages that went before a bigger one."),
              .put_off = &registry.AddCounter(
                  "put_off_total",
                  "Messages that went back to the queue, since their destination is too slow.")};
  NameTransports(options_.config);
}

void SchedulerService::NameTransports(const Config& config) {
  if (options_.metrics == nullptr) return;
  for (const auto& [transport, limits] : config.transports) InDoubt(transport);
}

// Rare: looked up each time.
metrics::Counter& SchedulerService::InDoubt(const std::string& transport) {
  return options_.metrics->AddCounter("delivery_in_doubt_total",
                                      "Attempts that were open when their worker was lost.",
                                      {{"transport", transport}});
}

void SchedulerService::Count(const LogLine& line) {
  if (options_.metrics == nullptr) return;
  switch (line.kind) {
    case LogLine::Kind::kExpired:
      return metrics_.expired->Increment();
    case LogLine::Kind::kForceExpired:
      return metrics_.force_expired->Increment();
    case LogLine::Kind::kInDoubt:
      return InDoubt(line.transport).Increment();
    default:
      return;
  }
}

void SchedulerService::Count(const SendNotify& send) {
  if (options_.metrics == nullptr) return;
  if (send.notify.has_copy()) metrics_.copies->Increment();
  if (!send.notify.has_notice()) return;
  switch (send.kind) {
    case v1::Delivery::NOTICE_KIND_SUCCESS:
      return metrics_.success_notices->Increment();
    case v1::Delivery::NOTICE_KIND_DELAY:
      return metrics_.delay_notices->Increment();
    default:
      return metrics_.failure_notices->Increment();
  }
}

// What the core counted since the last call.
void SchedulerService::CountChoices() {
  if (options_.metrics == nullptr) return;
  const Counters& now = core_.counters();
  metrics_.preemptions->Increment(static_cast<double>(now.preemptions - counted_.preemptions));
  metrics_.put_off->Increment(static_cast<double>(now.put_off - counted_.put_off));
  counted_ = now;
}

SchedulerService::~SchedulerService() { Stop(); }

grpc::Service* SchedulerService::service() { return service_.get(); }

void SchedulerService::Start(rpc::LeaderChannel queue, std::shared_ptr<grpc::Channel> lookup) {
  queue_channel_ = std::move(queue);
  loop_.Start();
  loop_.Post([this, lookup = std::move(lookup)] {
    lookup_.Start(lookup);
    queue_.Start(queue_channel_);
  });
}

void SchedulerService::Stop() {
  if (std::exchange(stopped_, true) || !queue_channel_) return;
  loop_.RunAndWait([this] {
    stopping_ = true;
    ready_ = false;
    for (const auto& [id, worker] : workers_) worker->stream()->Cancel();
  });
  queue_.Stop();
  lookup_.Stop();
  loop_.Stop();
}

void SchedulerService::Reconfigure(Config config) {
  loop_.Post([this, config = std::move(config)]() mutable {
    NameTransports(config);
    delays_are_told_ = config.delay_warning_ms > 0;
    queries_.clear();  // all are asked again
    Step(Configured{std::move(config)});
    Act();
  });
}

absl::StatusOr<std::function<void()>> SchedulerService::Prepare(const config::Config& config) {
  absl::StatusOr<Config> limits = ConfigFrom(config);
  if (!limits.ok()) return limits.status();
  return [this, limits = *std::move(limits)] { Reconfigure(limits); };
}

void SchedulerService::Drain(std::function<void()> drained) {
  loop_.Post([this, drained = std::move(drained)]() mutable {
    draining_ = true;
    drained_ = std::move(drained);
    ready_ = false;
    CheckDrained();
  });
}

void SchedulerService::CheckDrained() {
  if (drained_ && deliveries_out_ == 0 && commits_out_ == 0) std::exchange(drained_, nullptr)();
}

// Registers once: the incarnation makes the queue ids of notices unique, and outlives streams and
// leaders.
void SchedulerService::PrepareQueue(rpc::LastingStream::Prepared done) {
  if (stopping_) return;
  if (!minter_) {
    return submission::Register(
        queue_channel_, options_.name,
        [this, done = std::move(done)](const queue::v1::RegisterResponse* response) {
          if (response != nullptr) {
            // Runs before what `done` posts.
            loop_.Post([this, shard = response->shard(), incarnation = response->incarnation()] {
              minter_.emplace(shard, incarnation, *options_.clock);
            });
          }
          done(response != nullptr);
        });
  }
  if (queue_channel_.replicas() == 1) return done(true);
  submission::FindLeader(queue_channel_, [done = std::move(done)](const rpc::LeaderAnswer& answer) {
    done(answer.status.ok());
  });
}

rpc::StreamCallbacks SchedulerService::OpenQueue() {
  QueuePart first;
  first.request.mutable_open()->set_partition(kPartition);
  first.request.mutable_open()->set_name(options_.name);
  first.request.mutable_open()->set_with_waiting(delays_are_told_);
  queue_outbox_.Reset(std::move(first));
  return {.next_frame = [this](grpc::ByteBuffer* frame) { return queue_outbox_.NextFrame(frame); },
          .on_frame =
              [this](grpc::ByteBuffer frame) {
                loop_.Post([this, frame = std::move(frame)] { OnQueueFrame(frame); });
              },
          .on_closed = nullptr};
}

void SchedulerService::OnQueueFrame(const grpc::ByteBuffer& frame) {
  queue::v1::ScheduleResponse response;
  rpc::Payload payload;
  if (!rpc::DecodeFrame(frame, &response, &payload)) {
    maillog::Warning("qmgr", "the queue sent a malformed frame; opening the partition again");
    queue_.Break();
    return;
  }
  if (response.epoch() != 0) {
    ready_ = !draining_;
    Step(Opened{response.epoch()});
  }
  commits_out_ -= std::min<size_t>(commits_out_, static_cast<size_t>(response.committed_size()));
  for (queue::v1::Committed& committed : *response.mutable_committed()) {
    Step(Committed{std::move(committed)});
  }
  if (response.flushed()) Step(Flushed{});
  rpc::PayloadReader reader(payload);
  for (queue::v1::Activation& activation : *response.mutable_activations()) {
    auto body = activation.payload_bytes() > 0 ? std::make_shared<Body>() : nullptr;
    if (body != nullptr && !reader.Take(activation.payload_bytes(), &body->slices)) {
      activation.set_payload_bytes(0);
      body = nullptr;
    }
    if (!draining_) Step(Activated{std::move(activation), std::move(body)});
  }
  // Last: a frame that gathered may bring a message and its end.
  for (std::string& queue_id : *response.mutable_deleted()) Step(Deleted{std::move(queue_id)});
  for (std::string& queue_id : *response.mutable_recalled()) Step(Recalled{std::move(queue_id)});
  Act();
}

void SchedulerService::OnQueueLost() {
  if (stopping_) return;
  ready_ = false;
  commits_out_ = 0;
  Step(QueueLost{});
  Act();
}

rpc::StreamCallbacks SchedulerService::OpenLookup() {
  // What the stream before did not answer.
  lookup_outbox_.TakeAll();
  for (const auto& [id, sent] : queries_) lookup_outbox_.Add(sent.query);
  return {.next_frame =
              [this](grpc::ByteBuffer* frame) {
                lookup::v1::ResolveRequest request;
                for (lookup::v1::Query& query : lookup_outbox_.TakeAll()) {
                  request.add_queries()->Swap(&query);
                }
                if (request.queries_size() == 0) return false;
                *frame = rpc::EncodeFrame(request, {});
                return true;
              },
          .on_frame =
              [this](grpc::ByteBuffer frame) {
                loop_.Post([this, frame = std::move(frame)] { OnLookupFrame(frame); });
              },
          .on_closed = nullptr};
}

void SchedulerService::OnLookupFrame(const grpc::ByteBuffer& frame) {
  Resolved resolved;
  rpc::Payload none;
  if (!rpc::DecodeFrame(frame, &resolved.response, &none)) {
    lookup_.Break();
    return;
  }
  lookup_patience_runs_ = false;
  lookup_patience_.Cancel();
  for (const lookup::v1::Answer& answer : resolved.response.answers()) queries_.erase(answer.id());
  const uint64_t configuration = resolved.response.configuration();
  Step(std::move(resolved));
  if (configuration != 0) NoteLookupConfiguration(configuration);
  Act();
}

void SchedulerService::NoteLookupConfiguration(uint64_t configuration) {
  const uint64_t before = std::exchange(lookup_configuration_, configuration);
  if (before == 0 || before == configuration) return;
  queries_.clear();  // all are asked again
  Step(RoutesChanged{});
}

void SchedulerService::OnLookupLost() {
  if (stopping_) return;
  if (std::exchange(lookup_patience_runs_, true)) return;
  lookup_patience_.Set(kLookupPatience, [this] { GiveUpLookups(); });
}

void SchedulerService::GiveUpLookups() {
  lookup_patience_runs_ = false;
  if (lookup_.is_open() && queries_.empty()) return;
  queries_.clear();
  Step(LookupFailed{{}, "address resolver unavailable"});
  Act();
}

// Wakes when the oldest query has waited long enough.
void SchedulerService::WatchLookups() {
  if (queries_.empty() || std::exchange(lookup_watch_runs_, true)) return;
  const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(
      options_.clock->Monotonic() - queries_.begin()->second.asked);
  lookup_watch_.Set(std::max(options_.lookup_patience - waited, std::chrono::milliseconds(0)),
                    [this] {
                      lookup_watch_runs_ = false;
                      GiveUpSlowLookups();
                      WatchLookups();
                    });
}

// Their mail would hold its place in memory for as long as a table hangs.
void SchedulerService::GiveUpSlowLookups() {
  const auto before = options_.clock->Monotonic() - options_.lookup_patience;
  std::vector<uint64_t> ids;
  while (!queries_.empty() && queries_.begin()->second.asked <= before) {
    ids.push_back(queries_.begin()->first);
    queries_.erase(queries_.begin());
  }
  if (ids.empty()) return;
  maillog::Warning("qmgr", "the address resolver does not answer: ", ids.size(),
                   " recipients are deferred");
  Step(LookupFailed{std::move(ids), "address resolver does not answer"});
  Act();
}

void SchedulerService::OnWorkerFrame(const std::shared_ptr<Worker>& worker,
                                     const grpc::ByteBuffer& frame) {
  v1::WorkRequest request;
  rpc::Payload payload;
  if (!rpc::DecodeFrame(frame, &request, &payload) || request.has_hello() != (worker->id == 0)) {
    maillog::Warning("qmgr", "a delivery worker sent a malformed frame; its stream is closed");
    worker->stream()->Cancel();
    return;
  }
  if (request.has_hello()) {
    worker->id = next_worker_++;
    workers_[worker->id] = worker;
    Step(WorkerJoined{worker->id, request.hello()});
  }
  rpc::PayloadReader reader(payload);
  for (v1::DeliveryResult& result : *request.mutable_results()) {
    // Their payloads follow one another.
    const auto take = [&](const queue::v1::Submission& submission) -> BodyPtr {
      if (submission.payload_bytes() == 0) return nullptr;
      auto body = std::make_shared<Body>();
      if (!reader.Take(submission.payload_bytes(), &body->slices)) result.set_notice_failed(true);
      return body;
    };
    BodyPtr notice_body = take(result.notice());
    BodyPtr copy_body = take(result.copy());
    if (worker->deliveries_out > 0) {
      --worker->deliveries_out;
      --deliveries_out_;
    }
    Step(DeliveryDone{std::move(result), std::move(notice_body), std::move(copy_body)});
  }
  if (request.has_offer()) Step(WorkerOffers{worker->id, request.offer()});
  if (request.draining()) Step(WorkerDraining{worker->id});
  Act();
}

void SchedulerService::OnWorkerClosed(const std::shared_ptr<Worker>& worker) {
  if (worker->id == 0 || stopping_) return;
  workers_.erase(worker->id);
  deliveries_out_ -= worker->deliveries_out;
  worker->deliveries_out = 0;
  Step(WorkerLeft{worker->id});
  Act();
}

void SchedulerService::Step(Event event) {
  core_.Step(std::move(event), options_.clock->WallMillis(), &actions_);
}

void SchedulerService::Act() {
  if (metrics_.runnable != nullptr) {
    metrics_.runnable->Set(static_cast<double>(core_.runnable_recipients()));
  }
  CountChoices();
  for (const LogLine& line : actions_.log) {
    maillog::Write(line.program, Render(line));
    Count(line);
  }
  if (!actions_.resolve.empty()) {
    for (lookup::v1::Query& query : actions_.resolve) {
      queries_[query.id()] = {.query = query, .asked = options_.clock->Monotonic()};
      lookup_outbox_.Add(std::move(query));
    }
    lookup_.Kick();
    WatchLookups();
  }
  ActOnQueue();
  ActOnWorkers();
  if (actions_.timer_at_ms == kNoTimer) {
    timer_.Cancel();
  } else if (actions_.timer_at_ms.has_value()) {
    const int64_t after_ms = *actions_.timer_at_ms - options_.clock->WallMillis();
    timer_.Set(std::chrono::milliseconds(std::max<int64_t>(after_ms, 0)), [this] {
      Step(Timer{});
      Act();
    });
  }
  actions_.Clear();
  CheckDrained();
}

// In parts that fit into frames: a step may end hundreds of thousands of recipients at once.
void SchedulerService::ActOnQueue() {
  if (!queue_.is_open()) return;
  QueuePart part;
  size_t bytes = 0;
  const auto room_for = [&](size_t more) {
    if (bytes > 0 && bytes + more > rpc::kFrameBytes) {
      queue_outbox_.Add(std::exchange(part, {}));
      bytes = 0;
    }
    bytes += more;
  };
  part.request.set_credit_messages(actions_.credit_messages);
  for (queue::v1::MessageOutcome& outcome : actions_.commit) {
    room_for(outcome.ByteSizeLong());
    part.request.add_outcomes()->Swap(&outcome);
  }
  for (SendNotify& send : actions_.notify) {
    Count(send);
    room_for(send.notify.ByteSizeLong() + send.notify.notice().payload_bytes() +
             send.notify.copy().payload_bytes());
    part.request.add_notifies()->Swap(&send.notify);
    Append(&part.payload, send.body);
    Append(&part.payload, send.copy_body);
  }
  for (queue::v1::PutOff& put_off : actions_.put_off) {
    room_for(put_off.ByteSizeLong());
    part.request.add_put_off()->Swap(&put_off);
  }
  for (std::string& queue_id : actions_.more) part.request.add_more(std::move(queue_id));
  for (std::string& queue_id : actions_.release) part.request.add_released(std::move(queue_id));
  for (queue::v1::Rest& rest : actions_.rest) part.request.add_resting()->Swap(&rest);
  commits_out_ += actions_.commit.size() + actions_.put_off.size() + actions_.notify.size();
  // What was cut off before had a remainder, too.
  if (part.request.ByteSizeLong() == 0) return;
  queue_outbox_.Add(std::move(part));
  queue_.Kick();
}

void SchedulerService::ActOnWorkers() {
  struct Frame {
    v1::WorkResponse response;
    rpc::Payload payload;
    size_t bytes = 0;
  };
  std::map<uint64_t, Frame> frames;
  for (const CancelDelivery& cancel : actions_.cancel) {
    frames[cancel.worker].response.add_cancelled(cancel.delivery);
  }
  for (StartDelivery& start : actions_.deliver) {
    const auto worker = workers_.find(start.worker);
    if (draining_ || worker == workers_.end())
      continue;  // ends with this process, or with its worker's WorkerLeft
    ++deliveries_out_;
    ++worker->second->deliveries_out;
    Frame& frame = frames[start.worker];
    const size_t bytes = start.delivery.ByteSizeLong() + start.delivery.payload_bytes();
    if (frame.bytes > 0 && frame.bytes + bytes > rpc::kFrameBytes) {
      worker->second->Send(std::move(frame.response), std::move(frame.payload));
      frame = {};
    }
    frame.bytes += bytes;
    frame.response.add_deliveries()->Swap(&start.delivery);
    Append(&frame.payload, start.body);
  }
  for (auto& [id, frame] : frames) {
    const auto worker = workers_.find(id);
    if (worker == workers_.end()) continue;
    worker->second->Send(std::move(frame.response), std::move(frame.payload));
    worker->second->stream()->Kick();
  }
}

}  // namespace postfleet::scheduler
