// What one applied command did, for everything outside the state: answers to ingress, work for the
// dispatcher, log lines. Valid until the next Apply of the same state machine; views point into the
// command.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "proto/postfleet/queue/v1/queue.pb.h"
#include "services/queue/state/keys.h"
#include "services/queue/state/rows.pb.h"

namespace postfleet::queue {

// Answers submissions[i] of the command.
struct SubmissionResult {
  v1::EnqueueResult::Code code = v1::EnqueueResult::CODE_UNSPECIFIED;
  // COMMITTED, but by an earlier command: this one changed nothing.
  bool duplicate = false;
  // Why, of REFUSED.
  std::string text;
};

// A message that became visible, by a submission or as a notice.
struct NewMessageEffect {
  std::string_view queue_id;
  state::MessageRow row;
  // In order; `number` is not set, it is the position.
  const google::protobuf::RepeatedPtrField<mail::v1::Recipient>* recipients = nullptr;
  // The contents, of a message of one chunk. Empty: more chunks, read them from the store.
  std::vector<std::string_view> payload;
  uint32_t payload_crc32c = 0;
  // It is the notice of a Notify, or the copy.
  bool notice = false;
};

// What became of outcomes[i], of notifies[i], or of put_offs[i].
struct OutcomeEffect {
  std::string queue_id;
  // Nothing of the message is left.
  bool removed = false;
  // The message was gone before. `removed` is set too.
  bool late = false;
  // Of a Notify: why it did nothing at all (an impossible notice or copy); the bounced rows stay.
  // For the log.
  std::string refused;
};

// A job that waits from now on: of a deferral, of recipients that were put off, or moved to now by
// a flush.
struct DueEffect {
  std::string queue_id;
  uint32_t job = 0;
  int64_t due_ms = 0;
};

// A message that is in the intake index by other ways than being new: a notice is owed about a
// recipient when none was pending, a release, the new id of a requeue. Its contents are in the
// store.
struct IntakeEffect {
  std::string queue_id;
  IntakeKey key;
};

struct OpenEffect {
  bool opened = false;
  uint32_t partition = 0;
  uint64_t epoch = 0;
};

struct Effects {
  uint64_t index = 0;
  // The state's time after the command.
  int64_t now_ms = 0;
  // Not empty: the command did nothing (an epoch that is not current, no such partition, no or two
  // kinds, too many ids, a bulk step that is not of the current job or behind its cursor).
  std::string refused;
  // Of a refused OutcomeBatch: the sender was fenced, its stream ends.
  bool fenced = false;

  std::vector<SubmissionResult> submissions;
  std::vector<NewMessageEffect> new_messages;
  // Of CommandView. Null: `payload` of new messages dies with the next Apply.
  std::shared_ptr<const void> payload_owner;

  std::vector<OutcomeEffect> outcomes;
  std::vector<OutcomeEffect> notifies;
  std::vector<OutcomeEffect> put_offs;
  std::vector<DueEffect> due;
  std::vector<IntakeEffect> intake_again;

  // Administer: those that it was done to, in the order of the command; for a requeue the new ids
  // beside them. The others do not exist, are in another queue or needed nothing done.
  v1::Action action = v1::ACTION_UNSPECIFIED;
  std::vector<std::string> changed;
  std::vector<std::string> new_queue_ids;
  // Flush by ids too: those at the end of the command that it did not come to: it ends past
  // kCommandRecipientsMax recipients. To be proposed again; the cursor of a durable job stands
  // before them.
  std::vector<std::string> left;
  // Of those: gone from the store (deleted; the old ids of a requeue), or parked now (end their
  // attempts). MarkCorrupt parks too, and so does any outcome that finds damaged rows.
  std::vector<std::string> deleted;
  std::vector<std::string> parked;
  // Flush by id or by an action: `flushed` has those with jobs, which are due now. (A release makes
  // jobs due too; that is in `due` alone.)
  std::vector<std::string> flushed;
  // Purge: every message is gone; how many there were.
  bool purged = false;
  uint64_t purged_messages = 0;
  // StartBulk: its id; 0: none. Refused when there are 16.
  uint64_t bulk_started = 0;
  // Administer with `done`: the job that ended; 0: none.
  uint64_t bulk_ended = 0;
  // StopBulk: the job that it ended; 0: there was none.
  uint64_t bulk_stopped = 0;
  // A flush of all: jobs deferred before `index` are due.
  bool flushed_all = false;

  OpenEffect open;
  // Given by Register; 0: none.
  uint64_t incarnation = 0;
  // Unfinished messages whose chunks were deleted: nobody went on with them (AbandonUploads), or
  // who sent them gave up.
  uint64_t uploads_abandoned = 0;
};

}  // namespace postfleet::queue
