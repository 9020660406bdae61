#include "libs/smtp/client_attributes.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "libs/mail/address.h"
#include "libs/smtp/command.h"

namespace postfleet::smtp {
namespace {

constexpr size_t kValueBytesMax = 255;
constexpr size_t kProtocolBytesMax = 64;

// Each makes of a decoded value what is kept; false: it is none.
using Check = bool (*)(std::string* value);

bool IsHostName(std::string* value) {
  return !value->starts_with('[') && mail::IsMailDomain(*value, /*allow_non_ascii=*/false);
}

// The name's lookup failed for now: XCLIENT's way to say that there is none.
bool IsHostNameOrLater(std::string* value) {
  if (mail::LowerCasedAscii(*value) != "[tempunavail]") return IsHostName(value);
  value->clear();
  return true;
}

bool IsAddress(std::string* value) {
  constexpr std::string_view kIpv6 = "ipv6:";
  const bool tagged = mail::LowerCasedAscii(value->substr(0, kIpv6.size())) == kIpv6;
  if (tagged) value->erase(0, kIpv6.size());
  return mail::IsNetworkAddress(*value) && tagged == (value->find(':') != std::string::npos);
}

bool IsPort(std::string* value) {
  return !value->empty() && value->find_first_not_of("0123456789") == std::string::npos;
}

bool IsAnything(std::string* value) {
  constexpr std::string_view kSpecial = " <>()\\\";@";
  for (char& c : *value) {
    if (c <= ' ' || c == 127 || kSpecial.find(c) != std::string_view::npos) c = '?';
  }
  return true;
}

bool IsProtocol(std::string* value) {
  return value->size() <= kProtocolBytesMax && IsAnything(value);
}

// In capitals, one of two.
bool IsOneOf(std::string_view one, std::string_view other, std::string* value) {
  for (std::string_view word : {one, other}) {
    if (mail::LowerCasedAscii(*value) != mail::LowerCasedAscii(word)) continue;
    *value = std::string(word);
    return true;
  }
  return false;
}
bool IsSmtp(std::string* value) { return IsOneOf("SMTP", "ESMTP", value); }
bool IsSource(std::string* value) { return IsOneOf("LOCAL", "REMOTE", value); }

struct Row {
  std::string_view name;
  ClientAttribute attribute;
  Check xclient;  // null: unknown to it
  Check xforward;
};
constexpr Row kRows[] = {
    {"NAME", ClientAttribute::kName, IsHostNameOrLater, IsHostName},
    {"REVERSE_NAME", ClientAttribute::kReverseName, IsHostNameOrLater, nullptr},
    {"ADDR", ClientAttribute::kAddr, IsAddress, IsAddress},
    {"PORT", ClientAttribute::kPort, IsPort, IsPort},
    {"PROTO", ClientAttribute::kProto, IsSmtp, IsProtocol},
    {"HELO", ClientAttribute::kHelo, IsAnything, IsAnything},
    {"LOGIN", ClientAttribute::kLogin, IsAnything, nullptr},
    {"DESTADDR", ClientAttribute::kDestAddr, IsAddress, nullptr},
    {"DESTPORT", ClientAttribute::kDestPort, IsPort, nullptr},
    {"IDENT", ClientAttribute::kIdent, nullptr, IsAnything},
    {"SOURCE", ClientAttribute::kSource, nullptr, IsSource},
};

Reply Bad(std::string text) { return Reply(501, {5, 5, 4}, std::move(text)); }

bool IsUnavailable(std::string_view value) {
  return mail::LowerCasedAscii(value) == "[unavailable]";
}

std::optional<Reply> Take(std::string_view word, Check Row::*check, std::string_view command,
                          ClientAttributes* attributes) {
  const size_t equals = word.find('=');
  if (equals == std::string_view::npos || equals + 1 == word.size()) {
    return Bad("Error: attribute=value expected");
  }
  const std::string name(word.substr(0, equals));
  const std::string_view raw = word.substr(equals + 1);
  if (raw.size() > kValueBytesMax) return Bad("Error: attribute value too long");
  const Row* row = std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& candidate) {
    return candidate.*check != nullptr &&
           mail::LowerCasedAscii(candidate.name) == mail::LowerCasedAscii(name);
  });
  if (row == std::end(kRows)) {
    return Bad("Bad " + std::string(command) + " attribute name: " + name);
  }
  std::string value = DecodeXtext(raw).value_or(std::string(raw));
  // There is no session without a protocol.
  if (IsUnavailable(value) && row->*check != IsSmtp) {
    value.clear();
  } else if (!(row->*check)(&value)) {
    return Bad("Bad " + std::string(row->name) + " syntax: " + std::string(raw));
  }
  (*attributes)[row->attribute] = std::move(value);
  return std::nullopt;
}

std::optional<Reply> Parse(std::string_view arguments, Check Row::*check, std::string_view command,
                           ClientAttributes* attributes) {
  ClientAttributes said;
  while (!arguments.empty()) {
    const size_t end = std::min(arguments.find_first_of(" \t"), arguments.size());
    if (end > 0) {
      if (auto error = Take(arguments.substr(0, end), check, command, &said)) return error;
    }
    arguments.remove_prefix(std::min(end + 1, arguments.size()));
  }
  *attributes = std::move(said);
  return std::nullopt;
}

}  // namespace

std::optional<Reply> ParseXclient(std::string_view arguments, ClientAttributes* attributes) {
  return Parse(arguments, &Row::xclient, "XCLIENT", attributes);
}

std::optional<Reply> ParseXforward(std::string_view arguments, ClientAttributes* attributes) {
  return Parse(arguments, &Row::xforward, "XFORWARD", attributes);
}

}  // namespace postfleet::smtp
