#include "services/delivery/bounce/notice.h"

#include <algorithm>
#include <array>
#include <deque>
#include <set>
#include <vector>

#include "libs/base/concat.h"
#include "libs/mail/address.h"
#include "libs/mail/wrapped_text.h"
#include "libs/message/header.h"
#include "libs/message/received.h"

namespace postfleet::delivery {
namespace {

constexpr size_t kLineBytes = 79;
// Of details, tried in this order until all recipients fit.
constexpr std::array<size_t, 4> kDetailBytes = {kDetailBytesMax, 300, 100, 40};
// Room for the returned header when recipients take all they can.
constexpr size_t kReturnedBytesMin = 64 << 10;
constexpr size_t kAddressBytesMax = 2048;
// Boundary, fields and Return-Path of the returned part.
constexpr size_t kPartHeaderBytesMax = 4096;

// As SMTP writes it; the domain as it came.
std::string Quoted(std::string_view address) {
  return address.empty() ? "" : mail::PrintableText(mail::QuoteAddress(address), kAddressBytesMax);
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
    case NoticeKind::kTrace:
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
  if (outcome.action() == mail::v1::Outcome::ACTION_DEFERRED) return "delayed";
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

// The delivery of a message that is reported about (`sendmail -v`) has all its recipients.
bool IsOf(const queue::v1::BouncedRecipient& bounced, NoticeKind kind) {
  const auto action = bounced.outcome().action();
  return kind != NoticeKind::kFailure ||
         (action != mail::v1::Outcome::ACTION_SENT && action != mail::v1::Outcome::ACTION_DEFERRED);
}

bool IsReport(NoticeKind kind) { return kind == NoticeKind::kTrace || kind == NoticeKind::kVerify; }

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
      if (!IsOf(bounced, request.kind)) continue;
      if (request.audience == Audience::kPostmaster || AsksFor(bounced, request.kind)) {
        Tell(bounced);
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
  void Tell(const queue::v1::BouncedRecipient& bounced);
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
  std::deque<queue::v1::BouncedRecipient> parts_;
  std::vector<const queue::v1::BouncedRecipient*> told_;   // of the delivery, or of parts_
  std::set<const queue::v1::BouncedRecipient*> of_lists_;  // whose original is not to be told
  size_t untold_ = 0;                                      // parts that are only counted
  size_t detail_ = kDetailBytes[0];
  size_t listed_ = 0;
  std::string out_;
};

void Notice::Tell(const queue::v1::BouncedRecipient& bounced) {
  const mail::v1::Outcome& outcome = bounced.outcome();
  if (request_.kind == NoticeKind::kSuccess) {
    if (!SucceedsInPart(bounced)) return told_.push_back(&bounced);
    queue::v1::BouncedRecipient& whole = parts_.emplace_back();
    *whole.mutable_recipient() = bounced.recipient();
    whole.mutable_outcome()->set_action(mail::v1::Outcome::ACTION_SENT);
    whole.mutable_outcome()->set_success(outcome.success());
    whole.mutable_outcome()->set_status("2.0.0");
    whole.mutable_outcome()->set_text(outcome.success_text());
    return told_.push_back(&whole);
  }
  if (outcome.parts().empty()) {
    if (!IsReport(request_.kind) || outcome.success_text().empty()) {
      return told_.push_back(&bounced);
    }
    queue::v1::BouncedRecipient& reported = parts_.emplace_back(bounced);
    reported.mutable_outcome()->set_text(outcome.success_text());
    return told_.push_back(&reported);
  }
  for (const mail::v1::OutcomePart& said : outcome.parts()) {
    // What failed of late mail is told once nothing of it waits.
    if (request_.kind == NoticeKind::kDelay &&
        said.action() != mail::v1::Outcome::ACTION_DEFERRED) {
      continue;
    }
    queue::v1::BouncedRecipient& part = parts_.emplace_back();
    *part.mutable_recipient() = bounced.recipient();
    part.mutable_recipient()->set_address(said.address());
    part.mutable_recipient()->set_original_address(said.original_address());
    if (said.original_address().empty()) of_lists_.insert(&part);
    part.mutable_outcome()->set_action(IsReport(request_.kind) ? said.action() : outcome.action());
    part.mutable_outcome()->set_status(said.status());
    part.mutable_outcome()->set_text(said.text());
    part.mutable_outcome()->set_remote_mta(said.remote_mta());
    part.mutable_outcome()->set_diagnostic(said.diagnostic());
    told_.push_back(&part);
  }
  untold_ += outcome.parts_more();
}

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
  if (listed_ < told_.size() + untold_) {
    ConcatTo(&out_, "There are ", told_.size() - listed_ + untold_,
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
  ConcatTo(&text, ": ", mail::PrintableText(TextOf(bounced.outcome()), detail));
  std::string wrapped;
  mail::AppendWrapped(text, kLineBytes, "", &wrapped);
  return wrapped;
}

void Notice::AppendReport() {
  ConcatTo(&out_, "--", boundary_, "\nContent-Description: Delivery report\nContent-Type: ",
           utf8_ ? "message/global-delivery-status\nContent-Transfer-Encoding: 8bit"
                 : "message/delivery-status",
           "\n\nReporting-MTA: dns; ", names_.myhostname, "\n");
  if (!delivery_.envelope().dsn_envid().empty()) {
    ConcatTo(&out_, "Original-Envelope-Id: ",
             mail::PrintableText(delivery_.envelope().dsn_envid(), kAddressBytesMax), "\n");
  }
  ConcatTo(&out_, "X-Postfix-Queue-ID: ", delivery_.queue_id(),
           "\nX-Postfix-Sender: ", AddressType(sender_), "; ", sender_,
           "\nArrival-Date: ", Date(delivery_.envelope().arrival_ms()), "\n\n");
  for (size_t i = 0; i < listed_; ++i) out_ += RecipientReport(*told_[i], detail_);
}

std::string Notice::OriginalRecipient(const mail::v1::Recipient& recipient) const {
  if (!recipient.dsn_orcpt().empty())
    return mail::PrintableText(recipient.dsn_orcpt(), kAddressBytesMax);
  return Concat("rfc822;", Quoted(Original(recipient)));
}

std::string Notice::RecipientReport(const queue::v1::BouncedRecipient& bounced,
                                    size_t detail) const {
  const mail::v1::Outcome& outcome = bounced.outcome();
  const std::string address = Quoted(bounced.recipient().address());
  const std::string original =
      of_lists_.contains(&bounced)
          ? ""
          : Concat("\nOriginal-Recipient: ", OriginalRecipient(bounced.recipient()));
  std::string report = Concat("Final-Recipient: ", AddressType(address), "; ", address, original,
                              "\nAction: ", ActionOf(request_.kind, outcome),
                              "\nStatus: ", mail::PrintableText(outcome.status(), 20), "\n");
  if (!outcome.remote_mta().empty()) {
    ConcatTo(&report, "Remote-MTA: dns; ", mail::PrintableText(outcome.remote_mta(), 255), "\n");
  }
  // A server's words, a command's, or our own.
  const bool is_own = outcome.diagnostic().empty();
  mail::AppendWrapped(
      Concat("Diagnostic-Code: ",
             is_own                         ? "X-Postfix; "
             : outcome.remote_mta().empty() ? "x-unix; "
                                            : "smtp; ",
             mail::PrintableText(is_own ? TextOf(outcome) : outcome.diagnostic(), detail)),
      kLineBytes, "", &report);
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
  const bool arrived = request_.kind == NoticeKind::kSuccess || IsReport(request_.kind);
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
    case NoticeKind::kTrace:
    case NoticeKind::kVerify:
      return true;
  }
  return true;
}

bool AsksFor(const queue::v1::BouncedRecipient& bounced, NoticeKind kind) {
  if (kind == NoticeKind::kSuccess &&
      bounced.outcome().action() == mail::v1::Outcome::ACTION_BOUNCED && !SucceedsInPart(bounced)) {
    return false;
  }
  return IsOf(bounced, kind) && AsksFor(bounced.recipient(), kind);
}

bool SucceedsInPart(const queue::v1::BouncedRecipient& bounced) {
  return bounced.outcome().action() == mail::v1::Outcome::ACTION_BOUNCED &&
         bounced.outcome().success() != mail::v1::Outcome::SUCCESS_UNSPECIFIED &&
         !bounced.outcome().success_text().empty();
}

std::string ComposeNotice(const scheduler::v1::Delivery& delivery, const NoticeRequest& request,
                          const ReturnedMessage& returned, const NoticeNames& names,
                          int64_t now_ms) {
  return Notice(delivery, request, names, now_ms).Compose(returned);
}

}  // namespace postfleet::delivery
