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

// RFC 3461, 4.1: nothing said is FAILURE and DELAY.
bool Wants(const mail::v1::Recipient& recipient, mail::v1::NotifyFlag flag) {
  return recipient.dsn_notify() == 0 ? flag != mail::v1::NOTIFY_FLAG_SUCCESS
                                     : (recipient.dsn_notify() & flag) != 0;
}

}  // namespace

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

// POSTFIX sent(3), confirm_delay_cleared.
bool State::TellsOfCleared(const Message& message, const mail::v1::Recipient& recipient) const {
  return config.confirm_delay_cleared && message.delay_warned &&
         Wants(recipient, mail::v1::NOTIFY_FLAG_DELAY);
}

// Whoever was warned of is told of here, also where the next server would tell.
bool State::SuccessIsOwed(const Message& message, const Target& target, Outcome* outcome) const {
  if (message.deleted || message.envelope.is_notice()) return false;
  if (outcome->action() != Outcome::ACTION_SENT) return false;
  if (outcome->success() == Outcome::SUCCESS_UNSPECIFIED) return false;
  const bool passed_on = outcome->success() == Outcome::SUCCESS_PASSED_ON;
  if (TellsOfCleared(message, target.recipient)) {
    if (passed_on) outcome->set_success(Outcome::SUCCESS_RELAYED);
    return true;
  }
  return !passed_on && Wants(target.recipient, mail::v1::NOTIFY_FLAG_SUCCESS);
}

void State::AskForSuccess(mail::v1::Recipient* recipient) {
  recipient->set_dsn_notify(recipient->dsn_notify() | mail::v1::NOTIFY_FLAG_SUCCESS);
}

// Ends a target. A deferral past the lifetime becomes a bounce; status and text stay those of the
// last attempt.
void State::Add(Message* message, uint32_t target, Outcome outcome,
                queue::v1::MessageOutcome* outcomes) {
  Target& ended = message->targets[target];
  EndTarget(&ended);
  if (message->deleted && outcome.action() != Outcome::ACTION_SENT) return;
  if (config.soft_bounce && outcome.action() == Outcome::ACTION_BOUNCED) {
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
  if (outcome.action() == Outcome::ACTION_BOUNCED) {
    list = &message->bounced;
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
    if (outcome.notice_owed()) AskForSuccess(told.mutable_recipient());
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

bool State::TellsOfDelay(const Message& message, const mail::v1::Recipient& recipient) const {
  return MayWarn(message) &&
         (config.postmaster_gets_delays || Wants(recipient, mail::v1::NOTIFY_FLAG_DELAY));
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
  line.status = verdict.action == Outcome::ACTION_SENT      ? "sent"
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
    queue::v1::PutOff& deferring = message->deferring.emplace_back();
    deferring.set_queue_id(message->queue_id);
    deferring.set_transport(outcomes.transport());
    deferring.set_nexthop(outcomes.nexthop());
    for (const Outcome& outcome : outcomes.outcomes()) {
      if (deferred(outcome)) deferring.add_recipient_numbers(outcome.recipient_number());
    }
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
  if (message->uncommitted > 0 && --message->uncommitted == 0) {
    message->deferring.resize(message->flush_again);
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

void State::FinishRound(Message* message) {
  if (message->left > 0) {
    // The round goes on with those.
    return MoreIfWanted(message);
  }
  if (message->resolving > 0 || message->waiting > 0 || !message->attempts.empty()) return;
  if (message->recalled) {
    // Whoever is given the message next tells of them.
    message->in_notice.clear();
    message->bounced.clear();
    message->succeeded.clear();
  }
  // A notice that waits, runs or is to be made again ends the round later.
  if (!message->in_notice.empty()) return;
  using scheduler::v1::Delivery;
  CloseUntold(message);
  if (!message->bounced.empty()) {
    return BeginNotice(message, &message->bounced, Delivery::NOTICE_KIND_FAILURE);
  }
  if (!message->succeeded.empty()) {
    return BeginNotice(message, &message->succeeded, Delivery::NOTICE_KIND_SUCCESS);
  }
  if (WarningIsDue(*message)) {
    KeepLast(&message->delayed);
    BeginNotice(message, &message->delayed, Delivery::NOTICE_KIND_DELAY);
    // Once for a message: what one notice does not hold is not told.
    message->delayed.clear();
    return;
  }
  if (message->uncommitted > 0) return;
  if (message->flush_again == 0 || message->deleted || message->recalled) return Release(message);
  // Due by now, so that the release finds them.
  for (queue::v1::PutOff& again : message->deferring) {
    again.set_retry_at_ms(now_ms);
    actions->put_off.push_back(std::move(again));
    ++message->uncommitted;
  }
  message->deferring.clear();
  message->flush_again = 0;
}

void State::CloseUntold(Message* message) {
  // The agent decides what is to be told about mail that has no sender: the postmaster may be.
  const auto told = [this](const queue::v1::BouncedRecipient& one) {
    return config.postmaster_gets_bounces || Wants(one.recipient(), mail::v1::NOTIFY_FLAG_FAILURE);
  };
  std::vector<queue::v1::BouncedRecipient>& bounced = message->bounced;
  const auto untold = std::stable_partition(bounced.begin(), bounced.end(), told);
  if (untold == bounced.end()) return;
  message->in_notice.assign(std::make_move_iterator(untold),
                            std::make_move_iterator(bounced.end()));
  message->notice_kind = scheduler::v1::Delivery::NOTICE_KIND_FAILURE;
  bounced.erase(untold, bounced.end());
  Notify(message, nullptr);
}

void State::BeginNotice(Message* message, std::vector<queue::v1::BouncedRecipient>* recipients,
                        NoticeKind kind) {
  const auto end = recipients->begin() + std::min(recipients->size(), config.notice_recipients_max);
  message->in_notice.assign(std::make_move_iterator(recipients->begin()),
                            std::make_move_iterator(end));
  recipients->erase(recipients->begin(), end);
  message->notice_kind = kind;
  LetGoOfBody(message);
  WaitForNotice(message);
}

// Closes what the notice is about; without `made`, or when nothing was made, nobody is told.
void State::Notify(Message* message, DeliveryDone* made) {
  SendNotify& send = actions->notify.emplace_back();
  send.kind = message->notice_kind;
  send.notify.set_queue_id(message->queue_id);
  for (const auto& bounced : message->in_notice) {
    send.notify.add_recipient_numbers(bounced.recipient().number());
  }
  if (message->notice_kind == scheduler::v1::Delivery::NOTICE_KIND_DELAY) {
    send.notify.set_delay_warning(true);
    message->delay_warned = true;
    message->delayed.clear();
  }
  if (made != nullptr && made->result.has_notice()) {
    *send.notify.mutable_notice() = std::move(*made->result.mutable_notice());
    send.body = std::move(made->notice_body);
  }
  if (made != nullptr && made->result.has_copy()) {
    *send.notify.mutable_copy() = std::move(*made->result.mutable_copy());
    send.copy_body = std::move(made->copy_body);
  }
  message->in_notice.clear();
  ++message->uncommitted;
}

void State::Release(Message* message) {
  EndEmptyJobs(message);
  LetGoOfBody(message);
  if (message->rest_until_ms > 0) {
    queue::v1::Rest& rest = actions->rest.emplace_back();
    rest.set_queue_id(message->queue_id);
    rest.set_until_ms(message->rest_until_ms - set_back_ms);
  } else {
    actions->release.push_back(message->queue_id);
  }
  messages.erase(messages.find(message->queue_id));
}

}  // namespace postfleet::scheduler
