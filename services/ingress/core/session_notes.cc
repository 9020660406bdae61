// What cleanup(8) logs of content while it reads it, and what the postmaster is told of a session
// (notify_classes).
#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "libs/mail/address.h"
#include "services/ingress/core/session.h"
#include "services/ingress/core/transaction.h"

namespace postfleet::ingress {
namespace {

using maillog::Fact;

// Of content that is quoted in a line.
constexpr size_t kDefectBytesMax = 100;
constexpr size_t kCharacterBytesMax = 200;

// How many bytes a character has that begins so; 0: none does.
size_t CharacterBytes(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  if (byte < 0x80) return 1;
  if (byte >= 0xc2 && byte < 0xe0) return 2;
  if (byte >= 0xe0 && byte < 0xf0) return 3;
  return byte >= 0xf0 && byte < 0xf5 ? 4 : 0;
}

// Neither control characters nor what is not UTF-8; up to a NUL.
std::string Printable(std::string_view text) {
  text = text.substr(0, text.find('\0'));
  std::string printable;
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text[0]);
    const std::string_view character = text.substr(0, bytes);
    const bool control = text[0] >= 0 && (text[0] < ' ' || text[0] == 127);
    if (bytes == 0 || control || !mail::IsUtf8(character)) {
      printable += '?';
      text.remove_prefix(1);
    } else {
      printable += character;
      text.remove_prefix(character.size());
    }
  }
  return printable;
}

// As smtpd(8) counts them. Limits on recipients and what speaks against the client's software are
// none.
ErrorClass ClassOf(const RejectEvent& event) {
  switch (event.reason) {
    case RejectReason::kUnlisted:
      return kBounceError;
    case RejectReason::kAccess:
    case RejectReason::kRelay:
      return kPolicyError;
    case RejectReason::kSize:
      return event.stage == "END-OF-MESSAGE" ? kBounceError : kPolicyError;
    case RejectReason::kContent:
      return event.code == 554 ? kBounceError : kPolicyError;
    case RejectReason::kLimit:
      return event.code == 452 ? kNoError : kPolicyError;
    case RejectReason::kLookup:
      return kDataError;
    case RejectReason::kSpace:
    case RejectReason::kQueue:
      return kResourceError;
    case RejectReason::kProtocol:
      return kNoError;
  }
  return kNoError;
}

}  // namespace

void Session::CountReject(Actions* actions, RejectEvent event) {
  transcript_.Erred(ClassOf(event));
  actions->rejects.push_back(event);
}

void Session::EndTranscript(std::string_view reason, Actions* actions) {
  if (!transcript_.is_due()) return transcript_.Clear();
  const SessionTranscript said =
      std::exchange(transcript_, SessionTranscript(config_.notify_classes));
  // One that waited for the queue would be one of many, each in memory.
  const bool may_send = surroundings_.QueueIsThere() && !surroundings_.BuffersFull();
  const std::string queue_id = may_send ? surroundings_.NextQueueId() : "";
  if (queue_id.empty()) {
    return Log(LogProgram::kSmtpd, "warning: postmaster notify: the queue cannot take it", actions);
  }
  const int64_t now_ms = surroundings_.WallMillis();
  Submit submit;
  submit.content = ComposeTranscriptNotice({.queue_id = queue_id,
                                            .myhostname = config_.myhostname,
                                            .mail_name = config_.mail_name,
                                            .from = config_.notice_from,
                                            .recipient = config_.error_notice_recipient,
                                            .client = client_,
                                            .reason = reason,
                                            .time = surroundings_.MailTimeAt(now_ms)},
                                           said);
  submit.submission.set_queue_id(queue_id);
  submit.submission.set_payload_bytes(static_cast<uint32_t>(submit.content.size()));
  submit.submission.set_payload_crc32c(Crc32c(submit.content));
  queue::v1::NewMessage* message = submit.submission.mutable_message();
  message->set_content_bytes(submit.content.size());
  mail::v1::Envelope* envelope = message->mutable_envelope();
  envelope->set_sender(config_.double_bounce_sender);
  envelope->set_arrival_ms(now_ms);
  envelope->set_is_notice(true);
  envelope->set_content_lines(
      static_cast<uint64_t>(std::count(submit.content.begin(), submit.content.end(), '\n')));
  message->add_recipients()->set_address(said.has_bounce() ? config_.bounce_notice_recipient
                                                           : config_.error_notice_recipient);
  Log(LogProgram::kCleanup,
      maillog::Line::Of(Fact("queue_id", queue_id), ": message-id=",
                        Fact("message_id", message::FormatMessageId(queue_id, config_.myhostname)),
                        maillog::Event("message_id")),
      actions);
  actions->submits.push_back(std::move(submit));
}

void Session::LogNotes(Actions* actions) {
  const Transaction& transaction = *transaction_;
  for (const message::CleanupNote& note : transaction.content->cleanup.TakeNotes()) {
    maillog::Line text = maillog::Line::Of(Fact("queue_id", transaction.queue_id), ": ");
    if (note.kind != message::CleanupNote::kDefect) {
      const bool resent = note.kind == message::CleanupNote::kResentMessageId;
      const std::string_view name = resent ? "resent-message-id" : "message-id";
      text.Add(name, '=', Fact(resent ? "resent_message_id" : "message_id", Printable(note.text)),
               maillog::Event("message_id"));
    } else {
      const std::string who = Concat(" from ", client_, "; from=<", transaction.sender.ToSmtp(),
                                     "> to=<", transaction.recipients.back().given, ">");
      const std::string_view what = message::DefectText(note.defect);
      if (note.defect == message::Defect::kCharacter) {
        text.Add("reject: content ", Printable(note.text).substr(0, kCharacterBytesMax), who,
                 " proto=", esmtp_ ? "ESMTP" : "SMTP", " helo=<", helo_, ">: 5.7.1 ", what);
      } else {
        text.Add("reject: mime-error ", what, ": ", Printable(note.text).substr(0, kDefectBytesMax),
                 who);
      }
    }
    Log(LogProgram::kCleanup, std::move(text), actions);
  }
  Content& content = *transaction.content;
  if (!content.cleanup.too_many_hops() || std::exchange(content.hops_noted, true)) return;
  Log(LogProgram::kCleanup,
      Concat("warning: ", transaction.queue_id, ": message rejected: hopcount exceeded"), actions);
}

}  // namespace postfleet::ingress
