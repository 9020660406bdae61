// Which submissions were seen: the last kSubmissionWindow (65,536) of each incarnation that
// registered.
//
// Rows of the submission column family: (incarnation, 0) is the registration, (incarnation, n) the
// answer to n. An incarnation is known while it has any row. Each key is put once and deleted once:
// sequences move forward only. The highest sequence of an incarnation is its last row; it is kept
// in memory once read (a cache: nothing depends on it). Not thread-safe; belongs to the state
// machine.
#pragma once

#include <rocksdb/write_batch.h>

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/postfleet/queue/v1/queue.pb.h"
#include "services/queue/state/rows.pb.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {

class SubmissionWindow {
 public:
  enum class Standing { kNew, kKnown, kExpired };

  explicit SubmissionWindow(const Store* store) : store_(store) {}

  // Call when a command begins: what the one before remembered is in the store now.
  void BeginCommand();
  // kKnown: `row` is the answer given before. Rows that cannot be read are kExpired; in a replay
  // they are kNew: what the log has was acknowledged, and once too often is better than never.
  absl::StatusOr<Standing> Look(const v1::SubmissionId& id, state::SubmissionRow* row);
  // After Look said kNew. Deletes what falls out of the window.
  void Remember(const v1::SubmissionId& id, const state::SubmissionRow& row,
                rocksdb::WriteBatch* batch);

  void SetReplaying(bool replaying) { replaying_ = replaying; }

  void Register(uint64_t incarnation, int64_t now_ms, rocksdb::WriteBatch* batch);
  // Deletes the rows of the first incarnation whose last row is older than `silent_since_ms`, if
  // there is one.
  absl::Status ForgetOneSilent(int64_t silent_since_ms, rocksdb::WriteBatch* batch);

 private:
  struct Recent {
    uint64_t incarnation;
    uint64_t sequence;
    state::SubmissionRow row;
  };
  // -1: unknown incarnation.
  absl::StatusOr<int64_t> Highest(uint64_t incarnation);
  absl::Status Forget(uint64_t incarnation, rocksdb::WriteBatch* batch);

  Standing Unreadable() const { return replaying_ ? Standing::kNew : Standing::kExpired; }

  const Store* const store_;
  bool replaying_ = false;
  absl::flat_hash_map<uint64_t, uint64_t> highest_;
  // Of this command: not readable from the store yet.
  std::vector<Recent> recent_;
};

}  // namespace postfleet::queue
