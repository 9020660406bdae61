#include "services/queue/state/submission_window.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <string>

#include "services/queue/state/keys.h"
#include "services/queue/state/state_machine.h"

namespace postfleet::queue {
namespace {

// Incarnations kept in memory; more than live at once.
constexpr size_t kIncarnationsCachedMax = 1'024;

absl::Status Damaged() { return absl::DataLossError("the store has a damaged submission row"); }

// What cannot be read is left where it is.
absl::Status PassBy(absl::Status status) {
  return absl::IsDataLoss(status) ? absl::OkStatus() : status;
}

}  // namespace

void SubmissionWindow::BeginCommand() {
  recent_.clear();
  if (highest_.size() > kIncarnationsCachedMax) highest_.clear();
}

absl::StatusOr<int64_t> SubmissionWindow::Highest(uint64_t incarnation) {
  if (auto known = highest_.find(incarnation); known != highest_.end()) return known->second;
  std::unique_ptr<rocksdb::Iterator> rows(
      store_->db()->NewIterator({}, store_->family(Family::kSubmission)));
  rows->SeekForPrev(SubmissionKey(incarnation, std::numeric_limits<uint64_t>::max()));
  if (!rows->status().ok()) return ToStatus(rows->status(), "read submissions");
  if (!rows->Valid()) return -1;
  uint64_t found = 0;
  uint64_t sequence = 0;
  if (!ParseSubmissionKey(rows->key().ToStringView(), &found, &sequence)) return Damaged();
  if (found != incarnation) return -1;
  highest_[incarnation] = sequence;
  return sequence;
}

absl::StatusOr<SubmissionWindow::Standing> SubmissionWindow::Look(const v1::SubmissionId& id,
                                                                  state::SubmissionRow* row) {
  const absl::StatusOr<int64_t> highest = Highest(id.incarnation());
  if (absl::IsDataLoss(highest.status())) return Unreadable();
  if (!highest.ok()) return highest.status();
  if (*highest < 0) return Standing::kExpired;
  const uint64_t last = static_cast<uint64_t>(*highest);
  if (id.sequence() > last) return Standing::kNew;
  if (last - id.sequence() >= kSubmissionWindow) return Standing::kExpired;
  for (const Recent& recent : recent_) {
    if (recent.incarnation != id.incarnation() || recent.sequence != id.sequence()) continue;
    *row = recent.row;
    return Standing::kKnown;
  }
  std::string bytes;
  const rocksdb::Status status =
      store_->db()->Get({}, store_->family(Family::kSubmission),
                        SubmissionKey(id.incarnation(), id.sequence()), &bytes);
  // It was sent but never got here, and others behind it did.
  if (status.IsNotFound()) return Standing::kNew;
  if (status.IsCorruption()) return Unreadable();
  if (!status.ok()) return ToStatus(status, "read a submission");
  if (!row->ParseFromString(bytes)) return Unreadable();
  return Standing::kKnown;
}

void SubmissionWindow::Remember(const v1::SubmissionId& id, const state::SubmissionRow& row,
                                rocksdb::WriteBatch* batch) {
  rocksdb::ColumnFamilyHandle* family = store_->family(Family::kSubmission);
  const uint64_t sequence = id.sequence();
  uint64_t& highest = highest_[id.incarnation()];
  if (sequence > highest) {
    // In the window of `highest` were (highest - 65,536, highest]; now it begins behind sequence -
    // 65,536. A number that was never put is deleted all the same: harmless, and cheaper than
    // asking.
    const uint64_t begin = highest < kSubmissionWindow ? 0 : highest - kSubmissionWindow + 1;
    const uint64_t end =
        sequence < kSubmissionWindow ? 0 : std::min(highest, sequence - kSubmissionWindow) + 1;
    for (uint64_t gone = begin; gone < end; ++gone) {
      batch->SingleDelete(family, SubmissionKey(id.incarnation(), gone));
    }
    highest = sequence;
  }
  batch->Put(family, SubmissionKey(id.incarnation(), sequence), row.SerializeAsString());
  recent_.push_back({id.incarnation(), sequence, row});
}

void SubmissionWindow::Register(uint64_t incarnation, int64_t now_ms, rocksdb::WriteBatch* batch) {
  state::SubmissionRow row;
  row.set_at_ms(now_ms);
  batch->Put(store_->family(Family::kSubmission), SubmissionKey(incarnation, 0),
             row.SerializeAsString());
  highest_[incarnation] = 0;
}

absl::Status SubmissionWindow::ForgetOneSilent(int64_t silent_since_ms,
                                               rocksdb::WriteBatch* batch) {
  std::unique_ptr<rocksdb::Iterator> rows(
      store_->db()->NewIterator({}, store_->family(Family::kSubmission)));
  // From the last row of one incarnation to the last of the one before it.
  rows->SeekToLast();
  while (rows->Valid()) {
    uint64_t incarnation = 0;
    uint64_t sequence = 0;
    state::SubmissionRow row;
    if (!ParseSubmissionKey(rows->key().ToStringView(), &incarnation, &sequence) ||
        !row.ParseFromArray(rows->value().data(), static_cast<int>(rows->value().size()))) {
      break;
    }
    if (row.at_ms() < silent_since_ms) return Forget(incarnation, batch);
    if (incarnation == 0) break;
    rows->SeekForPrev(SubmissionKey(incarnation - 1, std::numeric_limits<uint64_t>::max()));
  }
  return PassBy(ToStatus(rows->status(), "read submissions"));
}

absl::Status SubmissionWindow::Forget(uint64_t incarnation, rocksdb::WriteBatch* batch) {
  const std::string end = SubmissionKey(incarnation + 1, 0);
  const rocksdb::Slice bound(end);
  rocksdb::ReadOptions read;
  read.iterate_upper_bound = &bound;
  rocksdb::ColumnFamilyHandle* family = store_->family(Family::kSubmission);
  std::unique_ptr<rocksdb::Iterator> rows(store_->db()->NewIterator(read, family));
  for (rows->Seek(SubmissionKey(incarnation, 0)); rows->Valid(); rows->Next()) {
    batch->SingleDelete(family, rows->key());
  }
  highest_.erase(incarnation);
  return PassBy(ToStatus(rows->status(), "read submissions"));
}

}  // namespace postfleet::queue
