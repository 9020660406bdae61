// The queue's state as a snapshot: made on the replica that leads, taken over by one that lags.
//
//   MakeCheckpoint(store, folder)             -> the entry up to which it has everything
//   TakeOverReceived(directory, log options)  at a start, before the store and the log are open
//
// A snapshot that was received (transport/snapshot_files.h) is taken over in steps, each durable
// before the next, so that a crash between any two is gone on from: the log begins anew behind the
// snapshot; the store makes way; the received one takes its place; what is left is deleted. One
// that the log has passed meanwhile is deleted.
//
// Errors name the file; nothing of the queue is lost by them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/queue/log/log.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {

// Into `folder`, which must not be there, by links where the file system has them. Flushes the
// store first; takes as long as that.
absl::StatusOr<uint64_t> MakeCheckpoint(Store* store, const std::string& folder);

// True: there was one, and it is the state now.
absl::StatusOr<bool> TakeOverReceived(const std::string& directory, const Log::Options& log);

}  // namespace postfleet::queue
