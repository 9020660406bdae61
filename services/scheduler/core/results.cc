// Deliveries that end, and workers: `attempts` and `workers`.
#include <algorithm>

#include "libs/base/concat.h"
#include "services/scheduler/core/destination.h"
#include "services/scheduler/core/state.h"

namespace postfleet::scheduler {
namespace {

using mail::v1::Outcome;

// What is said about a recipient when its agent said nothing.
Outcome AgentFailure() {
  Outcome outcome;
  outcome.set_action(Outcome::ACTION_DEFERRED);
  outcome.set_status("4.3.0");
  outcome.set_text("unknown mail transport error");
  return outcome;
}

}  // namespace

// Takes the attempt out of everything that counts it but its destination's window, which is judged
// with it still busy.
std::unique_ptr<Attempt> State::End(AttemptAt at) {
  std::unique_ptr<Attempt> attempt = TakeOut(at);
  FreeSlot(attempt->slots);
  return attempt;
}

void State::FreeSlot(Slots* slots) {
  if (slots->busy-- == slots->total) slots->transport->free.push_back(slots);
}

// The slot is still taken.
std::unique_ptr<Attempt> State::TakeOut(AttemptAt at) {
  std::unique_ptr<Attempt> attempt = std::move(at->second);
  attempts.erase(at);
  --attempt->slots->transport->busy;
  if (attempt->message != nullptr) {
    std::vector<uint64_t>& running = attempt->message->attempts;
    const auto mine = std::find(running.begin(), running.end(), attempt->id);
    *mine = running.back();
    running.pop_back();
  }
  return attempt;
}

void State::Freed(Destination* destination) {
  --destination->busy;
  destination->pace.Count(steady_ms);
  Delay(destination);
}

void State::On(DeliveryDone& event) {
  const auto at = attempts.find(event.result.id());
  if (at == attempts.end()) {
    ++counters.stray;
    if (const auto late = stuck.find(event.result.id()); late != stuck.end()) {
      FreeSlot(late->second);
      stuck.erase(late);
    }
    return;
  }
  const std::unique_ptr<Attempt> attempt = End(at);
  if (attempt->message != nullptr && !attempt->notice) Judge(*attempt, event.result);
  Feedback(*attempt, event.result);
  Conclude(*attempt, event);
}

// Its recipients and its destination have been judged.
void State::Conclude(const Attempt& attempt, DeliveryDone& event) {
  Freed(attempt.destination);
  UpdateReady(attempt.destination);
  ForgetIfIdle(attempt.destination);
  Message* message = attempt.message;
  if (message == nullptr) return;
  if (attempt.notice && !message->deleted) NoticeDone(message, event);
  FinishRound(message);
}

// One MessageOutcome of what the agent said; recipients that it left out are deferred.
void State::Judge(const Attempt& attempt, scheduler::v1::DeliveryResult& result) {
  Message* message = attempt.message;
  message->damaged = message->damaged || result.contents_damaged();
  queue::v1::MessageOutcome outcomes;
  std::vector<bool> used(result.outcomes_size());
  for (size_t i = 0; i < attempt.targets.size(); ++i) {
    const uint32_t number = message->targets[attempt.targets[i]].recipient.number();
    Outcome outcome = AgentFailure();
    // Agents answer in the order of the delivery: the first look nearly always hits.
    for (int k = 0; k < result.outcomes_size(); ++k) {
      const int at = (i + k) % result.outcomes_size();
      if (used[at] || result.outcomes(at).recipient_number() != number) continue;
      used[at] = true;
      if (result.outcomes(at).action() != Outcome::ACTION_UNSPECIFIED) {
        outcome = std::move(*result.mutable_outcomes(at));
      }
      break;
    }
    outcome.set_recipient_number(number);
    Add(message, attempt.targets[i], std::move(outcome), &outcomes);
  }
  Commit(message, std::move(outcomes), attempt.destination->transport->name,
         attempt.destination->nexthop);
}

void State::Feedback(const Attempt& attempt, const scheduler::v1::DeliveryResult& result) {
  // An attempt that was told to stop says nothing about the destination. Notices have no
  // destination that could die.
  if (attempt.cancelled || attempt.notice || result.no_feedback()) return;
  Destination* destination = attempt.destination;
  const TransportLimits& limits = destination->transport->limits;
  if (!result.destination_failed()) {
    const bool was_dead = destination->window.dead();
    destination->window.Succeeded(limits, destination->busy);
    if (was_dead) dead.erase({destination->dead_until_ms, destination->serial});
  } else if (destination->window.Failed(limits)) {
    Kill(destination, result);
  }
}

void State::NoticeDone(Message* message, DeliveryDone& event) {
  const scheduler::v1::DeliveryResult& result = event.result;
  // An answer without notice means that nobody is to be told; a failure, however it is said, does
  // not.
  if (result.notice_failed() || result.destination_failed()) {
    if (message->notice_kind == scheduler::v1::Delivery::NOTICE_KIND_DELAY || message->recalled) {
      // The next deferral, or whoever is given the message next, tries again.
      message->in_notice.clear();
      return;
    }
    message->in_notice.clear();
    return Rest(message, steady_ms + config.minimal_backoff_ms);
  }
  Notify(message, &event);
}

void State::On(WorkerJoined& event) {
  auto worker = std::make_unique<Worker>();
  worker->id = event.worker;
  for (const auto& announced : event.hello.transports()) Announce(worker.get(), announced);
  workers[event.worker] = std::move(worker);
}

void State::Announce(Worker* worker, const scheduler::v1::TransportSlots& announced) {
  if (announced.slots() == 0) return;
  Transport* transport = TransportOf(announced.transport());
  auto slots = std::make_unique<Slots>();
  slots->worker = worker->id;
  slots->transport = transport;
  slots->total = announced.slots();
  transport->slots += slots->total;
  ++transport->announced;
  transport->free.push_back(slots.get());
  worker->slots.push_back(std::move(slots));
  Serve(transport);
}

// What it has runs on; the slots are not there any more, but for whoever looks for their transport.
void State::On(WorkerDraining& event) {
  const auto found = workers.find(event.worker);
  if (found == workers.end()) return;
  for (const auto& slots : found->second->slots) SetTotal(slots.get(), 0);
}

void State::On(WorkerLeft& event) {
  const auto found = workers.find(event.worker);
  if (found == workers.end()) return;
  const std::unique_ptr<Worker> worker = std::move(found->second);
  workers.erase(found);
  std::vector<std::unique_ptr<Attempt>> lost;
  for (auto at = attempts.begin(); at != attempts.end();) {
    const auto next = std::next(at);
    if (at->second->slots->worker != worker->id) {
      at = next;
      continue;
    }
    const uint64_t id = at->first;
    lost.push_back(End(at));
    at = attempts.upper_bound(id);
  }
  absl::erase_if(stuck, [&](const auto& one) { return one.second->worker == worker->id; });
  // By name: a transport may be forgotten on the way.
  std::vector<std::string> names;
  for (const auto& slots : worker->slots) {
    Transport* transport = slots->transport;
    names.push_back(transport->name);
    transport->slots -= slots->total;
    --transport->announced;
    std::erase(transport->free, slots.get());
  }
  for (const auto& attempt : lost) Lost(*attempt, "its worker was lost");
  // Last first: each goes in front of what waits, so that the first is the first again.
  ++losses;
  for (auto at = lost.rbegin(); at != lost.rend(); ++at) TryAgain(**at);
  // Each once, and after all its attempts: a deleted one is gone afterwards.
  std::map<uint64_t, Message*> touched;
  for (const auto& attempt : lost) {
    if (attempt->message != nullptr) touched[attempt->message->serial] = attempt->message;
  }
  for (const auto& [serial, message] : touched) FinishRound(message);
  for (const std::string& name : names) {
    const auto at = transports.find(name);
    if (at == transports.end()) continue;
    Transport* transport = at->second.get();
    if (transport->slots == 0 && !transport->jobs.empty()) AwaitWorker(transport);
    ForgetIfIdle(transport);
  }
}

// Agents have limits of their own; one that forgot its attempt must not hold mail and window for
// ever. Its worker may be as stuck: the slot stays taken.
void State::GiveUpStuck() {
  while (StuckAt() <= steady_ms) {
    const auto at = attempts.begin();
    if (!at->second->cancelled) {
      actions->cancel.push_back({.worker = at->second->slots->worker, .delivery = at->first});
    }
    const std::unique_ptr<Attempt> attempt = TakeOut(at);
    stuck.emplace(attempt->id, attempt->slots);
    Lost(*attempt, "its worker does not answer");
    DeliveryDone silence;
    if (attempt->message != nullptr && !attempt->notice) Judge(*attempt, silence.result);
    silence.result.set_notice_failed(attempt->notice);
    Conclude(*attempt, silence);
  }
}

// A notice is not in doubt: until its Notify is committed nothing has happened.
void State::Lost(const Attempt& attempt, std::string_view why) {
  if (attempt.message == nullptr || attempt.notice) return;
  ++counters.in_doubt;
  LogLine& line = actions->log.emplace_back();
  line.kind = LogLine::Kind::kInDoubt;
  line.queue_id = attempt.message->queue_id;
  line.delivery = attempt.id;
  line.transport = attempt.destination->transport->name;
  line.text = why;
}

// A worker that goes is one loss, however many attempts of the message it had.
int State::CountLoss(Message* message) const {
  if (message->last_loss != losses) ++message->attempts_lost;
  message->last_loss = losses;
  return message->attempts_lost;
}

void State::TryAgain(const Attempt& attempt) {
  Message* message = attempt.message;
  Destination* destination = attempt.destination;
  Freed(destination);
  if (message == nullptr) {
    // Of a forgotten session: only its place in the window is given back.
  } else if (message->deleted || message->recalled || message->kept) {
    for (const uint32_t target : attempt.targets) EndTarget(&message->targets[target]);
  } else if (attempt.notice) {
    WaitForNotice(message);
  } else if (message->forced_expire) {
    Settle(message, attempt.targets, {.status = kForceExpiredStatus, .text = kForceExpiredText},
           destination->transport->name, destination->nexthop);
  } else if (CountLoss(message) > config.lost_attempts_max) {
    const Outcome outcome = AgentFailure();
    Settle(message, attempt.targets, {.status = outcome.status(), .text = outcome.text()},
           destination->transport->name, destination->nexthop);
  } else if (destination->window.dead()) {
    Settle(message, attempt.targets,
           {.status = destination->dead_status, .text = destination->dead_text},
           destination->transport->name, destination->nexthop);
  } else {
    Wait(message, destination, attempt.targets, /*first=*/true);
  }
  UpdateReady(destination);
  ForgetIfIdle(destination);
}

}  // namespace postfleet::scheduler
