// The volatile side of a partition: which messages its scheduler has, and what it gets next. No
// thread, no clock, no lock: it lives on the thread of the state machine, so between Apply and
// OnEffects nothing else happens, and what it reads of the store is as of the last command.
// Everything here can be forgotten: Open starts over from the store.
//
//   the effect of Open:     dispatcher.Open(epoch, state_machine.flush_index())
//   after every Apply:      dispatcher.OnEffects(effects)
//   a ScheduleRequest:      dispatcher.AddCredit(n); dispatcher.OnReleased(queue_id) for each of
//                           `released`, after the frame's outcomes were applied
//   then, and at NextDueMs: while the stream takes frames:
//                             batch = dispatcher.Take(now_ms, 1 MiB); send it unless empty;
//                             go on while batch.more
//
// The promise: a message is given out to one holder once at a time (given, released, given...), and
// while it has something to do and there is credit, it is given out. A message that is out costs
// one credit; OnReleased gives it back. Sources, in turn while there is credit: messages that were
// released with something left; new mail; deferred mail that is due.
//
// New mail comes from the effects of its enqueue, contents along (<= 64 KiB, one chunk, 32 MiB
// outstanding until released), as long as all of the intake has been given out. Once some message
// had to stay (no credit), the intake index is read from it on until its end is reached: order is
// kept, and nothing is held in memory past the credit.
//
// Races, and what happens:
//  - A job becomes due, or a flush comes, while its message is out: the passes over the due index
//    skip it; the release looks at the message again.
//  - A recipient bounced, and the message is released before the notice: the release finds the
//    bounced row and gives the message out again.
//  - An outcome comes after the release: it is applied as usual; a recipient that it leaves bounced
//    is in the intake index again (IntakeEffect), and is given out from there.
//  - More than 1,000 recipients: the first 1,000; the release finds the next.
//  - Released, but recipients had no outcome: given out again at once. Who cannot work on a message
//    now keeps it.
//  - Deleted while out: in `deleted` of the next batch; the credit comes with the release. Deleted
//    before it was given out: never given out.
//  - Released twice, or never given out: ignored, no credit.
//  - The holder dies: Close. The next Open gives out everything, deferred jobs of the dead holder
//    too, as their time is past. Apply refuses outcomes of the old epoch.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "services/queue/state/effects.h"
#include "services/queue/state/reader.h"

namespace postfleet::queue {

struct DispatchLimits {
  size_t activation_recipients_max = 1'000;
  // Contents that come along: of one message, and outstanding.
  uint64_t attached_message_bytes_max = 64u << 10;
  uint64_t attached_body_bytes_max = 32u << 20;
  // Index rows looked at by one Take.
  size_t rows_scanned_max = 2'048;
};

struct Activated {
  v1::Activation activation;
  // activation.payload_bytes() bytes. Point into `payload_owner`.
  std::vector<std::string_view> payload;
  std::shared_ptr<const void> payload_owner;
};

// One ScheduleResponse's worth.
struct DispatchBatch {
  std::vector<Activated> activations;
  // Given out, and deleted by an administrator since: end their attempts.
  std::vector<std::string> deleted;
  // An administrator flushed: forget dead destinations.
  bool flushed = false;
  // There is more to take now (budget or scan limit reached).
  bool more = false;

  bool empty() const { return activations.empty() && deleted.empty() && !flushed; }
};

class Dispatcher {
 public:
  // `reader` must outlive this.
  Dispatcher(const Reader* reader, uint32_t partition, const DispatchLimits& limits = {});

  // A new holder: nothing is out, no credit. `flush_index` is the state machine's.
  void Open(uint64_t epoch, uint64_t flush_index);
  // No holder: remembers nothing, gives out nothing.
  void Close();

  void AddCredit(uint32_t messages) { credit_ += messages; }
  void OnEffects(const Effects& effects);
  void OnReleased(std::string_view queue_id);

  // What goes out now: about `budget_bytes` of activations and contents, at least one while there
  // is any. Errors are the store's and final.
  absl::StatusOr<DispatchBatch> Take(int64_t now_ms, size_t budget_bytes);

  // When Take should be called next although nothing has happened; nullopt: never. Known since the
  // last Take.
  std::optional<int64_t> NextDueMs() const { return next_due_ms_; }

  bool is_open() const { return open_; }
  uint64_t epoch() const { return epoch_; }
  // Given out and not released; of those, deleted ones do not count as active.
  bool IsActive(std::string_view queue_id) const;
  uint64_t active_messages() const { return messages_.size(); }
  uint64_t attached_bytes() const { return attached_bytes_; }
  uint64_t credit() const { return credit_; }

 private:
  enum class Phase {
    // To be given out from memory: the Activated waits in fresh_.
    kFresh,
    kOut,
    // Released; its rows are to be looked at again. Has no credit.
    kRevisit,
    // Out, and gone from the store.
    kRemoved,
  };
  struct Message {
    Phase phase = Phase::kOut;
    uint64_t attached_bytes = 0;
    // Pending recipients below it were given out in this message's pages.
    uint32_t next_number = 0;
  };
  using Messages = absl::flat_hash_map<std::string, Message>;
  struct TakeState;

  void OnNewMessage(const Effects& effects, const NewMessageEffect& message);
  void OnRemoved(const std::string& queue_id, bool by_administrator);
  void StartBacklogAt(const IntakeKey& key);
  void LowerDueCursor(const DueEffect& due);
  uint64_t Attachable(const state::MessageRow& row) const;
  Activated ActivateFresh(const Effects& effects, const NewMessageEffect& message,
                          Message* entry) const;

  // Each gives out at most one message and says whether it did.
  absl::StatusOr<bool> TakeRevisit(TakeState* take);
  absl::StatusOr<bool> TakeNew(TakeState* take);
  absl::StatusOr<bool> TakeDeferred(TakeState* take);
  bool TakeFresh(TakeState* take);
  absl::StatusOr<bool> TakeIntake(TakeState* take);
  absl::StatusOr<bool> TakeDue(TakeState* take);
  absl::StatusOr<bool> TakeFlushed(TakeState* take);
  absl::StatusOr<bool> ReadDuePage(TakeState* take);
  absl::StatusOr<bool> GiveOut(const std::string& queue_id, uint32_t from_number, TakeState* take);

  const Reader* const reader_;
  const uint32_t partition_;
  const DispatchLimits limits_;

  bool open_ = false;
  uint64_t epoch_ = 0;
  uint64_t credit_ = 0;
  uint64_t attached_bytes_ = 0;
  Messages messages_;
  std::deque<std::pair<std::string, Activated>> fresh_;
  std::deque<std::string> revisit_;
  std::vector<std::string> deleted_;
  bool flushed_ = false;
  bool deferred_turn_ = false;

  // The intake index before the cursor was given out, or is empty. backlog_: something may lie at
  // or behind it.
  bool backlog_ = false;
  IntakeKey intake_cursor_;
  std::deque<IntakeEntry> intake_page_;

  // Rows of the due index before the cursor were given out, or their message is out (its release
  // looks again).
  DueKey due_cursor_;
  std::deque<DueEntry> due_page_;
  std::optional<int64_t> next_due_ms_;

  // The pass of a flush over the jobs that are not due by time yet.
  uint64_t flush_index_ = 0;
  bool flush_pass_ = false;
  DueKey flush_cursor_;
  std::deque<DueEntry> flush_page_;
  // Flushed by their ids and not given out since; past kFlushedIdsMax an id is due, but not marked.
  absl::flat_hash_set<std::string> flushed_ids_;
};

}  // namespace postfleet::queue
