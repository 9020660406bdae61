// The volatile side of a partition: which messages its scheduler has, and what it gets next. No
// thread, no clock, no lock: it lives on the thread of the state machine, so between Apply and
// OnEffects nothing else happens, and what it reads of the store is as of the last command.
// Everything here can be forgotten: Open starts over from the store.
//
//   the effect of Open:     dispatcher.Open(epoch, state_machine.flush_index())
//   after every Apply:      dispatcher.OnEffects(effects)
//   a ScheduleRequest:      dispatcher.AddCredit(n); dispatcher.OnReleased(queue_id) for each of
//                           `released`, OnResting for each of `resting`, OnMoreWanted for each of
//                           `more`, after the frame's outcomes were applied
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
// Flow of intake, by tokens: a new message that has to stay takes one, and each message that is
// given out from the backlog makes one; kIntakeTokensMax at most. Without a backlog there are all
// of them. Without a holder every new message has to stay.
//
// Parked messages (held or corrupt) are not given out: their rows say so. One that is out when it
// is parked is recalled: its holder ends its attempts and releases it. Withhold keeps a message
// from being given out although its rows allow it, while a command is under way that must not meet
// an attempt (a requeue): one that is out is recalled, and is in TakeSettled() once it is not out
// any more. Each Withhold is ended by a Restore. Recalled, deleted and settled ids are told once
// each, so there are no more of them than messages that were out; withheld ones are bounded by who
// withholds.
//
// A message whose rows or first chunk turn out to be damaged is not given out; the batch says so,
// and whoever takes it marks the message as corrupt. When a row of the intake or due index cannot
// be read, what lies behind it is found by going over all messages, at once and each
// kSalvageIntervalMs.
//
// Races, and what happens:
//  - A job becomes due, or a flush comes, while its message is out: the passes over the due index
//    skip it; the release looks at the message again.
//  - A recipient bounced, or was sent with a notice owed, and the message is released before the
//    notice: the release finds the row and gives the message out again.
//  - Put off, and released: as deferred. Due before the release: given out again at once.
//  - An outcome comes after the release: it is applied as usual; a recipient that it leaves bounced
//    is in the intake index again (IntakeEffect), and is given out from there.
//  - More than 1,000 recipients: the first 1,000, and how many are left; the release finds the
//    next, or they come while it is out, when they are asked for (OnMoreWanted): behind those that
//    were given, no recipient twice. What becomes due meanwhile of those comes after the release.
//  - More wanted of a message that is not out, is recalled, or has no others: nothing comes. Asked
//    for again before it came: it comes once. Where recipients were left, more comes, or the
//    message is told as deleted or recalled: damage that is found makes it corrupt, and so parked.
//  - Released, but recipients had no outcome: given out again at once. Who cannot work on a message
//    now keeps it, or lets it rest.
//  - Rests: it is released, but looked at again only when its time has come, by a flush of all or
//    of itself; what becomes due meanwhile waits for that. Forgotten with its holder, who is given
//    it at once.
//  - Deleted while out: in `deleted` of the next batch; the credit comes with the release. Deleted
//    before it was given out: never given out.
//  - Purged: as if each message was deleted.
//  - Parked while out: in `recalled` of the next batch. The release looks at the message again and
//    finds it parked, or not any more. Parked again before its release: not recalled twice.
//  - Parked before it was given out: dropped with its credit.
//  - Withheld before it was given out: dropped with its credit; Restore gives it its turn.
//  - Withheld while out: recalled, settled by its release, by its end (an outcome, a deletion), or
//  by
//    the end of its holder. With the next Open it is still withheld.
//  - Withheld twice: is given out after the second Restore. Withheld and gone: Restore does
//  nothing.
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
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "services/queue/state/effects.h"
#include "services/queue/state/reader.h"

namespace postfleet::queue {

// After the damage of an index: from the end of one pass over all messages to the next.
inline constexpr int64_t kSalvageIntervalMs = 60'000;

// As many messages may come ahead of delivery before it counts as behind: Postfix's default process
// limit, which is what its queue manager fills up to.
inline constexpr uint32_t kIntakeTokensMax = 100;

struct DispatchLimits {
  size_t activation_recipients_max = 1'000;
  // While messages with this many recipients are out, each comes with few: `more` asks for others.
  // As many as the full active window of Postfix holds.
  size_t recipients_out_max = 200'000;
  size_t activation_recipients_min = 10;
  // Contents that come along: of one message, and outstanding.
  uint64_t attached_message_bytes_max = 64u << 10;
  uint64_t attached_body_bytes_max = 32u << 20;
  // Index rows looked at by one Take.
  size_t rows_scanned_max = 2'048;
  // Restored messages whose turn is remembered; past it all indexes are read again.
  size_t restored_max = 20'000;
  // Messages that rest; past it the one that is next has its turn early.
  size_t resting_max = 200'000;
  // Recipients that come with a message although they are not due.
  size_t waiting_recipients_max = 1'000;
};

struct Activated {
  v1::Activation activation;
  // activation.payload_bytes() bytes. Point into `payload_owner`.
  std::vector<std::string_view> payload;
  std::shared_ptr<const void> payload_owner;
};

// A message that must not be given out: mark it corrupt.
struct DamagedMessage {
  std::string queue_id;
  std::string reason;
};

// One ScheduleResponse's worth.
struct DispatchBatch {
  std::vector<Activated> activations;
  // Given out, and deleted by an administrator since: end their attempts.
  std::vector<std::string> deleted;
  // Given out, and to be let go.
  std::vector<std::string> recalled;
  // Not for the holder.
  std::vector<DamagedMessage> damaged;
  // An index cannot be read: why. Told once to a holder's stream.
  std::string index_damage;
  // An administrator flushed: forget dead destinations.
  bool flushed = false;
  // There is more to take now (budget or scan limit reached).
  bool more = false;

  // Nothing for the holder.
  bool empty() const {
    return activations.empty() && deleted.empty() && recalled.empty() && !flushed;
  }
};

class Dispatcher {
 public:
  // `reader` must outlive this.
  Dispatcher(const Reader* reader, uint32_t partition, const DispatchLimits& limits = {});

  // A new holder: nothing is out, no credit. `flush_index` is the state machine's.
  // `with_waiting`: of the OpenPartition.
  void Open(uint64_t epoch, uint64_t flush_index, bool with_waiting = false);
  // No holder: remembers nothing, gives out nothing.
  void Close();

  void AddCredit(uint32_t messages) { credit_ += messages; }
  void OnEffects(const Effects& effects);
  void OnReleased(std::string_view queue_id);
  void OnResting(std::string_view queue_id, int64_t until_ms);
  // Costs no credit.
  void OnMoreWanted(std::string_view queue_id);

  // What goes out now: about `budget_bytes` of activations and contents, at least one while there
  // is any. Errors are the store's and final.
  absl::StatusOr<DispatchBatch> Take(int64_t now_ms, size_t budget_bytes);

  // When Take should be called next although nothing has happened; nullopt: never (without credit
  // nothing is due). Known since the last Take.
  std::optional<int64_t> NextDueMs() const;

  bool is_open() const { return open_; }
  // Mail comes faster than it is given out.
  bool is_behind() const { return intake_tokens_ == 0; }
  uint64_t epoch() const { return epoch_; }
  // Free: whatever is proposed about the message now meets no attempt of it. Works without a holder
  // too: nothing is out then.
  enum class Whereabouts { kFree, kOut };
  Whereabouts Withhold(std::string_view queue_id);
  // Takes one Withhold back.
  void Restore(std::string_view queue_id);
  // Withheld ones that were out and are not any more.
  std::vector<std::string> TakeSettled() { return std::exchange(settled_, {}); }
  size_t withheld_messages() const { return withheld_.size(); }

  // Given out and not released; of those, deleted and parked ones do not count as active.
  bool IsActive(std::string_view queue_id) const;
  uint64_t active_messages() const { return messages_.size() - inactive_; }
  // In no order. Costs a copy of all ids (20,000).
  std::vector<std::string> ActiveIds() const;
  // Arrival of the oldest active message; 0: none. Looks at all of them.
  int64_t OldestActiveMs() const;
  uint64_t attached_bytes() const { return attached_bytes_; }
  uint64_t credit() const { return credit_; }

 private:
  enum class Phase {
    // To be given out from memory: the Activated waits in fresh_.
    kFresh,
    // Given out.
    kOut,
    // Released; its rows are to be looked at again. Has no credit.
    kRevisit,
    // As kRevisit, but not before its time.
    kResting,
    // Out, and gone from the store.
    kRemoved,
  };
  struct Message {
    Phase phase = Phase::kOut;
    uint64_t attached_bytes = 0;
    int64_t arrival_ms = 0;
    // Of kFresh: which entry of fresh_ is its. The others of its id are dead.
    uint64_t fresh_ticket = 0;
    // Behind the recipients that were given out in this message's pages.
    RecipientsCursor cursor;
    // That came with it, or as more of it.
    size_t recipients = 0;
    // Of kResting.
    int64_t rests_until_ms = 0;
    // When it was given out. What was due then is due when more is wanted: clocks go back.
    int64_t given_ms = 0;
    // Of kOut: its id is in more_.
    bool more_wanted = false;
    // Of kOut: its holder was told to let it go.
    bool recalled = false;
    // Of kOut: held or corrupt by now.
    bool parked = false;

    bool active() const { return phase != Phase::kRemoved && phase != Phase::kResting && !parked; }
  };
  struct Fresh {
    std::string queue_id;
    uint64_t ticket = 0;
    Activated activated;
  };
  struct Withheld {
    uint32_t times = 0;
    // It was out and is not yet settled.
    bool out = false;
  };
  using Messages = absl::flat_hash_map<std::string, Message>;
  struct TakeState;
  enum class End { kOutcome, kDeleted, kParked };

  void OnNewMessage(const Effects& effects, const NewMessageEffect& message);
  void OnEnded(const std::string& queue_id, End how);
  void OnPurged();
  // One of messages_ goes that is not out.
  void Forget(Messages::iterator found);
  void SetPhase(Message* entry, Phase phase, bool parked);
  void Recall(const std::string& queue_id, Message* entry);
  // Resting ones up to a time have their turn.
  void Wake(int64_t until_ms);
  void Wake(Messages::iterator found);
  // It is not out any more.
  void Settle(std::string_view queue_id);
  void Unpark(const std::string& queue_id);
  // Nothing of intake, due and flush is read any more.
  void ForgetIndexes();
  // Everything that is in the store and not out has its turn again.
  void Rescan();
  void StartBacklogAt(const IntakeKey& key);
  void LowerDueCursor(const DueEffect& due);
  uint64_t Attachable(const state::MessageRow& row) const;
  // Recipients that a message comes with.
  size_t PageSize() const;
  void CountGiven(size_t recipients, Message* entry);
  Activated ActivateFresh(const Effects& effects, const NewMessageEffect& message,
                          Message* entry) const;

  // Each gives out at most one message, or more of one, and says whether it did.
  absl::StatusOr<bool> TakeMore(TakeState* take);
  absl::StatusOr<bool> TakeRevisit(TakeState* take);
  absl::StatusOr<bool> TakeNew(TakeState* take);
  absl::StatusOr<bool> TakeDeferred(TakeState* take);
  bool TakeFresh(TakeState* take);
  absl::StatusOr<bool> TakeIntake(TakeState* take);
  absl::StatusOr<bool> TakeDue(TakeState* take);
  absl::StatusOr<bool> TakeFlushed(TakeState* take);
  absl::StatusOr<bool> ReadDuePage(TakeState* take);
  absl::StatusOr<bool> TakeSalvaged(TakeState* take);
  void EndSalvage(int64_t now_ms);
  // False: `damage` is no damage of an index, but final.
  bool BeginSalvage(const absl::Status& damage, int64_t now_ms);
  absl::StatusOr<bool> GiveOut(const std::string& queue_id, uint32_t from_number, TakeState* take);
  // Fills `activated` and `entry`; false: there is nothing to give. DataLoss: the message is
  // damaged.
  absl::StatusOr<bool> Read(const std::string& queue_id, uint32_t from_number, int64_t now_ms,
                            Activated* activated, Message* entry);
  // The same, of one that is out: what is behind its cursor.
  absl::StatusOr<bool> ReadMore(const std::string& queue_id, int64_t now_ms, Activated* activated,
                                Message* entry);

  const Reader* const reader_;
  const uint32_t partition_;
  const DispatchLimits limits_;

  bool open_ = false;
  uint64_t epoch_ = 0;
  bool with_waiting_ = false;
  uint64_t credit_ = 0;
  uint64_t attached_bytes_ = 0;
  // Of messages_, whether they were decided meanwhile or not.
  size_t recipients_out_ = 0;
  Messages messages_;
  // Of messages_, those that are not active.
  uint64_t inactive_ = 0;
  std::deque<Fresh> fresh_;
  uint64_t fresh_tickets_ = 0;
  // To be looked at: kRevisit, restored, or gone since.
  std::deque<std::string> revisit_;
  // By time.
  absl::btree_set<std::pair<int64_t, std::string>> resting_;
  // Out, or not any more: more of its recipients are wanted.
  std::deque<std::string> more_;
  std::vector<std::string> deleted_;
  std::vector<std::string> recalled_;
  // Both outlive the holder.
  absl::flat_hash_map<std::string, Withheld> withheld_;
  std::vector<std::string> settled_;
  bool flushed_ = false;
  bool deferred_turn_ = false;

  // The intake index before the cursor was given out, or is empty. backlog_: something may lie at
  // or behind it.
  bool backlog_ = false;
  IntakeKey intake_cursor_;
  uint32_t intake_tokens_ = kIntakeTokensMax;
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
  // The passes over all messages, once an index was found damaged: when the next is, or since when
  // one runs.
  std::optional<int64_t> salvage_at_ms_;
  std::string salvage_cursor_;
  std::deque<std::string> salvage_page_;
  bool salvage_end_ = false;
  std::string index_damage_;
  // Flushed by their ids and not given out since; past kFlushedIdsMax an id is due, but not marked.
  absl::flat_hash_set<std::string> flushed_ids_;
};

}  // namespace postfleet::queue
