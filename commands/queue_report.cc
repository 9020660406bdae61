#include "commands/queue_report.h"

#include "absl/strings/str_format.h"
#include "libs/base/concat.h"
#include "libs/mail/address.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

constexpr std::string_view kHeading =
    "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n";
constexpr std::string_view kNoReason = "reason unavailable";
constexpr std::string_view kNullSender = "MAILER-DAEMON";
// Reasons end where a line of 78 columns does.
constexpr size_t kReasonColumns = 76;
constexpr size_t kRecipientColumn = 47;

std::string ShownAddress(std::string_view internal_form) {
  return Showable(mail::SplitAddress(internal_form).ToSmtp());
}

std::string ShownSender(const v1::ListedMessage& message) {
  return message.sender().empty() ? std::string(kNullSender) : ShownAddress(message.sender());
}

char QueueMark(v1::QueueName queue) {
  if (queue == v1::QUEUE_NAME_ACTIVE) return '*';
  if (queue == v1::QUEUE_NAME_HOLD) return '!';
  return ' ';
}

// Bytes of the UTF-8 character at the start of `text`; 0 if there is no valid one (RFC 3629).
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (length == 0 || length > text.size()) return 0;
  // Overlong forms, surrogates and what is past U+10FFFF are told by the second byte.
  const unsigned char least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < least || byte(1) > most) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  return length;
}

void AppendJsonMember(std::string* json, std::string_view name, std::string_view showable) {
  ConcatTo(json, '"', name, "\": \"");
  for (const char c : showable) {
    if (c == '"' || c == '\\') json->push_back('\\');
    json->push_back(c);
  }
  json->push_back('"');
}

}  // namespace

std::string Showable(std::string_view text) {
  std::string shown;
  shown.reserve(text.size());
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const unsigned char first = static_cast<unsigned char>(text[0]);
    if (length == 0 || first < ' ' || first == 0x7F) {
      shown.push_back('?');
      text.remove_prefix(1);
    } else {
      shown.append(text.substr(0, length));
      text.remove_prefix(length);
    }
  }
  return shown;
}

std::string_view QueueNameText(v1::QueueName name) {
  switch (name) {
    case v1::QUEUE_NAME_INCOMING:
      return "incoming";
    case v1::QUEUE_NAME_ACTIVE:
      return "active";
    case v1::QUEUE_NAME_DEFERRED:
      return "deferred";
    case v1::QUEUE_NAME_HOLD:
      return "hold";
    default:
      return "unknown";
  }
}

std::string QueueTable::Add(const v1::ListedMessage& message) {
  std::string text(messages_ == 0 ? kHeading : "");
  ++messages_;
  bytes_ += message.message_bytes();
  absl::StrAppendFormat(
      &text, "%-17s %8u %19s %s\n", Showable(message.queue_id()) + QueueMark(message.queue()),
      message.message_bytes(),
      absl::FormatTime("%a %b %e %H:%M:%S", absl::FromUnixMillis(message.arrival_ms()), zone_),
      ShownSender(message));
  std::string_view reason_shown;
  for (const v1::ListedRecipient& recipient : message.recipients()) {
    if (recipient.reason() != reason_shown) {
      reason_shown = recipient.reason();
      const std::string reason =
          reason_shown.empty() ? std::string(kNoReason) : Showable(reason_shown);
      if (reason.size() < kReasonColumns) text.append(kReasonColumns - reason.size(), ' ');
      ConcatTo(&text, '(', reason, ")\n");
    }
    text.append(kRecipientColumn, ' ');
    ConcatTo(&text, ShownAddress(recipient.address()), "\n");
  }
  text.push_back('\n');
  return text;
}

std::string QueueTable::End() const {
  if (messages_ == 0) return "Mail queue is empty\n";
  return Concat("-- ", bytes_ / 1024, " Kbytes in ", messages_,
                messages_ == 1 ? " Request.\n" : " Requests.\n");
}

std::string QueueJsonLine(const v1::ListedMessage& message) {
  std::string json = "{";
  AppendJsonMember(&json, "queue_name", QueueNameText(message.queue()));
  json.append(", ");
  AppendJsonMember(&json, "queue_id", Showable(message.queue_id()));
  ConcatTo(&json, ", \"arrival_time\": ", message.arrival_ms() / 1000,
           ", \"message_size\": ", message.message_bytes(), ", \"forced_expire\": false, ");
  AppendJsonMember(&json, "sender", ShownSender(message));
  json.append(", \"recipients\": [");
  std::string_view separator;
  for (const v1::ListedRecipient& recipient : message.recipients()) {
    ConcatTo(&json, separator, '{');
    separator = ", ";
    AppendJsonMember(&json, "address", ShownAddress(recipient.address()));
    if (!recipient.reason().empty()) {
      json.append(", ");
      AppendJsonMember(&json, "delay_reason", Showable(recipient.reason()));
    }
    json.push_back('}');
  }
  json.append("]}\n");
  return json;
}

}  // namespace postfleet::commands
