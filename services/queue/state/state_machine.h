// The queue's state machine: Apply(index, command) changes the store and says what that means for
// others. Deterministic: it reads the state and the command, no clock, no parameter, no randomness,
// so that replaying a log gives the same bytes. Time is max(state's, command's). The transition
// table is in ARCHITECTURE.md, "The queue's states and commands".
//
// Each command is one write batch with the applied index in it. Commands come from the log, so they
// are checked, not trusted: what cannot be is answered REFUSED with a text, and changes nothing. A
// message that a command leaves without recipients is deleted by it.
//
// Submissions are remembered, 65,536 of each incarnation: a retry is answered from the row, not
// applied; one that is below the window, or of an incarnation that never registered, is EXPIRED.
//
// A message of which rows cannot be read becomes corrupt by the command that finds it so; an action
// that needs those rows leaves it alone. What else cannot be read is refused, and never ends the
// queue: replay would meet it again. (So this node's disk decides: replicas will need a command for
// it.)
//
// Other errors of the store are final: stop the process; the store is as of some earlier command,
// and the log has the rest. Threads: one; the store's readers (reader.h) may run beside it.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "services/queue/state/command.h"
#include "services/queue/state/effects.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {

struct Application;
class Draft;
class SubmissionWindow;

// Limits of the state machine. Constants: replicas must agree on them.
inline constexpr uint64_t kSubmissionWindow = 65'536;
inline constexpr uint32_t kJobRecipientsMax = 1'000;
inline constexpr int kCommandIdsMax = 1'000;
// Of an Administer command that is a step of a durable job.
inline constexpr int kBulkIdsMax = 10'000;
// Recipients of the messages that an Administer command changes; it ends with the one that passes
// it.
inline constexpr uint64_t kCommandRecipientsMax = 100'000;
// Durable jobs, the running one among them.
inline constexpr int kBulksMax = 16;
// Purge spares the chunks of uploads by cutting its range at them; with more it is refused.
inline constexpr uint64_t kPurgeUploadsMax = 1'000;
inline constexpr uint32_t kUploadsAbandonedMax = 1'000;
inline constexpr int kMessageRecipientsMax = 100'000;
inline constexpr uint32_t kChunkBytesMax = 1u << 20;
inline constexpr size_t kAddressBytesMax = 4'096;
// Texts of outcomes past this are cut: an outcome cannot be refused.
inline constexpr size_t kOutcomeTextBytesMax = 4'096;
// Parts of an outcome past this are counted only.
inline constexpr int kOutcomePartsMax = 250;
inline constexpr int64_t kIncarnationSilenceMs = 7 * 24 * 3'600'000;
// Partitions of a shard. Every message is in partition 0 until there are more schedulers than one.
inline constexpr uint32_t kPartitions = 1;

class StateMachine {
 public:
  // Loads where the state stands. The store must outlive this.
  static absl::StatusOr<std::unique_ptr<StateMachine>> Load(Store* store);
  ~StateMachine();

  // Commands of the log in order; `index` must be above applied_index(). The result is valid until
  // the next Apply. Costs about 10 us for a submission of 4 KiB with one recipient, and as much for
  // its outcome (state_benchmark.cc).
  absl::StatusOr<const Effects*> Apply(uint64_t index, const CommandView& command);

  // Between the two, commands come from the log a second time, after a start: submissions of which
  // it cannot be read whether they were applied before are applied.
  void SetReplaying(bool replaying);

  uint64_t applied_index() const { return state_.applied_index(); }
  int64_t now_ms() const { return state_.now_ms(); }
  uint64_t flush_index() const { return state_.flush_index(); }
  const state::Counts& counts() const { return state_.counts(); }
  // Durable jobs in the order of their start; the first one runs.
  const google::protobuf::RepeatedPtrField<state::Bulk>& bulks() const { return state_.bulks(); }
  // 0: never opened.
  uint64_t epoch(uint32_t partition) const;

 private:
  explicit StateMachine(Store* store);
  absl::Status Dispatch(const CommandView& command);
  absl::Status ApplyRegister();
  void ApplyOpen(const state::Open& open);
  absl::Status ApplyFlush(const state::Flush& request, Application& application);
  absl::Status ApplyAbandonUploads(const state::AbandonUploads& request);

  Store* const store_;
  state::StateRow state_;
  Effects effects_;
  std::unique_ptr<SubmissionWindow> window_;
  // The changes of the command being applied; empty between commands.
  std::unique_ptr<Draft> draft_;
};

}  // namespace postfleet::queue
