#include "libs/message/missing_fields.h"

#include <algorithm>

#include "libs/mail/address.h"
#include "libs/message/known_fields.h"

namespace postfleet::message {
namespace {

constexpr std::string_view kNullSender = "MAILER-DAEMON";

// A phrase's words (RFC 5322, 3.2.5), or a quoted string if it has more than those.
std::string Phrase(std::string_view name) {
  constexpr std::string_view kSpecial = "()<>@,;:\\\".[]";
  const auto plain = [&](char c) {
    return c != 127 && (c >= ' ' || (c & 0x80) != 0) && kSpecial.find(c) == kSpecial.npos;
  };
  if (std::all_of(name.begin(), name.end(), plain)) return std::string(name);
  std::string quoted = "\"";
  for (const char c : name) {
    if (c == '"' || c == '\\') quoted.push_back('\\');
    quoted.push_back(c);
  }
  return quoted + '"';
}

std::string From(const MissingFields& fields) {
  if (fields.sender.empty()) return std::string(kNullSender);
  std::string address = mail::QuoteAddress(fields.sender);
  // No field of its own comes of a name.
  std::string name(fields.full_name);
  for (char& c : name) {
    if (c == '\n' || c == '\r' || c == '\0') c = ' ';
  }
  if (name.empty()) return address;
  if (fields.full_name_as_comment) return address + " (" + name + ")";
  return Phrase(name) + " <" + address + ">";
}

}  // namespace

void AppendMissingFields(const MissingFields& fields, uint8_t seen, std::string* out,
                         std::string* message_id) {
  const bool resent = (seen & kSeenResent) != 0;
  const auto add = [resent, out](std::string_view name, std::string_view value) {
    if (resent) out->append("Resent-");
    out->append(name).append(": ").append(value).push_back('\n');
  };
  if ((seen & (resent ? kSeenResentMessageId : kSeenMessageId)) == 0) {
    *message_id = FormatMessageId(fields.queue_id, fields.myhostname);
    add("Message-Id", *message_id);
  }
  if ((seen & (resent ? kSeenResentDate : kSeenDate)) == 0)
    add("Date", FormatMailDate(fields.time));
  if ((seen & (resent ? kSeenResentFrom : kSeenFrom)) == 0) {
    add("From", From(fields));
  }
  if ((seen & kSeenRecipient) == 0 && !fields.undisclosed_recipients.empty()) {
    out->append(fields.undisclosed_recipients).push_back('\n');
  }
}

}  // namespace postfleet::message
