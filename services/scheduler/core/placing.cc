// Where mail waits and what starts next: `transports`, their destinations and jobs, and bodies.
#include <algorithm>

#include "services/scheduler/core/state.h"

namespace postfleet::scheduler {

Transport* State::TransportOf(std::string_view name) {
  const auto found = transports.find(name);
  if (found != transports.end()) return found->second.get();
  auto made = std::make_unique<Transport>();
  Transport* transport = made.get();
  transport->name = name;
  transport->limits = config.LimitsOf(name);
  transports.emplace(transport->name, std::move(made));
  ring.push_back(transport);
  return transport;
}

void State::ForgetIfIdle(Transport* transport) {
  if (!transport->destinations.empty() || transport->slots > 0) return;
  if (transport->phase == Transport::Phase::kThrottled) return;
  const size_t at = std::find(ring.begin(), ring.end(), transport) - ring.begin();
  ring.erase(ring.begin() + at);
  if (at < ring_next) --ring_next;
  transports.erase(transports.find(transport->name));
}

Destination* State::DestinationOf(Transport* transport, const std::string& name,
                                  std::string_view nexthop) {
  std::unique_ptr<Destination>& slot = transport->destinations[name];
  if (slot == nullptr) {
    slot = std::make_unique<Destination>(transport->limits);
    slot->serial = ++last_serial;
    slot->transport = transport;
    slot->name = name;
    slot->nexthop = nexthop;
  }
  return slot.get();
}

void State::ForgetIfIdle(Destination* destination) {
  if (destination->busy > 0 || !destination->jobs.empty() || destination->window.dead()) return;
  Transport* transport = destination->transport;
  transport->destinations.erase(transport->destinations.find(destination->name));
  ForgetIfIdle(transport);
}

Job* State::JobOf(Message* message, Destination* destination) {
  auto [at, made] = destination->jobs.try_emplace(Job::Rank(*message));
  if (made) {
    at->second.message = message;
    at->second.turn = ++destination->transport->turns;
  }
  return &at->second;
}

// `first`: ahead of what waits in the same job already.
void State::Wait(Message* message, Destination* destination, std::span<const uint32_t> targets,
                 bool first) {
  Job* job = JobOf(message, destination);
  for (const uint32_t target : targets) {
    message->targets[target].phase = Target::Phase::kWaiting;
    message->targets[target].destination = destination;
  }
  const auto place = first ? job->targets.begin() + job->next : job->targets.end();
  job->targets.insert(place, targets.begin(), targets.end());
  message->waiting += targets.size();
  destination->waiting += targets.size();
  UpdateReady(destination);
  if (destination->transport->slots == 0) AwaitWorker(destination->transport);
}

void State::WaitForNotice(Message* message) {
  Destination* destination = DestinationOf(TransportOf(kBounceTransport), "", "");
  JobOf(message, destination)->notice = true;
  UpdateReady(destination);
  if (destination->transport->slots == 0) AwaitWorker(destination->transport);
}

void State::UpdateReady(Destination* destination) {
  const bool ready = !destination->jobs.empty() && destination->window.HasRoom(destination->busy);
  runnable -= destination->runnable;
  destination->runnable = ready ? destination->waiting : 0;
  runnable += destination->runnable;
  ReadyKey key;
  if (ready) {
    const auto& [rank, job] = *destination->jobs.begin();
    key = {.rank = rank, .turn = job.turn, .destination = destination};
  }
  ReadyKey& old = destination->ready;
  if (old.destination == key.destination && old.rank == key.rank && old.turn == key.turn) return;
  std::set<ReadyKey>& set = destination->transport->ready;
  if (old.destination != nullptr) set.erase(old);
  if (ready) set.insert(key);
  old = key;
}

// Transports take turns, one delivery each, until a whole round starts nothing.
void State::StartDeliveries() {
  size_t idle = 0;
  while (idle < ring.size()) {
    if (ring_next >= ring.size()) ring_next = 0;
    idle = StartOne(ring[ring_next]) ? 0 : idle + 1;
    ++ring_next;
  }
}

bool State::StartOne(Transport* transport) {
  if (transport->ready.empty() || transport->free.empty()) return false;
  const int max = transport->limits.deliveries_max;
  if (max > 0 && transport->busy >= max) return false;

  Destination* destination = transport->ready.begin()->destination;
  const auto at = destination->jobs.begin();
  Job* job = &at->second;
  Message* message = job->message;
  Slots* slots = transport->free.front();
  transport->free.pop_front();

  auto attempt = std::make_unique<Attempt>();
  attempt->id = ++last_delivery;
  attempt->slots = slots;
  attempt->destination = destination;
  attempt->message = message;

  StartDelivery& start = actions->deliver.emplace_back();
  start.worker = slots->worker;
  scheduler::v1::Delivery& delivery = start.delivery;
  delivery.set_id(attempt->id);
  delivery.set_transport(transport->name);
  delivery.set_nexthop(destination->nexthop);
  delivery.set_queue_id(message->queue_id);
  *delivery.mutable_envelope() = message->envelope;
  delivery.set_content_bytes(message->content_bytes);
  delivery.set_chunks(message->chunks);
  delivery.set_active_ms(message->active_ms);
  if (job->notice) {
    FillNotice(job, attempt.get(), &delivery);
  } else {
    FillRecipients(job, attempt.get(), &delivery);
    delivery.set_first_attempt(message->incoming);
    AttachBody(message, &start);
  }
  job->turn = ++transport->turns;
  if (job->empty()) destination->jobs.erase(at);

  if (++slots->busy < slots->total) transport->free.push_back(slots);
  ++transport->busy;
  ++destination->busy;
  ++counters.deliveries;
  message->attempts.push_back(attempt->id);
  attempts.emplace_hint(attempts.end(), attempt->id, std::move(attempt));
  UpdateReady(destination);
  return true;
}

void State::FillRecipients(Job* job, Attempt* attempt, scheduler::v1::Delivery* delivery) {
  Message* message = job->message;
  const size_t limit = attempt->destination->transport->limits.destination_recipient_limit;
  const size_t waiting = job->targets.size() - job->next;
  const size_t count = limit > 0 ? std::min(limit, waiting) : waiting;
  const auto begin = job->targets.begin() + job->next;
  attempt->targets.assign(begin, begin + count);
  job->next += count;
  message->waiting -= count;
  attempt->destination->waiting -= count;
  for (const uint32_t target : attempt->targets) {
    message->targets[target].phase = Target::Phase::kRunning;
    *delivery->add_recipients() = message->targets[target].recipient;
  }
}

void State::FillNotice(Job* job, Attempt* attempt, scheduler::v1::Delivery* delivery) {
  job->notice = false;
  attempt->notice = true;
  const Message& message = *job->message;
  for (const auto& bounced : message.in_notice) *delivery->add_bounced() = bounced;
  delivery->set_notice_queue_id(mint_queue_id());
  if (!message.notice_warns) return;
  delivery->set_notice_kind(scheduler::v1::Delivery::NOTICE_KIND_DELAY);
  delivery->set_retry_until_ms(message.create_ms + config.maximal_queue_lifetime_ms);
}

void State::AttachBody(Message* message, StartDelivery* start) {
  if (message->body == nullptr) return;
  start->body = message->body;
  start->delivery.set_payload_bytes(message->body_bytes);
  start->delivery.set_payload_crc32c(message->body_crc32c);
  // The last delivery takes it along; an attempt that must be made again fetches.
  if (message->waiting == 0 && message->resolving == 0) LetGoOfBody(message);
}

void State::LetGoOfBody(Message* message) {
  if (message->body == nullptr) return;
  message->body.reset();
  body_bytes -= message->body_bytes;
  message->body_bytes = 0;
  body_holders.erase(message->serial);
}

void State::LetGoOfBodiesPastBound() {
  while (body_bytes > config.attached_body_bytes_max && !body_holders.empty()) {
    LetGoOfBody(body_holders.begin()->second);
    ++counters.bodies_let_go;
  }
}

// Nothing more of the message is to be asked or started.
void State::DropWaiting(Message* message) {
  std::vector<Destination*> left;
  for (Target& target : message->targets) {
    if (target.phase == Target::Phase::kResolving) queries.erase(target.query);
    if (target.phase == Target::Phase::kWaiting) {
      --target.destination->waiting;
      // One job holds all targets of a destination: it is erased once.
      if (target.destination->jobs.erase(Job::Rank(*message)) > 0) {
        left.push_back(target.destination);
      }
    }
    if (target.phase != Target::Phase::kRunning) target.phase = Target::Phase::kDone;
  }
  message->resolving = 0;
  message->answered.clear();
  message->waiting = 0;
  DropNotice(message, &left);
  for (Destination* destination : left) {
    UpdateReady(destination);
    ForgetIfIdle(destination);
  }
  LetGoOfBody(message);
}

void State::DropNotice(Message* message, std::vector<Destination*>* left) {
  message->bounced.clear();
  message->in_notice.clear();
  message->delayed.clear();
  if (message->notice_retry_at_ms != kNoTimer) {
    notice_retries.erase({message->notice_retry_at_ms, message->serial});
    message->notice_retry_at_ms = kNoTimer;
  }
  const auto transport = transports.find(kBounceTransport);
  if (transport == transports.end()) return;
  const auto destination = transport->second->destinations.find("");
  if (destination == transport->second->destinations.end()) return;
  if (destination->second->jobs.erase(Job::Rank(*message)) > 0) {
    left->push_back(destination->second.get());
  }
}

}  // namespace postfleet::scheduler
