#include "libs/smtp/client_attributes.h"

#include <arpa/inet.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "libs/mail/address.h"
#include "libs/smtp/command.h"

namespace postfleet::smtp {
namespace {

constexpr size_t kValueBytesMax = 255;
constexpr size_t kProtocolBytesMax = 64;

// Of the character of UTF-8 that `text` begins with; 0: there is none.
size_t CharacterBytes(std::string_view text) {
  constexpr size_t kCharacterBytesMax = 4;
  for (size_t length = 1; length <= std::min(text.size(), kCharacterBytesMax); ++length) {
    if (mail::IsUtf8(text.substr(0, length))) return length;
  }
  return 0;
}

// Each makes of a decoded value what is kept; false: it is none.
using Check = bool (*)(const AttributeSyntax& syntax, std::string* value);

bool IsHostName(const AttributeSyntax&, std::string* value) {
  return !value->starts_with('[') && mail::IsMailDomain(*value, /*allow_non_ascii=*/false);
}

// The name's lookup failed for now: XCLIENT's way to say that there is none.
bool IsHostNameOrLater(const AttributeSyntax& syntax, std::string* value) {
  if (mail::LowerCasedAscii(*value) != "[tempunavail]") return IsHostName(syntax, value);
  value->clear();
  return true;
}

// As it is written in one way only; an IPv4 address that is written as one of IPv6, without.
std::string Normalized(const std::string& ipv6, bool maps_to_ipv4) {
  in6_addr address;
  if (inet_pton(AF_INET6, ipv6.c_str(), &address) != 1) return ipv6;
  char text[INET6_ADDRSTRLEN];
  constexpr size_t kIpv4At = 12;
  if (maps_to_ipv4 && IN6_IS_ADDR_V4MAPPED(&address)) {
    return inet_ntop(AF_INET, address.s6_addr + kIpv4At, text, sizeof(text));
  }
  return inet_ntop(AF_INET6, &address, text, sizeof(text));
}

bool IsAddress(const AttributeSyntax& syntax, std::string* value) {
  constexpr std::string_view kIpv6 = "ipv6:";
  const bool tagged = mail::LowerCasedAscii(value->substr(0, kIpv6.size())) == kIpv6;
  if (tagged) value->erase(0, kIpv6.size());
  const bool is_ipv6 = value->find(':') != std::string::npos;
  if (!mail::IsNetworkAddress(*value) || tagged != is_ipv6) return false;
  if (!(is_ipv6 ? syntax.ipv6 : syntax.ipv4)) return false;
  if (is_ipv6) *value = Normalized(*value, syntax.ipv4);
  return true;
}

bool IsPort(const AttributeSyntax&, std::string* value) {
  return !value->empty() && value->find_first_not_of("0123456789") == std::string::npos;
}

bool IsAnything(const AttributeSyntax& syntax, std::string* value) {
  *value = WithoutSpecials(*value, syntax.utf8);
  return true;
}

bool IsLogin(const AttributeSyntax& syntax, std::string* value) {
  *value = Printable(*value, syntax.utf8);
  return true;
}

bool IsProtocol(const AttributeSyntax& syntax, std::string* value) {
  return value->size() <= kProtocolBytesMax && IsAnything(syntax, value);
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
bool IsSmtp(const AttributeSyntax&, std::string* value) { return IsOneOf("SMTP", "ESMTP", value); }
bool IsSource(const AttributeSyntax&, std::string* value) {
  return IsOneOf("LOCAL", "REMOTE", value);
}

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
    {"LOGIN", ClientAttribute::kLogin, IsLogin, nullptr},
    {"DESTADDR", ClientAttribute::kDestAddr, IsAddress, nullptr},
    {"DESTPORT", ClientAttribute::kDestPort, IsPort, nullptr},
    {"IDENT", ClientAttribute::kIdent, nullptr, IsAnything},
    {"SOURCE", ClientAttribute::kSource, nullptr, IsSource},
};

Reply Bad(std::string text) { return Reply(501, {5, 5, 4}, std::move(text)); }

bool IsUnavailable(std::string_view value) {
  return mail::LowerCasedAscii(value) == "[unavailable]";
}

std::optional<Reply> Take(std::string_view word, Check Row::*check, const AttributeSyntax& syntax,
                          std::string_view command, ClientAttributes* attributes) {
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
  } else if (!(row->*check)(syntax, &value)) {
    return Bad("Bad " + std::string(row->name) + " syntax: " + std::string(raw));
  }
  (*attributes)[row->attribute] = std::move(value);
  return std::nullopt;
}

std::optional<Reply> Parse(std::string_view arguments, Check Row::*check,
                           const AttributeSyntax& syntax, std::string_view command,
                           ClientAttributes* attributes) {
  ClientAttributes said;
  while (!arguments.empty()) {
    const size_t end = std::min(arguments.find_first_of(" \t"), arguments.size());
    if (end > 0) {
      if (auto error = Take(arguments.substr(0, end), check, syntax, command, &said)) return error;
    }
    arguments.remove_prefix(std::min(end + 1, arguments.size()));
  }
  *attributes = std::move(said);
  return std::nullopt;
}

}  // namespace

std::optional<Reply> ParseXclient(std::string_view arguments, const AttributeSyntax& syntax,
                                  ClientAttributes* attributes) {
  return Parse(arguments, &Row::xclient, syntax, "XCLIENT", attributes);
}

std::optional<Reply> ParseXforward(std::string_view arguments, const AttributeSyntax& syntax,
                                   ClientAttributes* attributes) {
  return Parse(arguments, &Row::xforward, syntax, "XFORWARD", attributes);
}

std::string Printable(std::string_view text, bool utf8) {
  std::string printable(text);
  for (size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const size_t length = utf8 ? CharacterBytes(text.substr(at)) : byte < 128;
    if (length == 0 || byte < 32 || byte == 127) {
      printable[at] = '?';
    } else {
      at += length - 1;
    }
  }
  return printable;
}

std::string WithoutSpecials(std::string_view text, bool utf8) {
  constexpr std::string_view kSpecial = " <>()\\\";@";
  std::string rest = Printable(text, utf8);
  for (char& c : rest) {
    if (kSpecial.find(c) != std::string_view::npos) c = '?';
  }
  return rest;
}

}  // namespace postfleet::smtp
