#include "services/queue/state/message_cursor.h"

namespace postfleet::queue {

absl::StatusOr<bool> GetMessage(const Store& store, const rocksdb::Snapshot* snapshot,
                                std::string_view queue_id, state::MessageRow* row) {
  rocksdb::ReadOptions read;
  read.snapshot = snapshot;
  rocksdb::PinnableSlice bytes;
  const rocksdb::Status status =
      store.db()->Get(read, store.family(Family::kMessage), AsSlice(queue_id), &bytes);
  if (status.IsNotFound()) return false;
  if (!status.ok()) return ToStatus(status, Concat("read the message row of ", queue_id));
  if (!ParseRow(bytes.ToStringView(), row)) return Damaged("message", queue_id);
  return true;
}

MessageCursor::MessageCursor(const Store& store, const rocksdb::Snapshot* snapshot,
                             const std::vector<v1::QueueName>& indexed, std::string_view after)
    : store_(store),
      snapshot_(snapshot),
      messages_(store, Family::kMessage, "", snapshot),
      queue_id_(after) {
  for (v1::QueueName queue : indexed) {
    const std::string from = after.empty() ? QueuePrefix(queue) : Behind(QueueKey(queue, after));
    indexes_.push_back(
        std::make_unique<Rows>(store, Family::kQueue, QueuePrefix(queue), from, snapshot));
  }
}

absl::StatusOr<bool> MessageCursor::Next() {
  damaged_ = false;
  return indexes_.empty() ? NextByRow() : NextByIndex();
}

absl::StatusOr<bool> MessageCursor::NextByRow() {
  if (begun_ && !astray_) {
    messages_.Next();
  } else {
    messages_.Seek(queue_id_.empty() ? "" : Behind(queue_id_));
  }
  begun_ = true;
  astray_ = false;
  if (messages_.Valid()) {
    queue_id_.assign(messages_.key());
    damaged_ = !messages_.Parse(&row_);
    if (damaged_) row_.Clear();
    return true;
  }
  const absl::Status status = messages_.status();
  if (status.ok()) return false;
  if (!absl::IsDataLoss(status)) return status;
  return NextByGuide();
}

absl::StatusOr<bool> MessageCursor::NextByGuide() {
  absl::StatusOr<bool> found = NextBy(Family::kRecipient);
  // Damaged at the same place.
  if (absl::IsDataLoss(found.status())) found = NextBy(Family::kBody);
  return found;
}

absl::StatusOr<bool> MessageCursor::NextBy(Family guide) {
  Rows rows(store_, guide, "", snapshot_);
  for (;;) {
    rows.Seek(queue_id_.empty() ? "" : PrefixEnd(MessagePrefix(queue_id_)));
    if (!rows.Valid()) {
      if (absl::Status status = rows.status(); !status.ok()) return status;
      return false;
    }
    std::string_view queue_id;
    uint32_t number = 0;
    if (!ParseNumberedKey(rows.key(), &queue_id, &number)) return Damaged("numbered", rows.key());
    queue_id_.assign(queue_id);
    const auto found = GetMessage(store_, snapshot_, queue_id_, &row_);
    damaged_ = absl::IsDataLoss(found.status());
    if (damaged_) row_.Clear();
    if (!found.ok() && !damaged_) return found.status();
    if (!damaged_ && !*found) continue;
    astray_ = true;
    return true;
  }
}

absl::StatusOr<Rows*> MessageCursor::LeastIndex() {
  Rows* least = nullptr;
  for (const std::unique_ptr<Rows>& index : indexes_) {
    if (!index->Valid()) {
      if (absl::Status status = index->status(); !status.ok()) return status;
      continue;
    }
    if (least == nullptr || index->key().substr(1) < least->key().substr(1)) least = index.get();
  }
  return least;
}

absl::StatusOr<bool> MessageCursor::NextByIndex() {
  for (;;) {
    const absl::StatusOr<Rows*> least = LeastIndex();
    if (!least.ok()) return least.status();
    if (*least == nullptr) return false;
    queue_id_.assign((*least)->key().substr(1));
    (*least)->Next();
    messages_.Approach(queue_id_);
    if (messages_.Valid()) {
      if (messages_.key() != queue_id_) continue;
      damaged_ = !messages_.Parse(&row_);
    } else {
      const absl::Status status = messages_.status();
      if (status.ok()) continue;
      if (!absl::IsDataLoss(status)) return status;
      damaged_ = true;
    }
    if (damaged_) row_.Clear();
    return true;
  }
}

}  // namespace postfleet::queue
