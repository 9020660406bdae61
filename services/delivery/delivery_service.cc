#include "services/delivery/delivery_service.h"

#include <future>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"

namespace postfleet::delivery {

DeliveryService::DeliveryService(DeliveryOptions options)
    : options_(std::move(options)),
      fetch_(std::make_shared<FetchClient>(options_.queue, &loop_, pending_)),
      work_(loop_, "/postfleet.scheduler.v1.Scheduler/Work",
            {.prepare =
                 [this](rpc::LastingStream::Prepared done) {
                   if (stopping_) return;
                   may_open_ = std::move(done);
                   TellIfNoneRuns();
                 },
             .open = [this] { return Open(); },
             .opened = [this] { ready_ = !draining_ && !stopping_; },
             .lost = [this](const grpc::Status&) { OnLost(); }}),
      orphans_end_(loop_) {}

DeliveryService::~DeliveryService() { Stop(); }

void DeliveryService::Start() {
  started_ = true;
  loop_.Start();
  loop_.Post([this] {
    Begin(std::move(options_.transports));
    work_.Start(options_.scheduler);
  });
}

void DeliveryService::Begin(std::vector<TransportAgent> transports) {
  Generation& generation = generations_.emplace_back();
  generation.transports = std::move(transports);
  for (const TransportAgent& transport : generation.transports) {
    generation.agents[transport.transport] = transport.make(loop_);
    if (options_.metrics == nullptr) continue;
    auto counter = [&](const char* result) {
      return &options_.metrics->AddCounter(
          "delivery_attempts_total", "Recipients by what an attempt did to them.",
          {{"transport", transport.transport}, {"result", result}});
    };
    transport_metrics_[transport.transport] = {
        .sent = counter("sent"),
        .deferred = counter("deferred"),
        .bounced = counter("bounced"),
        .first_attempt_delay = &options_.metrics->AddHistogram(
            "first_attempt_delay_seconds", "Arrival to the start of the first attempt.",
            {{"transport", transport.transport}}, metrics::SecondsBuckets())};
  }
}

void DeliveryService::Reconfigure(std::vector<TransportAgent> transports) {
  loop_.Post([this, transports = std::move(transports)]() mutable {
    if (stopping_) return;
    for (const auto& [transport, agent] : generations_.back().agents) agent->CloseIdle();
    Begin(std::move(transports));
    DropRetired();
    Offer();
  });
}

void DeliveryService::Offer() {
  if (draining_ || stopping_) return;
  ResultPart changed;
  Announce(changed.request.mutable_offer()->mutable_transports());
  Send(std::move(changed));
}

void DeliveryService::DropRetired() {
  for (auto at = generations_.begin(); at != std::prev(generations_.end());) {
    at = at->running == 0 ? generations_.erase(at) : std::next(at);
  }
}

void DeliveryService::Stop() {
  if (!started_ || std::exchange(stopped_, true)) return;
  loop_.RunAndWait([this] {
    stopping_ = true;
    ready_ = false;
    orphans_end_.Cancel();
    for (const Generation& generation : generations_) {
      for (const auto& [transport, agent] : generation.agents) agent->CloseIdle();
    }
    fetch_->Stop();
    may_open_ = nullptr;
  });
  work_.Stop();
  pending_->WaitForNone();
  // Agents end on their loop, with their sockets.
  loop_.RunAndWait([this] {
    generations_.clear();
    options_.shared.reset();
  });
  loop_.Stop();
}

// The scheduler starts no more here. What is on its way stays unanswered: the end of the stream
// hands it to another worker.
void DeliveryService::Drain(std::chrono::milliseconds grace) {
  auto drained = std::make_shared<std::promise<void>>();
  loop_.Post([this, drained] {
    ready_ = false;
    draining_ = true;
    drained_ = [drained] { drained->set_value(); };
    ResultPart draining;
    draining.request.set_draining(true);
    outbox_.Add(std::move(draining));
    work_.Kick();
    TellIfNoneRuns();
  });
  drained->get_future().wait_for(grace);
}

void DeliveryService::TellIfNoneRuns() {
  if (may_open_ && (running_.empty() || orphans_late_)) std::exchange(may_open_, nullptr)(true);
  if (!running_.empty()) return;
  // Posted: the results of the last attempt are on their way by then.
  if (drained_) loop_.Post(std::exchange(drained_, nullptr));
}

rpc::StreamCallbacks DeliveryService::Open() {
  outbox_.TakeAll();  // of the stream before
  ResultPart hello;
  hello.request.mutable_hello()->set_name(options_.name);
  if (!draining_) Announce(hello.request.mutable_hello()->mutable_transports());
  orphans_late_ = false;
  outbox_.Add(std::move(hello));
  return {.next_frame = [this](grpc::ByteBuffer* frame) { return NextFrame(frame); },
          .on_frame =
              [this](grpc::ByteBuffer frame) {
                loop_.Post([this, frame = std::move(frame)] { OnFrame(frame); });
              },
          .on_closed = nullptr};
}

// Orphans have their slots until they end: the scheduler does not know of them.
void DeliveryService::Announce(
    google::protobuf::RepeatedPtrField<scheduler::v1::TransportSlots>* all) const {
  for (const TransportAgent& transport : generations_.back().transports) {
    const auto orphans = static_cast<uint32_t>(
        std::count_if(running_.begin(), running_.end(), [&](const auto& running) {
          return running.second.orphan && running.second.transport == transport.transport;
        }));
    scheduler::v1::TransportSlots* slots = all->Add();
    slots->set_transport(transport.transport);
    slots->set_slots(transport.slots - std::min(orphans, transport.slots));
  }
}

void DeliveryService::OnLost() {
  if (stopping_) return;
  ready_ = false;
  for (auto& [attempt_id, running] : running_) running.orphan = true;
  CancelAll();
  // What a server is slow to answer must not keep all transports waiting.
  orphans_end_.Set(options_.orphan_grace, [this] {
    orphans_late_ = !running_.empty();
    TellIfNoneRuns();
  });
}

void DeliveryService::Cancel(uint64_t delivery_id) {
  for (const auto& [attempt_id, running] : running_) {
    if (running.delivery_id == delivery_id && !running.orphan) {
      return running.agent->Cancel(attempt_id);
    }
  }
}

void DeliveryService::CancelAll() {
  const std::map<uint64_t, Running> running = running_;  // agents may answer at once
  for (const auto& [attempt_id, attempt] : running) attempt.agent->Cancel(attempt_id);
}

bool DeliveryService::NextFrame(grpc::ByteBuffer* frame) {
  std::vector<ResultPart> parts = outbox_.Take(rpc::kFrameBytes, [](const ResultPart& part) {
    return part.request.ByteSizeLong() + rpc::PayloadBytes(part.payload);
  });
  if (parts.empty()) return false;
  scheduler::v1::WorkRequest request = std::move(parts.front().request);
  rpc::Payload payload = std::move(parts.front().payload);
  for (size_t i = 1; i < parts.size(); ++i) {
    // An offer takes the place of the one before; merged, it would hold the transports of both.
    if (parts[i].request.has_offer()) request.clear_offer();
    request.MergeFrom(parts[i].request);
    payload.insert(payload.end(), parts[i].payload.begin(), parts[i].payload.end());
  }
  *frame = rpc::EncodeFrame(request, payload);
  return true;
}

void DeliveryService::OnFrame(const grpc::ByteBuffer& frame) {
  scheduler::v1::WorkResponse response;
  rpc::Payload payload;
  if (!rpc::DecodeFrame(frame, &response, &payload)) {
    maillog::Warning("delivery", "the scheduler sent a malformed frame; connecting again");
    work_.Break();
    return;
  }
  rpc::PayloadReader reader(payload);
  for (scheduler::v1::Delivery& delivery : *response.mutable_deliveries()) {
    rpc::Payload contents;
    if (!reader.Take(delivery.payload_bytes(), &contents)) delivery.set_payload_bytes(0);
    StartDelivery(std::move(delivery), std::move(contents));
  }
  // Last: a frame that gathered may bring a delivery and its end.
  for (uint64_t id : response.cancelled()) Cancel(id);
}

void DeliveryService::StartDelivery(scheduler::v1::Delivery delivery, rpc::Payload payload) {
  Generation& generation = generations_.back();
  const auto agent = generation.agents.find(delivery.transport());
  if (agent == generation.agents.end()) return Refuse(delivery, "mail transport unavailable");
  // A notice about a probe is none.
  const bool is_probe = delivery.envelope().probe() && !delivery.recipients().empty();
  if (is_probe && !agent->second->ServesProbes()) {
    return Refuse(delivery, "this transport cannot verify an address");
  }
  if (draining_) return;
  const uint64_t id = ++last_attempt_id_;
  ++generation.running;
  running_[id] = {.transport = delivery.transport(),
                  .generation = &generation,
                  .agent = agent->second.get(),
                  .delivery_id = delivery.id()};
  delivery.set_id(id);
  const auto metrics = transport_metrics_.find(delivery.transport());
  if (metrics != transport_metrics_.end() && delivery.first_attempt()) {
    metrics->second.first_attempt_delay->Observe(
        static_cast<double>(options_.clock->WallMillis() - delivery.envelope().arrival_ms()) /
        1000.0);
  }
  auto attempt = std::make_unique<Attempt>();
  const bool attached =
      delivery.payload_bytes() > 0 && delivery.payload_bytes() == delivery.content_bytes();
  attempt->contents =
      Watched(attached ? ReadAttached(loop_, std::move(payload), delivery.payload_crc32c())
                       : fetch_->Read(delivery.queue_id(), delivery.chunks()),
              [this, id, queue_id = delivery.queue_id()] { OnDamaged(id, queue_id); });
  attempt->delivery = std::move(delivery);
  attempt->done = [this, id](AttemptResult result) { OnDone(id, std::move(result)); };
  agent->second->Start(std::move(attempt));
}

void DeliveryService::OnDamaged(uint64_t attempt_id, const std::string& queue_id) {
  const auto running = running_.find(attempt_id);
  if (running == running_.end()) return;
  running->second.contents_damaged = true;
  maillog::Warning("delivery", queue_id,
                   ": message contents are damaged: they do not match their checksum");
}

void DeliveryService::OnDone(uint64_t attempt_id, AttemptResult result) {
  const auto running = running_.find(attempt_id);
  if (running == running_.end()) return;
  if (result.passed_on != nullptr && PassOn(attempt_id, &result)) return;
  const Running ended = running->second;
  running_.erase(running);
  // Posted: its agent is at work.
  if (--ended.generation->running == 0 && ended.generation != &generations_.back()) {
    loop_.Post([this] { DropRetired(); });
  }
  Count(ended.transport, result.result);
  result.result.mutable_outcomes()->MergeFrom(ended.decided.outcomes());
  if (!ended.orphan) {
    ResultPart part;
    result.result.set_id(ended.delivery_id);
    result.result.set_contents_damaged(ended.contents_damaged);
    part.request.add_results()->Swap(&result.result);
    part.payload = std::move(result.notice_contents);
    Send(std::move(part));
  } else if (ready_) {
    Offer();  // its slot is free, too
  }
  TellIfNoneRuns();
}

bool DeliveryService::PassOn(uint64_t attempt_id, AttemptResult* result) {
  std::unique_ptr<Attempt> attempt = std::move(result->passed_on);
  const scheduler::v1::Delivery& delivery = attempt->delivery;
  Running& running = running_.at(attempt_id);
  const auto& agents = running.generation->agents;
  const auto agent = agents.find(delivery.transport());
  if (agent == agents.end()) {
    DeferAll(delivery, "mail transport unavailable", &result->result);
    return false;
  }
  if (delivery.envelope().probe() && !agent->second->ServesProbes()) {
    DeferAll(delivery, "this transport cannot verify an address", &result->result);
    return false;
  }
  Count(running.transport, result->result);
  running.transport = delivery.transport();
  running.agent = agent->second.get();
  running.decided.MergeFrom(result->result);
  attempt->done = [this, attempt_id](AttemptResult later) { OnDone(attempt_id, std::move(later)); };
  agent->second->Start(std::move(attempt));
  return true;
}

void DeliveryService::Refuse(const scheduler::v1::Delivery& delivery, const std::string& why) {
  maillog::Warning("delivery", delivery.queue_id(), ": transport ", delivery.transport(), ": ",
                   why);
  ResultPart part;
  scheduler::v1::DeliveryResult* result = part.request.add_results();
  result->set_id(delivery.id());
  result->set_notice_failed(!delivery.notice_queue_id().empty());
  DeferAll(delivery, why, result);
  Send(std::move(part));
}

void DeliveryService::DeferAll(const scheduler::v1::Delivery& delivery, const std::string& why,
                               scheduler::v1::DeliveryResult* result) {
  for (const mail::v1::Recipient& recipient : delivery.recipients()) {
    mail::v1::Outcome* outcome = result->add_outcomes();
    outcome->set_recipient_number(recipient.number());
    outcome->set_action(mail::v1::Outcome::ACTION_DEFERRED);
    outcome->set_status("4.3.0");
    outcome->set_text(why);
  }
}

void DeliveryService::Send(ResultPart part) {
  outbox_.Add(std::move(part));
  work_.Kick();
}

void DeliveryService::Count(const std::string& transport,
                            const scheduler::v1::DeliveryResult& result) {
  const auto found = transport_metrics_.find(transport);
  if (found == transport_metrics_.end()) return;
  for (const mail::v1::Outcome& outcome : result.outcomes()) {
    switch (outcome.action()) {
      case mail::v1::Outcome::ACTION_SENT:
        found->second.sent->Increment();
        break;
      case mail::v1::Outcome::ACTION_BOUNCED:
        found->second.bounced->Increment();
        break;
      default:
        found->second.deferred->Increment();
    }
  }
}

}  // namespace postfleet::delivery
