// Who is told of what, and the end of a round: notices, warnings of delay, release.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "services/scheduler/core/state.h"
#include "services/scheduler/core/verp.h"

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

// POSTFIX sent(3), confirm_delay_cleared.
bool State::TellsOfCleared(const Message& message, const mail::v1::Recipient& recipient) const {
  return config.confirm_delay_cleared && message.delay_warned &&
         Wants(recipient, mail::v1::NOTIFY_FLAG_DELAY);
}

// POSTFIX sendmail(1), -v and -bv: of mail without sender nobody is told.
bool State::IsReported(const Message& message) {
  const mail::v1::Envelope& envelope = message.envelope;
  return (envelope.trace() || envelope.probe()) && !envelope.sender().empty() &&
         !envelope.is_notice() && !message.deleted;
}

// Whoever was warned of is told of here, also where the next server would tell.
bool State::SuccessIsOwed(const Message& message, const Target& target, Outcome* outcome) const {
  if (message.deleted || message.envelope.is_notice()) return false;
  if (outcome->action() != Outcome::ACTION_SENT) return false;
  if (IsReported(message)) return true;
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

void State::FinishRound(Message* message) {
  if (message->kept) {
    if (message->attempts.empty() && message->said.empty()) {
      messages.erase(messages.find(message->queue_id));
    }
    return;
  }
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
    message->reported.clear();
  }
  // A notice that waits, runs or is to be made again ends the round later.
  if (!message->in_notice.empty()) return;
  using scheduler::v1::Delivery;
  CloseUntold(message);
  if (IsReported(*message)) GatherReport(message);
  if (!message->bounced.empty()) {
    return BeginNotice(message, &message->bounced, Delivery::NOTICE_KIND_FAILURE);
  }
  if (!message->succeeded.empty()) {
    return BeginNotice(message, &message->succeeded, Delivery::NOTICE_KIND_SUCCESS);
  }
  if (!message->reported.empty()) {
    // With nothing to close a notice is made once for a message: it takes the warning's place.
    if (!message->delay_warned) {
      BeginNotice(message, &message->reported, Delivery::NOTICE_KIND_DELAY);
      message->reported.clear();
      return;
    }
    message->reported.clear();
  }
  if (WarningIsDue(*message)) {
    KeepLast(&message->delayed);
    BeginNotice(message, &message->delayed, Delivery::NOTICE_KIND_DELAY);
    // Once for a message: what one notice does not hold is not told.
    message->delayed.clear();
    return;
  }
  if (!message->said.empty()) return;
  if (message->flush_again == 0 || message->deleted || message->recalled) return Release(message);
  // Due by now, so that the release finds them.
  for (queue::v1::PutOff& again : message->deferring) {
    again.set_retry_at_ms(now_ms);
    actions->put_off.push_back(std::move(again));
    Await(message);
  }
  message->deferring.clear();
  message->flush_again = 0;
}

// One report tells of the whole round. Naming a deferred recipient closes nothing.
void State::GatherReport(Message* message) {
  const auto move_to = [](std::vector<queue::v1::BouncedRecipient>* from,
                          std::vector<queue::v1::BouncedRecipient>* to) {
    to->insert(to->end(), std::make_move_iterator(from->begin()),
               std::make_move_iterator(from->end()));
    from->clear();
  };
  if (!message->bounced.empty()) move_to(&message->succeeded, &message->bounced);
  if (!message->bounced.empty()) {
    move_to(&message->reported, &message->bounced);
  } else if (!message->succeeded.empty()) {
    move_to(&message->reported, &message->succeeded);
  }
}

void State::CloseUntold(Message* message) {
  if (IsReported(*message)) return;
  // The agent decides what is to be told about mail that has no sender: the postmaster may be.
  const auto told = [this](const queue::v1::BouncedRecipient& one) {
    // Parts of it failed; of the whole, success may be told.
    if (!one.outcome().success_text().empty() &&
        Wants(one.recipient(), mail::v1::NOTIFY_FLAG_SUCCESS)) {
      return true;
    }
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
  // POSTFIX bounce_flush_verp: each goes to another address.
  const bool one_each = config.verp_bounces && IsVerp(message->envelope) &&
                        kind == scheduler::v1::Delivery::NOTICE_KIND_FAILURE;
  const size_t max = one_each ? 1 : config.notice_recipients_max;
  const auto end = recipients->begin() + std::min(recipients->size(), max);
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
  Await(message);
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
