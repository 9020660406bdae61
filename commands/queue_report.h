// How the queue is shown: `postqueue -p` for people and `postqueue -j` for programs, byte by byte
// as Postfix shows a queue with long queue ids (postqueue(1)).
//
// Pure: one message in, its text out; nothing is kept but the totals. Addresses are quoted as RFC
// 5322 asks; control characters and what is not UTF-8 become '?', one for each byte, before JSON
// is made of them, as Postfix's showq does. The null sender is MAILER-DAEMON.
//
// Corrupt mail, which Postfix does not show, has its reason above the recipients, or in a member
// "corrupt_reason" behind them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "proto/postfleet/queue/v1/queue.pb.h"

namespace postfleet::commands {

class QueueTable {
 public:
  explicit QueueTable(absl::TimeZone zone) : zone_(zone) {}
  // The message, with the heading before the first.
  std::string Add(const queue::v1::ListedMessage& message);
  // The line of totals, or that there is nothing.
  std::string End() const;

 private:
  const std::string& TimeText(int64_t ms);

  const absl::TimeZone zone_;
  uint64_t messages_ = 0;
  uint64_t bytes_ = 0;
  // Many messages came in the same second; making its text costs as much as all the rest.
  int64_t time_seconds_ = -1;
  std::string time_text_;
};

// One object and a newline.
std::string QueueJsonLine(const queue::v1::ListedMessage& message);
// The same of mail that is in no queue yet.
std::string MaildropJsonLine(const queue::v1::ListedMessage& message);

// "incoming", "active", "deferred", "hold", "corrupt".
std::string_view QueueNameText(queue::v1::QueueName name);
std::optional<queue::v1::QueueName> ParseQueueName(std::string_view text);

// Postfix's directories that hold no messages here: "maildrop", "bounce", "defer", "trace",
// "flush".
bool IsEmptyQueueName(std::string_view text);

// Every byte that is a control character or not part of valid UTF-8 as '?'.
std::string Showable(std::string_view text);

}  // namespace postfleet::commands
