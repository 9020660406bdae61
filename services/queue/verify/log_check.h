// Reads all segments of a log that nobody uses, without changing anything (Log::Open does), and
// says what a start would make of it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/queue/verify/finding_list.h"
#include "services/queue/verify/verify.h"

namespace postfleet::queue {

// `flushed_index`: what the store has. Cost: one pass over the files.
absl::StatusOr<FolderVerified> CheckLog(const std::string& dir, uint64_t flushed_index,
                                        FindingList* findings);

}  // namespace postfleet::queue
