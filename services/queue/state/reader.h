// Reads of the state store beside the writer: each call sees the state as of one command.
// Thread-safe, no state of its own.
//
// Errors: DataLoss when rows of the message asked for cannot be read (a damaged block) or do not
// parse: the message is to be marked corrupt, the others go on. Of the scans, which are of an
// index, DataLoss means the index. Any other status: the store cannot be read (final). A chunk
// whose checksum does not match is not an error but an answer; so is a damaged message in List,
// Inspect and Shape.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/postfleet/queue/v1/queue.pb.h"
#include "services/queue/state/keys.h"
#include "services/queue/state/message_queue.h"
#include "services/queue/state/rows.pb.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {

struct Chunk {
  bool found = false;
  // It is not what entered the queue: the message must not be delivered. `bytes` is empty.
  bool corrupt = false;
  uint32_t crc32c = 0;
  std::string bytes;
};

// Where a look at a message's open recipients goes on: behind those that were given.
struct RecipientsCursor {
  // Pending recipients below it were looked at.
  uint32_t next_number = 0;
  // Jobs below it were looked at.
  uint32_t next_job = 0;
  // Jobs from it on were made since the first look: they have recipients that were given.
  uint32_t jobs_end = 0;
  // Open recipients behind it. 0: there are none. Else not fewer than there are, and exactly that
  // many while the message was not worked on before: it is made from the message's counts.
  uint32_t left = 0;
};

// The recipients of a message to work on now.
struct OpenRecipients {
  // Pending ones by number, then those of jobs that are due.
  std::vector<state::RecipientRow> open;
  // Notice owed.
  std::vector<state::RecipientRow> bounced;
  // Of jobs that are not due, those that were tried.
  std::vector<state::RecipientRow> waiting;
  // Some of `open` were pending.
  bool any_pending = false;
  // Some of `open` were never tried: pending, or put off before their first attempt.
  bool any_untried = false;
  // Some of `open` were deferred before the flush of all.
  bool flushed = false;
  RecipientsCursor cursor;
};

struct OpenRecipientsQuery {
  std::string_view queue_id;
  // Pending recipients from this number on (and from 0 when there are none).
  uint32_t from_number = 0;
  // Jobs due by then, and jobs deferred before this log index.
  int64_t now_ms = 0;
  uint64_t flush_index = 0;
  // Of each vector but `waiting`.
  size_t recipients_max = 1'000;
  size_t waiting_max = 0;
  // Goes on behind an earlier answer instead: from_number does not count, and none that bounced are
  // given.
  std::optional<RecipientsCursor> behind;
};

// A corrupt_reason that List and Inspect have found themselves: the message is not marked yet.
bool IsFoundDamaged(std::string_view reason);

// Ids of messages, a page of them.
struct IdPage {
  // In ascending order.
  std::vector<std::string> queue_ids;
  // All up to it (inclusive) have been looked at; go on behind it.
  std::string cursor;
  // There is nothing behind the cursor.
  bool end = false;
};

struct BulkQuery {
  // Durable queues (active is in incoming and deferred); empty: all.
  std::vector<v1::QueueName> queues;
  // With messages whose rows cannot be read, whatever their queue: a deletion takes them.
  bool damaged = false;
  // Exclusive; empty: from the start.
  std::string_view after;
  // Inclusive; empty: to the end.
  std::string_view last;
  size_t ids_max = 10'000;
  // A page ends with the message that passes so many recipients: they are what an action costs.
  size_t recipients_max = 100'000;
  // A page ends when so many rows were looked at. (Of incoming: it has no index by id.)
  size_t rows_max = 100'000;
};

// Arrival of the oldest message of each queue; 0: none, or not found at a bounded cost (right after
// much was deleted).
struct OldestArrivals {
  int64_t incoming_ms = 0;
  int64_t deferred_ms = 0;
  int64_t hold_ms = 0;
  int64_t corrupt_ms = 0;
};

struct IntakeEntry {
  IntakeKey key;
  std::string queue_id;
};

struct DueEntry {
  DueKey key;
  uint64_t index = 0;
};

class Reader {
 public:
  // Whether a message is given out now: that is volatile, the dispatcher's.
  using IsActive = std::function<bool(std::string_view queue_id)>;

  // The store must outlive this.
  explicit Reader(const Store* store) : store_(store) {}

  // A page of the queue by queue id; it ends past 1 MiB too, and once 100,000 rows were looked at:
  // with `queues` it may be empty and go on. Deferred, hold and corrupt are read by their index,
  // the others by looking at all messages. A message whose rows are damaged is listed as corrupt,
  // with what could be read.
  absl::StatusOr<v1::ListResponse> List(const v1::ListRequest& request,
                                        const IsActive& is_active) const;

  // One message with its recipients from a number on. A damaged one is found, corrupt.
  absl::StatusOr<v1::InspectResponse> Inspect(const v1::InspectRequest& request,
                                              const IsActive& is_active) const;

  // Counts by domain and age of arrival at `now_ms`. Looks at all messages of the queues: seconds
  // for a million. Memory is bounded: recipients of deferred mail come in the order of their
  // domains, all else in a table of at most 100,000 domains. Bounced recipients and damaged rows do
  // not count.
  absl::StatusOr<v1::ShapeResponse> Shape(const v1::ShapeRequest& request, int64_t now_ms,
                                          const IsActive& is_active) const;

  // The next messages of some durable queues by queue id, for a bulk job.
  absl::StatusOr<IdPage> ScanQueues(const BulkQuery& query) const;
  // The next messages with deferred recipients of a domain (parked ones too).
  absl::StatusOr<IdPage> ScanSite(std::string_view domain, std::string_view after,
                                  size_t ids_max) const;

  // `intake_from`: where the intake index begins, if that is known; rows before it are not there.
  absl::StatusOr<OldestArrivals> ReadOldest(const IntakeKey& intake_from = {}) const;

  // By body_id where the message has one.
  absl::StatusOr<Chunk> ReadChunk(std::string_view queue_id, uint32_t chunk) const;

  // nullopt: no such message.
  absl::StatusOr<std::optional<state::MessageRow>> ReadMessage(std::string_view queue_id) const;

  // `row` must be as of now (no command between the two calls). Nothing, of a parked message.
  absl::StatusOr<OpenRecipients> ReadOpenRecipients(const state::MessageRow& row,
                                                    const OpenRecipientsQuery& query) const;

  // Up to `limit` rows of the intake index, from `from` on (inclusive). The index is of
  // from.partition.
  absl::StatusOr<std::vector<IntakeEntry>> ScanIntake(const IntakeKey& from, size_t limit) const;
  // Up to `limit` rows of the due index in time order, from `from` on (inclusive).
  absl::StatusOr<std::vector<DueEntry>> ScanDue(const DueKey& from, size_t limit) const;

 private:
  const Store* const store_;
};

}  // namespace postfleet::queue
