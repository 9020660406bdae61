// The changes of one command in the making: a write batch, and the rows touched, so that what comes
// later in the command reads what came before in it. Rows of a message that only its last state
// matters for (message, jobs, intake) are put once, by Finish; all others at once.
//
// Errors are the store's. Not thread-safe; belongs to the state machine.
#pragma once

#include <rocksdb/write_batch.h>

#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/queue/state/effects.h"
#include "services/queue/state/rows.pb.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {

// Which count a message is in.
enum class CountedQueue { kNone, kIncoming, kDeferred };
CountedQueue QueueOf(const state::MessageRow& row);

class Draft {
 public:
  struct Job {
    state::JobRow row;
    // Its due row is not in the store yet.
    bool fresh = false;
    bool changed = false;
  };

  // A message that the command has asked for.
  struct Message {
    std::string queue_id;
    state::MessageRow row;
    bool exists = false;
    // Became visible by this command: its rows cannot be read from the store, and `row` is not
    // kept.
    bool created = false;
    // As loaded.
    CountedQueue queue_before = CountedQueue::kNone;
    bool all_pending_before = false;
    uint64_t intake_index_before = 0;
    uint32_t intake_ordinal_before = 0;
    std::map<uint32_t, Job> jobs;
    // STATE_UNSPECIFIED: gone.
    absl::flat_hash_map<uint32_t, state::RecipientRow> recipients;
  };

  // What a NewMessage becomes. Fields as of Submission, checked by the caller.
  struct Creation {
    std::string_view queue_id;
    const v1::NewMessage* message = nullptr;
    uint32_t chunks = 0;
  };

  Draft(const Store* store, state::StateRow* state, Effects* effects);

  void Begin(uint64_t index);
  // Puts what is owed, the state row too, and writes the batch.
  absl::Status Finish();

  rocksdb::WriteBatch* batch() { return &batch_; }

  // The message, loaded once; stays valid until Finish.
  absl::StatusOr<Message*> Find(std::string_view queue_id);
  bool Touched(std::string_view queue_id) const { return by_id_.contains(queue_id); }

  // The recipient's row; STATE_UNSPECIFIED when there is none.
  // `state_only`: the caller needs no more than `state` and `job`; saves the read while all
  // recipients are pending.
  absl::StatusOr<state::RecipientRow*> FindRecipient(Message* message, uint32_t number,
                                                     bool state_only);
  // Both keep the message's counts and the job that the recipient waited in.
  absl::Status PutRecipient(Message* message, uint32_t number, state::RecipientRow row);
  absl::Status DropRecipient(Message* message, uint32_t number);
  // A new job of the message, without recipients yet.
  uint32_t AddJob(Message* message, state::JobRow row);
  Job* job(Message* message, uint32_t number) { return &message->jobs.at(number); }

  // Deletes the message if nothing of it is left.
  void RemoveIfEmpty(Message* message);
  // Deletes all of its rows, by reading the store: only in a command that has not changed its
  // recipients.
  absl::Status RemoveWhole(Message* message);
  // Moves all jobs that wait to now; likewise by reading the store.
  absl::Status MakeJobsDue(Message* message);

  void Create(Message* message, const Creation& creation, NewMessageEffect* effect);
  void PutChunk(std::string_view queue_id, uint32_t chunk, uint32_t crc32c,
                absl::Span<const std::string_view> pieces);
  void DropChunks(std::string_view queue_id, uint32_t chunks);

  // A message of which chunks have come; its row is put or deleted by Finish.
  struct Upload {
    state::UploadRow row;
    bool exists = false;
    bool existed = false;
  };
  absl::StatusOr<Upload*> FindUpload(std::string_view queue_id);
  bool AnyUploads() const { return state_->counts().uploads() > 0 || !uploads_.empty(); }

 private:
  // The message's jobs as the store has them, into message->jobs.
  absl::Status LoadJobs(Message* message);
  absl::Status LeaveJob(Message* message, uint32_t number, const state::RecipientRow& row);
  absl::StatusOr<Job*> FindJob(Message* message, uint32_t number);
  void Settle(Message* message);
  void SettleJobs(Message* message);
  void SettleIntake(Message* message);
  void SettleUploads();
  void Recount(CountedQueue before, CountedQueue after, int64_t bytes_change);
  void DropMessageRows(Message* message);
  DueKey DueKeyOf(const Message& message, uint32_t number, const state::JobRow& row) const;

  const Store* const store_;
  state::StateRow* const state_;
  Effects* const effects_;

  rocksdb::WriteBatch batch_;
  uint64_t index_ = 0;
  uint32_t intake_ordinal_ = 0;
  // In the order of touching, which must not depend on a hash: Finish gives intake keys in it.
  std::deque<Message> messages_;
  absl::flat_hash_map<std::string_view, Message*> by_id_;
  std::map<std::string, Upload, std::less<>> uploads_;
  // Reused, for serializing.
  std::string scratch_;
  std::vector<rocksdb::Slice> pieces_;
};

}  // namespace postfleet::queue
