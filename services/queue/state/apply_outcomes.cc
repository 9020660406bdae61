#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/queue_id.h"
#include "services/queue/state/apply.h"
#include "services/queue/state/state_machine.h"

namespace postfleet::queue {
namespace {

constexpr std::string_view kUnreadable = "its recipients cannot be read";

std::string Cut(const std::string& text) { return text.substr(0, kOutcomeTextBytesMax); }

mail::v1::Outcome CutTexts(const mail::v1::Outcome& outcome) {
  mail::v1::Outcome cut;
  cut.set_recipient_number(outcome.recipient_number());
  cut.set_action(outcome.action());
  cut.set_status(Cut(outcome.status()));
  cut.set_text(Cut(outcome.text()));
  cut.set_remote_mta(Cut(outcome.remote_mta()));
  cut.set_diagnostic(Cut(outcome.diagnostic()));
  return cut;
}

// A MessageOutcome being applied: the job that its deferred recipients join.
struct Attempt {
  const v1::MessageOutcome& message_outcome;
  Draft::Message* message;
  Application& application;
  bool has_job = false;
  uint32_t job = 0;
};

uint32_t JobOf(Attempt* attempt) {
  Draft& draft = attempt->application.draft;
  if (attempt->has_job &&
      static_cast<uint32_t>(
          draft.job(attempt->message, attempt->job)->row.recipient_numbers_size()) <
          kJobRecipientsMax) {
    return attempt->job;
  }
  state::JobRow row;
  row.set_transport(Cut(attempt->message_outcome.transport()));
  row.set_nexthop(Cut(attempt->message_outcome.nexthop()));
  row.set_due_ms(std::max<int64_t>(0, attempt->message_outcome.retry_at_ms()));
  row.set_index(attempt->application.effects.index);
  attempt->job = draft.AddJob(attempt->message, std::move(row));
  attempt->has_job = true;
  return attempt->job;
}

absl::Status Keep(const mail::v1::Outcome& outcome, state::RecipientRow::State next,
                  Attempt* attempt) {
  Draft& draft = attempt->application.draft;
  const auto before =
      draft.FindRecipient(attempt->message, outcome.recipient_number(), /*state_only=*/false);
  if (!before.ok()) return before.status();
  state::RecipientRow row;
  *row.mutable_recipient() = (*before)->recipient();
  row.set_state(next);
  *row.mutable_last() = CutTexts(outcome);
  if (next == state::RecipientRow::STATE_DEFERRED) row.set_job(JobOf(attempt));
  return draft.PutRecipient(attempt->message, outcome.recipient_number(), std::move(row));
}

absl::Status ApplyRecipient(const mail::v1::Outcome& outcome, Attempt* attempt) {
  Draft& draft = attempt->application.draft;
  const uint32_t number = outcome.recipient_number();
  const auto before = draft.FindRecipient(attempt->message, number, /*state_only=*/true);
  if (!before.ok()) return before.status();
  const state::RecipientRow::State standing = (*before)->state();
  if (standing != state::RecipientRow::STATE_PENDING &&
      standing != state::RecipientRow::STATE_DEFERRED) {
    return absl::OkStatus();
  }
  switch (outcome.action()) {
    case mail::v1::Outcome::ACTION_SENT:
      return draft.DropRecipient(attempt->message, number);
    case mail::v1::Outcome::ACTION_DEFERRED:
      return Keep(outcome, state::RecipientRow::STATE_DEFERRED, attempt);
    case mail::v1::Outcome::ACTION_BOUNCED:
      return Keep(outcome, state::RecipientRow::STATE_BOUNCED, attempt);
    default:
      return absl::OkStatus();
  }
}

void CountLate(OutcomeEffect* effect, Application& application) {
  effect->removed = true;
  effect->late = true;
  state::Counts& counts = *application.state.mutable_counts();
  counts.set_late_outcomes(counts.late_outcomes() + 1);
}

// The message; null: it is gone. One whose row cannot be read is corrupt from now on.
absl::StatusOr<Draft::Message*> FindOrMark(std::string_view queue_id, Application& application) {
  Draft::Message* const none = nullptr;
  auto message = application.draft.Find(queue_id);
  if (absl::IsDataLoss(message.status())) {
    absl::Status marked = MarkCorrupt(queue_id, kUnreadable, application);
    if (!marked.ok()) return marked;
    message = application.draft.Find(queue_id);
    // There was no such message, only damage where it would be.
    if (absl::IsDataLoss(message.status())) return none;
  }
  if (!message.ok()) return message.status();
  return (*message)->exists ? *message : none;
}

absl::Status ApplyOutcome(const v1::MessageOutcome& outcome, Application& application) {
  OutcomeEffect& effect = application.effects.outcomes.emplace_back();
  effect.queue_id = outcome.queue_id();
  const auto message = FindOrMark(outcome.queue_id(), application);
  if (!message.ok()) return message.status();
  if (*message == nullptr) {
    CountLate(&effect, application);
    return absl::OkStatus();
  }
  Attempt attempt = {outcome, *message, application};
  for (const mail::v1::Outcome& recipient : outcome.outcomes()) {
    absl::Status applied = ApplyRecipient(recipient, &attempt);
    if (absl::IsDataLoss(applied)) {
      // Nothing of this recipient was changed.
      applied = MarkCorrupt(outcome.queue_id(), kUnreadable, application);
      if (!applied.ok()) return applied;
      // What an attempt did counts, if it can be written down: a release must not repeat it.
      applied = ApplyRecipient(recipient, &attempt);
    }
    if (!applied.ok() && !absl::IsDataLoss(applied)) return applied;
  }
  application.draft.RemoveIfEmpty(*message);
  effect.removed = !(*message)->exists;
  return absl::OkStatus();
}

// What is wrong with a notice; empty: nothing. The rows that it is about stay when something is.
absl::StatusOr<std::string> RefusalOfNotice(const v1::Submission& notice,
                                            Application& application) {
  if (!IsQueueId(notice.queue_id())) return "the notice's queue id is none";
  if (notice.chunk() != 0 || !notice.has_message()) return "the notice is not of one chunk";
  if (notice.payload_bytes() > kChunkBytesMax) return "the notice is too big";
  if (std::string text = RefusalOf(notice, notice.payload_bytes()); !text.empty()) return text;
  const std::string in_use = "the notice's queue id is in use";
  const auto used = application.draft.Find(notice.queue_id());
  if (absl::IsDataLoss(used.status())) return in_use;
  if (!used.ok()) return used.status();
  if ((*used)->exists) return in_use;
  const auto borrowed = application.draft.BodyIsBorrowed(notice.queue_id());
  if (!borrowed.ok()) return borrowed.status();
  if (*borrowed) return in_use;
  if (!application.draft.AnyUploads()) return "";
  const auto upload = application.draft.FindUpload(notice.queue_id());
  if (absl::IsDataLoss(upload.status())) return in_use;
  if (!upload.ok()) return upload.status();
  return (*upload)->exists ? in_use : std::string();
}

// How many were closed.
absl::StatusOr<int> CloseBounced(const v1::Notify& notify, Draft::Message* message,
                                 Application& application) {
  Draft& draft = application.draft;
  int closed = 0;
  for (uint32_t number : notify.recipient_numbers()) {
    const auto row = draft.FindRecipient(message, number, /*state_only=*/true);
    if (absl::IsDataLoss(row.status())) {
      absl::Status marked = MarkCorrupt(notify.queue_id(), kUnreadable, application);
      if (!marked.ok()) return marked;
      continue;
    }
    if (!row.ok()) return row.status();
    if ((*row)->state() != state::RecipientRow::STATE_BOUNCED) continue;
    if (absl::Status dropped = draft.DropRecipient(message, number); !dropped.ok()) return dropped;
    ++closed;
  }
  return closed;
}

absl::Status EnqueueNotice(const v1::Submission& notice, std::vector<std::string_view> pieces,
                           Application& application) {
  const auto message = application.draft.Find(notice.queue_id());
  if (!message.ok()) return message.status();
  application.draft.PutChunk(notice.queue_id(), 0, notice.payload_crc32c(), pieces);
  NewMessageEffect& effect = application.effects.new_messages.emplace_back();
  application.draft.Create(*message, {notice.queue_id(), &notice.message(), 1}, &effect);
  effect.payload = std::move(pieces);
  effect.payload_crc32c = notice.payload_crc32c();
  effect.notice = true;
  return absl::OkStatus();
}

absl::Status ApplyNotify(const v1::Notify& notify, std::vector<std::string_view> pieces,
                         Application& application) {
  OutcomeEffect& effect = application.effects.notifies.emplace_back();
  effect.queue_id = notify.queue_id();
  const auto message = FindOrMark(notify.queue_id(), application);
  if (!message.ok()) return message.status();
  if (*message == nullptr) {
    CountLate(&effect, application);
    return absl::OkStatus();
  }
  if (notify.has_notice()) {
    auto refusal = RefusalOfNotice(notify.notice(), application);
    if (!refusal.ok()) return refusal.status();
    effect.refused = *std::move(refusal);
    if (!effect.refused.empty()) return absl::OkStatus();
  }
  if (notify.delay_warning()) {
    // A repeated one changes nothing: its notice is in the queue already.
    if ((*message)->created || (*message)->row.delay_warned()) return absl::OkStatus();
    (*message)->row.set_delay_warned(true);
    (*message)->changed = true;
    return notify.has_notice() ? EnqueueNotice(notify.notice(), std::move(pieces), application)
                               : absl::OkStatus();
  }
  const auto closed = CloseBounced(notify, *message, application);
  if (!closed.ok()) return closed.status();
  application.draft.RemoveIfEmpty(*message);
  effect.removed = !(*message)->exists;
  // A repeated Notify closes nothing: its notice is in the queue already.
  if (*closed == 0 || !notify.has_notice()) return absl::OkStatus();
  return EnqueueNotice(notify.notice(), std::move(pieces), application);
}

}  // namespace

absl::Status ApplyOutcomes(Application& application) {
  const state::OutcomeBatch& batch = application.command.header.outcomes();
  application.effects.outcomes.reserve(static_cast<size_t>(batch.outcomes_size()));
  application.effects.notifies.reserve(static_cast<size_t>(batch.notifies_size()));
  for (const v1::MessageOutcome& outcome : batch.outcomes()) {
    if (absl::Status applied = ApplyOutcome(outcome, application); !applied.ok()) return applied;
  }
  PayloadCutter cutter(application.command.payload);
  for (const v1::Notify& notify : batch.notifies()) {
    absl::Status applied =
        ApplyNotify(notify, cutter.Take(notify.notice().payload_bytes()), application);
    if (!applied.ok()) return applied;
  }
  return absl::OkStatus();
}

}  // namespace postfleet::queue
