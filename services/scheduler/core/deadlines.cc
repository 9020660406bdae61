// What time brings: dead destinations, rate delays, transports without workers; and what a new
// session or a flush forgets.
#include <algorithm>
#include <map>
#include <utility>

#include "libs/base/concat.h"
#include "services/scheduler/core/destination.h"
#include "services/scheduler/core/state.h"

namespace postfleet::scheduler {

using Phase = Transport::Phase;

namespace {

constexpr int64_t kMinuteMs = 60'000;

}  // namespace

// The destination just died: what waits there is deferred with the reason, and so is new mail until
// it revives.
void State::Kill(Destination* destination, const scheduler::v1::DeliveryResult& result) {
  ++counters.dead_destinations;
  destination->dead_status = StatusOfClass(result.destination_status(), '4');
  destination->dead_text =
      Concat("delivery temporarily suspended: ",
             result.destination_text().empty() ? "unknown error" : result.destination_text());
  destination->dead_until_ms = steady_ms + config.minimal_backoff_ms;
  dead.emplace(Deadline(destination->dead_until_ms, destination->serial), destination);
  DeferWaiting(destination, {.status = destination->dead_status, .text = destination->dead_text});
  if (dead.size() > config.dead_destinations_max) Revive(dead.begin()->second);
}

void State::DeferWaiting(Destination* destination, const Verdict& verdict) {
  const absl::btree_map<Rank, Peer> peers = std::move(destination->peers);
  destination->peers.clear();
  destination->waiting = 0;
  UpdateReady(destination);
  destination->transport->cache = {};
  for (const auto& [rank, peer] : peers) {
    Message* message = peer.job->message;
    const std::span<const uint32_t> targets(peer.targets.begin() + peer.next, peer.targets.end());
    message->waiting -= targets.size();
    peer.job->selected += Deliveries(peer);
    Detach(peer);
    Settle(message, targets, verdict, destination->transport->name, destination->nexthop);
    FinishRound(message);
  }
}

void State::Revive(Destination* destination) {
  dead.erase({destination->dead_until_ms, destination->serial});
  destination->window.Revive(destination->transport->limits, destination->busy);
  UpdateReady(destination);
  ForgetIfIdle(destination);
}

// The next delivery starts so long after this end, also when nothing waits yet.
void State::Delay(Destination* destination) {
  Transport* transport = destination->transport;
  if (transport->limits.transport_rate_delay_ms > 0) {
    transport->delayed_until_ms = steady_ms + transport->limits.transport_rate_delay_ms;
  }
  const int64_t delay_ms = transport->limits.destination_rate_delay_ms;
  if (delay_ms == 0) return;
  // As Postfix has it: where mail trickles anyway, the delay takes the place of being dead.
  if (destination->window.dead()) {
    dead.erase({destination->dead_until_ms, destination->serial});
    destination->window.Revive(transport->limits, destination->busy);
  }
  if (destination->delayed_until_ms != kNoTimer) {
    delayed.erase({destination->delayed_until_ms, destination->serial});
  }
  destination->delayed_until_ms = steady_ms + delay_ms;
  delayed.emplace(Deadline(destination->delayed_until_ms, destination->serial), destination);
  if (delayed.size() <= config.delayed_destinations_max) return;
  const auto next = delayed.begin();
  EndDelay(next->second != destination ? next->second : std::next(next)->second);
}

void State::EndDelay(Destination* destination) {
  delayed.erase({destination->delayed_until_ms, destination->serial});
  destination->delayed_until_ms = kNoTimer;
  UpdateReady(destination);
  ForgetIfIdle(destination);
}

void State::AwaitWorker(Transport* transport) {
  if (transport->phase != Phase::kServed) return;
  transport->phase = Phase::kAwaited;
  transport->deadline_ms = steady_ms + config.transport_retry_ms;
}

// No worker came. Mail is deferred; notices go on waiting, since nothing else can be done with
// them.
void State::Throttle(Transport* transport) {
  if (transport->name == kBounceTransport) {
    transport->deadline_ms = kNoTimer;
  } else {
    transport->phase = Phase::kThrottled;
    transport->deadline_ms = steady_ms + config.transport_retry_ms;
  }
  LogLine& line = actions->log.emplace_back();
  line.kind = LogLine::Kind::kTransportUnavailable;
  line.transport = transport->name;
  line.text = "no worker serves this transport";
  if (transport->phase != Phase::kThrottled) return;
  // Without workers nothing runs, so that every destination with mail is in the ready set, but
  // those whose rate delay runs.
  const Verdict unavailable{.status = kUnavailableStatus, .text = kUnavailableText};
  while (!transport->ready.empty()) {
    Destination* destination = transport->ready.begin()->destination;
    DeferWaiting(destination, unavailable);
    ForgetIfIdle(destination);
  }
  for (const auto& [until, destination] : delayed) {
    if (destination->transport == transport) DeferWaiting(destination, unavailable);
  }
}

void State::Serve(Transport* transport) {
  transport->phase = Phase::kServed;
  transport->deadline_ms = kNoTimer;
}

void State::On(Timer&) {
  // The caller's timer is used up, also when it came early.
  timer_at_ms = kNoTimer;
  while (!dead.empty() && dead.begin()->first.first <= steady_ms) Revive(dead.begin()->second);
  while (!delayed.empty() && delayed.begin()->first.first <= steady_ms) {
    EndDelay(delayed.begin()->second);
  }
  if (crowded_at_ms <= steady_ms) crowded_at_ms = kNoTimer;
  GiveUpStuck();
  for (Transport* transport : std::vector<Transport*>(ring)) {
    if (transport->delayed_until_ms > steady_ms) continue;
    transport->delayed_until_ms = kNoTimer;
    ForgetIfIdle(transport);
  }
  std::vector<Transport*> due;
  for (const auto& [name, transport] : transports) {
    if (transport->deadline_ms <= steady_ms) due.push_back(transport.get());
  }
  for (Transport* transport : due) {
    if (transport->phase == Phase::kThrottled) {
      Serve(transport);
      ForgetIfIdle(transport);
    } else if (transport->jobs.empty()) {
      // Its mail went away meanwhile.
      Serve(transport);
    } else {
      Throttle(transport);
    }
  }
}

void State::On(Flushed&) {
  while (!dead.empty()) Revive(dead.begin()->second);
  // A deferral whose commit is under way comes behind the flush, which does not see it there.
  for (const auto& [queue_id, message] : messages) message->flush_again = message->deferring.size();
  for (Transport* transport : std::vector<Transport*>(ring)) {
    if (transport->phase != Phase::kThrottled) continue;
    Serve(transport);
    ForgetIfIdle(transport);
  }
}

void State::On(Opened&) {
  ForgetSession();
  session_open = true;
  SayAgain();
  granted = config.active_messages_max;
  actions->credit_messages += granted;
}

void State::On(QueueLost&) { ForgetSession(); }

// Running deliveries go on, and what they say is for the next session. Only notices are told to
// stop: whoever has the message next makes them.
void State::ForgetSession() {
  session_open = false;
  granted = 0;
  for (const auto& [id, attempt] : attempts) {
    if (attempt->message == nullptr) continue;
    if (!attempt->notice && !attempt->message->deleted) continue;
    if (!std::exchange(attempt->cancelled, true)) {
      actions->cancel.push_back({.worker = attempt->slots->worker, .delivery = id});
    }
    std::erase(attempt->message->attempts, id);
    attempt->message = nullptr;
  }
  ForgetWaiting();
  absl::erase_if(messages, [this](const auto& entry) { return !Keep(entry.second.get()); });
}

void State::ForgetWaiting() {
  queries.clear();
  body_holders.clear();
  body_bytes = 0;
  hungry.clear();
  recipients = recipients_promised = 0;
  for (Transport* transport : std::vector<Transport*>(ring)) {
    std::vector<Destination*> destinations;
    for (const auto& [name, destination] : transport->destinations) {
      destinations.push_back(destination.get());
    }
    Serve(transport);
    transport->cache = {};
    transport->jobs.clear();
    if (destinations.empty()) ForgetIfIdle(transport);
    for (Destination* destination : destinations) {
      destination->peers.clear();
      destination->waiting = 0;
      if (destination->window.dead()) {
        Revive(destination);
      } else {
        UpdateReady(destination);
        ForgetIfIdle(destination);
      }
    }
  }
}

// False: nothing of it matters to the next session.
bool State::Keep(Message* message) {
  std::erase_if(message->said, [](const auto& said) { return said.outcomes().empty(); });
  if (message->deleted || (message->attempts.empty() && message->said.empty())) return false;
  Message kept{.serial = message->serial,
               .queue_id = std::move(message->queue_id),
               .envelope = std::move(message->envelope),
               .create_ms = message->create_ms,
               .active_ms = message->active_ms,
               .targets = std::move(message->targets),
               .said = std::move(message->said),
               .attempts = std::move(message->attempts),
               .attempts_lost = message->attempts_lost,
               .last_loss = message->last_loss,
               .kept = true,
               .damaged = message->damaged,
               .forced_expire = message->forced_expire,
               .delay_warned = message->delay_warned,
               .expiry_logged = message->expiry_logged};
  for (Target& target : kept.targets) {
    if (target.phase != Target::Phase::kRunning) target.phase = Target::Phase::kDone;
    recipients += target.phase == Target::Phase::kRunning ? 1 : 0;
  }
  *message = std::move(kept);
  return true;
}

// Ahead of the credit: what they are about is settled before anything is given out.
void State::SayAgain() {
  std::map<uint64_t, const Message*> by_age;
  for (const auto& [queue_id, message] : messages) by_age[message->serial] = message.get();
  for (const auto& [serial, message] : by_age) {
    for (const queue::v1::MessageOutcome& said : message->said) {
      actions->commit.push_back(said);
      actions->commit.back().set_again(true);
    }
  }
}

// In whole minutes: it must not move with each delivery.
int64_t State::StuckAt() const {
  if (config.attempt_max_ms == 0 || attempts.empty()) return kNoTimer;
  const int64_t at_ms = attempts.begin()->second->started_ms + config.attempt_max_ms;
  return (at_ms + kMinuteMs - 1) / kMinuteMs * kMinuteMs;
}

// One timer, at the earliest of all deadlines; told only when it changes.
void State::SetTimer() {
  int64_t earliest = kNoTimer;
  if (!dead.empty()) earliest = dead.begin()->first.first;
  if (!delayed.empty()) earliest = std::min(earliest, delayed.begin()->first.first);
  if (crowded.empty() || !MemoryIsScarce()) {
    crowded_at_ms = kNoTimer;
  } else if (crowded_at_ms == kNoTimer) {
    crowded_at_ms = steady_ms + Pace::kUnknownMs;
  }
  earliest = std::min(earliest, crowded_at_ms);
  for (const Transport* transport : ring) {
    earliest = std::min({earliest, transport->deadline_ms, transport->delayed_until_ms});
  }
  earliest = std::min(earliest, StuckAt());
  if (earliest != kNoTimer) earliest -= set_back_ms;
  if (earliest == timer_at_ms) return;
  timer_at_ms = earliest;
  actions->timer_at_ms = earliest;
}

}  // namespace postfleet::scheduler
