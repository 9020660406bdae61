#include "commands/queue_report.h"

#include <algorithm>
#include <vector>

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

std::string Marks(const v1::ListedMessage& message) {
  std::string marks;
  if (message.queue() == v1::QUEUE_NAME_ACTIVE) marks.push_back('*');
  if (message.queue() == v1::QUEUE_NAME_HOLD) marks.push_back('!');
  if (message.forced_expire()) marks.push_back('#');
  return marks;
}

// As Postfix orders them: first those with a reason (its log of deferrals), then the others.
std::vector<const v1::ListedRecipient*> InOrder(const v1::ListedMessage& message) {
  std::vector<const v1::ListedRecipient*> recipients;
  recipients.reserve(static_cast<size_t>(message.recipients_size()));
  for (const bool with_reason : {true, false}) {
    for (const v1::ListedRecipient& recipient : message.recipients()) {
      if (recipient.reason().empty() != with_reason) recipients.push_back(&recipient);
    }
  }
  return recipients;
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

void AppendReason(std::string* text, const std::string& reason) {
  if (reason.size() < kReasonColumns) text->append(kReasonColumns - reason.size(), ' ');
  ConcatTo(text, '(', reason, ")\n");
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
    // Control characters of ASCII, and of Latin-1 in UTF-8: U+009B begins a terminal's sequence.
    const bool is_c1 = first == 0xC2 && length == 2 && static_cast<unsigned char>(text[1]) < 0xA0;
    if (length == 0 || first < ' ' || first == 0x7F || is_c1) {
      shown.push_back('?');
      text.remove_prefix(std::max<size_t>(length, 1));
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
    case v1::QUEUE_NAME_CORRUPT:
      return "corrupt";
    default:
      return "unknown";
  }
}

std::optional<v1::QueueName> ParseQueueName(std::string_view text) {
  for (const v1::QueueName name :
       {v1::QUEUE_NAME_INCOMING, v1::QUEUE_NAME_ACTIVE, v1::QUEUE_NAME_DEFERRED,
        v1::QUEUE_NAME_HOLD, v1::QUEUE_NAME_CORRUPT}) {
    if (QueueNameText(name) == text) return name;
  }
  return std::nullopt;
}

bool IsEmptyQueueName(std::string_view text) {
  return text == "maildrop" || text == "bounce" || text == "defer" || text == "trace" ||
         text == "flush";
}

const std::string& QueueTable::TimeText(int64_t ms) {
  const int64_t seconds = ms / 1000;
  if (seconds != time_seconds_) {
    time_seconds_ = seconds;
    time_text_ = absl::FormatTime("%a %b %e %H:%M:%S", absl::FromUnixSeconds(seconds), zone_);
  }
  return time_text_;
}

std::string QueueTable::Add(const v1::ListedMessage& message) {
  std::string text(messages_ == 0 ? kHeading : "");
  ++messages_;
  bytes_ += message.message_bytes();
  absl::StrAppendFormat(&text, "%-17s %8u %19s %s\n", Showable(message.queue_id()) + Marks(message),
                        message.message_bytes(), TimeText(message.arrival_ms()),
                        ShownSender(message));
  if (message.queue() == v1::QUEUE_NAME_CORRUPT) {
    AppendReason(&text, Showable(message.corrupt_reason()));
  }
  std::string_view reason_shown;
  for (const v1::ListedRecipient* recipient : InOrder(message)) {
    if (recipient->reason() != reason_shown) {
      reason_shown = recipient->reason();
      AppendReason(&text, reason_shown.empty() ? std::string(kNoReason) : Showable(reason_shown));
    }
    text.append(kRecipientColumn, ' ');
    ConcatTo(&text, ShownAddress(recipient->address()), "\n");
  }
  text.push_back('\n');
  return text;
}

std::string QueueTable::End() const {
  if (messages_ == 0) return "Mail queue is empty\n";
  return Concat("-- ", bytes_ / 1024, " Kbytes in ", messages_,
                messages_ == 1 ? " Request.\n" : " Requests.\n");
}

namespace {

std::string JsonLine(const v1::ListedMessage& message, std::string_view queue_name) {
  std::string json = "{";
  AppendJsonMember(&json, "queue_name", queue_name);
  json.append(", ");
  AppendJsonMember(&json, "queue_id", Showable(message.queue_id()));
  ConcatTo(&json, ", \"arrival_time\": ", message.arrival_ms() / 1000,
           ", \"message_size\": ", message.message_bytes(),
           ", \"forced_expire\": ", message.forced_expire() ? "true" : "false", ", ");
  AppendJsonMember(&json, "sender", ShownSender(message));
  json.append(", \"recipients\": [");
  std::string_view separator;
  for (const v1::ListedRecipient* recipient : InOrder(message)) {
    ConcatTo(&json, separator, '{');
    separator = ", ";
    AppendJsonMember(&json, "address", ShownAddress(recipient->address()));
    if (!recipient->reason().empty()) {
      json.append(", ");
      AppendJsonMember(&json, "delay_reason", Showable(recipient->reason()));
    }
    json.push_back('}');
  }
  json.push_back(']');
  if (message.queue() == v1::QUEUE_NAME_CORRUPT) {
    json.append(", ");
    AppendJsonMember(&json, "corrupt_reason", Showable(message.corrupt_reason()));
  }
  json.append("}\n");
  return json;
}

}  // namespace

std::string QueueJsonLine(const v1::ListedMessage& message) {
  return JsonLine(message, QueueNameText(message.queue()));
}

std::string MaildropJsonLine(const v1::ListedMessage& message) {
  return JsonLine(message, "maildrop");
}

}  // namespace postfleet::commands
