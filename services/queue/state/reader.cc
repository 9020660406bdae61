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

// What a walk over recipient rows looks for.
struct Wanted {
  bool pending = false;
  size_t bounced_max = 0;
};

// Collects rows from a number on, pending ones from `from_pending` on. `pending_left`: there is a
// pending one that did not fit; the cursor stands at it, else behind all.
absl::Status CollectRows(const Store& store, const OpenRecipientsQuery& query, uint32_t from,
                         uint32_t from_pending, Wanted wanted, OpenRecipients* result,
                         bool* pending_left) {
  Rows rows(store, Family::kRecipient, MessagePrefix(query.queue_id),
            NumberedKey(query.queue_id, from));
  for (; rows.Valid(); rows.Next()) {
    const bool wants_bounced = result->bounced.size() < wanted.bounced_max;
    if (!wanted.pending && !wants_bounced) break;
    state::RecipientRow row;
    if (!rows.Parse(&row)) return Damaged("recipient", query.queue_id);
    const uint32_t number = row.recipient().number();
    if (row.state() == state::RecipientRow::STATE_PENDING && wanted.pending &&
        number >= from_pending) {
      if (result->open.size() >= query.recipients_max) {
        result->cursor.next_number = number;
        *pending_left = true;
        wanted.pending = false;
        continue;
      }
      result->any_pending = result->any_untried = true;
      result->open.push_back(std::move(row));
    } else if (row.state() == state::RecipientRow::STATE_BOUNCED && wants_bounced) {
      result->bounced.push_back(std::move(row));
    }
  }
  if (wanted.pending) result->cursor.next_number = std::numeric_limits<uint32_t>::max();
  return rows.status();
}

absl::Status AddJobRecipients(const Store& store, const OpenRecipientsQuery& query,
                              const state::JobRow& job, std::vector<state::RecipientRow>* result) {
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
    result->push_back(std::move(row));
  }
  return absl::OkStatus();
}

absl::Status AddWaiting(const Store& store, const OpenRecipientsQuery& query,
                        const state::JobRow& job, std::vector<state::RecipientRow>* waiting) {
  if (waiting->size() + static_cast<size_t>(job.recipient_numbers_size()) > query.waiting_max) {
    return absl::OkStatus();
  }
  absl::Status added = AddJobRecipients(store, query, job, waiting);
  std::erase_if(*waiting, [](const state::RecipientRow& row) { return !row.has_last(); });
  return added;
}

// Goes on at the result's cursor. `jobs_left`: there is a job that did not fit; the cursor stands
// at it.
absl::Status CollectDueJobs(const Store& store, const OpenRecipientsQuery& query,
                            OpenRecipients* result, bool* jobs_left) {
  RecipientsCursor& cursor = result->cursor;
  Rows rows(store, Family::kJob, MessagePrefix(query.queue_id),
            NumberedKey(query.queue_id, cursor.next_job));
  for (; rows.Valid(); rows.Next()) {
    std::string_view queue_id;
    uint32_t number = 0;
    state::JobRow job;
    if (!ParseNumberedKey(rows.key(), &queue_id, &number) || !rows.Parse(&job)) {
      return Damaged("job", query.queue_id);
    }
    if (number >= cursor.jobs_end) break;
    const bool flushed = job.index() < query.flush_index;
    if (job.due_ms() > query.now_ms && !flushed) {
      absl::Status added = AddWaiting(store, query, job, &result->waiting);
      if (!added.ok()) return added;
      continue;
    }
    // Jobs go out whole: they are at most one activation.
    if (!result->open.empty() &&
        result->open.size() + static_cast<size_t>(job.recipient_numbers_size()) >
            query.recipients_max) {
      cursor.next_job = number;
      *jobs_left = true;
      return absl::OkStatus();
    }
    const size_t before = result->open.size();
    if (absl::Status added = AddJobRecipients(store, query, job, &result->open); !added.ok()) {
      return added;
    }
    result->any_untried =
        result->any_untried ||
        std::any_of(result->open.begin() + static_cast<std::ptrdiff_t>(before), result->open.end(),
                    [](const state::RecipientRow& row) { return !row.has_last(); });
    result->flushed = result->flushed || flushed;
  }
  cursor.next_job = cursor.jobs_end;
  return rows.status();
}

// Where something is left, it is at least one, whatever the counts say.
uint32_t AtLeastOne(uint32_t count, uint32_t given) { return count > given ? count - given : 1; }

// What lies behind the result's cursor, of either kind. `pending` of its recipients were pending.
uint32_t Left(const state::MessageRow& row, const OpenRecipientsQuery& query,
              const OpenRecipients& result, uint32_t pending, bool pending_left, bool jobs_left) {
  const auto given = static_cast<uint32_t>(result.open.size());
  uint32_t left = 0;
  if (pending_left) {
    left = std::min(AtLeastOne(row.pending(), pending),
                    AtLeastOne(row.recipients_total(), result.cursor.next_number));
  }
  if (jobs_left) left += AtLeastOne(row.deferred(), given - pending);
  if (left == 0 || !query.behind.has_value()) return left;
  // Those who were given out before are still counted.
  return std::min(left, AtLeastOne(query.behind->left, given));
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
  result.cursor = query.behind.value_or(RecipientsCursor{query.from_number, 0, row.next_job(), 0});
  if (IsParked(row)) return result;
  const Wanted wanted = {
      .pending = row.pending() > 0,
      .bounced_max =
          query.behind.has_value() ? 0 : std::min<size_t>(row.bounced(), query.recipients_max)};
  const uint32_t from = result.cursor.next_number;
  bool pending_left = false;
  // Bounced rows lie anywhere; pending ones behind the pages before.
  absl::Status read = CollectRows(*store_, query, wanted.bounced_max > 0 ? 0 : from, from, wanted,
                                  &result, &pending_left);
  if (!read.ok()) return read;
  if (wanted.pending && !result.any_pending && from > 0 && !query.behind.has_value()) {
    // What was given out before and got no outcome.
    read = CollectRows(*store_, query, 0, 0, {.pending = true}, &result, &pending_left);
    if (!read.ok()) return read;
  }
  const auto pending = static_cast<uint32_t>(result.open.size());
  bool jobs_left = false;
  if (row.deferred() > 0) {
    read = CollectDueJobs(*store_, query, &result, &jobs_left);
    if (!read.ok()) return read;
  }
  result.cursor.left = Left(row, query, result, pending, pending_left, jobs_left);
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
