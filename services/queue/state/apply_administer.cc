#include <algorithm>

#include "libs/base/queue_id.h"
#include "services/queue/state/apply.h"
#include "services/queue/state/state_machine.h"

namespace postfleet::queue {
namespace {

// Ids tried for one requeued message: only somebody who makes ids against the rules has them.
constexpr int kMintTriesMax = 100;

// An action on one message that is in one of the queues asked for. False: nothing was to be done.
// DataLoss: its rows cannot be read, and nothing was done.
using Act = absl::StatusOr<bool> (*)(Draft::Message* message, Application& application);

absl::StatusOr<bool> ActDelete(Draft::Message* message, Application& application) {
  if (absl::Status removed = application.draft.RemoveWhole(message); !removed.ok()) return removed;
  application.effects.deleted.push_back(message->queue_id);
  return true;
}

absl::StatusOr<bool> ActHold(Draft::Message* message, Application& application) {
  if (IsParked(message->row)) return false;
  if (absl::Status begun = application.draft.BeginParking(message); !begun.ok()) return begun;
  message->row.set_held(true);
  message->changed = true;
  application.effects.parked.push_back(message->queue_id);
  return true;
}

absl::StatusOr<bool> ActRelease(Draft::Message* message, Application& application) {
  // Of one whose row was lost nobody knows what would be delivered.
  if (!IsParked(message->row) || message->row.salvaged()) return false;
  if (absl::Status due = application.draft.MakeJobsDue(message); !due.ok()) return due;
  message->row.clear_held();
  message->row.clear_corrupt_reason();
  message->changed = true;
  return true;
}

// A queue id that nothing has; null: none was found.
absl::StatusOr<Draft::Message*> Mint(Application& application) {
  state::StateRow& state = application.state;
  for (int tries = 0; tries < kMintTriesMax; ++tries) {
    state.set_ids_minted(state.ids_minted() + 1);
    const std::string queue_id =
        FormatQueueId(state.now_ms() / 1'000, static_cast<int32_t>(state.now_ms() % 1'000) * 1'000,
                      state.ids_minted() << 32);
    // Someone may have sent such an id, against the rules.
    const auto message = application.draft.FindApart(queue_id);
    if (absl::IsDataLoss(message.status())) continue;
    if (!message.ok() || (*message)->exists) {
      if (!message.ok()) return message.status();
      continue;
    }
    if (!application.draft.AnyUploads()) return *message;
    const auto upload = application.draft.FindUpload(queue_id);
    if (absl::IsDataLoss(upload.status())) continue;
    if (!upload.ok()) return upload.status();
    if (!(*upload)->exists) return *message;
  }
  Draft::Message* const none = nullptr;
  return none;
}

absl::StatusOr<bool> ActRequeue(Draft::Message* message, Application& application) {
  if (message->row.salvaged()) return false;
  const auto target = Mint(application);
  if (!target.ok()) return target.status();
  if (*target == nullptr) return false;
  if (absl::Status moved = application.draft.Requeue(message, *target); !moved.ok()) return moved;
  application.effects.deleted.push_back(message->queue_id);
  application.effects.new_queue_ids.push_back((*target)->queue_id);
  return true;
}

absl::StatusOr<bool> ActExpire(Draft::Message* message, Application&) {
  if (message->row.forced_expire()) return false;
  message->row.set_forced_expire(true);
  message->changed = true;
  return true;
}

absl::StatusOr<bool> ActExpireRelease(Draft::Message* message, Application& application) {
  if (message->row.salvaged()) return false;
  bool released = false;
  if (message->row.corrupt_reason().empty()) {
    const auto done = ActRelease(message, application);
    if (!done.ok()) return done.status();
    released = *done;
  }
  const auto expired = ActExpire(message, application);
  if (!expired.ok()) return expired.status();
  return released || *expired;
}

absl::StatusOr<bool> ActFlush(Draft::Message* message, Application& application) {
  if (message->row.deferred() == 0 || IsParked(message->row)) return false;
  if (absl::Status due = application.draft.MakeJobsDue(message); !due.ok()) return due;
  application.effects.flushed.push_back(message->queue_id);
  return true;
}

Act ActOf(v1::Action action) {
  switch (action) {
    case v1::ACTION_DELETE:
      return ActDelete;
    case v1::ACTION_HOLD:
      return ActHold;
    case v1::ACTION_RELEASE:
      return ActRelease;
    case v1::ACTION_REQUEUE:
      return ActRequeue;
    case v1::ACTION_EXPIRE:
      return ActExpire;
    case v1::ACTION_EXPIRE_RELEASE:
      return ActExpireRelease;
    case v1::ACTION_FLUSH:
      return ActFlush;
    default:
      return nullptr;
  }
}

bool Names(const state::Administer& request, v1::QueueName queue) {
  return std::find(request.queues().begin(), request.queues().end(), queue) !=
         request.queues().end();
}

bool IsWanted(const Draft::Message& message, const state::Administer& request) {
  const v1::QueueName queue = DurableQueueOf(message.row);
  if (request.queues().empty()) {
    // Expiring corrupt mail is for who asks for just that: it is not going to be delivered.
    return queue != v1::QUEUE_NAME_CORRUPT ||
           (request.action() != v1::ACTION_EXPIRE && request.action() != v1::ACTION_EXPIRE_RELEASE);
  }
  return Names(request, queue);
}

// Of a durable job: the message was there when it was asked for. A requeue gives a new id, and
// keeps the arrival time.
bool CameInTime(const Draft::Message& message, const Application& application) {
  if (!application.command.header.administer().has_bulk()) return true;
  const state::Bulk& bulk = application.state.bulks(0);
  return bulk.asked_last_queue_id().empty() || message.queue_id <= bulk.asked_last_queue_id() ||
         message.row.envelope().arrival_ms() <= bulk.asked_ms();
}

// Of a message whose row cannot be read, and that nobody has marked corrupt yet.
absl::StatusOr<bool> DeleteUnreadable(const std::string& queue_id, Application& application) {
  const state::Administer& request = application.command.header.administer();
  if (!request.queues().empty() && !Names(request, v1::QUEUE_NAME_CORRUPT) &&
      !Names(request, application.draft.QueueByIndex(queue_id))) {
    return false;
  }
  Draft::Message* message = application.draft.Salvage(queue_id);
  if (message == nullptr) return false;
  message->acted_on = true;
  return ActDelete(message, application);
}

absl::StatusOr<bool> ActOn(const std::string& queue_id, Act act, Application& application) {
  const auto message = application.draft.Find(queue_id);
  if (absl::IsDataLoss(message.status()) && act == ActDelete) {
    return DeleteUnreadable(queue_id, application);
  }
  if (!message.ok()) return message.status();
  if (!(*message)->exists || (*message)->created || (*message)->acted_on) return false;
  if (!IsWanted(**message, application.command.header.administer())) return false;
  if (!CameInTime(**message, application)) return false;
  application.recipients += RowsOf((*message)->row);
  const absl::StatusOr<bool> acted = act(*message, application);
  (*message)->acted_on = acted.ok() && *acted;
  return acted;
}

// Why a step of a durable job is none; empty: it is one.
std::string RefusalOfStep(const state::Administer& request, const state::StateRow& state) {
  const state::Administer::BulkStep& step = request.bulk();
  if (state.bulks().empty() || state.bulks(0).id() != step.id()) {
    return "the step is not of the job that runs";
  }
  const state::Bulk& bulk = state.bulks(0);
  if (request.action() != bulk.action()) return "the step's action is not its job's";
  if (step.cursor().empty() ? !step.done() : step.cursor() < bulk.cursor()) {
    return "the step lies behind its job's cursor";
  }
  return {};
}

void AdvanceBulk(const state::Administer::BulkStep& step, Application& application) {
  state::Bulk& bulk = *application.state.mutable_bulks(0);
  bulk.set_changed(bulk.changed() + application.effects.changed.size());
  const size_t left = application.effects.left.size();
  if (left > 0) {
    const auto& ids = application.command.header.administer().queue_ids();
    bulk.set_cursor(ids[ids.size() - static_cast<int>(left) - 1]);
    return;
  }
  if (!step.cursor().empty()) bulk.set_cursor(step.cursor());
  if (!step.done()) return;
  application.effects.bulk_ended = bulk.id();
  EndBulk(0, application.state);
}

}  // namespace

absl::Status ApplyAdminister(Application& application) {
  const state::Administer& request = application.command.header.administer();
  Effects& effects = application.effects;
  effects.action = request.action();
  const Act act = ActOf(request.action());
  if (act == nullptr) {
    effects.refused = "no such action";
    return absl::OkStatus();
  }
  if (request.has_bulk()) effects.refused = RefusalOfStep(request, application.state);
  if (!effects.refused.empty()) return absl::OkStatus();
  application.draft.ExpectAscendingIds();
  const auto& ids = request.queue_ids();
  int next = 0;
  for (; next < ids.size() && application.recipients <= kCommandRecipientsMax; ++next) {
    const absl::StatusOr<bool> changed = ActOn(ids[next], act, application);
    if (absl::IsDataLoss(changed.status())) continue;
    if (!changed.ok()) return changed.status();
    if (*changed) effects.changed.push_back(ids[next]);
  }
  effects.left.assign(ids.begin() + next, ids.end());
  if (request.has_bulk()) AdvanceBulk(request.bulk(), application);
  return absl::OkStatus();
}

absl::Status FlushMessages(const google::protobuf::RepeatedPtrField<std::string>& queue_ids,
                           Application& application) {
  application.draft.ExpectAscendingIds();
  int next = 0;
  for (; next < queue_ids.size() && application.recipients <= kCommandRecipientsMax; ++next) {
    const absl::StatusOr<bool> flushed = ActOn(queue_ids[next], ActFlush, application);
    if (!flushed.ok() && !absl::IsDataLoss(flushed.status())) return flushed.status();
  }
  application.effects.left.assign(queue_ids.begin() + next, queue_ids.end());
  return absl::OkStatus();
}

absl::Status MarkCorrupt(std::string_view queue_id, std::string_view reason,
                         Application& application) {
  auto message = application.draft.Find(queue_id);
  if (absl::IsDataLoss(message.status())) {
    Draft::Message* salvaged = application.draft.Salvage(queue_id);
    if (salvaged == nullptr) return absl::OkStatus();
    message = salvaged;
  }
  if (!message.ok()) return message.status();
  Draft::Message& found = **message;
  if (!found.exists || found.created || !found.row.corrupt_reason().empty()) {
    return absl::OkStatus();
  }
  // Jobs that cannot be read leave their due rows, which mean nothing for a parked message.
  absl::Status begun = application.draft.BeginParking(&found);
  if (!begun.ok() && !absl::IsDataLoss(begun)) return begun;
  found.row.set_corrupt_reason(std::string(reason.substr(0, kOutcomeTextBytesMax)));
  found.changed = true;
  application.effects.parked.push_back(found.queue_id);
  return absl::OkStatus();
}

absl::Status ApplyMarkCorrupt(Application& application) {
  const state::MarkCorrupt& request = application.command.header.mark_corrupt();
  const std::string& reason = request.reason();
  return MarkCorrupt(request.queue_id(), reason.empty() ? "no reason given" : reason, application);
}

}  // namespace postfleet::queue
