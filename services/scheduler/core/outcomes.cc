// What became of recipients and messages: outcomes, expiry, deletion.
#include <algorithm>
#include <utility>

#include "services/scheduler/core/state.h"

namespace postfleet::scheduler {

using mail::v1::Outcome;

bool State::Expired(const Message& message) const {
  const int64_t lifetime = message.envelope.sender().empty() ? config.bounce_queue_lifetime_ms
                                                             : config.maximal_queue_lifetime_ms;
  return now_ms >= message.create_ms + lifetime;
}

void State::EndTarget(Target* target) {
  if (target->phase == Target::Phase::kDone) return;
  target->phase = Target::Phase::kDone;
  --recipients;
}

// Ends a target. A deferral past the lifetime becomes a bounce; status and text stay those of the
// last attempt.
void State::Add(Message* message, uint32_t target, Outcome outcome,
                queue::v1::MessageOutcome* outcomes) {
  Target& ended = message->targets[target];
  EndTarget(&ended);
  if (message->deleted && outcome.action() != Outcome::ACTION_SENT) return;
  const bool is_probe = message->envelope.probe();
  // There is no second attempt.
  if (is_probe && outcome.action() == Outcome::ACTION_DEFERRED && !message->recalled) {
    outcome.set_action(Outcome::ACTION_BOUNCED);
  }
  if (config.soft_bounce && !is_probe && outcome.action() == Outcome::ACTION_BOUNCED) {
    outcome.set_action(Outcome::ACTION_DEFERRED);
    if (outcome.status().starts_with('5')) (*outcome.mutable_status())[0] = '4';
  }
  // Held mail does not expire, and what was called off was no attempt. What is damaged cannot be
  // returned: the queue puts it aside.
  if (outcome.action() == Outcome::ACTION_DEFERRED && !message->recalled && !message->damaged &&
      (message->forced_expire || Expired(*message))) {
    outcome.set_action(Outcome::ACTION_BOUNCED);
    LogExpiry(message);
  }
  outcome.set_notice_owed(SuccessIsOwed(*message, ended, &outcome));
  std::vector<queue::v1::BouncedRecipient>* list = nullptr;
  if (is_probe && IsReported(*message) && outcome.action() != Outcome::ACTION_DEFERRED) {
    list = &message->succeeded;
  } else if (outcome.action() == Outcome::ACTION_BOUNCED) {
    list = &message->bounced;
  } else if (outcome.action() == Outcome::ACTION_DEFERRED && IsReported(*message)) {
    list = &message->reported;
  } else if (outcome.notice_owed()) {
    list = &message->succeeded;
  } else if (outcome.action() == Outcome::ACTION_DEFERRED &&
             TellsOfDelay(*message, ended.recipient)) {
    list = &message->delayed;
  }
  if (outcome.action() != Outcome::ACTION_DEFERRED && !message->delayed.empty()) {
    std::erase_if(message->delayed, [&](const queue::v1::BouncedRecipient& one) {
      return one.recipient().number() == ended.recipient.number();
    });
  }
  if (list != nullptr) {
    queue::v1::BouncedRecipient& told = list->emplace_back();
    *told.mutable_recipient() = ended.recipient;
    *told.mutable_outcome() = outcome;
    if (outcome.notice_owed() && !IsReported(*message)) AskForSuccess(told.mutable_recipient());
  }
  *outcomes->add_outcomes() = std::move(outcome);
}

void State::LogExpiry(Message* message) {
  if (std::exchange(message->expiry_logged, true)) return;
  ++counters.expired_messages;
  LogLine& line = actions->log.emplace_back();
  line.kind = message->forced_expire ? LogLine::Kind::kForceExpired : LogLine::Kind::kExpired;
  line.queue_id = message->queue_id;
  line.sender = message->envelope.sender();
}

void State::Say(Message* message, uint32_t target, const Verdict& verdict,
                queue::v1::MessageOutcome* outcomes) {
  const mail::v1::Recipient& recipient = message->targets[target].recipient;
  Outcome outcome;
  outcome.set_recipient_number(recipient.number());
  outcome.set_action(verdict.action);
  outcome.set_status(std::string(verdict.status));
  outcome.set_text(std::string(verdict.text));
  // Only discard(8) says so.
  if (verdict.action == Outcome::ACTION_SENT) outcome.set_success(Outcome::SUCCESS_DELIVERED);
  LogLine& line = actions->log.emplace_back();
  line.kind = LogLine::Kind::kRecipient;
  line.program = verdict.program;
  line.queue_id = message->queue_id;
  line.recipient = recipient.address();
  line.original_recipient = recipient.original_address();
  line.delay_a_ms = message->active_ms - message->envelope.arrival_ms();
  line.delay_b_ms = std::max<int64_t>(0, now_ms - message->active_ms);
  line.dsn = outcome.status();
  const bool is_sent = verdict.action == Outcome::ACTION_SENT;
  line.status = message->envelope.probe() ? (is_sent ? "deliverable" : "undeliverable")
                : is_sent                 ? "sent"
                : verdict.action != Outcome::ACTION_BOUNCED ? "deferred"
                : config.soft_bounce                        ? "SOFTBOUNCE"
                                                            : "bounced";
  line.text = outcome.text();
  Add(message, target, std::move(outcome), outcomes);
}

void State::Settle(Message* message, std::span<const uint32_t> targets, const Verdict& verdict,
                   std::string_view transport, std::string_view nexthop) {
  queue::v1::MessageOutcome outcomes;
  for (const uint32_t target : targets) Say(message, target, verdict, &outcomes);
  Commit(message, std::move(outcomes), transport, nexthop);
}

// POSTFIX qmgr_active: the older the message, the longer it waits, from its creation on.
void State::Commit(Message* message, queue::v1::MessageOutcome outcomes, std::string_view transport,
                   std::string_view nexthop) {
  if (outcomes.outcomes().empty()) return;
  outcomes.set_queue_id(message->queue_id);
  const auto deferred = [](const Outcome& outcome) {
    return outcome.action() == Outcome::ACTION_DEFERRED;
  };
  if (std::any_of(outcomes.outcomes().begin(), outcomes.outcomes().end(), deferred)) {
    const int64_t age_ms = now_ms - message->create_ms;
    outcomes.set_retry_at_ms(
        now_ms + std::max(config.minimal_backoff_ms, std::min(age_ms, config.maximal_backoff_ms)));
    outcomes.set_transport(std::string(transport));
    outcomes.set_nexthop(std::string(nexthop));
    if (!message->kept) NoteDeferring(message, outcomes);
  }
  Await(message, outcomes);
  // Else the next session begins with it.
  if (session_open) actions->commit.push_back(std::move(outcomes));
}

// A flush that comes before it is durable means it, too.
void State::NoteDeferring(Message* message, const queue::v1::MessageOutcome& outcomes) {
  queue::v1::PutOff& deferring = message->deferring.emplace_back();
  deferring.set_queue_id(message->queue_id);
  deferring.set_transport(outcomes.transport());
  deferring.set_nexthop(outcomes.nexthop());
  for (const Outcome& outcome : outcomes.outcomes()) {
    if (outcome.action() != Outcome::ACTION_DEFERRED) continue;
    deferring.add_recipient_numbers(outcome.recipient_number());
  }
}

void State::Await(Message* message, queue::v1::MessageOutcome said) {
  message->said.push_back(std::move(said));
}

void State::On(Committed& event) {
  const queue::v1::Committed& committed = event.committed;
  // Of a late one the queue has said so.
  if (committed.late()) {
    ++counters.late;
  } else if (committed.removed()) {
    LogLine& line = actions->log.emplace_back();
    line.kind = LogLine::Kind::kRemoved;
    line.queue_id = committed.queue_id();
  }
  const auto found = messages.find(committed.queue_id());
  if (found == messages.end()) return;
  Message* message = found->second.get();
  if (!message->said.empty()) {
    message->said.erase(message->said.begin());
    if (message->said.empty()) message->deferring.resize(message->flush_again);
  }
  if (committed.removed() || committed.late()) Remove(message);
  FinishRound(message);
}

void State::On(Deleted& event) {
  const auto found = messages.find(event.queue_id);
  if (found == messages.end()) return;
  Message* message = found->second.get();
  Remove(message);
  FinishRound(message);
}

// The queue has nothing left of the message: nothing is started any more, and what runs is told to
// stop.
void State::Remove(Message* message) {
  if (message->deleted) return;
  message->deleted = true;
  DropWaiting(message);
  CancelAttempts(message);
}

void State::On(Recalled& event) {
  const auto found = messages.find(event.queue_id);
  if (found == messages.end()) return;
  Message* message = found->second.get();
  if (message->deleted || message->recalled) return;
  message->recalled = true;
  // A notice that runs may still be made, and is then about these.
  std::vector<queue::v1::BouncedRecipient> in_notice;
  if (!message->attempts.empty()) in_notice = std::move(message->in_notice);
  DropWaiting(message);
  message->in_notice = std::move(in_notice);
  CancelAttempts(message);
  FinishRound(message);
}

void State::CancelAttempts(Message* message) {
  std::vector<uint64_t> running = message->attempts;
  std::sort(running.begin(), running.end());
  for (const uint64_t id : running) {
    Attempt& attempt = *attempts.find(id)->second;
    if (std::exchange(attempt.cancelled, true)) continue;
    actions->cancel.push_back({.worker = attempt.slots->worker, .delivery = id});
  }
}

}  // namespace postfleet::scheduler
