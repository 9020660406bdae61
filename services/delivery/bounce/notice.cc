#include "services/delivery/bounce/notice.h"

#include <algorithm>
#include <array>
#include <vector>

#include "libs/base/concat.h"
#include "libs/mail/address.h"
#include "libs/message/header.h"
#include "libs/message/received.h"

namespace postfleet::delivery {
namespace {

constexpr size_t kLineBytes = 79;
constexpr size_t kIndentBytes = 4;
// Of details, tried in this order until all recipients fit.
constexpr std::array<size_t, 4> kDetailBytes = {kDetailBytesMax, 300, 100, 40};
// Room for the returned header when recipients take all they can.
constexpr size_t kReturnedBytesMin = 64 << 10;
constexpr size_t kAddressBytesMax = 2048;
// Boundary, fields and Return-Path of the returned part.
constexpr size_t kPartHeaderBytesMax = 4096;

// The length of the UTF-8 character at the start of `text`; 0: there is none.
size_t CharacterBytes(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return 1;
  const size_t size = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (size == 0 || size > text.size()) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 0;
  }
  const auto second = static_cast<unsigned char>(text[1]);
  // Overlong forms, surrogates, and what is above U+10FFFF.
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
      (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) {
    return 0;
  }
  return size;
}

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

std::string_view WithoutBlanksAtEnd(std::string_view text) {
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

// As SMTP writes it; the domain as it came.
std::string Quoted(std::string_view address) {
  return address.empty() ? "" : PrintableText(mail::QuoteAddress(address), kAddressBytesMax);
}

std::string Original(const mail::v1::Recipient& recipient) {
  return recipient.original_address().empty() ? recipient.address() : recipient.original_address();
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 128; });
}

const NoticeTemplate& TemplateOf(const NoticeTemplates& templates, NoticeKind kind) {
  switch (kind) {
    case NoticeKind::kDelay:
      return templates.delay;
    case NoticeKind::kSuccess:
      return templates.success;
    case NoticeKind::kVerify:
      return templates.verify;
    default:
      return templates.failure;
  }
}

// "Mail Delivery System <MAILER-DAEMON>" with the domain that an address of ours has.
std::string FromField(const std::string& from, const std::string& myorigin) {
  const size_t close = from.rfind('>');
  if (from.find('@') != std::string::npos) return from;
  return close == std::string::npos
             ? Concat(from, "@", myorigin)
             : Concat(from.substr(0, close), "@", myorigin, from.substr(close));
}

std::string_view ActionOf(NoticeKind kind, const mail::v1::Outcome& outcome) {
  if (kind == NoticeKind::kDelay) return "delayed";
  if (kind == NoticeKind::kFailure) return "failed";
  if (kind == NoticeKind::kVerify) {
    // What a server puts off is no better than what it refuses: nothing is tried again.
    const bool taken = outcome.action() == mail::v1::Outcome::ACTION_SENT;
    return taken ? "deliverable" : "undeliverable";
  }
  if (outcome.action() == mail::v1::Outcome::ACTION_BOUNCED) return "failed";
  switch (outcome.success()) {
    case mail::v1::Outcome::SUCCESS_RELAYED:
      return "relayed";
    case mail::v1::Outcome::SUCCESS_EXPANDED:
      return "expanded";
    default:
      return "delivered";
  }
}

std::string Date(int64_t ms) { return message::FormatMailDate({.seconds = ms / 1000}); }

// A command that fails may have said a status and nothing else.
std::string TextOf(const mail::v1::Outcome& outcome) {
  return outcome.text().empty() ? "(description unavailable)" : outcome.text();
}

class Notice {
 public:
  Notice(const scheduler::v1::Delivery& delivery, const NoticeRequest& request,
         const NoticeNames& names, int64_t now_ms)
      : delivery_(delivery),
        request_(request),
        names_(names),
        template_(TemplateOf(names.templates, request.kind)),
        now_ms_(now_ms),
        utf8_(delivery.envelope().smtputf8()),
        eight_bit_(names.smtputf8 || delivery.envelope().body_8bitmime()),
        sender_(delivery.envelope().sender().empty() ? Concat("MAILER-DAEMON@", names.myorigin)
                                                     : Quoted(delivery.envelope().sender())),
        boundary_(Concat(delivery.queue_id(), ".", now_ms / 1000, "/", names.myhostname)) {
    for (const auto& bounced : delivery.bounced()) {
      if (request.audience == Audience::kPostmaster || AsksFor(bounced.recipient(), request.kind)) {
        told_.push_back(&bounced);
      }
    }
  }

  std::string Compose(const ReturnedMessage& returned) {
    AppendHeader();
    AppendText();
    AppendReport();
    AppendReturned(returned);
    ConcatTo(&out_, "\n--", boundary_, "--\n");
    return std::move(out_);
  }

 private:
  void AppendHeader();
  void AppendText();
  void AppendReport();
  void AppendReturned(const ReturnedMessage& returned);
  std::string RecipientText(const queue::v1::BouncedRecipient& bounced, size_t detail) const;
  std::string RecipientReport(const queue::v1::BouncedRecipient& bounced, size_t detail) const;
  void ChooseDetail();
  size_t RoomForReturned(size_t part_header) const;
  std::string_view Encoding() const {
    return eight_bit_ ? "Content-Transfer-Encoding: 8bit\n" : "";
  }
  // Of an address in the report.
  std::string_view AddressType(std::string_view address) const {
    return utf8_ && !IsAscii(address) ? "utf-8" : "rfc822";
  }
  std::string OriginalRecipient(const mail::v1::Recipient& recipient) const;

  const scheduler::v1::Delivery& delivery_;
  const NoticeRequest& request_;
  const NoticeNames& names_;
  const NoticeTemplate& template_;
  const int64_t now_ms_;
  const bool utf8_;
  const bool eight_bit_;
  const std::string sender_;
  const std::string boundary_;
  std::vector<const queue::v1::BouncedRecipient*> told_;
  size_t detail_ = kDetailBytes[0];
  size_t listed_ = 0;
  std::string out_;
};

void Notice::AppendHeader() {
  const bool to_sender = request_.audience == Audience::kSender;
  out_ += message::FormatLocalReceived(names_.myhostname, names_.mail_name, request_.queue_id, -1,
                                       {.seconds = now_ms_ / 1000});
  ConcatTo(&out_, "Date: ", Date(now_ms_), "\nFrom: ", FromField(template_.from, names_.myorigin),
           "\nSubject: ", to_sender ? template_.subject : template_.postmaster_subject,
           "\nTo: ", Quoted(request_.recipient),
           "\nAuto-Submitted: ", to_sender ? "auto-replied" : "auto-generated",
           "\nMIME-Version: 1.0\n"
           "Content-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"",
           boundary_, "\"\n", Encoding(),
           "Message-Id: ", NoticeMessageId(std::string(request_.queue_id), names_),
           "\n\nThis is a MIME-encapsulated message.\n\n");
}

void Notice::AppendText() {
  ConcatTo(&out_, "--", boundary_,
           "\nContent-Description: Notification\nContent-Type: text/plain; charset=",
           eight_bit_ && message::EqualsIgnoreCase(template_.charset, "us-ascii")
               ? std::string_view("utf-8")
               : template_.charset,
           "\n", Encoding(), "\n");
  if (request_.audience == Audience::kSender) out_ += template_.body;
  out_ += '\n';
  ChooseDetail();
  for (size_t i = 0; i < listed_; ++i) {
    ConcatTo(&out_, RecipientText(*told_[i], detail_), "\n");
  }
  if (listed_ < told_.size()) {
    ConcatTo(&out_, "There are ", told_.size() - listed_,
             " more recipients, too many to be listed here.\n\n");
  }
}

void Notice::ChooseDetail() {
  const size_t room = kNoticeBytesMax - kReturnedBytesMin;
  for (size_t detail : kDetailBytes) {
    detail_ = detail;
    size_t bytes = 2 * out_.size();
    for (listed_ = 0; listed_ < told_.size(); ++listed_) {
      const auto& bounced = *told_[listed_];
      bytes += RecipientText(bounced, detail).size() + RecipientReport(bounced, detail).size() + 1;
      if (bytes > room) break;
    }
    if (listed_ == told_.size()) return;
  }
}

std::string Notice::RecipientText(const queue::v1::BouncedRecipient& bounced, size_t detail) const {
  const std::string original = Original(bounced.recipient());
  std::string text = Concat("<", Quoted(bounced.recipient().address()), ">");
  if (original != bounced.recipient().address()) {
    ConcatTo(&text, " (expanded from <", Quoted(original), ">)");
  }
  ConcatTo(&text, ": ", PrintableText(TextOf(bounced.outcome()), detail));
  std::string wrapped;
  AppendWrapped(text, &wrapped);
  return wrapped;
}

void Notice::AppendReport() {
  ConcatTo(&out_, "--", boundary_, "\nContent-Description: Delivery report\nContent-Type: ",
           utf8_ ? "message/global-delivery-status\nContent-Transfer-Encoding: 8bit"
                 : "message/delivery-status",
           "\n\nReporting-MTA: dns; ", names_.myhostname, "\n");
  if (!delivery_.envelope().dsn_envid().empty()) {
    ConcatTo(&out_, "Original-Envelope-Id: ",
             PrintableText(delivery_.envelope().dsn_envid(), kAddressBytesMax), "\n");
  }
  ConcatTo(&out_, "X-Postfix-Queue-ID: ", delivery_.queue_id(),
           "\nX-Postfix-Sender: ", AddressType(sender_), "; ", sender_,
           "\nArrival-Date: ", Date(delivery_.envelope().arrival_ms()), "\n\n");
  for (size_t i = 0; i < listed_; ++i) out_ += RecipientReport(*told_[i], detail_);
}

std::string Notice::OriginalRecipient(const mail::v1::Recipient& recipient) const {
  if (!recipient.dsn_orcpt().empty()) return PrintableText(recipient.dsn_orcpt(), kAddressBytesMax);
  return Concat("rfc822;", Quoted(Original(recipient)));
}

std::string Notice::RecipientReport(const queue::v1::BouncedRecipient& bounced,
                                    size_t detail) const {
  const mail::v1::Outcome& outcome = bounced.outcome();
  const std::string address = Quoted(bounced.recipient().address());
  std::string report = Concat("Final-Recipient: ", AddressType(address), "; ", address,
                              "\nOriginal-Recipient: ", OriginalRecipient(bounced.recipient()),
                              "\nAction: ", ActionOf(request_.kind, outcome),
                              "\nStatus: ", PrintableText(outcome.status(), 20), "\n");
  if (!outcome.remote_mta().empty()) {
    ConcatTo(&report, "Remote-MTA: dns; ", PrintableText(outcome.remote_mta(), 255), "\n");
  }
  // A server's words, a command's, or our own.
  const bool is_own = outcome.diagnostic().empty();
  AppendWrapped(Concat("Diagnostic-Code: ",
                       is_own                         ? "X-Postfix; "
                       : outcome.remote_mta().empty() ? "x-unix; "
                                                      : "smtp; ",
                       PrintableText(is_own ? TextOf(outcome) : outcome.diagnostic(), detail)),
                &report);
  if (request_.kind == NoticeKind::kDelay) {
    ConcatTo(&report, "Will-Retry-Until: ", Date(delivery_.retry_until_ms()), "\n");
  }
  return report += "\n";
}

size_t Notice::RoomForReturned(size_t part_header) const {
  const size_t taken = out_.size() + part_header + boundary_.size() + 8;
  return taken < kNoticeBytesMax ? kNoticeBytesMax - taken : 0;
}

// A message is returned whole or as its header: a part of it would look like the whole. A header
// may be cut.
void Notice::AppendReturned(const ReturnedMessage& returned) {
  std::string_view contents = returned.contents;
  bool whole = returned.part == ReturnedMessage::Part::kWhole;
  if (whole && contents.size() > RoomForReturned(kPartHeaderBytesMax)) {
    whole = false;
    message::HeaderReader fields(contents);
    while (fields.Next()) {
    }
    contents = contents.substr(0, fields.offset());
  }
  const bool arrived =
      request_.kind == NoticeKind::kSuccess || request_.kind == NoticeKind::kVerify;
  const std::string header = Concat(
      "--", boundary_, "\nContent-Description: ", arrived ? "Message" : "Undelivered Message",
      whole ? "" : " Headers", "\nContent-Type: ",
      utf8_ ? (whole ? "message/global" : "message/global-headers")
            : (whole ? "message/rfc822" : "text/rfc822-headers"),
      "\n", Encoding(), "\nReturn-Path: <", sender_, ">\n");
  const size_t room = RoomForReturned(header.size());
  if (contents.size() > room) {
    // Whole lines.
    const size_t end = contents.substr(0, room).rfind('\n');
    contents = contents.substr(0, end == std::string_view::npos ? 0 : end + 1);
  }
  ConcatTo(&out_, header, contents);
  if (!contents.empty() && contents.back() != '\n') out_ += '\n';
}

}  // namespace

std::string NoticeMessageId(std::string_view queue_id, const NoticeNames& names) {
  return message::FormatMessageId(queue_id, names.myhostname);
}

void AppendWrapped(std::string_view text, std::string* out) {
  size_t line_bytes = kLineBytes;
  bool first = true;
  while (true) {
    // The last blank at which the line still fits; else the first one.
    size_t end = text.size();
    if (text.size() > line_bytes) {
      end = text.find_last_of(" \t", line_bytes);
      if (end == std::string_view::npos || WithoutBlanksAtEnd(text.substr(0, end)).empty()) {
        end = std::min(text.find_first_of(" \t", text.find_first_not_of(" \t")), text.size());
      }
    }
    if (!first) out->append(kIndentBytes, ' ');
    ConcatTo(out, WithoutBlanksAtEnd(text.substr(0, end)), "\n");
    text.remove_prefix(end);
    while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
    if (text.empty()) return;
    if (first) line_bytes -= kIndentBytes;
    first = false;
  }
}

std::string PrintableText(std::string_view text, size_t bytes_max) {
  std::string printable;
  printable.reserve(std::min(text.size(), bytes_max));
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text);
    const auto first = static_cast<unsigned char>(text[0]);
    const std::string_view character =
        bytes == 0 || first < 32 || first == 127 ? "?" : text.substr(0, bytes);
    if (printable.size() + character.size() > bytes_max) break;
    printable += character;
    text.remove_prefix(std::max<size_t>(bytes, 1));
  }
  return printable;
}

NoticeKind KindOf(const scheduler::v1::Delivery& delivery) {
  switch (delivery.notice_kind()) {
    case scheduler::v1::Delivery::NOTICE_KIND_DELAY:
      return NoticeKind::kDelay;
    case scheduler::v1::Delivery::NOTICE_KIND_SUCCESS:
      return NoticeKind::kSuccess;
    default:
      return NoticeKind::kFailure;
  }
}

bool AsksFor(const mail::v1::Recipient& recipient, NoticeKind kind) {
  const uint32_t asked = recipient.dsn_notify();
  switch (kind) {
    case NoticeKind::kFailure:
      return asked == 0 || (asked & mail::v1::NOTIFY_FLAG_FAILURE) != 0;
    case NoticeKind::kDelay:
      return asked == 0 || (asked & mail::v1::NOTIFY_FLAG_DELAY) != 0;
    case NoticeKind::kSuccess:
      return (asked & mail::v1::NOTIFY_FLAG_SUCCESS) != 0;
    case NoticeKind::kVerify:
      return true;
  }
  return true;
}

std::string ComposeNotice(const scheduler::v1::Delivery& delivery, const NoticeRequest& request,
                          const ReturnedMessage& returned, const NoticeNames& names,
                          int64_t now_ms) {
  return Notice(delivery, request, names, now_ms).Compose(returned);
}

}  // namespace postfleet::delivery
