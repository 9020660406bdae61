// Where mail waits and what starts next: `transports`, their destinations, and bodies.
#include <algorithm>

#include "libs/mail/notify.h"
#include "services/scheduler/core/state.h"
#include "services/scheduler/core/verp.h"

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
  if (!transport->destinations.empty() || !transport->jobs.empty() || transport->announced > 0)
    return;
  if (transport->phase == Transport::Phase::kThrottled) return;
  if (transport->delayed_until_ms != kNoTimer) return;
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
    slot->pace.Begin(steady_ms);
  }
  return slot.get();
}

void State::ForgetIfIdle(Destination* destination) {
  if (destination->busy > 0 || !destination->peers.empty() || destination->window.dead()) return;
  if (destination->delayed_until_ms != kNoTimer) return;
  Transport* transport = destination->transport;
  if (destination->crowded) crowded.erase(destination->serial);
  transport->destinations.erase(transport->destinations.find(destination->name));
  ForgetIfIdle(transport);
}

// `first`: ahead of what waits there of the same message already.
void State::Wait(Message* message, Destination* destination, std::span<const uint32_t> targets,
                 bool first) {
  Peer* peer = PeerOf(message, destination);
  const int64_t deliveries = Deliveries(*peer);
  for (const uint32_t target : targets) {
    message->targets[target].phase = Target::Phase::kWaiting;
    message->targets[target].destination = destination;
  }
  // What has been delivered makes room, now and then.
  if (peer->next * 2 > peer->targets.size()) {
    peer->targets.erase(peer->targets.begin(), peer->targets.begin() + peer->next);
    peer->next = 0;
  }
  const auto place = first ? peer->targets.begin() + peer->next : peer->targets.end();
  peer->targets.insert(place, targets.begin(), targets.end());
  peer->job->read += Deliveries(*peer) - deliveries;
  message->waiting += targets.size();
  destination->waiting += targets.size();
  NoteCrowd(destination);
  UpdateReady(destination);
  if (destination->transport->slots == 0) AwaitWorker(destination->transport);
}

void State::WaitForNotice(Message* message) {
  Destination* destination = DestinationOf(TransportOf(kBounceTransport), "", "");
  Peer* peer = PeerOf(message, destination);
  peer->notice = true;
  ++peer->job->read;
  NoteCrowd(destination);
  UpdateReady(destination);
  if (destination->transport->slots == 0) AwaitWorker(destination->transport);
}

void State::UpdateReady(Destination* destination) {
  const bool ready = !destination->peers.empty() &&
                     destination->window.HasRoom(destination->busy) &&
                     destination->delayed_until_ms == kNoTimer;
  runnable -= destination->runnable;
  // More workers do not speed up what its transport's rate delay slows down.
  const bool counts = ready && destination->transport->limits.transport_rate_delay_ms == 0;
  destination->runnable = counts ? destination->waiting : 0;
  runnable += destination->runnable;
  ReadyKey key;
  if (ready) {
    const auto& [rank, peer] = *destination->peers.begin();
    key = {.rank = rank, .turn = peer.turn, .destination = destination};
  }
  ReadyKey& old = destination->ready;
  if (old.destination == key.destination && old.rank == key.rank && old.turn == key.turn) return;
  std::set<ReadyKey>& set = destination->transport->ready;
  if (old.destination != nullptr) {
    set.erase(old);
  } else {
    // What was blocked may now go before another.
    destination->transport->cache = {};
  }
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
  if (transport->limits.transport_rate_delay_ms > 0 &&
      (transport->busy > 0 || transport->delayed_until_ms != kNoTimer)) {
    return false;
  }

  Preempt(transport);
  Destination* destination = transport->ready.begin()->destination;
  const auto at = destination->peers.begin();
  Peer* peer = &at->second;
  Job* job = peer->job;
  Message* message = job->message;
  Slots* slots = transport->free.front();
  transport->free.pop_front();

  auto attempt = std::make_unique<Attempt>();
  attempt->id = ++last_delivery;
  attempt->slots = slots;
  attempt->destination = destination;
  attempt->message = message;
  attempt->started_ms = steady_ms;

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
  if (peer->notice) {
    FillNotice(peer, attempt.get(), &delivery);
  } else {
    FillRecipients(peer, attempt.get(), &delivery);
    delivery.set_first_attempt(message->incoming);
    AttachBody(message, &start);
  }
  peer->turn = ++transport->turns;
  ++job->selected;
  ++job->slots_available;
  ++job->slots_used;
  if (peer->empty()) ErasePeer(destination, at);

  if (++slots->busy < slots->total) transport->free.push_back(slots);
  ++transport->busy;
  ++destination->busy;
  ++counters.deliveries;
  message->attempts.push_back(attempt->id);
  attempts.emplace_hint(attempts.end(), attempt->id, std::move(attempt));
  if (message->left > 0) MoreIfWanted(message);
  UpdateReady(destination);
  return true;
}

void State::FillRecipients(Peer* peer, Attempt* attempt, scheduler::v1::Delivery* delivery) {
  Message* message = peer->job->message;
  const size_t limit = IsVerp(message->envelope)
                           ? 1
                           : attempt->destination->transport->limits.destination_recipient_limit;
  const size_t count = limit > 0 ? std::min(limit, peer->waiting()) : peer->waiting();
  const auto begin = peer->targets.begin() + peer->next;
  attempt->targets.assign(begin, begin + count);
  peer->next += count;
  message->waiting -= count;
  attempt->destination->waiting -= count;
  for (const uint32_t target : attempt->targets) {
    message->targets[target].phase = Target::Phase::kRunning;
    mail::v1::Recipient& recipient = *delivery->add_recipients();
    recipient = message->targets[target].recipient;
    uint32_t marks = message->envelope.probe() ? mail::kNotifyFlagProbe : 0;
    if (TellsOfCleared(*message, recipient) || IsReported(*message)) {
      marks |= mail::kNotifyFlagToldHere;
    }
    if (marks != 0) recipient.set_dsn_notify(recipient.dsn_notify() | marks);
  }
  if (IsVerp(message->envelope))
    SetVerpSender(delivery->recipients(0), delivery->mutable_envelope());
}

void State::FillNotice(Peer* peer, Attempt* attempt, scheduler::v1::Delivery* delivery) {
  using scheduler::v1::Delivery;
  peer->notice = false;
  attempt->notice = true;
  const Message& message = *peer->job->message;
  for (const auto& bounced : message.in_notice) *delivery->add_bounced() = bounced;
  delivery->set_notice_kind(message.notice_kind);
  delivery->set_notice_queue_id(mint_queue_id());
  // The postmaster is not told of success.
  if (message.notice_kind == Delivery::NOTICE_KIND_SUCCESS) return;
  if (config.verp_bounces && message.notice_kind == Delivery::NOTICE_KIND_FAILURE &&
      IsVerp(message.envelope)) {
    SetVerpSender(message.in_notice.front().recipient(), delivery->mutable_envelope());
  }
  delivery->set_copy_queue_id(mint_queue_id());
  if (message.notice_kind != Delivery::NOTICE_KIND_DELAY) return;
  delivery->set_retry_until_ms(message.create_ms + config.maximal_queue_lifetime_ms);
}

void State::AttachBody(Message* message, StartDelivery* start) {
  if (message->body == nullptr) return;
  start->body = message->body;
  start->delivery.set_payload_bytes(message->body_bytes);
  start->delivery.set_payload_crc32c(message->body_crc32c);
  // The last delivery takes it along; an attempt that must be made again fetches.
  if (message->waiting + message->resolving + message->left == 0) LetGoOfBody(message);
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
  for (Target& target : message->targets) {
    if (target.phase == Target::Phase::kResolving) queries.erase(target.query);
    if (target.phase == Target::Phase::kWaiting) --target.destination->waiting;
    if (target.phase != Target::Phase::kRunning) EndTarget(&target);
  }
  message->resolving = 0;
  message->answered.clear();
  message->waiting = 0;
  message->left = 0;
  MoreIsSettled(message);
  DropNotice(message);
  EndEmptyJobs(message);
  while (!message->jobs.empty()) {
    Job* job = message->jobs.back();
    // The last one takes the job along.
    for (size_t peers = job->destinations.size(); peers > 0; --peers) {
      Destination* destination = job->destinations.back();
      ErasePeer(destination, destination->peers.find(job->rank));
      UpdateReady(destination);
      ForgetIfIdle(destination);
    }
  }
  LetGoOfBody(message);
}

void State::DropNotice(Message* message) {
  message->bounced.clear();
  message->succeeded.clear();
  message->reported.clear();
  message->in_notice.clear();
  message->delayed.clear();
}

}  // namespace postfleet::scheduler
