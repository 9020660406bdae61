// What changes while mail waits and runs: parameters, routes, and what workers offer.
#include <algorithm>
#include <map>

#include "services/scheduler/core/state.h"

namespace postfleet::scheduler {

using Phase = Target::Phase;

// What waits is counted by the limits that were: it is taken out before they change.
void State::On(Configured& event) {
  AskAllAgain();
  config = std::move(event.config);
  if (granted > 0 && config.active_messages_max > granted) {
    actions->credit_messages += config.active_messages_max - granted;
    granted = config.active_messages_max;
  }
  for (Transport* transport : ring) {
    transport->limits = config.LimitsOf(transport->name);
    transport->cache = {};
    for (const auto& [name, destination] : transport->destinations) {
      destination->window.Adopt(transport->limits);
      UpdateReady(destination.get());
    }
    ShortenDelays(transport);
  }
}

// Postfix's new queue manager knows of no delay of the old one. Here a longer one holds from the
// next delivery on, and a shorter one at once, so that a reload makes no burst.
void State::ShortenDelays(Transport* transport) {
  const TransportLimits& limits = transport->limits;
  const auto shorten = [this](int64_t* until_ms, int64_t delay_ms) {
    if (*until_ms == kNoTimer || *until_ms <= steady_ms + delay_ms) return false;
    *until_ms = steady_ms + delay_ms;
    return true;
  };
  shorten(&transport->delayed_until_ms, limits.transport_rate_delay_ms);
  shorten(&transport->deadline_ms, config.transport_retry_ms);
  for (const auto& [name, destination] : transport->destinations) {
    const Deadline delay(destination->delayed_until_ms, destination->serial);
    if (shorten(&destination->delayed_until_ms, limits.destination_rate_delay_ms)) {
      delayed.erase(delay);
      delayed.emplace(Deadline(destination->delayed_until_ms, destination->serial),
                      destination.get());
    }
    if (!destination->window.dead()) continue;
    const Deadline death(destination->dead_until_ms, destination->serial);
    if (shorten(&destination->dead_until_ms, config.minimal_backoff_ms)) {
      dead.erase(death);
      dead.emplace(Deadline(destination->dead_until_ms, destination->serial), destination.get());
    }
  }
}

void State::On(RoutesChanged&) { AskAllAgain(); }

// By age, as they were asked.
void State::AskAllAgain() {
  std::map<uint64_t, Message*> by_age;
  for (const auto& [queue_id, message] : messages) by_age[message->serial] = message.get();
  for (const auto& [serial, message] : by_age) AskAgain(message);
}

void State::AskAgain(Message* message) {
  for (uint32_t i = 0; i < message->targets.size(); ++i) {
    Target& target = message->targets[i];
    if (target.phase == Phase::kResolving) {
      queries.erase(target.query);
      --message->resolving;
    } else if (target.phase == Phase::kWaiting) {
      --target.destination->waiting;
      --message->waiting;
    } else if (target.phase != Phase::kResolved) {
      continue;
    }
    target.phase = Phase::kResolving;
    target.destination = nullptr;
    Ask(message, i);
  }
  message->answered.clear();
  // Its jobs stay, with their slots, while something of it is asked.
  for (Job* job : std::vector<Job*>(message->jobs)) {
    for (Destination* destination : std::vector<Destination*>(job->destinations)) {
      const auto at = destination->peers.find(job->rank);
      if (at->second.notice) continue;
      job->read -= Deliveries(at->second);
      ErasePeer(destination, at);
      UpdateReady(destination);
      ForgetIfIdle(destination);
    }
  }
}

// What runs above it runs on.
void State::SetTotal(Slots* slots, uint32_t total) {
  Transport* transport = slots->transport;
  transport->slots += total;
  transport->slots -= std::exchange(slots->total, total);
  std::erase(transport->free, slots);
  if (slots->busy < total) transport->free.push_back(slots);
  if (transport->slots == 0) {
    if (!transport->jobs.empty()) AwaitWorker(transport);
  } else if (total > 0) {
    Serve(transport);
  }
}

void State::On(WorkerOffers& event) {
  const auto found = workers.find(event.worker);
  if (found == workers.end()) return;
  Worker* worker = found->second.get();
  for (const auto& slots : worker->slots) SetTotal(slots.get(), 0);
  for (const scheduler::v1::TransportSlots& offered : event.offer.transports()) {
    const auto known = std::find_if(
        worker->slots.begin(), worker->slots.end(),
        [&](const auto& slots) { return slots->transport->name == offered.transport(); });
    if (known == worker->slots.end()) {
      Announce(worker, offered);
    } else {
      SetTotal(known->get(), offered.slots());
    }
  }
}

}  // namespace postfleet::scheduler
