// The parts of Draft that act on a whole message, or on all of them.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "services/queue/state/draft.h"
#include "services/queue/state/keys.h"
#include "services/queue/state/row_access.h"

namespace postfleet::queue {
namespace {

// Whose row of intake, due or site it is; empty: nobody can say.
std::string OwnerOf(Family family, std::string_view key, std::string_view value) {
  if (family == Family::kIntake) return std::string(value);
  if (family == Family::kDue) {
    DueKey due;
    return ParseDueKey(key, &due) ? due.queue_id : std::string();
  }
  std::string_view site;
  std::string_view queue_id;
  uint32_t number = 0;
  return ParseSiteKey(key, &site, &queue_id, &number) ? std::string(queue_id) : std::string();
}

// Above every key of the families that are purged: they begin with an id, a partition, a queue or a
// site.
constexpr std::string_view kAboveAll = "\xff\xff\xff\xff";

}  // namespace

absl::Status Draft::LoadJobs(Message* message) {
  if (message->jobs_loaded || message->deferred_before == 0) return absl::OkStatus();
  const std::string prefix = MessagePrefix(message->queue_id);
  RowWalk& rows = Walk(Family::kJob);
  std::map<uint32_t, Job> jobs;
  uint32_t waiting = 0;
  for (rows.Seek(prefix); rows.In(prefix); rows.Next()) {
    std::string_view queue_id;
    uint32_t number = 0;
    Job job;
    if (!ParseNumberedKey(rows.key(), &queue_id, &number) || !ParseRow(rows.value(), &job.row)) {
      return Damaged("job", message->queue_id);
    }
    job.MarkStored(message->parked_before);
    waiting += static_cast<uint32_t>(job.row.recipient_numbers_size());
    jobs.emplace(number, std::move(job));
    // The last one: what lies behind it is not this message's.
    if (waiting == message->deferred_before) break;
  }
  if (!rows.Valid() && !rows.status().ok()) return rows.status();
  if (waiting != message->deferred_before) return Damaged("job", message->queue_id);
  // Those that the command has touched stay as they are.
  message->jobs.merge(jobs);
  message->jobs_loaded = true;
  return absl::OkStatus();
}

absl::Status Draft::MakeJobsDue(Message* message) {
  if (absl::Status loaded = LoadJobs(message); !loaded.ok()) return loaded;
  for (auto& [number, job] : message->jobs) {
    if (job.row.due_ms() <= state_->now_ms()) continue;
    job.row.set_due_ms(state_->now_ms());
    job.changed = true;
    message->changed = true;
  }
  return absl::OkStatus();
}

absl::Status Draft::MoveRecipient(Message* message, std::string_view key, std::string_view value,
                                  Message* moved_to) {
  batch_.Delete(store_->family(Family::kRecipient), AsSlice(key));
  // Whoever only deletes needs nothing of the rows but the sites of deferred ones.
  if (moved_to == nullptr && message->row.deferred() == 0) return absl::OkStatus();
  state::RecipientRow row;
  std::string_view queue_id;
  uint32_t number = 0;
  if (!ParseNumberedKey(key, &queue_id, &number) || !ParseRow(value, &row)) {
    return Damaged("recipient", message->queue_id);
  }
  if (row.state() == state::RecipientRow::STATE_DEFERRED) {
    DropSite(*message, number, row.recipient().address());
  }
  if (moved_to == nullptr) return absl::OkStatus();
  if (row.state() != state::RecipientRow::STATE_BOUNCED) {
    row.set_state(state::RecipientRow::STATE_PENDING);
    row.clear_job();
    row.clear_last();
  }
  ChangeCount(row.state(), 1, &moved_to->row);
  row.SerializeToString(&scratch_);
  batch_.Put(store_->family(Family::kRecipient), NumberedKey(moved_to->queue_id, number), scratch_);
  return absl::OkStatus();
}

absl::Status Draft::MoveRecipients(Message* message, Message* moved_to) {
  const uint32_t expected = RowsOf(message->row);
  if (expected == 0) return absl::OkStatus();
  const std::string prefix = MessagePrefix(message->queue_id);
  RowWalk& rows = Walk(Family::kRecipient);
  uint32_t seen = 0;
  for (rows.Seek(prefix); rows.In(prefix); rows.Next()) {
    absl::Status moved = MoveRecipient(message, rows.key(), rows.value(), moved_to);
    if (!moved.ok()) return moved;
    if (++seen == expected) return absl::OkStatus();
  }
  if (!rows.Valid() && !rows.status().ok()) return rows.status();
  return Damaged("recipient", message->queue_id);
}

absl::Status Draft::RemoveJobs(Message* message) {
  const absl::Status loaded = LoadJobs(message);
  if (!loaded.ok() && !absl::IsDataLoss(loaded)) return loaded;
  if (!loaded.ok() || message->row.salvaged()) {
    swept_.insert(message->queue_id);
    const std::string prefix = MessagePrefix(message->queue_id);
    batch_.DeleteRange(store_->family(Family::kJob), prefix, PrefixEnd(prefix));
  }
  for (auto& [number, job] : message->jobs) {
    job.row.clear_recipient_numbers();
    job.changed = true;
  }
  SettleJobs(message);
  return absl::OkStatus();
}

absl::Status Draft::RemoveWhole(Message* message) {
  if (absl::Status removed = RemoveJobs(message); !removed.ok()) return removed;
  batch_.SetSavePoint();
  const absl::Status moved = MoveRecipients(message, nullptr);
  if (!moved.ok() && !absl::IsDataLoss(moved)) return moved;
  if (moved.ok()) {
    batch_.PopSavePoint().PermitUncheckedError();
  } else {
    batch_.RollbackToSavePoint().PermitUncheckedError();
  }
  // Of a salvaged message there may be more than could be counted.
  if (!moved.ok() || message->row.salvaged()) {
    swept_.insert(message->queue_id);
    const std::string prefix = MessagePrefix(message->queue_id);
    batch_.DeleteRange(store_->family(Family::kRecipient), prefix, PrefixEnd(prefix));
  }
  DropChunks(BodyIdOf(message->queue_id, message->row), message->row.chunks());
  CountBytes(-static_cast<int64_t>(message->row.content_bytes()));
  DropMessageRows(message);
  return absl::OkStatus();
}

absl::Status Draft::Requeue(Message* message, Message* target) {
  // Parked messages' jobs are not needed: they have no due rows.
  absl::Status loaded = LoadJobs(message);
  if (!loaded.ok() && !(message->parked_before && absl::IsDataLoss(loaded))) return loaded;
  state::MessageRow& row = target->row;
  row.Clear();
  batch_.SetSavePoint();
  if (absl::Status moved = MoveRecipients(message, target); !moved.ok()) {
    batch_.RollbackToSavePoint().PermitUncheckedError();
    return moved;
  }
  batch_.PopSavePoint().PermitUncheckedError();
  if (absl::Status removed = RemoveJobs(message); !removed.ok()) return removed;
  *row.mutable_envelope() = message->row.envelope();
  row.set_content_bytes(message->row.content_bytes());
  row.set_chunks(message->row.chunks());
  row.set_recipients_total(message->row.recipients_total());
  row.set_partition(message->row.partition());
  row.set_create_ms(state_->now_ms());
  row.set_body_id(std::string(BodyIdOf(message->queue_id, message->row)));
  PutIntake(target);
  row.SerializeToString(&scratch_);
  batch_.Put(store_->family(Family::kMessage), target->queue_id, scratch_);
  DropMessageRows(message);
  Move(*target, DurableQueueOf(row));
  state::Counts& counts = *state_->mutable_counts();
  counts.set_borrowed_bodies(counts.borrowed_bodies() + 1);
  target->exists = true;
  target->created = true;
  return absl::OkStatus();
}

absl::StatusOr<bool> Draft::BodyIsBorrowed(std::string_view queue_id) const {
  if (state_->counts().borrowed_bodies() == 0) return false;
  rocksdb::PinnableSlice bytes;
  const rocksdb::Status status =
      store_->db()->Get({}, store_->family(Family::kBody), NumberedKey(queue_id, 0), &bytes);
  if (status.IsNotFound()) return false;
  // A damaged one is in the way too.
  if (!status.ok() && !status.IsCorruption()) return ToStatus(status, "read a chunk");
  return true;
}

absl::Status Draft::Purge() {
  std::vector<std::string> uploads;
  std::unique_ptr<rocksdb::Iterator> rows(
      store_->db()->NewIterator({}, store_->family(Family::kUpload)));
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) uploads.push_back(rows->key().ToString());
  if (!rows->status().ok()) return ToStatus(rows->status(), "read upload rows");
  for (Family family : {Family::kMessage, Family::kRecipient, Family::kIntake, Family::kJob,
                        Family::kDue, Family::kQueue, Family::kSite}) {
    batch_.DeleteRange(store_->family(family), rocksdb::Slice(), AsSlice(kAboveAll));
  }
  // The chunks, between those of uploads.
  std::string begin;
  for (const std::string& upload : uploads) {
    const std::string prefix = MessagePrefix(upload);
    batch_.DeleteRange(store_->family(Family::kBody), begin, prefix);
    begin = PrefixEnd(prefix);
  }
  batch_.DeleteRange(store_->family(Family::kBody), begin, AsSlice(kAboveAll));
  state::Counts& counts = *state_->mutable_counts();
  counts.set_incoming_messages(0);
  counts.set_deferred_messages(0);
  counts.set_hold_messages(0);
  counts.set_corrupt_messages(0);
  counts.set_bytes(0);
  counts.set_deferred_bytes(0);
  counts.set_hold_bytes(0);
  counts.set_corrupt_bytes(0);
  counts.set_borrowed_bodies(0);
  return absl::OkStatus();
}

// ---- What a damaged row leaves

void Draft::SalvageRecipients(Message* message) {
  state::MessageRow& row = message->row;
  const std::string prefix = MessagePrefix(message->queue_id);
  RowWalk& rows = Walk(Family::kRecipient);
  for (rows.Seek(prefix); rows.In(prefix); rows.Next()) {
    state::RecipientRow recipient;
    if (!ParseRow(rows.value(), &recipient)) continue;
    ChangeCount(recipient.state(), 1, &row);
    row.set_recipients_total(recipient.recipient().number() + 1);
    if (recipient.state() == state::RecipientRow::STATE_DEFERRED) {
      row.set_next_job(std::max(row.next_job(), recipient.job() + 1));
    }
  }
}

void Draft::SalvageChunks(Message* message) {
  const std::string prefix = MessagePrefix(message->queue_id);
  RowWalk& rows = Walk(Family::kBody);
  uint64_t bytes = 0;
  uint32_t chunks = 0;
  for (rows.Seek(prefix); rows.In(prefix); rows.Next(), ++chunks) {
    bytes += rows.value().size() - std::min(rows.value().size(), kChunkHeaderBytes);
  }
  message->row.set_chunks(chunks);
  message->row.set_content_bytes(bytes);
  // Every message has a chunk: this one's were another's.
  state::Counts& counts = *state_->mutable_counts();
  if (chunks == 0 && (rows.Valid() || rows.status().ok()) && counts.borrowed_bodies() > 0) {
    counts.set_borrowed_bodies(counts.borrowed_bodies() - 1);
  }
}

absl::Status Draft::SweepFamily(Family family) {
  rocksdb::ColumnFamilyHandle* handle = store_->family(family);
  std::unique_ptr<rocksdb::Iterator> rows(store_->db()->NewIterator({}, handle));
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
    const std::string owner =
        OwnerOf(family, rows->key().ToStringView(), rows->value().ToStringView());
    // Not SingleDelete: this command may have done that to it before.
    if (swept_.contains(owner)) batch_.Delete(handle, rows->key());
  }
  // What lies behind a damaged block stays: it means nothing there.
  absl::Status read = ToStatus(rows->status(), "read an index");
  return absl::IsDataLoss(read) ? absl::OkStatus() : read;
}

absl::Status Draft::Sweep() {
  if (swept_.empty()) return absl::OkStatus();
  for (Family family : {Family::kIntake, Family::kDue, Family::kSite}) {
    if (absl::Status swept = SweepFamily(family); !swept.ok()) return swept;
  }
  return absl::OkStatus();
}

v1::QueueName Draft::QueueByIndex(std::string_view queue_id) const {
  for (v1::QueueName queue :
       {v1::QUEUE_NAME_CORRUPT, v1::QUEUE_NAME_HOLD, v1::QUEUE_NAME_DEFERRED}) {
    std::string value;
    const rocksdb::Status status =
        store_->db()->Get({}, store_->family(Family::kQueue), QueueKey(queue, queue_id), &value);
    if (status.ok()) return queue;
  }
  return v1::QUEUE_NAME_INCOMING;
}

Draft::Message* Draft::Salvage(std::string_view queue_id) {
  Message* message = by_id_.at(queue_id);
  message->row.Clear();
  message->queue_before = QueueByIndex(queue_id);
  SalvageRecipients(message);
  if (message->queue_before == v1::QUEUE_NAME_INCOMING && message->row.recipients_total() == 0) {
    return nullptr;
  }
  message->unreadable = false;
  message->exists = message->changed = true;
  message->parked_before = message->queue_before == v1::QUEUE_NAME_HOLD ||
                           message->queue_before == v1::QUEUE_NAME_CORRUPT;
  message->deferred_before = message->row.deferred();
  message->row.set_salvaged(true);
  SalvageChunks(message);
  return message;
}

}  // namespace postfleet::queue
