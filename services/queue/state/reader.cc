#include "services/queue/state/reader.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "services/queue/state/message_cursor.h"
#include "services/queue/state/reader_rows.h"

namespace postfleet::queue {
namespace {

// Collects pending and bounced rows from a number on.
absl::Status CollectRows(const Store& store, const OpenRecipientsQuery& query, uint32_t from,
                         bool want_pending, bool want_bounced, OpenRecipients* result) {
  Rows rows(store, Family::kRecipient, MessagePrefix(query.queue_id),
            NumberedKey(query.queue_id, from));
  for (; rows.Valid(); rows.Next()) {
    const bool open_full = !want_pending || result->open.size() >= query.recipients_max;
    const bool bounced_full = !want_bounced || result->bounced.size() >= query.recipients_max;
    if (open_full && bounced_full) {
      result->more = true;
      break;
    }
    state::RecipientRow row;
    if (!rows.Parse(&row)) return Damaged("recipient", query.queue_id);
    const uint32_t number = row.recipient().number();
    if (row.state() == state::RecipientRow::STATE_PENDING && want_pending &&
        number >= query.from_number) {
      if (open_full) {
        result->more = true;
        continue;
      }
      result->next_number = number + 1;
      result->any_pending = true;
      result->open.push_back(std::move(row));
    } else if (row.state() == state::RecipientRow::STATE_BOUNCED && want_bounced) {
      if (bounced_full) {
        result->more = true;
        continue;
      }
      result->bounced.push_back(std::move(row));
    }
  }
  return rows.status();
}

absl::Status AddJobRecipients(const Store& store, const OpenRecipientsQuery& query,
                              const state::JobRow& job, OpenRecipients* result) {
  for (uint32_t number : job.recipient_numbers()) {
    rocksdb::PinnableSlice bytes;
    const rocksdb::Status status = store.db()->Get({}, store.family(Family::kRecipient),
                                                   NumberedKey(query.queue_id, number), &bytes);
    if (status.IsNotFound()) return Damaged("recipient", query.queue_id);
    if (!status.ok()) return ToStatus(status, Concat("read a recipient of ", query.queue_id));
    state::RecipientRow row;
    if (!row.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return Damaged("recipient", query.queue_id);
    }
    result->open.push_back(std::move(row));
  }
  return absl::OkStatus();
}

absl::Status CollectDueJobs(const Store& store, const OpenRecipientsQuery& query,
                            OpenRecipients* result) {
  const std::string prefix = MessagePrefix(query.queue_id);
  Rows rows(store, Family::kJob, prefix, prefix);
  for (; rows.Valid(); rows.Next()) {
    state::JobRow job;
    if (!rows.Parse(&job)) return Damaged("job", query.queue_id);
    const bool flushed = job.index() < query.flush_index;
    if (job.due_ms() > query.now_ms && !flushed) continue;
    // Jobs go out whole: they are at most one activation.
    if (!result->open.empty() &&
        result->open.size() + static_cast<size_t>(job.recipient_numbers_size()) >
            query.recipients_max) {
      result->more = true;
      break;
    }
    if (absl::Status added = AddJobRecipients(store, query, job, result); !added.ok()) {
      return added;
    }
    result->flushed = result->flushed || flushed;
  }
  return rows.status();
}

absl::StatusOr<Chunk> ReadStoredChunk(const Store& store, std::string_view body_id,
                                      uint32_t chunk) {
  Chunk result;
  std::string bytes;
  const rocksdb::Status status =
      store.db()->Get({}, store.family(Family::kBody), NumberedKey(body_id, chunk), &bytes);
  if (status.IsNotFound()) return result;
  // RocksDB's own checksums failed: as bad for the message as ours, and no worse for the others.
  if (status.IsCorruption()) {
    result.found = result.corrupt = true;
    return result;
  }
  if (!status.ok()) return ToStatus(status, Concat("read chunk ", chunk, " of ", body_id));
  result.found = true;
  if (bytes.size() < kChunkHeaderBytes) {
    result.corrupt = true;
    return result;
  }
  result.crc32c = ParseChunkHeader(bytes);
  bytes.erase(0, kChunkHeaderBytes);
  result.corrupt = Crc32c(bytes) != result.crc32c;
  if (!result.corrupt) result.bytes = std::move(bytes);
  return result;
}

}  // namespace

absl::StatusOr<Chunk> Reader::ReadChunk(std::string_view queue_id, uint32_t chunk) const {
  auto read = ReadStoredChunk(*store_, queue_id, chunk);
  if (!read.ok() || read->found) return read;
  // Only a requeued message has its chunks elsewhere.
  state::MessageRow row;
  const auto found = GetMessage(*store_, nullptr, queue_id, &row);
  if (!found.ok()) return found.status();
  if (!*found || row.body_id().empty()) return read;
  return ReadStoredChunk(*store_, row.body_id(), chunk);
}

absl::StatusOr<std::optional<state::MessageRow>> Reader::ReadMessage(
    std::string_view queue_id) const {
  state::MessageRow row;
  const auto found = GetMessage(*store_, nullptr, queue_id, &row);
  if (!found.ok()) return found.status();
  if (!*found) return std::optional<state::MessageRow>();
  return std::optional<state::MessageRow>(std::move(row));
}

absl::StatusOr<OpenRecipients> Reader::ReadOpenRecipients(const state::MessageRow& row,
                                                          const OpenRecipientsQuery& query) const {
  OpenRecipients result;
  result.next_number = query.from_number;
  if (IsParked(row)) return result;
  const bool pending = row.pending() > 0;
  const bool bounced = row.bounced() > 0;
  if (pending || bounced) {
    // Bounced rows lie anywhere; pending ones behind the pages before.
    absl::Status read =
        CollectRows(*store_, query, bounced ? 0 : query.from_number, pending, bounced, &result);
    if (!read.ok()) return read;
  }
  if (pending && !result.any_pending && query.from_number > 0) {
    // What was given out before and got no outcome.
    OpenRecipientsQuery again = query;
    again.from_number = 0;
    result.next_number = 0;
    absl::Status read = CollectRows(*store_, again, 0, true, false, &result);
    if (!read.ok()) return read;
  }
  if (row.deferred() == 0 || result.open.size() >= query.recipients_max) return result;
  absl::Status read = CollectDueJobs(*store_, query, &result);
  if (!read.ok()) return read;
  return result;
}

absl::StatusOr<std::vector<IntakeEntry>> Reader::ScanIntake(const IntakeKey& from,
                                                            size_t limit) const {
  std::vector<IntakeEntry> entries;
  Rows rows(*store_, Family::kIntake, PartitionPrefix(from.partition), EncodeIntakeKey(from));
  for (; rows.Valid() && entries.size() < limit; rows.Next()) {
    IntakeEntry& entry = entries.emplace_back();
    if (!ParseIntakeKey(rows.key(), &entry.key)) return Damaged("intake", rows.value());
    entry.queue_id = std::string(rows.value());
  }
  if (absl::Status read = rows.status(); !read.ok()) return read;
  return entries;
}

absl::StatusOr<std::vector<DueEntry>> Reader::ScanDue(const DueKey& from, size_t limit) const {
  std::vector<DueEntry> entries;
  Rows rows(*store_, Family::kDue, PartitionPrefix(from.partition), EncodeDueKey(from));
  for (; rows.Valid() && entries.size() < limit; rows.Next()) {
    DueEntry& entry = entries.emplace_back();
    if (!ParseDueKey(rows.key(), &entry.key) || !ParseIndex(rows.value(), &entry.index)) {
      return Damaged("due", entry.key.queue_id);
    }
  }
  if (absl::Status read = rows.status(); !read.ok()) return read;
  return entries;
}

}  // namespace postfleet::queue
