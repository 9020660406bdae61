#include "services/queue/state/state_machine.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "services/queue/state/apply.h"
#include "services/queue/state/draft.h"
#include "services/queue/state/keys.h"
#include "services/queue/state/submission_window.h"

namespace postfleet::queue {
namespace {

// How many kinds of command it is: one, or it is refused.
int Kinds(const state::Command& command) {
  return (command.submissions().empty() ? 0 : 1) + command.has_outcomes() +
         command.has_register_() + command.has_open() + command.has_administer() +
         command.has_flush() + command.has_abandon_uploads() + command.has_mark_corrupt() +
         command.has_start_bulk() + command.has_purge() + command.has_stop_bulk();
}

// What the items say they own of the payload.
uint64_t AnnouncedBytes(const state::Command& command) {
  uint64_t bytes = 0;
  for (const v1::Submission& submission : command.submissions())
    bytes += submission.payload_bytes();
  for (const v1::Notify& notify : command.outcomes().notifies()) {
    bytes += uint64_t{notify.notice().payload_bytes()} + notify.copy().payload_bytes();
  }
  return bytes;
}

int IdsMax(const state::Command& command) {
  return command.administer().has_bulk() ? kBulkIdsMax : kCommandIdsMax;
}

// Of a command as a whole; empty: nothing is wrong.
std::string RefusalOf(const CommandView& command) {
  if (Kinds(command.header) != 1) return "a command is of exactly one kind";
  const uint64_t announced = AnnouncedBytes(command.header);
  const uint64_t came = PayloadBytes(command.payload);
  if (announced != came) {
    return Concat(came, " bytes of payload came, ", announced, " were announced");
  }
  const int ids_max = IdsMax(command.header);
  if (command.header.administer().queue_ids_size() > ids_max ||
      command.header.flush().queue_ids_size() > ids_max) {
    return Concat("more than ", ids_max, " queue ids");
  }
  return {};
}

void RefuseWhole(std::string text, const state::Command& command, Effects* effects) {
  effects->submissions.resize(static_cast<size_t>(command.submissions_size()));
  for (SubmissionResult& result : effects->submissions) {
    result.code = v1::EnqueueResult::REFUSED;
    result.text = text;
  }
  effects->refused = std::move(text);
}

state::Fence* FenceOf(uint32_t partition, state::StateRow* row) {
  for (state::Fence& fence : *row->mutable_fences()) {
    if (fence.partition() == partition) return &fence;
  }
  state::Fence* fence = row->add_fences();
  fence->set_partition(partition);
  return fence;
}

}  // namespace

StateMachine::StateMachine(Store* store)
    : store_(store),
      window_(std::make_unique<SubmissionWindow>(store)),
      draft_(std::make_unique<Draft>(store, &state_, &effects_)) {}

StateMachine::~StateMachine() = default;

absl::StatusOr<std::unique_ptr<StateMachine>> StateMachine::Load(Store* store) {
  std::unique_ptr<StateMachine> machine(new StateMachine(store));
  std::string bytes;
  const rocksdb::Status status =
      store->db()->Get({}, store->family(Family::kDefault),
                       rocksdb::Slice(kStateKey.data(), kStateKey.size()), &bytes);
  if (status.IsNotFound()) return machine;
  if (!status.ok()) return ToStatus(status, "read the state row");
  if (!machine->state_.ParseFromString(bytes)) {
    return absl::DataLossError("the store's state row is damaged");
  }
  return machine;
}

uint64_t StateMachine::epoch(uint32_t partition) const {
  for (const state::Fence& fence : state_.fences()) {
    if (fence.partition() == partition) return fence.epoch();
  }
  return 0;
}

void StateMachine::SetReplaying(bool replaying) { window_->SetReplaying(replaying); }

absl::StatusOr<const Effects*> StateMachine::Apply(uint64_t index, const CommandView& command) {
  if (index <= state_.applied_index()) {
    return absl::FailedPreconditionError(
        Concat("command ", index, " after command ", state_.applied_index(), " was applied"));
  }
  state_.set_now_ms(std::max(state_.now_ms(), command.header.now_ms()));
  effects_ = Effects();
  effects_.index = index;
  effects_.now_ms = state_.now_ms();
  effects_.payload_owner = command.payload_owner;
  draft_->Begin(index);
  window_->BeginCommand();
  if (std::string text = RefusalOf(command); !text.empty()) {
    RefuseWhole(std::move(text), command.header, &effects_);
  } else if (absl::Status applied = Dispatch(command); !applied.ok()) {
    return applied;
  }
  if (absl::Status written = draft_->Finish(); !written.ok()) return written;
  return &effects_;
}

absl::Status StateMachine::Dispatch(const CommandView& command) {
  const state::Command& header = command.header;
  Application application = {command, state_, *draft_, *window_, effects_};
  if (!header.submissions().empty()) return ApplySubmissions(application);
  if (header.has_outcomes()) {
    if (header.outcomes().epoch() == 0 ||
        header.outcomes().epoch() != epoch(header.outcomes().partition())) {
      effects_.refused = Concat("epoch ", header.outcomes().epoch(), " is not the current one");
      effects_.fenced = true;
      return absl::OkStatus();
    }
    return ApplyOutcomes(application);
  }
  if (header.has_register_()) return ApplyRegister();
  if (header.has_administer()) return ApplyAdminister(application);
  if (header.has_mark_corrupt()) return ApplyMarkCorrupt(application);
  if (header.has_start_bulk()) return ApplyStartBulk(application);
  if (header.has_purge()) return ApplyPurge(application);
  if (header.has_stop_bulk()) return ApplyStopBulk(application);
  if (header.has_flush()) return ApplyFlush(header.flush(), application);
  if (header.has_abandon_uploads()) return ApplyAbandonUploads(header.abandon_uploads());
  // One without any of them is a place in the log that raft has used for itself.
  if (header.has_open()) ApplyOpen(header.open());
  return absl::OkStatus();
}

absl::Status StateMachine::ApplyRegister() {
  state_.set_incarnation(state_.incarnation() + 1);
  effects_.incarnation = state_.incarnation();
  window_->Register(state_.incarnation(), state_.now_ms(), draft_->batch());
  return window_->ForgetOneSilent(state_.now_ms() - kIncarnationSilenceMs, draft_->batch());
}

void StateMachine::ApplyOpen(const state::Open& open) {
  if (open.partition() >= kPartitions) {
    effects_.refused = Concat("there is no partition ", open.partition());
    return;
  }
  state::Fence* fence = FenceOf(open.partition(), &state_);
  fence->set_epoch(fence->epoch() + 1);
  effects_.open = {true, open.partition(), fence->epoch()};
}

absl::Status StateMachine::ApplyFlush(const state::Flush& request, Application& application) {
  if (request.queue_ids().empty()) {
    state_.set_flush_index(effects_.index);
    effects_.flushed_all = true;
    return absl::OkStatus();
  }
  return FlushMessages(request.queue_ids(), application);
}

absl::Status StateMachine::ApplyAbandonUploads(const state::AbandonUploads& request) {
  if (state_.counts().uploads() == 0) return absl::OkStatus();
  std::unique_ptr<rocksdb::Iterator> rows(
      store_->db()->NewIterator({}, store_->family(Family::kUpload)));
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
    if (effects_.uploads_abandoned >= kUploadsAbandonedMax) break;
    const std::string queue_id = rows->key().ToString();
    state::UploadRow row;
    if (!row.ParseFromArray(rows->value().data(), static_cast<int>(rows->value().size()))) {
      continue;
    }
    if (row.last_ms() >= request.idle_since_ms()) continue;
    const auto upload = draft_->FindUpload(queue_id);
    if (absl::IsDataLoss(upload.status())) continue;
    if (!upload.ok()) return upload.status();
    draft_->DropChunks(queue_id, row.chunks());
    (*upload)->exists = false;
    ++effects_.uploads_abandoned;
  }
  absl::Status read = ToStatus(rows->status(), "read upload rows");
  // What cannot be read is left where it is.
  return absl::IsDataLoss(read) ? absl::OkStatus() : read;
}

}  // namespace postfleet::queue
