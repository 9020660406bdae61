// Reads of the state store beside the writer: each call sees the state as of one command.
// Thread-safe, no state of its own.
//
// Errors: a status when the store cannot be read or holds a row that does not parse (final, as all
// of the store's errors); a chunk whose checksum does not match is not an error but an answer.
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

// The recipients of a message to work on now.
struct OpenRecipients {
  // Pending ones and those of jobs that are due, by number.
  std::vector<state::RecipientRow> open;
  // Notice owed.
  std::vector<state::RecipientRow> bounced;
  // Some of `open` were pending.
  bool any_pending = false;
  // Some of `open` were deferred before the flush of all.
  bool flushed = false;
  // Pending recipients below this were looked at.
  uint32_t next_number = 0;
  // There is more of either kind than the limit allowed.
  bool more = false;
};

struct OpenRecipientsQuery {
  std::string_view queue_id;
  // Pending recipients from this number on (and from 0 when there are none).
  uint32_t from_number = 0;
  // Jobs due by then, and jobs deferred before this log index.
  int64_t now_ms = 0;
  uint64_t flush_index = 0;
  // Of each vector.
  size_t recipients_max = 1'000;
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
  // The store must outlive this.
  explicit Reader(const Store* store) : store_(store) {}

  // A page of the queue by queue id; it ends past 1 MiB too. `is_active` says of each message
  // whether it is given out now: that is volatile, the dispatcher's.
  absl::StatusOr<v1::ListResponse> List(
      const v1::ListRequest& request,
      const std::function<bool(std::string_view queue_id)>& is_active) const;

  absl::StatusOr<Chunk> ReadChunk(std::string_view queue_id, uint32_t chunk) const;

  // nullopt: no such message.
  absl::StatusOr<std::optional<state::MessageRow>> ReadMessage(std::string_view queue_id) const;

  // `row` must be as of now (no command between the two calls).
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
