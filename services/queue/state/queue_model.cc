#include "services/queue/state/queue_model.h"

#include <algorithm>

#include "libs/base/concat.h"

namespace postfleet::queue {
namespace {

bool In(const std::vector<v1::QueueName>& queues, v1::QueueName queue) {
  return std::find(queues.begin(), queues.end(), queue) != queues.end();
}

void MakeDue(QueueModel::Message* message, int64_t now_ms) {
  for (QueueModel::Recipient& recipient : message->recipients) {
    if (recipient.state == QueueModel::kWaiting) {
      recipient.due_ms = std::min(recipient.due_ms, now_ms);
    }
  }
}

}  // namespace

size_t QueueModel::Message::Count(State wanted) const {
  return static_cast<size_t>(
      std::count_if(recipients.begin(), recipients.end(),
                    [wanted](const Recipient& one) { return one.state == wanted; }));
}

v1::QueueName QueueModel::Message::Queue() const {
  if (!corrupt.empty()) return v1::QUEUE_NAME_CORRUPT;
  if (held) return v1::QUEUE_NAME_HOLD;
  if (Count(kPending) == 0 && Count(kWaiting) > 0) return v1::QUEUE_NAME_DEFERRED;
  return v1::QUEUE_NAME_INCOMING;
}

uint64_t QueueModel::Message::Bytes() const {
  uint64_t bytes = 0;
  for (const std::string& chunk : chunks) bytes += chunk.size();
  return bytes;
}

void QueueModel::Tidy(const std::string& queue_id) {
  const Message& message = messages.at(queue_id);
  if (message.Count(kGone) == message.recipients.size()) messages.erase(queue_id);
}

void QueueModel::Report(const v1::MessageOutcome& message_outcome) {
  const auto found = messages.find(message_outcome.queue_id());
  if (found == messages.end()) {
    ++late;
    return;
  }
  for (const mail::v1::Outcome& outcome : message_outcome.outcomes()) {
    if (outcome.recipient_number() >= found->second.recipients.size()) continue;
    Recipient& recipient = found->second.recipients[outcome.recipient_number()];
    if (recipient.state != kPending && recipient.state != kWaiting) continue;
    recipient.sent = outcome.action() == kSent;
    recipient.state = outcome.action() == kDeferred              ? kWaiting
                      : recipient.sent && !outcome.notice_owed() ? kGone
                                                                 : kOwed;
    recipient.reason = outcome.text();
    recipient.due_ms = message_outcome.retry_at_ms();
  }
  Tidy(message_outcome.queue_id());
}

void QueueModel::PutOff(const std::string& queue_id, const std::vector<uint32_t>& numbers,
                        int64_t retry_at_ms) {
  const auto found = messages.find(queue_id);
  if (found == messages.end()) return;
  for (uint32_t number : numbers) {
    if (number >= found->second.recipients.size()) continue;
    Recipient& recipient = found->second.recipients[number];
    if (recipient.state != kPending && recipient.state != kWaiting) continue;
    recipient.state = kWaiting;
    recipient.due_ms = retry_at_ms;
  }
}

bool QueueModel::Notify(const std::string& queue_id, const std::vector<uint32_t>& numbers) {
  const auto found = messages.find(queue_id);
  if (found == messages.end()) {
    ++late;
    return false;
  }
  bool closed = false;
  for (uint32_t number : numbers) {
    if (number >= found->second.recipients.size()) continue;
    Recipient& recipient = found->second.recipients[number];
    if (recipient.state != kOwed) continue;
    recipient.state = kGone;
    closed = true;
  }
  Tidy(queue_id);
  return closed;
}

bool QueueModel::WarnOfDelay(const std::string& queue_id) {
  const auto found = messages.find(queue_id);
  if (found == messages.end()) {
    ++late;
    return false;
  }
  return !std::exchange(found->second.warned, true);
}

bool QueueModel::Act(v1::Action action, Message* message, int64_t now_ms) {
  switch (action) {
    case v1::ACTION_DELETE:
    case v1::ACTION_REQUEUE:
      return true;
    case v1::ACTION_HOLD:
      if (message->Parked()) return false;
      message->held = true;
      return true;
    case v1::ACTION_RELEASE:
      if (!message->Parked()) return false;
      message->held = false;
      message->corrupt.clear();
      MakeDue(message, now_ms);
      return true;
    case v1::ACTION_EXPIRE:
      return !std::exchange(message->forced, true);
    case v1::ACTION_EXPIRE_RELEASE: {
      const bool held = message->corrupt.empty() && message->held;
      if (held) Act(v1::ACTION_RELEASE, message, now_ms);
      return !std::exchange(message->forced, true) || held;
    }
    case v1::ACTION_FLUSH:
      if (message->Parked() || message->Count(kWaiting) == 0) return false;
      MakeDue(message, now_ms);
      return true;
    default:
      return false;
  }
}

std::vector<std::string> QueueModel::Administer(v1::Action action,
                                                const std::vector<std::string>& queue_ids,
                                                const std::vector<v1::QueueName>& queues,
                                                int64_t now_ms) {
  const bool expires = action == v1::ACTION_EXPIRE || action == v1::ACTION_EXPIRE_RELEASE;
  std::vector<std::string> changed;
  for (const std::string& queue_id : queue_ids) {
    const auto found = messages.find(queue_id);
    if (found == messages.end()) continue;
    // Not twice, whatever the action.
    if (std::find(changed.begin(), changed.end(), queue_id) != changed.end()) continue;
    const v1::QueueName queue = found->second.Queue();
    if (queues.empty() ? expires && queue == v1::QUEUE_NAME_CORRUPT : !In(queues, queue)) continue;
    if (!Act(action, &found->second, now_ms)) continue;
    changed.push_back(queue_id);
    if (action == v1::ACTION_DELETE) messages.erase(found);
  }
  return changed;
}

void QueueModel::Rename(const std::vector<std::string>& old_ids,
                        const std::vector<std::string>& new_ids) {
  for (size_t i = 0; i < std::min(old_ids.size(), new_ids.size()); ++i) {
    Message message = messages.at(old_ids[i]);
    messages.erase(old_ids[i]);
    if (message.body_id.empty()) message.body_id = old_ids[i];
    message.held = message.forced = message.warned = false;
    message.corrupt.clear();
    for (Recipient& recipient : message.recipients) {
      if (recipient.state != kPending && recipient.state != kWaiting) continue;
      recipient.state = kPending;
      recipient.reason.clear();
    }
    messages[new_ids[i]] = std::move(message);
  }
}

void QueueModel::MarkCorrupt(const std::string& queue_id, const std::string& reason) {
  const auto found = messages.find(queue_id);
  if (found != messages.end() && found->second.corrupt.empty()) found->second.corrupt = reason;
}

void QueueModel::Flush(const std::string& queue_id, int64_t now_ms) {
  const auto found = messages.find(queue_id);
  if (found != messages.end() && !found->second.Parked()) MakeDue(&found->second, now_ms);
}

uint64_t QueueModel::CountIn(const std::vector<v1::QueueName>& queues) const {
  return static_cast<uint64_t>(std::count_if(
      messages.begin(), messages.end(),
      [&queues](const auto& entry) { return queues.empty() || In(queues, entry.second.Queue()); }));
}

}  // namespace postfleet::queue
