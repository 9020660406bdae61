// A message as postcat(1) shows a queue file of Postfix: one line for each record.
//
//   *** ENVELOPE RECORDS deferred/6/4jXhF636Xcz1hVqw ***
//   message_size:             352             799               3               0             352
//   ... message_arrival_time: Sun Nov 22 20:56:10 2026
//   ...
//   recipient: r1@a.example
//   *** MESSAGE CONTENTS deferred/6/4jXhF636Xcz1hVqw ***
//   ...
//   *** HEADER EXTRACTED deferred/6/4jXhF636Xcz1hVqw ***
//   *** MESSAGE FILE END deferred/6/4jXhF636Xcz1hVqw ***
//
// There is no such file here: the path is where Postfix would have it, record types and offsets are
// those that these records would have in one. What the queue does not keep is left out: the
// client's other name (reverse_client_name), server address, SASL login, who connected where
// XFORWARD names another client, recipients that are done and gone.
//
// Pure. Use: Envelope once, Contents for each piece (cut anywhere), End once; each gives text for
// standard output. At most one record of contents (2,048 bytes) is kept.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "proto/postfleet/queue/v1/queue.pb.h"

namespace postfleet::commands {

struct QueueFileOptions {
  // What is shown; none of the three: all.
  bool envelope = false;
  bool header = false;
  bool body = false;
  // In front of each record: its offset, the number of its type, and for contents its name.
  bool offsets = false;
  bool types = false;
  bool names = false;
};

// "deferred/6/4jXhF636Xcz1hVqw", with Postfix's defaults of hash_queue_names and hash_queue_depth.
std::string QueueFilePath(queue::v1::QueueName queue, std::string_view queue_id);

class QueueFileText {
 public:
  QueueFileText(const QueueFileOptions& options, absl::TimeZone zone, std::string queue_id);

  // `recipients` are all of them.
  std::string Envelope(const queue::v1::InspectResponse& message,
                       const std::vector<queue::v1::InspectedRecipient>& recipients);
  // The next piece of the contents; lines end with LF.
  std::string Contents(std::string_view piece);
  std::string End();

 private:
  struct Record;
  enum class Part { kHeaderStart, kHeader, kBody };

  std::vector<Record> EnvelopeRecords(const queue::v1::InspectResponse& message,
                                      const std::vector<queue::v1::InspectedRecipient>& recipients);
  static void AppendClient(const mail::v1::Origin& origin, std::vector<Record>* records);
  void Append(std::string* text, const Record& record, bool shown);
  void AppendLine(std::string* text, std::string_view line, bool ends);

  const QueueFileOptions options_;
  const absl::TimeZone zone_;
  const std::string queue_id_;
  std::string path_;
  bool is_8bit_ = false;
  uint64_t offset_ = 0;
  std::string line_;  // the start of a line that has not ended
  bool at_line_start_ = true;
  Part part_ = Part::kHeaderStart;
};

}  // namespace postfleet::commands
