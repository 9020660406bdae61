// The parts of StateMachine::Apply that are a file of their own. Each applies one kind of command:
// it judges every item, writes what it changes into the draft and what it means into the effects.
// Errors are the store's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "services/queue/state/command.h"
#include "services/queue/state/draft.h"
#include "services/queue/state/effects.h"
#include "services/queue/state/submission_window.h"

namespace postfleet::queue {

// A command being applied.
struct Application {
  const CommandView& command;
  state::StateRow& state;
  Draft& draft;
  SubmissionWindow& window;
  Effects& effects;
  // Of the messages that actions looked at so far.
  uint64_t recipients = 0;
};

absl::Status ApplySubmissions(Application& application);
absl::Status ApplyOutcomes(Application& application);
absl::Status ApplyAdminister(Application& application);
absl::Status ApplyMarkCorrupt(Application& application);
absl::Status ApplyStartBulk(Application& application);
absl::Status ApplyStopBulk(Application& application);
// Takes a job off the list. If it was a requeue that ran, the next one also has what it made.
void EndBulk(int position, state::StateRow& state);
absl::Status ApplyPurge(Application& application);

// Makes the jobs of messages due now.
absl::Status FlushMessages(const google::protobuf::RepeatedPtrField<std::string>& queue_ids,
                           Application& application);

// Parks a message for good, with why. What of it cannot be read is left out.
absl::Status MarkCorrupt(std::string_view queue_id, std::string_view reason,
                         Application& application);

// Cuts a payload into its items' parts.
class PayloadCutter {
 public:
  explicit PayloadCutter(absl::Span<const std::string_view> pieces) : pieces_(pieces) {}
  // The next `bytes`; fewer when there are no more.
  std::vector<std::string_view> Take(size_t bytes);

 private:
  absl::Span<const std::string_view> pieces_;
  size_t offset_ = 0;
};

size_t PayloadBytes(absl::Span<const std::string_view> pieces);

// What is wrong with a NewMessage, with the id and contents that it has; empty: nothing.
std::string RefusalOf(const v1::Submission& submission, uint64_t content_bytes);

}  // namespace postfleet::queue
