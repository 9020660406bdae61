#include "services/queue/state/draft.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "services/queue/state/keys.h"
#include "services/queue/state/row_access.h"
#include "services/queue/state/state_machine.h"

namespace postfleet::queue {
namespace {

uint32_t* CountOf(state::RecipientRow::State recipient_state, uint32_t* pending, uint32_t* deferred,
                  uint32_t* bounced) {
  switch (recipient_state) {
    case state::RecipientRow::STATE_PENDING:
      return pending;
    case state::RecipientRow::STATE_DEFERRED:
      return deferred;
    case state::RecipientRow::STATE_BOUNCED:
      return bounced;
    default:
      return nullptr;
  }
}

bool NeedsIntake(const state::MessageRow& row) {
  return row.pending() + row.bounced() > 0 && !IsParked(row);
}

void CountMessage(v1::QueueName queue, int change, state::Counts* counts) {
  const auto by = [change](uint64_t count) { return count + static_cast<uint64_t>(change); };
  switch (queue) {
    case v1::QUEUE_NAME_INCOMING:
      return counts->set_incoming_messages(by(counts->incoming_messages()));
    case v1::QUEUE_NAME_DEFERRED:
      return counts->set_deferred_messages(by(counts->deferred_messages()));
    case v1::QUEUE_NAME_HOLD:
      return counts->set_hold_messages(by(counts->hold_messages()));
    case v1::QUEUE_NAME_CORRUPT:
      return counts->set_corrupt_messages(by(counts->corrupt_messages()));
    default:
      return;
  }
}

void CountQueueBytes(v1::QueueName queue, int64_t change, state::Counts* counts) {
  const auto by = [change](uint64_t count) { return count + static_cast<uint64_t>(change); };
  switch (queue) {
    case v1::QUEUE_NAME_DEFERRED:
      return counts->set_deferred_bytes(by(counts->deferred_bytes()));
    case v1::QUEUE_NAME_HOLD:
      return counts->set_hold_bytes(by(counts->hold_bytes()));
    case v1::QUEUE_NAME_CORRUPT:
      return counts->set_corrupt_bytes(by(counts->corrupt_bytes()));
    default:
      return;
  }
}

}  // namespace

void ChangeCount(state::RecipientRow::State recipient_state, int change, state::MessageRow* row) {
  uint32_t pending = row->pending();
  uint32_t deferred = row->deferred();
  uint32_t bounced = row->bounced();
  uint32_t* count = CountOf(recipient_state, &pending, &deferred, &bounced);
  if (count == nullptr) return;
  *count += static_cast<uint32_t>(change);
  row->set_pending(pending);
  row->set_deferred(deferred);
  row->set_bounced(bounced);
}

Draft::Draft(const Store* store, state::StateRow* state, Effects* effects)
    : store_(store), state_(state), effects_(effects) {}

void Draft::Begin(uint64_t index) {
  batch_.Clear();
  index_ = index;
  intake_ordinal_ = 0;
  walking_ = false;
  by_id_.clear();
  messages_.clear();
  uploads_.clear();
  swept_.clear();
}

absl::Status Draft::Finish() {
  for (Message& message : messages_) {
    if (message.exists && message.changed && !message.created) Settle(&message);
  }
  SettleUploads();
  for (std::unique_ptr<RowWalk>& walk : walks_) walk.reset();
  if (absl::Status swept = Sweep(); !swept.ok()) return swept;
  state_->set_applied_index(index_);
  state_->SerializeToString(&scratch_);
  batch_.Put(store_->family(Family::kDefault), AsSlice(kStateKey), scratch_);
  rocksdb::WriteOptions write;
  write.disableWAL = true;
  return ToStatus(store_->db()->Write(write, &batch_), "write to the store");
}

RowWalk& Draft::Walk(Family family) {
  std::unique_ptr<RowWalk>& walk = walks_[static_cast<size_t>(family)];
  if (walk == nullptr) walk = std::make_unique<RowWalk>(store_, family);
  return *walk;
}

absl::StatusOr<bool> Draft::LoadMessage(std::string_view queue_id, state::MessageRow* row) {
  if (!walking_) return LoadRow(*store_, Family::kMessage, queue_id, row, "message");
  RowWalk& rows = Walk(Family::kMessage);
  rows.Seek(queue_id);
  if (!rows.Valid()) {
    const absl::Status read = rows.status();
    // It may be readable itself, with damage beside it.
    if (absl::IsDataLoss(read)) {
      return LoadRow(*store_, Family::kMessage, queue_id, row, "message");
    }
    if (!read.ok()) return read;
    return false;
  }
  if (rows.key() != queue_id) return false;
  if (!ParseRow(rows.value(), row)) return Damaged("message", queue_id);
  return true;
}

absl::StatusOr<Draft::Message*> Draft::Find(std::string_view queue_id) {
  if (auto touched = by_id_.find(queue_id); touched != by_id_.end()) {
    if (touched->second->unreadable) return Damaged("message", queue_id);
    return touched->second;
  }
  Message& message = messages_.emplace_back();
  message.queue_id = std::string(queue_id);
  by_id_[message.queue_id] = &message;
  const absl::StatusOr<bool> found = LoadMessage(queue_id, &message.row);
  message.unreadable = absl::IsDataLoss(found.status());
  if (!found.ok()) return found.status();
  message.exists = *found;
  if (!message.exists) return &message;
  message.queue_before = DurableQueueOf(message.row);
  message.parked_before = IsParked(message.row);
  message.deferred_before = message.row.deferred();
  message.all_pending_before = message.row.pending() == message.row.recipients_total();
  message.intake_index_before = message.row.intake_index();
  message.intake_ordinal_before = message.row.intake_ordinal();
  return &message;
}

absl::StatusOr<Draft::Message*> Draft::FindApart(std::string_view queue_id) {
  const bool walking = std::exchange(walking_, false);
  auto message = Find(queue_id);
  walking_ = walking;
  return message;
}

absl::StatusOr<state::RecipientRow*> Draft::FindRecipient(Message* message, uint32_t number,
                                                          bool state_only) {
  auto touched = message->recipients.find(number);
  if (touched != message->recipients.end() &&
      (state_only || touched->second.has_recipient() ||
       touched->second.state() == state::RecipientRow::STATE_UNSPECIFIED)) {
    return &touched->second;
  }
  state::RecipientRow row;
  if (message->created || number >= message->row.recipients_total()) {
    // Nothing of it can be in the store.
  } else if (state_only && message->all_pending_before) {
    row.set_state(state::RecipientRow::STATE_PENDING);
  } else {
    const absl::StatusOr<bool> found = LoadRow(
        *store_, Family::kRecipient, NumberedKey(message->queue_id, number), &row, "recipient");
    if (!found.ok()) return found.status();
  }
  state::RecipientRow& kept = message->recipients[number];
  kept = std::move(row);
  return &kept;
}

absl::StatusOr<Draft::Job*> Draft::FindJob(Message* message, uint32_t number) {
  if (auto touched = message->jobs.find(number); touched != message->jobs.end()) {
    return &touched->second;
  }
  Job job;
  const absl::StatusOr<bool> found =
      LoadRow(*store_, Family::kJob, NumberedKey(message->queue_id, number), &job.row, "job");
  if (!found.ok()) return found.status();
  if (!*found) return Damaged("job", message->queue_id);
  job.MarkStored(message->parked_before);
  return &(message->jobs[number] = std::move(job));
}

absl::Status Draft::LeaveJob(Message* message, uint32_t number, const state::RecipientRow& row) {
  if (row.state() != state::RecipientRow::STATE_DEFERRED) return absl::OkStatus();
  // Of a corrupt message it may be lost with what made it corrupt.
  const bool must_be = message->row.corrupt_reason().empty();
  const absl::StatusOr<Job*> job = FindJob(message, row.job());
  if (!must_be && absl::IsDataLoss(job.status())) return absl::OkStatus();
  if (!job.ok()) return job.status();
  auto* numbers = (*job)->row.mutable_recipient_numbers();
  // Results come mostly in the job's order: found at the front.
  const auto found = std::find(numbers->begin(), numbers->end(), number);
  if (found == numbers->end()) {
    return must_be ? Damaged("job", message->queue_id) : absl::OkStatus();
  }
  numbers->erase(found);
  (*job)->changed = true;
  return absl::OkStatus();
}

absl::Status Draft::PutRecipient(Message* message, uint32_t number, state::RecipientRow row) {
  const absl::StatusOr<state::RecipientRow*> before = FindRecipient(message, number, false);
  if (!before.ok()) return before.status();
  if (absl::Status left = LeaveJob(message, number, **before); !left.ok()) return left;
  ChangeCount((*before)->state(), -1, &message->row);
  ChangeCount(row.state(), 1, &message->row);
  message->changed = true;
  // One that is deferred again has its site row.
  const bool waited = (*before)->state() == state::RecipientRow::STATE_DEFERRED;
  const bool waits = row.state() == state::RecipientRow::STATE_DEFERRED;
  if (waits) {
    Job& joined = message->jobs.at(row.job());
    joined.row.add_recipient_numbers(number);
    joined.changed = true;
    if (!waited) PutSite(*message, number, row.recipient().address());
  } else if (waited) {
    DropSite(*message, number, row.recipient().address());
  }
  row.SerializeToString(&scratch_);
  batch_.Put(store_->family(Family::kRecipient), NumberedKey(message->queue_id, number), scratch_);
  **before = std::move(row);
  return absl::OkStatus();
}

absl::Status Draft::DropRecipient(Message* message, uint32_t number) {
  const absl::StatusOr<state::RecipientRow*> before = FindRecipient(message, number, true);
  if (!before.ok()) return before.status();
  if (absl::Status left = LeaveJob(message, number, **before); !left.ok()) return left;
  ChangeCount((*before)->state(), -1, &message->row);
  message->changed = true;
  if ((*before)->state() == state::RecipientRow::STATE_DEFERRED) {
    DropSite(*message, number, (*before)->recipient().address());
  }
  batch_.Delete(store_->family(Family::kRecipient), NumberedKey(message->queue_id, number));
  (*before)->Clear();
  return absl::OkStatus();
}

uint32_t Draft::AddJob(Message* message, state::JobRow row) {
  const uint32_t number = message->row.next_job();
  message->row.set_next_job(number + 1);
  Job& job = message->jobs[number];
  job.row = std::move(row);
  job.changed = true;
  message->changed = true;
  return number;
}

void Draft::PutSite(const Message& message, uint32_t number, std::string_view address) {
  batch_.Put(store_->family(Family::kSite), SiteKey(SiteOf(address), message.queue_id, number),
             EncodeTime(message.row.envelope().arrival_ms()));
}

void Draft::DropSite(const Message& message, uint32_t number, std::string_view address) {
  batch_.SingleDelete(store_->family(Family::kSite),
                      SiteKey(SiteOf(address), message.queue_id, number));
}

void Draft::SettleJob(Message* message, uint32_t number, const Job& job) {
  const bool exists = job.row.recipient_numbers_size() > 0;
  const bool waits = exists && !IsParked(message->row);
  // A due row is put once and deleted once: one that stays where it is is left alone.
  const bool moved = job.row.due_ms() != job.due_ms_stored;
  rocksdb::ColumnFamilyHandle* due = store_->family(Family::kDue);
  if (job.due_stored && (!waits || moved)) {
    batch_.SingleDelete(due, EncodeDueKey({message->row.partition(), job.due_ms_stored,
                                           message->queue_id, number}));
  }
  if (waits && (!job.due_stored || moved)) {
    batch_.Put(
        due, EncodeDueKey({message->row.partition(), job.row.due_ms(), message->queue_id, number}),
        EncodeIndex(job.row.index()));
    effects_->due.push_back({message->queue_id, number, job.row.due_ms()});
  }
  if (!job.changed || (!exists && !job.stored)) return;
  const std::string key = NumberedKey(message->queue_id, number);
  if (!exists) {
    batch_.Delete(store_->family(Family::kJob), key);
    return;
  }
  job.row.SerializeToString(&scratch_);
  batch_.Put(store_->family(Family::kJob), key, scratch_);
}

void Draft::SettleJobs(Message* message) {
  for (const auto& [number, job] : message->jobs) SettleJob(message, number, job);
}

void Draft::PutIntake(Message* message) {
  const IntakeKey key = {message->row.partition(), index_, intake_ordinal_++};
  batch_.Put(store_->family(Family::kIntake), EncodeIntakeKey(key), message->queue_id);
  message->row.set_intake_index(key.index);
  message->row.set_intake_ordinal(key.ordinal);
  effects_->intake_again.push_back({message->queue_id, key});
}

void Draft::SettleIntake(Message* message) {
  const bool had = message->intake_index_before != 0;
  if (had == NeedsIntake(message->row)) return;
  if (!had) return PutIntake(message);
  batch_.SingleDelete(store_->family(Family::kIntake),
                      EncodeIntakeKey({message->row.partition(), message->intake_index_before,
                                       message->intake_ordinal_before}));
  message->row.set_intake_index(0);
  message->row.set_intake_ordinal(0);
}

void Draft::Settle(Message* message) {
  SettleJobs(message);
  SettleIntake(message);
  Move(*message, DurableQueueOf(message->row));
  message->row.SerializeToString(&scratch_);
  batch_.Put(store_->family(Family::kMessage), message->queue_id, scratch_);
}

void Draft::Move(const Message& message, v1::QueueName after) {
  const v1::QueueName before = message.queue_before;
  if (before == after) return;
  CountMessage(before, -1, state_->mutable_counts());
  CountMessage(after, 1, state_->mutable_counts());
  const auto bytes = static_cast<int64_t>(message.row.content_bytes());
  CountQueueBytes(before, -bytes, state_->mutable_counts());
  CountQueueBytes(after, bytes, state_->mutable_counts());
  rocksdb::ColumnFamilyHandle* index = store_->family(Family::kQueue);
  if (IsIndexed(before)) batch_.SingleDelete(index, QueueKey(before, message.queue_id));
  if (IsIndexed(after)) batch_.Put(index, QueueKey(after, message.queue_id), "");
}

void Draft::CountBytes(int64_t change) {
  state::Counts& counts = *state_->mutable_counts();
  counts.set_bytes(counts.bytes() + static_cast<uint64_t>(change));
}

void Draft::RemoveIfEmpty(Message* message) {
  if (!message->exists || message->created) return;
  if (DurableQueueOf(message->row) != v1::QUEUE_NAME_UNSPECIFIED) return;
  SettleJobs(message);
  DropChunks(BodyIdOf(message->queue_id, message->row), message->row.chunks());
  CountBytes(-static_cast<int64_t>(message->row.content_bytes()));
  DropMessageRows(message);
}

void Draft::DropMessageRows(Message* message) {
  if (message->intake_index_before != 0) {
    batch_.SingleDelete(store_->family(Family::kIntake),
                        EncodeIntakeKey({message->row.partition(), message->intake_index_before,
                                         message->intake_ordinal_before}));
  }
  if (!message->row.body_id().empty()) {
    state::Counts& counts = *state_->mutable_counts();
    counts.set_borrowed_bodies(counts.borrowed_bodies() - 1);
  }
  batch_.Delete(store_->family(Family::kMessage), message->queue_id);
  Move(*message, v1::QUEUE_NAME_UNSPECIFIED);
  message->exists = false;
}

void Draft::Create(Message* message, const Creation& creation, NewMessageEffect* effect) {
  const v1::NewMessage& wanted = *creation.message;
  const uint32_t total = static_cast<uint32_t>(wanted.recipients_size());
  const IntakeKey intake = {0, index_, intake_ordinal_++};
  state::MessageRow& row = effect->row;
  *row.mutable_envelope() = wanted.envelope();
  row.set_content_bytes(wanted.content_bytes());
  row.set_chunks(creation.chunks);
  row.set_recipients_total(total);
  row.set_pending(total);
  row.set_partition(intake.partition);
  row.set_intake_index(intake.index);
  row.set_intake_ordinal(intake.ordinal);
  row.set_create_ms(state_->now_ms());
  row.SerializeToString(&scratch_);
  batch_.Put(store_->family(Family::kMessage), AsSlice(creation.queue_id), scratch_);
  state::RecipientRow recipient;
  recipient.set_state(state::RecipientRow::STATE_PENDING);
  for (uint32_t number = 0; number < total; ++number) {
    *recipient.mutable_recipient() = wanted.recipients(static_cast<int>(number));
    recipient.mutable_recipient()->set_number(number);
    recipient.SerializeToString(&scratch_);
    batch_.Put(store_->family(Family::kRecipient), NumberedKey(creation.queue_id, number),
               scratch_);
  }
  batch_.Put(store_->family(Family::kIntake), EncodeIntakeKey(intake), AsSlice(creation.queue_id));
  CountMessage(v1::QUEUE_NAME_INCOMING, 1, state_->mutable_counts());
  CountBytes(static_cast<int64_t>(wanted.content_bytes()));
  effect->queue_id = creation.queue_id;
  effect->recipients = &wanted.recipients();
  message->exists = true;
  message->created = true;
}

void Draft::PutChunk(std::string_view queue_id, uint32_t chunk, uint32_t crc32c,
                     absl::Span<const std::string_view> pieces) {
  const std::string key = NumberedKey(queue_id, chunk);
  const std::string header = ChunkHeader(crc32c);
  pieces_.clear();
  pieces_.push_back(header);
  for (std::string_view piece : pieces) pieces_.push_back(AsSlice(piece));
  const rocksdb::Slice key_slice(key);
  // The one copy of the contents: into the batch. (Write copies the batch into the memtable.)
  batch_.Put(store_->family(Family::kBody), rocksdb::SliceParts(&key_slice, 1),
             rocksdb::SliceParts(pieces_.data(), static_cast<int>(pieces_.size())));
}

void Draft::DropChunks(std::string_view queue_id, uint32_t chunks) {
  for (uint32_t chunk = 0; chunk < chunks; ++chunk) {
    batch_.SingleDelete(store_->family(Family::kBody), NumberedKey(queue_id, chunk));
  }
}

absl::StatusOr<Draft::Upload*> Draft::FindUpload(std::string_view queue_id) {
  if (auto touched = uploads_.find(queue_id); touched != uploads_.end()) return &touched->second;
  Upload upload;
  // Most messages are of one chunk, and mostly there are no uploads at all.
  if (state_->counts().uploads() > 0) {
    const absl::StatusOr<bool> found =
        LoadRow(*store_, Family::kUpload, queue_id, &upload.row, "upload");
    if (!found.ok()) return found.status();
    upload.exists = upload.existed = *found;
  }
  return &(uploads_[std::string(queue_id)] = std::move(upload));
}

void Draft::SettleUploads() {
  rocksdb::ColumnFamilyHandle* family = store_->family(Family::kUpload);
  state::Counts& counts = *state_->mutable_counts();
  for (auto& [queue_id, upload] : uploads_) {
    if (upload.exists) batch_.Put(family, queue_id, upload.row.SerializeAsString());
    if (!upload.exists && upload.existed) batch_.Delete(family, queue_id);
    counts.set_uploads(counts.uploads() + (upload.exists ? 1 : 0) - (upload.existed ? 1 : 0));
  }
}

}  // namespace postfleet::queue
