#include "services/delivery/bounce/notice.h"

#include <algorithm>
#include <array>

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

bool WarnsOfDelay(const scheduler::v1::Delivery& delivery) {
  return delivery.notice_kind() == scheduler::v1::Delivery::NOTICE_KIND_DELAY;
}

// bounce(5), failure_template. Behind "This is the mail system at host ...".
constexpr std::string_view kFailureText =
    "I'm sorry to have to inform you that your message could not\n"
    "be delivered to one or more recipients. It's attached below.\n\n";

// delay_template, with whole hours and days.
std::string DelayWarningText(const NoticeNames& names) {
  constexpr int64_t kHourMs = 3'600'000;
  return Concat(
      "####################################################################\n"
      "# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #\n"
      "####################################################################\n\n"
      "Your message could not be delivered for more than ",
      names.delay_warning_ms / kHourMs, " hour(s).\nIt will be retried until it is ",
      names.maximal_queue_lifetime_ms / (24 * kHourMs), " day(s) old.\n\n");
}

std::string Date(int64_t ms) { return message::FormatMailDate({.seconds = ms / 1000}); }

class Notice {
 public:
  Notice(const scheduler::v1::Delivery& delivery, const NoticeNames& names, int64_t now_ms)
      : delivery_(delivery),
        names_(names),
        now_ms_(now_ms),
        boundary_(Concat(delivery.queue_id(), ".", now_ms / 1000, "/", names.myhostname)) {}

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

  const scheduler::v1::Delivery& delivery_;
  const NoticeNames& names_;
  const int64_t now_ms_;
  const std::string boundary_;
  size_t detail_ = kDetailBytes[0];
  int listed_ = 0;
  std::string out_;
};

void Notice::AppendHeader() {
  const std::string& id = delivery_.notice_queue_id();
  out_ += message::FormatLocalReceived(names_.myhostname, names_.mail_name, id, -1,
                                       {.seconds = now_ms_ / 1000});
  ConcatTo(&out_, "Date: ", Date(now_ms_), "\nFrom: Mail Delivery System <MAILER-DAEMON@",
           names_.myorigin, ">\nSubject: ",
           WarnsOfDelay(delivery_) ? "Delayed Mail (still being retried)"
                                   : "Undelivered Mail Returned to Sender",
           "\nTo: ", Quoted(delivery_.envelope().sender()),
           "\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n"
           "Content-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"",
           boundary_,
           "\"\nContent-Transfer-Encoding: 8bit\nMessage-Id: ", NoticeMessageId(id, names_),
           "\n\nThis is a MIME-encapsulated message.\n\n");
}

void Notice::AppendText() {
  ConcatTo(&out_, "--", boundary_,
           "\nContent-Description: Notification\nContent-Type: text/plain; charset=utf-8\n"
           "Content-Transfer-Encoding: 8bit\n\n"
           "This is the mail system at host ",
           names_.myhostname, ".\n\n",
           WarnsOfDelay(delivery_) ? DelayWarningText(names_) : std::string(kFailureText),
           "For further assistance, please send mail to postmaster.\n\n"
           "If you do so, please include this problem report. You can\n"
           "delete your own text from the attached returned message.\n\n"
           "                   The mail system\n\n");
  ChooseDetail();
  for (int i = 0; i < listed_; ++i)
    ConcatTo(&out_, RecipientText(delivery_.bounced(i), detail_), "\n");
  if (listed_ < delivery_.bounced_size()) {
    ConcatTo(&out_, "There are ", delivery_.bounced_size() - listed_,
             " more recipients, too many to be listed here.\n\n");
  }
}

void Notice::ChooseDetail() {
  const size_t room = kNoticeBytesMax - kReturnedBytesMin;
  const int all = delivery_.bounced_size();
  for (size_t detail : kDetailBytes) {
    detail_ = detail;
    size_t bytes = 2 * out_.size();
    for (listed_ = 0; listed_ < all; ++listed_) {
      const auto& bounced = delivery_.bounced(listed_);
      bytes += RecipientText(bounced, detail).size() + RecipientReport(bounced, detail).size() + 1;
      if (bytes > room) break;
    }
    if (listed_ == all) return;
  }
}

std::string Notice::RecipientText(const queue::v1::BouncedRecipient& bounced, size_t detail) const {
  const std::string original = Original(bounced.recipient());
  std::string text = Concat("<", Quoted(bounced.recipient().address()), ">");
  if (original != bounced.recipient().address()) {
    ConcatTo(&text, " (expanded from <", Quoted(original), ">)");
  }
  ConcatTo(&text, ": ", PrintableText(bounced.outcome().text(), detail));
  std::string wrapped;
  AppendWrapped(text, &wrapped);
  return wrapped;
}

void Notice::AppendReport() {
  ConcatTo(&out_, "--", boundary_,
           "\nContent-Description: Delivery report\nContent-Type: message/delivery-status\n\n"
           "Reporting-MTA: dns; ",
           names_.myhostname, "\nX-Postfix-Queue-ID: ", delivery_.queue_id(),
           "\nX-Postfix-Sender: rfc822; ", Quoted(delivery_.envelope().sender()),
           "\nArrival-Date: ", Date(delivery_.envelope().arrival_ms()), "\n\n");
  for (int i = 0; i < listed_; ++i) out_ += RecipientReport(delivery_.bounced(i), detail_);
}

std::string Notice::RecipientReport(const queue::v1::BouncedRecipient& bounced,
                                    size_t detail) const {
  const mail::v1::Outcome& outcome = bounced.outcome();
  std::string report =
      Concat("Final-Recipient: rfc822; ", Quoted(bounced.recipient().address()),
             "\nOriginal-Recipient: rfc822;", Quoted(Original(bounced.recipient())),
             "\nAction: ", WarnsOfDelay(delivery_) ? "delayed" : "failed",
             "\nStatus: ", PrintableText(outcome.status(), 20), "\n");
  if (!outcome.remote_mta().empty()) {
    ConcatTo(&report, "Remote-MTA: dns; ", PrintableText(outcome.remote_mta(), 255), "\n");
  }
  const bool by_server = !outcome.diagnostic().empty();
  AppendWrapped(Concat("Diagnostic-Code: ", by_server ? "smtp; " : "X-Postfix; ",
                       PrintableText(by_server ? outcome.diagnostic() : outcome.text(), detail)),
                &report);
  if (WarnsOfDelay(delivery_)) {
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
  const std::string header =
      Concat("--", boundary_, "\nContent-Description: Undelivered Message", whole ? "" : " Headers",
             "\nContent-Type: ", whole ? "message/rfc822" : "text/rfc822-headers",
             "\nContent-Transfer-Encoding: 8bit\n\nReturn-Path: <",
             Quoted(delivery_.envelope().sender()), ">\n");
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

std::string ComposeNotice(const scheduler::v1::Delivery& delivery, const ReturnedMessage& returned,
                          const NoticeNames& names, int64_t now_ms) {
  return Notice(delivery, names, now_ms).Compose(returned);
}

}  // namespace postfleet::delivery
