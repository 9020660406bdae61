// Reader: pages of queue ids for bulk jobs and flushes, and the oldest messages.
#include <algorithm>
#include <set>
#include <utility>

#include "services/queue/state/message_cursor.h"
#include "services/queue/state/reader.h"
#include "services/queue/state/reader_rows.h"

namespace postfleet::queue {
namespace {

// Deleted rows that the search for an oldest message passes: milliseconds.
constexpr uint64_t kOldestSkipsMax = 10'000;

absl::StatusOr<int64_t> ArrivalOf(const Store& store, std::string_view queue_id) {
  state::MessageRow row;
  const auto found = GetMessage(store, nullptr, queue_id, &row);
  // Deleted in between, or damaged.
  if (absl::IsDataLoss(found.status())) return 0;
  if (!found.ok()) return found.status();
  return row.envelope().arrival_ms();
}

absl::StatusOr<int64_t> OldestBehind(const Store& store, Family family, std::string_view prefix,
                                     std::string_view from) {
  Rows rows(store, family, prefix, nullptr, kOldestSkipsMax);
  rows.Seek(from);
  // At the end, damaged, or too far to look.
  if (!rows.Valid()) return 0;
  return ArrivalOf(store, family == Family::kIntake ? rows.value() : rows.key().substr(1));
}

}  // namespace

absl::StatusOr<IdPage> Reader::ScanQueues(const BulkQuery& query) const {
  const std::set<v1::QueueName> queues(query.queues.begin(), query.queues.end());
  const bool indexed = std::all_of(queues.begin(), queues.end(), IsIndexed);
  const Snapshot snapshot(store_->db());
  MessageCursor cursor(*store_, snapshot.get(),
                       indexed ? std::vector<v1::QueueName>(queues.begin(), queues.end())
                               : std::vector<v1::QueueName>(),
                       query.after);
  IdPage page;
  page.cursor = std::string(query.after);
  size_t recipients = 0;
  for (size_t rows = 0;; ++rows) {
    const absl::StatusOr<bool> next = cursor.Next();
    if (!next.ok()) return next.status();
    if (!*next || (!query.last.empty() && cursor.queue_id() > query.last)) {
      page.end = true;
      return page;
    }
    if (page.queue_ids.size() >= query.ids_max || rows >= query.rows_max ||
        recipients >= query.recipients_max) {
      return page;
    }
    page.cursor = cursor.queue_id();
    if (cursor.damaged()) {
      if (query.damaged) page.queue_ids.push_back(cursor.queue_id());
      continue;
    }
    if (queues.empty() || queues.contains(DurableQueueOf(cursor.row()))) {
      page.queue_ids.push_back(cursor.queue_id());
      recipients += cursor.row().recipients_total();
    }
  }
}

absl::StatusOr<IdPage> Reader::ScanSite(std::string_view domain, std::string_view after,
                                        size_t ids_max) const {
  const std::string site = SiteOf(Concat('@', domain));
  const std::string prefix = SitePrefix(site);
  Rows rows(*store_, Family::kSite, prefix, after.empty() ? prefix : SiteMessageEnd(site, after));
  IdPage page;
  page.cursor = std::string(after);
  while (rows.Valid()) {
    std::string_view row_site;
    std::string_view queue_id;
    uint32_t number = 0;
    if (!ParseSiteKey(rows.key(), &row_site, &queue_id, &number)) {
      return Damaged("site", rows.key());
    }
    if (queue_id == page.cursor) {
      // Another recipient of the same message: there may be many.
      rows.Seek(SiteMessageEnd(site, page.cursor));
      continue;
    }
    if (page.queue_ids.size() >= ids_max) return page;
    page.queue_ids.emplace_back(queue_id);
    page.cursor = page.queue_ids.back();
    rows.Next();
  }
  if (absl::Status read = rows.status(); !read.ok()) return read;
  page.end = true;
  return page;
}

absl::StatusOr<OldestArrivals> Reader::ReadOldest(const IntakeKey& intake_from) const {
  OldestArrivals oldest;
  const auto incoming =
      OldestBehind(*store_, Family::kIntake, PartitionPrefix(intake_from.partition),
                   EncodeIntakeKey(intake_from));
  if (!incoming.ok()) return incoming.status();
  oldest.incoming_ms = *incoming;
  for (const auto& [queue, arrival_ms] : {std::pair(v1::QUEUE_NAME_DEFERRED, &oldest.deferred_ms),
                                          std::pair(v1::QUEUE_NAME_HOLD, &oldest.hold_ms),
                                          std::pair(v1::QUEUE_NAME_CORRUPT, &oldest.corrupt_ms)}) {
    const std::string prefix = QueuePrefix(queue);
    const auto found = OldestBehind(*store_, Family::kQueue, prefix, prefix);
    if (!found.ok()) return found.status();
    *arrival_ms = *found;
  }
  return oldest;
}

}  // namespace postfleet::queue
