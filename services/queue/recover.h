// From the loss of a majority: makes one replica that is left the only voter of its group, by an
// administrator's word.
//
// Everything in its log is taken as committed. What the lost replicas had and this one has not is
// gone: mail that was accepted last may be missing, mail that was delivered or deleted last may be
// there again. The group becomes another cluster, so that a replica that comes back after all is
// refused instead of contradicting it: the others begin with empty folders.
//
// The folder is used by nobody else. Errors: FailedPrecondition: it is no member's, or in use;
// DataLoss: it cannot be read; nothing was changed then. Steps are durable one after the other, and
// may be begun again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/queue/queue.h"

namespace postfleet::queue {

struct RecoveredGroup {
  std::string name;
  // Of the last entry, and when it was written, in milliseconds since the epoch; 0: never.
  uint64_t last_index = 0;
  int64_t last_ms = 0;
  uint64_t messages = 0;
  // Members until now, without this one.
  std::vector<std::string> others;
  uint64_t cluster_id = 0;
};

absl::StatusOr<RecoveredGroup> RecoverGroup(const std::string& directory, uint64_t new_cluster_id);

}  // namespace postfleet::queue
