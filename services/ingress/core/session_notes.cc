// What cleanup(8) logs of content while it reads it.
#include <utility>

#include "libs/base/concat.h"
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

}  // namespace

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
