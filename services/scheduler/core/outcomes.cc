// What became of recipients and messages: outcomes, expiry, notices, release.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "services/scheduler/core/destination.h"
#include "services/scheduler/core/state.h"

namespace postfleet::scheduler {

using mail::v1::Outcome;

namespace {

// Of a recipient that is told of twice the last.
void KeepLast(std::vector<queue::v1::BouncedRecipient>* told) {
  absl::flat_hash_set<uint32_t> seen;
  std::reverse(told->begin(), told->end());
  std::erase_if(*told, [&](const queue::v1::BouncedRecipient& one) {
    return !seen.insert(one.recipient().number()).second;
  });
  std::reverse(told->begin(), told->end());
}

}  // namespace

bool State::Expired(const Message& message) const {
  const int64_t lifetime = message.envelope.sender().empty() ? config.bounce_queue_lifetime_ms
                                                             : config.maximal_queue_lifetime_ms;
  return now_ms >= message.create_ms + lifetime;
}

// Ends a target. A deferral past the lifetime becomes a bounce; status and text stay those of the
// last attempt.
void State::Add(Message* message, uint32_t target, Outcome outcome,
                queue::v1::MessageOutcome* outcomes) {
  Target& ended = message->targets[target];
  ended.phase = Target::Phase::kDone;
  if (message->deleted && outcome.action() != Outcome::ACTION_SENT) return;
  // Held mail does not expire, and what was called off was no attempt. What is damaged cannot be
  // returned: the queue puts it aside.
  if (outcome.action() == Outcome::ACTION_DEFERRED && !message->recalled && !message->damaged &&
      (message->forced_expire || Expired(*message))) {
    outcome.set_action(Outcome::ACTION_BOUNCED);
    LogExpiry(message);
  }
  const bool bounces = outcome.action() == Outcome::ACTION_BOUNCED;
  if (bounces || (outcome.action() == Outcome::ACTION_DEFERRED && MayWarn(*message))) {
    auto& list = bounces ? message->bounced : message->delayed;
    queue::v1::BouncedRecipient& told = list.emplace_back();
    *told.mutable_recipient() = ended.recipient;
    *told.mutable_outcome() = outcome;
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

bool State::MayWarn(const Message& message) const {
  if (config.delay_warning_ms == 0 || message.delay_warned) return false;
  if (message.recalled || message.deleted || message.damaged) return false;
  return !message.envelope.sender().empty() && !message.envelope.is_notice();
}

// POSTFIX qmgr_active: judged when a round ends, from the message's arrival on.
bool State::WarningIsDue(const Message& message) const {
  return !message.delayed.empty() && MayWarn(message) && !message.forced_expire &&
         !Expired(message) && now_ms >= message.envelope.arrival_ms() + config.delay_warning_ms;
}

void State::Say(Message* message, uint32_t target, const Verdict& verdict,
                queue::v1::MessageOutcome* outcomes) {
  const mail::v1::Recipient& recipient = message->targets[target].recipient;
  Outcome outcome;
  outcome.set_recipient_number(recipient.number());
  outcome.set_action(verdict.action);
  outcome.set_status(std::string(verdict.status));
  outcome.set_text(std::string(verdict.text));
  LogLine& line = actions->log.emplace_back();
  line.kind = LogLine::Kind::kRecipient;
  line.program = verdict.program;
  line.queue_id = message->queue_id;
  line.recipient = recipient.address();
  line.original_recipient = recipient.original_address();
  line.delay_a_ms = message->active_ms - message->envelope.arrival_ms();
  line.delay_b_ms = now_ms - message->active_ms;
  line.dsn = outcome.status();
  line.status = verdict.action == Outcome::ACTION_SENT      ? "sent"
                : verdict.action == Outcome::ACTION_BOUNCED ? "bounced"
                                                            : "deferred";
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
  }
  ++message->uncommitted;
  actions->commit.push_back(std::move(outcomes));
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
  if (message->uncommitted > 0) --message->uncommitted;
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

void State::FinishRound(Message* message) {
  if (message->resolving > 0 || message->waiting > 0 || !message->attempts.empty()) return;
  if (message->recalled) {
    // Whoever is given the message next tells of them.
    message->in_notice.clear();
    message->bounced.clear();
  }
  // A notice that waits, runs or is to be made again ends the round later.
  if (!message->in_notice.empty()) return;
  if (!message->bounced.empty()) {
    std::vector<queue::v1::BouncedRecipient> bounced = std::move(message->bounced);
    message->bounced.clear();
    if (!message->envelope.sender().empty() && !message->envelope.is_notice()) {
      return BeginNotice(message, std::move(bounced), /*warns=*/false);
    }
    message->in_notice = std::move(bounced);
    Notify(message, nullptr, nullptr);
  }
  if (WarningIsDue(*message)) {
    std::vector<queue::v1::BouncedRecipient> delayed = std::move(message->delayed);
    message->delayed.clear();
    KeepLast(&delayed);
    return BeginNotice(message, std::move(delayed), /*warns=*/true);
  }
  if (message->uncommitted == 0) Release(message);
}

void State::BeginNotice(Message* message, std::vector<queue::v1::BouncedRecipient> recipients,
                        bool warns) {
  message->in_notice = std::move(recipients);
  message->notice_warns = warns;
  LetGoOfBody(message);
  WaitForNotice(message);
}

// Closes what the notice is about; without `notice` nobody is told.
void State::Notify(Message* message, queue::v1::Submission* notice, BodyPtr body) {
  SendNotify& send = actions->notify.emplace_back();
  send.notify.set_queue_id(message->queue_id);
  for (const auto& bounced : message->in_notice) {
    send.notify.add_recipient_numbers(bounced.recipient().number());
  }
  if (std::exchange(message->notice_warns, false)) {
    send.notify.set_delay_warning(true);
    message->delay_warned = true;
    message->delayed.clear();
  }
  if (notice != nullptr) {
    *send.notify.mutable_notice() = std::move(*notice);
    send.body = std::move(body);
  }
  message->in_notice.clear();
  ++message->uncommitted;
}

void State::Release(Message* message) {
  LetGoOfBody(message);
  actions->release.push_back(message->queue_id);
  messages.erase(messages.find(message->queue_id));
}

}  // namespace postfleet::scheduler
