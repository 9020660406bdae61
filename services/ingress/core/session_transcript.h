// What client and server said in a session, and which kinds of errors there were: what the
// postmaster is mailed of (notify_classes, postconf(5)), in the words of smtpd(8).
//
//   Transcript of session follows.
//
//    Out: 220 mx.example ESMTP
//    In:  FOO
//    Out: 500 5.5.2 Error: command not recognized
//
// Contents of messages are no part of it. Nothing is kept where no class is told of. Bounds: the
// first kFirstBytesMax bytes of lines and the last kLastBytesMax are kept, of each line
// kLineBytesMax; of what lies between, how many lines it were. Pure; cannot fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/message/received.h"

namespace postfleet::ingress {

// A sum of these is what notify_classes says.
enum ErrorClass : uint32_t {
  kNoError = 0,
  kBounceError = 1,  // a message or a recipient was refused that would have come back
  kDataError = 2,    // a table could not be read
  kPolicyError = 4,
  kProtocolError = 8,
  kResourceError = 16,
  kSoftwareError = 32,
};

// Of notify_classes; classes that are none of a session are passed over. Errors: a name that is no
// class.
absl::StatusOr<uint32_t> ErrorClassesOf(const std::vector<std::string>& names);

class SessionTranscript {
 public:
  static constexpr size_t kFirstBytesMax = 8 * 1024;
  static constexpr size_t kLastBytesMax = 8 * 1024;
  static constexpr size_t kLineBytesMax = 1024;

  explicit SessionTranscript(uint32_t classes) : classes_(classes) {}

  // A line of the client, without its end.
  void Came(std::string_view line) { Keep("In:  ", line); }
  // Lines of a reply, each with its end.
  void Sent(std::string_view reply);
  void Erred(ErrorClass error) { errors_ |= error; }
  // A message was taken: what was wrong before is forgiven. What was said stays.
  void Forgive() { errors_ = 0; }
  // Another session begins.
  void Clear();

  // Something is to be told.
  bool is_due() const { return (errors_ & classes_) != 0; }
  // Whether the notice goes to bounce_notice_recipient.
  bool has_bounce() const { return (errors_ & kBounceError) != 0; }
  // What is held.
  size_t bytes() const { return first_bytes_ + last_bytes_; }

  // " Out: 220 ...", as long as the mail's lines may be, with LF.
  std::string Text() const;

 private:
  void Keep(std::string_view direction, std::string_view line);

  uint32_t classes_;
  uint32_t errors_ = 0;
  std::string first_;  // lines with LF, which stands in no line
  size_t first_bytes_ = 0;
  std::deque<std::string> last_;
  size_t last_bytes_ = 0;
  uint64_t left_out_ = 0;  // lines between the two
};

struct TranscriptNotice {
  std::string_view queue_id;
  std::string_view myhostname;
  std::string_view mail_name;
  std::string_view from;       // the address of MAILER-DAEMON
  std::string_view recipient;  // error_notice_recipient, whole
  std::string_view client;     // "NAME[ADDR]"
  std::string_view reason;     // why the session was broken off; empty: it was not
  message::MailTime time;
};

// The mail: header and text, LF line ends.
std::string ComposeTranscriptNotice(const TranscriptNotice& notice,
                                    const SessionTranscript& transcript);

}  // namespace postfleet::ingress
