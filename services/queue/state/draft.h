// The changes of one command in the making: a write batch, and the rows touched, so that what comes
// later in the command reads what came before in it. Rows of a message that only its last state
// matters for (message, jobs, intake) are put once, by Finish; all others at once.
//
// Errors are the store's. Not thread-safe; belongs to the state machine.
#pragma once

#include <rocksdb/write_batch.h>

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/queue/state/effects.h"
#include "services/queue/state/message_queue.h"
#include "services/queue/state/row_walk.h"
#include "services/queue/state/rows.pb.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {

// Adds to the count of recipients in a state.
void ChangeCount(state::RecipientRow::State recipient_state, int change, state::MessageRow* row);

class Draft {
 public:
  struct Job {
    state::JobRow row;
    bool changed = false;
    // What the store has of it. Parked messages' jobs have no due row.
    bool stored = false;
    bool due_stored = false;
    int64_t due_ms_stored = 0;

    void MarkStored(bool parked) {
      stored = true;
      due_stored = !parked;
      due_ms_stored = row.due_ms();
    }
  };

  // A message that the command has asked for.
  struct Message {
    std::string queue_id;
    state::MessageRow row;
    bool exists = false;
    // Its row cannot be read.
    bool unreadable = false;
    // An action was done to it by this command: a repeated id is none.
    bool acted_on = false;
    // Became visible by this command: its rows cannot be read from the store, and `row` is not
    // kept.
    bool created = false;
    // Finish writes its rows. Set by everything here that changes it; by the caller that changes
    // `row` itself.
    bool changed = false;
    // As loaded.
    v1::QueueName queue_before = v1::QUEUE_NAME_UNSPECIFIED;
    bool parked_before = false;
    uint32_t deferred_before = 0;
    bool all_pending_before = false;
    uint64_t intake_index_before = 0;
    uint32_t intake_ordinal_before = 0;
    bool jobs_loaded = false;
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

  // The ids of this command ascend, mostly: read with iterators instead of points.
  void ExpectAscendingIds() { walking_ = true; }
  // The message, loaded once; stays valid until Finish. DataLoss: its row is damaged.
  absl::StatusOr<Message*> Find(std::string_view queue_id);
  // The same, of an id that is apart from the command's.
  absl::StatusOr<Message*> FindApart(std::string_view queue_id);

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

  // The following read the store: only in a command that has not changed the message's recipients.
  // DataLoss: rows of the message are damaged; nothing of it was changed.

  // Deletes all of its rows. Those that cannot be read are deleted unread; their rows in other
  // indexes are then looked for, by Finish: one pass over intake, due and site for a command.
  absl::Status RemoveWhole(Message* message);
  // Moves all jobs that wait to now.
  absl::Status MakeJobsDue(Message* message);
  // Before `row` says that the message is parked, or not any more.
  absl::Status BeginParking(Message* message) { return LoadJobs(message); }
  // Gives the message's open and bounced recipients, and its chunks, to `target`, which did not
  // exist.
  absl::Status Requeue(Message* message, Message* target);
  // Of a message that Find says DataLoss of: makes its row from the others. Null: nothing says that
  // there is such a message. The caller marks it corrupt or deletes it.
  Message* Salvage(std::string_view queue_id);
  // The queue by the queue index; incoming when it is in none.
  v1::QueueName QueueByIndex(std::string_view queue_id) const;

  // Whether an unused queue id has chunks, which a requeue took over. A read only while there are
  // such messages.
  absl::StatusOr<bool> BodyIsBorrowed(std::string_view queue_id) const;

  // Deletes everything of all messages; uploads stay.
  absl::Status Purge();

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
  RowWalk& Walk(Family family);
  absl::StatusOr<bool> LoadMessage(std::string_view queue_id, state::MessageRow* row);
  // The message's jobs as the store has them, into message->jobs. Once.
  absl::Status LoadJobs(Message* message);
  // Deletes the message's recipient rows, with their site rows; gives each to `moved_to`, if there
  // is one, and counts it in its row.
  absl::Status MoveRecipients(Message* message, Message* moved_to);
  absl::Status MoveRecipient(Message* message, std::string_view key, std::string_view value,
                             Message* moved_to);
  // Those that cannot be read unread, without their due rows.
  absl::Status RemoveJobs(Message* message);
  // Deletes the rows in intake, due and site of the messages in `swept_`.
  absl::Status Sweep();
  absl::Status SweepFamily(Family family);
  void PutIntake(Message* message);
  void SalvageRecipients(Message* message);
  void SalvageChunks(Message* message);
  absl::Status LeaveJob(Message* message, uint32_t number, const state::RecipientRow& row);
  absl::StatusOr<Job*> FindJob(Message* message, uint32_t number);
  void Settle(Message* message);
  void SettleJobs(Message* message);
  void SettleJob(Message* message, uint32_t number, const Job& job);
  void SettleIntake(Message* message);
  void SettleUploads();
  // The message's count and its row in the queue index.
  void Move(const Message& message, v1::QueueName after);
  void CountBytes(int64_t change);
  void PutSite(const Message& message, uint32_t number, std::string_view address);
  void DropSite(const Message& message, uint32_t number, std::string_view address);
  // All but chunks, recipients and jobs.
  void DropMessageRows(Message* message);

  const Store* const store_;
  state::StateRow* const state_;
  Effects* const effects_;

  rocksdb::WriteBatch batch_;
  uint64_t index_ = 0;
  uint32_t intake_ordinal_ = 0;
  bool walking_ = false;
  std::array<std::unique_ptr<RowWalk>, kFamilyCount> walks_;
  // In the order of touching, which must not depend on a hash: Finish gives intake keys in it.
  std::deque<Message> messages_;
  absl::flat_hash_map<std::string_view, Message*> by_id_;
  std::map<std::string, Upload, std::less<>> uploads_;
  // Deleted, while nobody can say what rows they had in the indexes.
  std::set<std::string, std::less<>> swept_;
  // Reused, for serializing.
  std::string scratch_;
  std::vector<rocksdb::Slice> pieces_;
};

}  // namespace postfleet::queue
