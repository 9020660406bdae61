// Checks everything that the queue keeps: each chunk against its checksum, each row against the
// rows that must go with it, each index against what it is an index of, the counts against the
// contents (ARCHITECTURE.md, "Key layout of the state store"). Reads only.
//
//   auto status = VerifyStore(store, [&](const v1::VerifyProgress& progress) { ...; return true;
//   });
//
// What is wrong is a finding, one line of text: "message 4cQ..: chunk 0 does not match its
// checksum". A block that cannot be read is one too; the pass goes on behind it. After findings of
// that kind others may follow from them: what lay in the block is missing elsewhere.
//
// Cost: each family is read once from its beginning to its end, in the order of the keys, without
// filling the block cache: about the time that reading the queue's bytes takes. Memory does not
// grow with the queue: rows that belong together are compared as they come by, sets that lie in
// different orders by sums of their rows' hashes, in 4,096 parts. A part that differs is read a
// second time to name its rows. Of one message, numbers of its deferred recipients are kept (at
// most 100,000).
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/postfleet/queue/v1/queue.pb.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {

// Told; all of them are counted.
inline constexpr uint64_t kFindingsToldMax = 1'000;

// Called on the verifying thread: every few thousand rows, after each finding's part of the pass,
// and last with `done`. `findings` has those since the call before, the counts are of all so far.
// False ends the pass.
using VerifyListener = std::function<bool(const v1::VerifyProgress&)>;

// The store as of one command, which is the last one applied when it begins; beside its writer, on
// a thread of its own. OK: the pass came to its end, with or without findings. Cancelled: the
// listener said so. It keeps a snapshot while it runs.
absl::Status VerifyStore(const Store& store, const VerifyListener& listener);

struct FolderVerified {
  // What a start would do with the log: "replay applies 120 records (4711 to 4830)".
  std::string replay;
  // It would start.
  bool replayable = false;
};

// A queue's folder (with `state` and `log` in it) that no server uses: the store as of its last
// flush, and the log's segments. Damage of the log is told by the listener, too, as
// "log/000...1.seg:
// ...". FailedPrecondition: a server has it open, or it has another format; NotFound: there is no
// queue; else the store cannot be opened at all. Keeps servers from starting while it runs.
absl::StatusOr<FolderVerified> VerifyFolder(const std::string& path,
                                            const VerifyListener& listener);

}  // namespace postfleet::queue
