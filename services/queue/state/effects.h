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
  // It is the notice of a Notify.
  bool notice = false;
};

// What became of outcomes[i], or of notifies[i].
struct OutcomeEffect {
  std::string queue_id;
  // Nothing of the message is left.
  bool removed = false;
  // The message was gone before. `removed` is set too.
  bool late = false;
  // Of a Notify: why it did nothing at all (an impossible notice); the bounced rows stay. For the
  // log.
  std::string refused;
};

// A job that waits from now on: of a deferral, or moved to now by a flush.
struct DueEffect {
  std::string queue_id;
  uint32_t job = 0;
  int64_t due_ms = 0;
};

// A message that is in the intake index again: a recipient bounced when none was pending.
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
  // kinds, too many ids).
  std::string refused;
  // Of a refused OutcomeBatch: the sender was fenced, its stream ends.
  bool fenced = false;

  std::vector<SubmissionResult> submissions;
  std::vector<NewMessageEffect> new_messages;
  // Of CommandView. Null: `payload` of new messages dies with the next Apply.
  std::shared_ptr<const void> payload_owner;

  std::vector<OutcomeEffect> outcomes;
  std::vector<OutcomeEffect> notifies;
  std::vector<DueEffect> due;
  std::vector<IntakeEffect> intake_again;

  // Delete: those that existed. Flush by id: `flushed` has those that exist, `missing` the others.
  std::vector<std::string> deleted;
  std::vector<std::string> flushed;
  std::vector<std::string> missing;
  // A flush of all: jobs deferred before `index` are due.
  bool flushed_all = false;

  OpenEffect open;
  // Given by Register; 0: none.
  uint64_t incarnation = 0;
  uint64_t uploads_abandoned = 0;
};

}  // namespace postfleet::queue
