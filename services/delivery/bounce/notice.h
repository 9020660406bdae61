// The text of a notice (RFC 3464, RFC 3462), in Postfix's words and layout: users and their tools
// know it. Two kinds (Delivery.notice_kind): mail that is returned, and a warning that mail is late
// (bounce(5): failure_template, delay_template; "Action: delayed", Will-Retry-Until).
//
// multipart/report of three parts: a text for people, message/delivery-status for programs, and the
// message itself, or its header alone: of a late message always, of a returned one when it is
// larger than bounce_size_limit. Line ends are LF. Bytes over 127 stay (Content-Transfer-Encoding:
// 8bit).
//
// Bounds: a notice has at most kNoticeBytesMax bytes, whatever it is about. A recipient's text and
// diagnostic are cut at kDetailBytesMax each; when all of them together do not leave room, at less;
// and when even the addresses do not fit, the rest is counted in one line. The message, then its
// header, is left out or cut where no room is left. Replies of other servers cannot break the
// layout: control characters and invalid UTF-8 become "?".
//
// Pure: time and names come in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "proto/postfleet/scheduler/v1/scheduler.pb.h"

namespace postfleet::delivery {

inline constexpr size_t kNoticeBytesMax = 900 << 10;
inline constexpr size_t kDetailBytesMax = 1000;

struct NoticeNames {
  std::string myhostname = "localhost";
  std::string myorigin = "localhost";  // domain of MAILER-DAEMON
  std::string mail_name = "Postfix";
  // A warning of delay names these.
  int64_t delay_warning_ms = 0;
  int64_t maximal_queue_lifetime_ms = 0;
};

// What is sent back of the message.
struct ReturnedMessage {
  std::string_view contents;  // of kHeaders: the header fields, each with LF
  enum class Part { kWhole, kHeaders } part = Part::kWhole;
};

// `delivery` has `bounced`, `notice_queue_id` and what is about the kind; `now_ms` is wall time.
std::string ComposeNotice(const scheduler::v1::Delivery& delivery, const ReturnedMessage& returned,
                          const NoticeNames& names, int64_t now_ms);

// Its Message-Id, for the log too: "<QUEUEID@myhostname>".
std::string NoticeMessageId(std::string_view queue_id, const NoticeNames& names);

// ---- Exposed for tests ----

// Words of `text` in lines of at most 79 bytes, each with LF; all but the first are indented by
// four blanks. A word that is longer has a line of its own.
void AppendWrapped(std::string_view text, std::string* out);

// At most `bytes_max` bytes, cut between characters; control characters and what is not UTF-8
// become "?".
std::string PrintableText(std::string_view text, size_t bytes_max);

}  // namespace postfleet::delivery
