// The text of a notice (RFC 3464, RFC 3462, RFC 6533), in Postfix's words and layout: users and
// their tools know it. Five kinds: mail that is returned, a warning that mail is late ("Action:
// delayed", Will-Retry-Until), a report that it arrived (delivered, relayed, expanded), and the
// report of an address check (sendmail -bv). A recipient of whom parts failed or wait
// (Outcome.parts) is told of part by part, "(expanded from <alias>)". Each goes to the sender; of
// the first two the postmaster may get a copy, with a subject of its own and without the text for
// people.
//
// multipart/report of three parts: a text for people, message/delivery-status for programs, and the
// message itself or its header. Of a message that needs SMTPUTF8 they are message/global-delivery-
// status, message/global and message/global-headers, and its addresses are of type utf-8. Line ends
// are LF. Bytes over 127 stay; Content-Transfer-Encoding says 8bit where smtputf8_enable is on or
// the message was declared as 8BITMIME.
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
#include "services/delivery/bounce/template.h"

namespace postfleet::delivery {

inline constexpr size_t kNoticeBytesMax = 900 << 10;
inline constexpr size_t kDetailBytesMax = 1000;

struct NoticeNames {
  std::string myhostname = "localhost";
  std::string myorigin = "localhost";  // domain of MAILER-DAEMON
  std::string mail_name = "Postfix";
  bool smtputf8 = true;  // smtputf8_enable
  // Expanded. What a template says of MAILER-DAEMON gets myorigin.
  NoticeTemplates templates = NoticeTemplates::BuiltIn();
};

enum class NoticeKind { kFailure, kDelay, kSuccess, kTrace, kVerify };
enum class Audience { kSender, kPostmaster };

// One notice about a delivery.
struct NoticeRequest {
  NoticeKind kind = NoticeKind::kFailure;
  Audience audience = Audience::kSender;
  std::string_view queue_id;  // the notice's own
  std::string_view recipient;
};

// What is sent back of the message.
struct ReturnedMessage {
  std::string_view contents;  // of kHeaders: the header fields, each with LF
  enum class Part { kWhole, kHeaders } part = Part::kWhole;
};

NoticeKind KindOf(const scheduler::v1::Delivery& delivery);

// Whether the recipient's NOTIFY asks for a notice of this kind (RFC 3461, 4.1). The postmaster is
// told of all.
bool AsksFor(const mail::v1::Recipient& recipient, NoticeKind kind);

// An alias or list was expanded, and parts of it failed.
bool SucceedsInPart(const queue::v1::BouncedRecipient& bounced);

// The same of what became of it: of a failure no success is told, but that it SucceedsInPart.
bool AsksFor(const queue::v1::BouncedRecipient& bounced, NoticeKind kind);

// `delivery` has `bounced` and what is about the kind; `now_ms` is wall time. Recipients who did
// not ask for it are left out.
std::string ComposeNotice(const scheduler::v1::Delivery& delivery, const NoticeRequest& request,
                          const ReturnedMessage& returned, const NoticeNames& names,
                          int64_t now_ms);

// Its Message-Id, for the log too: "<QUEUEID@myhostname>".
std::string NoticeMessageId(std::string_view queue_id, const NoticeNames& names);

}  // namespace postfleet::delivery
