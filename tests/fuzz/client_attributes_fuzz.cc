// XCLIENT and XFORWARD against whatever a client says: what comes out can be written into a line of
// the log, a header and the queue.
//   - no value has a control character, and none but LOGIN's a blank or what is special in headers;
//   - addresses are addresses, of a protocol that is in use; ports are digits; SOURCE and the
//     session's PROTO are one of two words;
//   - an error leaves what was known as it was;
//   - what came out, said again, comes out the same.
// The first byte chooses the syntax.
#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "libs/mail/address.h"
#include "libs/smtp/client_attributes.h"
#include "libs/smtp/command.h"

namespace {

using namespace postfleet::smtp;
using Parser = decltype(&ParseXclient);

void Check(bool holds) {
  if (!holds) std::abort();
}

bool HasNone(std::string_view text, std::string_view of) {
  return text.find_first_of(of) == std::string_view::npos;
}

void CheckAddress(const std::string& value, const AttributeSyntax& syntax) {
  std::array<char, sizeof(in6_addr)> bytes;
  const bool is_ipv6 = value.find(':') != value.npos;
  Check(is_ipv6 ? syntax.ipv6 : syntax.ipv4);
  Check(inet_pton(is_ipv6 ? AF_INET6 : AF_INET, value.c_str(), bytes.data()) == 1);
}

void CheckValue(ClientAttribute attribute, const std::string& value, const AttributeSyntax& syntax,
                bool xclient) {
  Check(value.size() <= 255);
  Check(std::none_of(value.begin(), value.end(), [&](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 32 || byte == 127 || (byte > 127 && !syntax.utf8);
  }));
  Check(postfleet::mail::IsUtf8(value));
  if (attribute != ClientAttribute::kLogin) Check(HasNone(value, " <>()\\\";@"));
  if (value.empty()) return;
  switch (attribute) {
    case ClientAttribute::kAddr:
    case ClientAttribute::kDestAddr:
      return CheckAddress(value, syntax);
    case ClientAttribute::kPort:
    case ClientAttribute::kDestPort:
      return Check(value.find_first_not_of("0123456789") == value.npos);
    case ClientAttribute::kSource:
      return Check(value == "LOCAL" || value == "REMOTE");
    case ClientAttribute::kProto:
      return Check(!xclient || value == "SMTP" || value == "ESMTP");
    default:
      return;
  }
}

std::string_view NameOf(ClientAttribute attribute) {
  constexpr std::string_view kNames[] = {"NAME",     "REVERSE_NAME", "ADDR",  "PORT",
                                         "PROTO",    "HELO",         "LOGIN", "DESTADDR",
                                         "DESTPORT", "IDENT",        "SOURCE"};
  return kNames[static_cast<size_t>(attribute)];
}

// As a client would say it.
std::string Said(const ClientAttributes& attributes) {
  std::string arguments;
  for (const auto& [attribute, value] : attributes) {
    const bool ipv6 =
        (attribute == ClientAttribute::kAddr || attribute == ClientAttribute::kDestAddr) &&
        value.find(':') != value.npos;
    arguments.append(arguments.empty() ? "" : " ").append(NameOf(attribute)).append("=");
    arguments.append(value.empty() ? "[UNAVAILABLE]" : EncodeXtext((ipv6 ? "IPV6:" : "") + value));
  }
  return arguments;
}

bool FitsInValues(const ClientAttributes& attributes) {
  return std::all_of(attributes.begin(), attributes.end(),
                     [](const auto& row) { return EncodeXtext(row.second).size() + 5 <= 255; });
}

void CheckCommand(Parser parse, std::string_view arguments, const AttributeSyntax& syntax) {
  const ClientAttributes before = {{ClientAttribute::kIdent, "before"}};
  ClientAttributes attributes = before;
  if (const auto error = parse(arguments, syntax, &attributes)) {
    Check(error->code == 501 && !error->lines.empty());
    return Check(attributes == before);
  }
  for (const auto& [attribute, value] : attributes) {
    CheckValue(attribute, value, syntax, parse == &ParseXclient);
  }
  if (attributes.empty() || !FitsInValues(attributes)) return;
  ClientAttributes again;
  Check(!parse(Said(attributes), syntax, &again).has_value());
  Check(again == attributes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view arguments(reinterpret_cast<const char*>(data) + 1, size - 1);
  const AttributeSyntax syntax = {
      .utf8 = (data[0] & 1) == 0, .ipv4 = (data[0] & 2) == 0, .ipv6 = (data[0] & 4) == 0};
  CheckCommand(&ParseXclient, arguments, syntax);
  CheckCommand(&ParseXforward, arguments, syntax);
  return 0;
}
