#include "services/queue/state/draft.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "libs/base/concat.h"
#include "services/queue/state/keys.h"
#include "services/queue/state/state_machine.h"

namespace postfleet::queue {
namespace {

rocksdb::Slice AsSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

absl::Status Damaged(std::string_view what, std::string_view queue_id) {
  return absl::DataLossError(Concat("the store has a damaged ", what, " row of ", queue_id));
}

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

bool NeedsIntake(const state::MessageRow& row) { return row.pending() + row.bounced() > 0; }

// Reads and parses a row. False: it is not there.
absl::StatusOr<bool> Load(const Store& store, Family family, std::string_view key,
                          google::protobuf::MessageLite* row, std::string_view what) {
  rocksdb::PinnableSlice bytes;
  const rocksdb::Status status = store.db()->Get({}, store.family(family), AsSlice(key), &bytes);
  if (status.IsNotFound()) return false;
  if (!status.ok()) return ToStatus(status, Concat("read a ", what, " row"));
  if (!row->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Damaged(what, key);
  }
  return true;
}

}  // namespace

CountedQueue QueueOf(const state::MessageRow& row) {
  if (row.pending() > 0) return CountedQueue::kIncoming;
  if (row.deferred() > 0) return CountedQueue::kDeferred;
  return row.bounced() > 0 ? CountedQueue::kIncoming : CountedQueue::kNone;
}

Draft::Draft(const Store* store, state::StateRow* state, Effects* effects)
    : store_(store), state_(state), effects_(effects) {}

void Draft::Begin(uint64_t index) {
  batch_.Clear();
  index_ = index;
  intake_ordinal_ = 0;
  by_id_.clear();
  messages_.clear();
  uploads_.clear();
}

absl::Status Draft::Finish() {
  for (Message& message : messages_) {
    if (message.exists && !message.created) Settle(&message);
  }
  SettleUploads();
  state_->set_applied_index(index_);
  state_->SerializeToString(&scratch_);
  batch_.Put(store_->family(Family::kDefault), AsSlice(kStateKey), scratch_);
  rocksdb::WriteOptions write;
  write.disableWAL = true;
  return ToStatus(store_->db()->Write(write, &batch_), "write to the store");
}

absl::StatusOr<Draft::Message*> Draft::Find(std::string_view queue_id) {
  if (auto touched = by_id_.find(queue_id); touched != by_id_.end()) return touched->second;
  Message& message = messages_.emplace_back();
  message.queue_id = std::string(queue_id);
  by_id_[message.queue_id] = &message;
  const absl::StatusOr<bool> found =
      Load(*store_, Family::kMessage, queue_id, &message.row, "message");
  if (!found.ok()) return found.status();
  message.exists = *found;
  if (!message.exists) return &message;
  message.queue_before = QueueOf(message.row);
  message.all_pending_before = message.row.pending() == message.row.recipients_total();
  message.intake_index_before = message.row.intake_index();
  message.intake_ordinal_before = message.row.intake_ordinal();
  return &message;
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
    const absl::StatusOr<bool> found = Load(
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
      Load(*store_, Family::kJob, NumberedKey(message->queue_id, number), &job.row, "job");
  if (!found.ok()) return found.status();
  if (!*found) return Damaged("job", message->queue_id);
  return &(message->jobs[number] = std::move(job));
}

absl::Status Draft::LeaveJob(Message* message, uint32_t number, const state::RecipientRow& row) {
  if (row.state() != state::RecipientRow::STATE_DEFERRED) return absl::OkStatus();
  const absl::StatusOr<Job*> job = FindJob(message, row.job());
  if (!job.ok()) return job.status();
  auto* numbers = (*job)->row.mutable_recipient_numbers();
  // Results come mostly in the job's order: found at the front.
  const auto found = std::find(numbers->begin(), numbers->end(), number);
  if (found == numbers->end()) return Damaged("job", message->queue_id);
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
  if (row.state() == state::RecipientRow::STATE_DEFERRED) {
    Job& joined = message->jobs.at(row.job());
    joined.row.add_recipient_numbers(number);
    joined.changed = true;
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
  batch_.Delete(store_->family(Family::kRecipient), NumberedKey(message->queue_id, number));
  (*before)->Clear();
  return absl::OkStatus();
}

uint32_t Draft::AddJob(Message* message, state::JobRow row) {
  const uint32_t number = message->row.next_job();
  message->row.set_next_job(number + 1);
  Job& job = message->jobs[number];
  job.row = std::move(row);
  job.fresh = true;
  job.changed = true;
  return number;
}

DueKey Draft::DueKeyOf(const Message& message, uint32_t number, const state::JobRow& row) const {
  return {message.row.partition(), row.due_ms(), message.queue_id, number};
}

void Draft::SettleJobs(Message* message) {
  for (auto& [number, job] : message->jobs) {
    if (!job.changed) continue;
    const std::string key = NumberedKey(message->queue_id, number);
    const std::string due = EncodeDueKey(DueKeyOf(*message, number, job.row));
    if (job.row.recipient_numbers_size() == 0) {
      if (job.fresh) continue;
      batch_.Delete(store_->family(Family::kJob), key);
      batch_.SingleDelete(store_->family(Family::kDue), due);
      continue;
    }
    job.row.SerializeToString(&scratch_);
    batch_.Put(store_->family(Family::kJob), key, scratch_);
    if (!job.fresh) continue;
    batch_.Put(store_->family(Family::kDue), due, EncodeIndex(job.row.index()));
    effects_->due.push_back({message->queue_id, number, job.row.due_ms()});
  }
}

void Draft::SettleIntake(Message* message) {
  state::MessageRow& row = message->row;
  const bool had = message->intake_index_before != 0;
  if (had == NeedsIntake(row)) return;
  if (had) {
    batch_.SingleDelete(store_->family(Family::kIntake),
                        EncodeIntakeKey({row.partition(), message->intake_index_before,
                                         message->intake_ordinal_before}));
    row.set_intake_index(0);
    row.set_intake_ordinal(0);
    return;
  }
  const IntakeKey key = {row.partition(), index_, intake_ordinal_++};
  batch_.Put(store_->family(Family::kIntake), EncodeIntakeKey(key), message->queue_id);
  row.set_intake_index(key.index);
  row.set_intake_ordinal(key.ordinal);
  effects_->intake_again.push_back({message->queue_id, key});
}

void Draft::Settle(Message* message) {
  SettleJobs(message);
  SettleIntake(message);
  Recount(message->queue_before, QueueOf(message->row), 0);
  message->row.SerializeToString(&scratch_);
  batch_.Put(store_->family(Family::kMessage), message->queue_id, scratch_);
}

void Draft::Recount(CountedQueue before, CountedQueue after, int64_t bytes_change) {
  state::Counts& counts = *state_->mutable_counts();
  uint64_t incoming = counts.incoming_messages();
  uint64_t deferred = counts.deferred_messages();
  incoming -= before == CountedQueue::kIncoming ? 1 : 0;
  deferred -= before == CountedQueue::kDeferred ? 1 : 0;
  incoming += after == CountedQueue::kIncoming ? 1 : 0;
  deferred += after == CountedQueue::kDeferred ? 1 : 0;
  counts.set_incoming_messages(incoming);
  counts.set_deferred_messages(deferred);
  counts.set_bytes(counts.bytes() + static_cast<uint64_t>(bytes_change));
}

void Draft::RemoveIfEmpty(Message* message) {
  if (!message->exists || message->created || QueueOf(message->row) != CountedQueue::kNone) return;
  SettleJobs(message);
  DropMessageRows(message);
}

void Draft::DropMessageRows(Message* message) {
  if (message->intake_index_before != 0) {
    batch_.SingleDelete(store_->family(Family::kIntake),
                        EncodeIntakeKey({message->row.partition(), message->intake_index_before,
                                         message->intake_ordinal_before}));
  }
  DropChunks(message->queue_id, message->row.chunks());
  batch_.Delete(store_->family(Family::kMessage), message->queue_id);
  Recount(message->queue_before, CountedQueue::kNone,
          -static_cast<int64_t>(message->row.content_bytes()));
  message->exists = false;
}

absl::Status Draft::LoadJobs(Message* message) {
  if (message->row.deferred() == 0) return absl::OkStatus();
  const std::string prefix = MessagePrefix(message->queue_id);
  const std::string end = PrefixEnd(prefix);
  const rocksdb::Slice bound(end);
  rocksdb::ReadOptions read;
  read.iterate_upper_bound = &bound;
  std::unique_ptr<rocksdb::Iterator> rows(
      store_->db()->NewIterator(read, store_->family(Family::kJob)));
  for (rows->Seek(prefix); rows->Valid(); rows->Next()) {
    std::string_view queue_id;
    uint32_t number = 0;
    Job job;
    if (!ParseNumberedKey(rows->key().ToStringView(), &queue_id, &number) ||
        !job.row.ParseFromArray(rows->value().data(), static_cast<int>(rows->value().size()))) {
      return Damaged("job", message->queue_id);
    }
    message->jobs[number] = std::move(job);
  }
  return ToStatus(rows->status(), "read job rows");
}

absl::Status Draft::MakeJobsDue(Message* message) {
  if (absl::Status loaded = LoadJobs(message); !loaded.ok()) return loaded;
  for (auto& [number, job] : message->jobs) {
    // Each due key is put once: one that lies at now is left where it is.
    if (job.row.due_ms() <= state_->now_ms()) continue;
    batch_.SingleDelete(store_->family(Family::kDue),
                        EncodeDueKey(DueKeyOf(*message, number, job.row)));
    job.row.set_due_ms(state_->now_ms());
    job.fresh = true;
    job.changed = true;
  }
  return absl::OkStatus();
}

absl::Status Draft::RemoveWhole(Message* message) {
  const std::string prefix = MessagePrefix(message->queue_id);
  const std::string end = PrefixEnd(prefix);
  const rocksdb::Slice bound(end);
  rocksdb::ReadOptions read;
  read.iterate_upper_bound = &bound;
  std::unique_ptr<rocksdb::Iterator> rows(
      store_->db()->NewIterator(read, store_->family(Family::kRecipient)));
  for (rows->Seek(prefix); rows->Valid(); rows->Next()) {
    batch_.Delete(store_->family(Family::kRecipient), rows->key());
  }
  if (!rows->status().ok()) return ToStatus(rows->status(), "read recipient rows");
  if (absl::Status loaded = LoadJobs(message); !loaded.ok()) return loaded;
  for (auto& [number, job] : message->jobs) {
    job.row.clear_recipient_numbers();
    job.changed = true;
  }
  SettleJobs(message);
  DropMessageRows(message);
  return absl::OkStatus();
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
  Recount(CountedQueue::kNone, CountedQueue::kIncoming,
          static_cast<int64_t>(wanted.content_bytes()));
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
        Load(*store_, Family::kUpload, queue_id, &upload.row, "upload");
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
