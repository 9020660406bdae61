// SMTP replies, both ends (RFC 5321, 4.2; RFC 2034 for enhanced codes).
//
// Server: Reply is a value; Format writes "250-…\r\n250 …\r\n". Client: ReplyParser collects one
// reply from socket bytes. Both are pure and bounded: a reply never grows past the limits named
// here, whatever the peer sends.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/mail/enhanced_status.h"

namespace postfleet::smtp {

// What a server says. `lines` has at least one element (an empty text is an empty line).
struct Reply {
  int code = 0;                 // 0: no reply
  mail::EnhancedStatus status;  // not present: no enhanced code (banner, EHLO, 354, 334)
  std::vector<std::string> lines;

  Reply() = default;
  Reply(int code, std::string line) : code(code), lines{std::move(line)} {}
  Reply(int code, mail::EnhancedStatus status, std::string line)
      : code(code), status(status), lines{std::move(line)} {}

  bool present() const { return code != 0; }
  // "554 5.7.1 text": one line for logs, later lines joined as in ServerReply::text.
  std::string ToLogText() const;
};

// Appends the reply with CRLFs; the enhanced code stands on every line. CR, LF and NUL inside a
// line become blanks, so a text taken from a table or a client cannot split the reply.
void FormatReply(const Reply& reply, std::string* out);
std::string FormatReply(const Reply& reply);

// "550 5.7.1 text" as written in tables, restrictions and milters; code and enhanced code are
// optional and default to the given.
Reply ParseReplyText(std::string_view text, int default_code, mail::EnhancedStatus default_status);

inline constexpr size_t kReplyLineBytesMax = 2048;  // the rest of a longer line is dropped
inline constexpr size_t kReplyTextBytesMax =
    8192;  // the rest of a longer reply is dropped from the text, not from the parsing
inline constexpr size_t kReplyLinesMax = 1000;     // then ReplyParser gives up
inline constexpr size_t kReplyBytesMax = 1 << 20;  // same

// What a server said to us.
struct ServerReply {
  int code = 0;  // of the last line; 0: not a valid reply
  mail::EnhancedStatus
      status;  // of the last line; without one (or with one of another class than the code): x.0.0
  bool has_enhanced_status = false;
  // As Postfix shows it: the lines, codes included, without line ends, joined by a blank; what is
  // not printable ASCII is `?`. "250 2.0.0 Ok: queued as 4jXV", "550-5.1.1 No such 550 5.1.1 user".
  std::string text;
  // Each line's words behind code and separator: EHLO keywords. At most kReplyTextBytesMax in sum.
  std::vector<std::string> lines;
  // The first of the lines without a code that came before or between, as `text` has it. With
  // PIPELINING it should be logged: the next line with a code may be the answer to another command.
  std::string junk;
  bool had_junk = false;

  bool IsPositive() const { return code >= 200 && code < 300; }
  bool IsIntermediate() const { return code >= 300 && code < 400; }
  bool IsTransient() const { return code >= 400 && code < 500; }
  bool IsPermanent() const { return code >= 500 && code < 600; }
};

// One reply at a time:
//   while (parser.Feed(&in) == ReplyParser::kReply) { use(parser.reply()); parser.Reset(); }
class ReplyParser {
 public:
  // May replace a line, its end taken off. False: it cannot say; Feed then returns kFailed.
  using LineFilter = std::function<bool(std::string* line)>;

  enum Result {
    kNeedMore,  // `in` is used up
    kReply,     // reply() is complete; `in` starts behind it
    kFlood,     // more lines or bytes than any honest server sends: close. Stays so until Reset.
    kFailed,    // the filter has failed. Stays so until Reset.
  };
  ReplyParser() = default;
  // `keep_utf8`: what looks like UTF-8 is printable, as with Postfix's smtputf8_enable.
  explicit ReplyParser(bool keep_utf8, LineFilter filter = nullptr)
      : keep_utf8_(keep_utf8), filter_(std::move(filter)) {}

  // Takes bytes from the front of `in`.
  Result Feed(std::string_view* in);
  const ServerReply& reply() const { return reply_; }
  ServerReply TakeReply() { return std::move(reply_); }
  // Ready for the next reply.
  void Reset();

 private:
  bool TakeLine();

  bool keep_utf8_ = false;
  LineFilter filter_;
  std::string line_;
  ServerReply reply_;
  size_t lines_ = 0;
  size_t bytes_ = 0;
  size_t lines_bytes_ = 0;
  bool flood_ = false;
  bool filter_failed_ = false;
};

}  // namespace postfleet::smtp
