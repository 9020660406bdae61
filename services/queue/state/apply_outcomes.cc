#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/queue_id.h"
#include "services/queue/state/apply.h"
#include "services/queue/state/state_machine.h"

namespace postfleet::queue {
namespace {

constexpr std::string_view kUnreadable = "its recipients cannot be read";

std::string Cut(std::string_view text) { return std::string(text.substr(0, kOutcomeTextBytesMax)); }

mail::v1::OutcomePart CutTexts(const mail::v1::OutcomePart& part) {
  mail::v1::OutcomePart cut;
  cut.set_address(Cut(part.address()));
  cut.set_original_address(Cut(part.original_address()));
  cut.set_action(part.action());
  cut.set_status(Cut(part.status()));
  cut.set_text(Cut(part.text()));
  cut.set_remote_mta(Cut(part.remote_mta()));
  cut.set_diagnostic(Cut(part.diagnostic()));
  return cut;
}

mail::v1::Outcome CutTexts(const mail::v1::Outcome& outcome) {
  mail::v1::Outcome cut;
  cut.set_recipient_number(outcome.recipient_number());
  cut.set_action(outcome.action());
  cut.set_status(Cut(outcome.status()));
  cut.set_text(Cut(outcome.text()));
  cut.set_remote_mta(Cut(outcome.remote_mta()));
  cut.set_diagnostic(Cut(outcome.diagnostic()));
  cut.set_success(outcome.success());
  cut.set_notice_owed(outcome.notice_owed());
  cut.set_success_text(Cut(outcome.success_text()));
  cut.set_parts_more(outcome.parts_more());
  for (const mail::v1::OutcomePart& part : outcome.parts()) {
    if (cut.parts_size() == kOutcomePartsMax) {
      cut.set_parts_more(outcome.parts_more() + outcome.parts_size() - kOutcomePartsMax);
      break;
    }
    *cut.add_parts() = CutTexts(part);
  }
  return cut;
}

// One of the command's words about a message: the job that the recipients join which it leaves
// waiting. The route is as it was resolved this time; the one before stays with the jobs that they
// leave.
struct Waiting {
  Draft::Message* message;
  Application& application;
  std::string_view transport;
  std::string_view nexthop;
  int64_t retry_at_ms;
  bool has_job = false;
  uint32_t job = 0;
};

uint32_t JobOf(Waiting* waiting) {
  Draft& draft = waiting->application.draft;
  if (waiting->has_job &&
      static_cast<uint32_t>(
          draft.job(waiting->message, waiting->job)->row.recipient_numbers_size()) <
          kJobRecipientsMax) {
    return waiting->job;
  }
  state::JobRow row;
  row.set_transport(Cut(waiting->transport));
  row.set_nexthop(Cut(waiting->nexthop));
  row.set_due_ms(std::max<int64_t>(0, waiting->retry_at_ms));
  row.set_index(waiting->application.effects.index);
  waiting->job = draft.AddJob(waiting->message, std::move(row));
  waiting->has_job = true;
  return waiting->job;
}

bool IsOpen(const state::RecipientRow& row) {
  return row.state() == state::RecipientRow::STATE_PENDING ||
         row.state() == state::RecipientRow::STATE_DEFERRED;
}

absl::Status Keep(const mail::v1::Outcome& outcome, state::RecipientRow::State next,
                  Waiting* waiting) {
  Draft& draft = waiting->application.draft;
  const auto before =
      draft.FindRecipient(waiting->message, outcome.recipient_number(), /*state_only=*/false);
  if (!before.ok()) return before.status();
  state::RecipientRow row;
  *row.mutable_recipient() = (*before)->recipient();
  row.set_state(next);
  *row.mutable_last() = CutTexts(outcome);
  if (next == state::RecipientRow::STATE_DEFERRED) row.set_job(JobOf(waiting));
  return draft.PutRecipient(waiting->message, outcome.recipient_number(), std::move(row));
}

absl::Status ApplyRecipient(const mail::v1::Outcome& outcome, Waiting* attempt) {
  Draft& draft = attempt->application.draft;
  const uint32_t number = outcome.recipient_number();
  const auto before = draft.FindRecipient(attempt->message, number, /*state_only=*/true);
  if (!before.ok()) return before.status();
  if (!IsOpen(**before)) return absl::OkStatus();
  switch (outcome.action()) {
    case mail::v1::Outcome::ACTION_SENT:
      if (outcome.notice_owed()) {
        return Keep(outcome, state::RecipientRow::STATE_BOUNCED, attempt);
      }
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
    if (!outcome.again()) CountLate(&effect, application);
    effect.removed = true;
    return absl::OkStatus();
  }
  Waiting attempt = {*message, application, outcome.transport(), outcome.nexthop(),
                     outcome.retry_at_ms()};
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

// Only its job changes: nothing was tried.
absl::Status PutOffRecipient(uint32_t number, Waiting* waiting) {
  Draft& draft = waiting->application.draft;
  const auto before = draft.FindRecipient(waiting->message, number, /*state_only=*/false);
  if (!before.ok()) return before.status();
  if (!IsOpen(**before)) return absl::OkStatus();
  state::RecipientRow row = **before;
  row.set_state(state::RecipientRow::STATE_DEFERRED);
  row.set_job(JobOf(waiting));
  return draft.PutRecipient(waiting->message, number, std::move(row));
}

absl::Status ApplyPutOff(const v1::PutOff& put_off, Application& application) {
  OutcomeEffect& effect = application.effects.put_offs.emplace_back();
  effect.queue_id = put_off.queue_id();
  const auto message = FindOrMark(put_off.queue_id(), application);
  if (!message.ok()) return message.status();
  if (*message == nullptr) {
    // Not counted: no attempt was made in vain.
    effect.removed = effect.late = true;
    return absl::OkStatus();
  }
  Waiting waiting = {*message, application, put_off.transport(), put_off.nexthop(),
                     put_off.retry_at_ms()};
  for (uint32_t number : put_off.recipient_numbers()) {
    const absl::Status moved = PutOffRecipient(number, &waiting);
    if (absl::IsDataLoss(moved)) return MarkCorrupt(put_off.queue_id(), kUnreadable, application);
    if (!moved.ok()) return moved;
  }
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

// The messages of a Notify, with their parts of the payload.
struct Notices {
  struct Notice {
    const v1::Submission& submission;
    std::vector<std::string_view> pieces;
  };
  std::vector<Notice> messages;

  Notices(const v1::Notify& notify, PayloadCutter* cutter) {
    if (notify.has_notice()) Add(notify.notice(), cutter);
    if (notify.has_copy()) Add(notify.copy(), cutter);
  }
  void Add(const v1::Submission& submission, PayloadCutter* cutter) {
    messages.push_back({submission, cutter->Take(submission.payload_bytes())});
  }
};

// Both or none are enqueued.
absl::StatusOr<std::string> RefusalOfNotices(const v1::Notify& notify, const Notices& notices,
                                             Application& application) {
  for (const Notices::Notice& notice : notices.messages) {
    auto refusal = RefusalOfNotice(notice.submission, application);
    if (!refusal.ok() || !refusal->empty()) return refusal;
  }
  const bool same =
      notices.messages.size() == 2 && notify.notice().queue_id() == notify.copy().queue_id();
  return same ? "the copy has the notice's queue id" : std::string();
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

absl::Status EnqueueNotices(Notices notices, Application& application) {
  for (Notices::Notice& notice : notices.messages) {
    absl::Status enqueued = EnqueueNotice(notice.submission, std::move(notice.pieces), application);
    if (!enqueued.ok()) return enqueued;
  }
  return absl::OkStatus();
}

absl::Status ApplyNotify(const v1::Notify& notify, Notices notices, Application& application) {
  OutcomeEffect& effect = application.effects.notifies.emplace_back();
  effect.queue_id = notify.queue_id();
  const auto message = FindOrMark(notify.queue_id(), application);
  if (!message.ok()) return message.status();
  if (*message == nullptr) {
    CountLate(&effect, application);
    return absl::OkStatus();
  }
  auto refusal = RefusalOfNotices(notify, notices, application);
  if (!refusal.ok()) return refusal.status();
  effect.refused = *std::move(refusal);
  if (!effect.refused.empty()) return absl::OkStatus();
  if (notify.delay_warning()) {
    // A repeated one changes nothing: its notice is in the queue already.
    if ((*message)->created || (*message)->row.delay_warned()) return absl::OkStatus();
    (*message)->row.set_delay_warned(true);
    (*message)->changed = true;
    return EnqueueNotices(std::move(notices), application);
  }
  const auto closed = CloseBounced(notify, *message, application);
  if (!closed.ok()) return closed.status();
  application.draft.RemoveIfEmpty(*message);
  effect.removed = !(*message)->exists;
  // A repeated Notify closes nothing: its notice is in the queue already.
  if (*closed == 0) return absl::OkStatus();
  return EnqueueNotices(std::move(notices), application);
}

}  // namespace

absl::Status ApplyOutcomes(Application& application) {
  const state::OutcomeBatch& batch = application.command.header.outcomes();
  application.effects.outcomes.reserve(static_cast<size_t>(batch.outcomes_size()));
  application.effects.notifies.reserve(static_cast<size_t>(batch.notifies_size()));
  application.effects.put_offs.reserve(static_cast<size_t>(batch.put_offs_size()));
  for (const v1::MessageOutcome& outcome : batch.outcomes()) {
    if (absl::Status applied = ApplyOutcome(outcome, application); !applied.ok()) return applied;
  }
  for (const v1::PutOff& put_off : batch.put_offs()) {
    if (absl::Status applied = ApplyPutOff(put_off, application); !applied.ok()) return applied;
  }
  PayloadCutter cutter(application.command.payload);
  for (const v1::Notify& notify : batch.notifies()) {
    absl::Status applied = ApplyNotify(notify, Notices(notify, &cutter), application);
    if (!applied.ok()) return applied;
  }
  return absl::OkStatus();
}

}  // namespace postfleet::queue
