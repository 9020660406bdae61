#include "services/queue/state/reader.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"

namespace postfleet::queue {
namespace {

constexpr uint32_t kListedMax = 1'000;
// A page of the listing ends past this, so that it fits into a frame.
constexpr size_t kListedBytesMax = 1u << 20;

rocksdb::Slice AsSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

absl::Status Damaged(std::string_view what, std::string_view queue_id) {
  return absl::DataLossError(Concat("the store has a damaged ", what, " row of ", queue_id));
}

class Snapshot {
 public:
  explicit Snapshot(rocksdb::DB* db) : db_(db), snapshot_(db->GetSnapshot()) {}
  ~Snapshot() { db_->ReleaseSnapshot(snapshot_); }
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;
  const rocksdb::Snapshot* get() const { return snapshot_; }

 private:
  rocksdb::DB* const db_;
  const rocksdb::Snapshot* const snapshot_;
};

// The rows from `from` on that begin with `prefix`; never walks over tombstones behind them.
class Rows {
 public:
  Rows(const Store& store, Family family, std::string_view prefix, std::string_view from,
       const rocksdb::Snapshot* snapshot = nullptr)
      : end_(PrefixEnd(prefix)), bound_(end_) {
    rocksdb::ReadOptions read;
    read.snapshot = snapshot;
    if (!end_.empty()) read.iterate_upper_bound = &bound_;
    rows_.reset(store.db()->NewIterator(read, store.family(family)));
    rows_->Seek(AsSlice(from));
  }
  bool Valid() const { return rows_->Valid(); }
  void Next() { rows_->Next(); }
  std::string_view key() const { return rows_->key().ToStringView(); }
  std::string_view value() const { return rows_->value().ToStringView(); }
  absl::Status status() const { return ToStatus(rows_->status(), "read the store"); }
  bool Parse(google::protobuf::MessageLite* row) const {
    return row->ParseFromArray(value().data(), static_cast<int>(value().size()));
  }

 private:
  const std::string end_;
  const rocksdb::Slice bound_;
  std::unique_ptr<rocksdb::Iterator> rows_;
};

v1::QueueName ListedQueue(const state::MessageRow& row, bool active) {
  if (active) return v1::QUEUE_NAME_ACTIVE;
  return row.pending() == 0 && row.deferred() > 0 ? v1::QUEUE_NAME_DEFERRED
                                                  : v1::QUEUE_NAME_INCOMING;
}

absl::Status ListRecipients(const Store& store, const rocksdb::Snapshot* snapshot,
                            std::string_view queue_id, v1::ListedMessage* listed) {
  const std::string prefix = MessagePrefix(queue_id);
  Rows rows(store, Family::kRecipient, prefix, prefix, snapshot);
  for (; rows.Valid(); rows.Next()) {
    state::RecipientRow row;
    if (!rows.Parse(&row)) return Damaged("recipient", queue_id);
    // Done with, but for the notice.
    if (row.state() == state::RecipientRow::STATE_BOUNCED) continue;
    v1::ListedRecipient* recipient = listed->add_recipients();
    recipient->set_address(std::move(*row.mutable_recipient()->mutable_address()));
    recipient->set_reason(std::move(*row.mutable_last()->mutable_text()));
  }
  return rows.status();
}

// One listing in the making.
struct Listing {
  const Store& store;
  const rocksdb::Snapshot* snapshot;
  const std::function<bool(std::string_view)>& is_active;
  uint32_t limit;
  v1::ListResponse response;
  size_t bytes = 0;

  bool Full() const {
    return static_cast<uint32_t>(response.messages_size()) >= limit || bytes >= kListedBytesMax;
  }
  absl::Status Add(std::string_view queue_id, const state::MessageRow& row) {
    v1::ListedMessage* listed = response.add_messages();
    listed->set_queue_id(std::string(queue_id));
    listed->set_queue(ListedQueue(row, is_active(queue_id)));
    listed->set_arrival_ms(row.envelope().arrival_ms());
    listed->set_message_bytes(row.content_bytes());
    listed->set_sender(row.envelope().sender());
    absl::Status added = ListRecipients(store, snapshot, queue_id, listed);
    bytes += listed->ByteSizeLong();
    return added;
  }
};

absl::Status ListAll(const std::string& after, Listing* listing) {
  // The least key above `after`.
  std::string from = after;
  if (!from.empty()) from.push_back('\0');
  Rows rows(listing->store, Family::kMessage, "", from, listing->snapshot);
  for (; rows.Valid(); rows.Next()) {
    if (listing->Full()) {
      listing->response.set_more(true);
      break;
    }
    state::MessageRow row;
    if (!rows.Parse(&row)) return Damaged("message", rows.key());
    if (absl::Status added = listing->Add(rows.key(), row); !added.ok()) return added;
  }
  return rows.status();
}

absl::StatusOr<bool> GetMessage(const Store& store, const rocksdb::Snapshot* snapshot,
                                std::string_view queue_id, state::MessageRow* row) {
  rocksdb::ReadOptions read;
  read.snapshot = snapshot;
  rocksdb::PinnableSlice bytes;
  const rocksdb::Status status =
      store.db()->Get(read, store.family(Family::kMessage), AsSlice(queue_id), &bytes);
  if (status.IsNotFound()) return false;
  if (!status.ok()) return ToStatus(status, "read a message row");
  if (!row->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Damaged("message", queue_id);
  }
  return true;
}

absl::Status ListSome(const v1::ListRequest& request, Listing* listing) {
  std::vector<std::string> ids(request.queue_ids().begin(), request.queue_ids().end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  for (const std::string& queue_id : ids) {
    if (queue_id <= request.after_queue_id()) continue;
    state::MessageRow row;
    const auto found = GetMessage(listing->store, listing->snapshot, queue_id, &row);
    if (!found.ok()) return found.status();
    if (!*found) continue;
    if (listing->Full()) {
      listing->response.set_more(true);
      break;
    }
    if (absl::Status added = listing->Add(queue_id, row); !added.ok()) return added;
  }
  return absl::OkStatus();
}

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

}  // namespace

absl::StatusOr<v1::ListResponse> Reader::List(
    const v1::ListRequest& request,
    const std::function<bool(std::string_view queue_id)>& is_active) const {
  const Snapshot snapshot(store_->db());
  const uint32_t limit = request.limit() == 0 ? kListedMax : std::min(request.limit(), kListedMax);
  Listing listing = {*store_, snapshot.get(), is_active, limit, {}};
  absl::Status listed = request.queue_ids().empty() ? ListAll(request.after_queue_id(), &listing)
                                                    : ListSome(request, &listing);
  if (!listed.ok()) return listed;
  return std::move(listing.response);
}

absl::StatusOr<Chunk> Reader::ReadChunk(std::string_view queue_id, uint32_t chunk) const {
  Chunk result;
  std::string bytes;
  const rocksdb::Status status =
      store_->db()->Get({}, store_->family(Family::kBody), NumberedKey(queue_id, chunk), &bytes);
  if (status.IsNotFound()) return result;
  // RocksDB's own checksums failed: as bad for the message as ours, and no worse for the others.
  if (status.IsCorruption()) {
    result.found = result.corrupt = true;
    return result;
  }
  if (!status.ok()) return ToStatus(status, Concat("read chunk ", chunk, " of ", queue_id));
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
