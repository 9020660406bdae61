// What XCLIENT and XFORWARD say of a client (XCLIENT_README, XFORWARD_README): `NAME=a.example
// ADDR=192.0.2.1`. Names are in any case, values in xtext (what is not is taken as it is, from
// Postfix before 2.3), of 1 to 255 bytes, or [UNAVAILABLE]; a name of XCLIENT also [TEMPUNAVAIL].
//
//   NAME REVERSE_NAME   a host name            PORT DESTPORT   digits
//   ADDR DESTADDR       192.0.2.1, IPV6:::1    SOURCE          LOCAL, REMOTE
//   PROTO               SMTP, ESMTP; of XFORWARD any word of at most 64 bytes
//   HELO IDENT LOGIN    anything
//
// Values come out decoded, an IPv6 address without its prefix, an IPv4 address that is written as
// one of IPv6 as what it is (RFC 4291, 2.5.5.2), and with `?` in place of what no log line or
// header may have (WithoutSpecials; a LOGIN keeps what is printable). Pure. Errors are the Reply to
// send, in Postfix's words; nothing of a command with an error is used.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "libs/smtp/reply.h"

namespace postfleet::smtp {

enum class ClientAttribute {
  kName,
  kReverseName,
  kAddr,
  kPort,
  kProto,
  kHelo,
  kLogin,
  kDestAddr,
  kDestPort,
  kIdent,
  kSource,
};

// "": unavailable. What was not said is not in it; of what is said twice, the last counts.
using ClientAttributes = std::map<ClientAttribute, std::string>;

// As EHLO offers them.
inline constexpr std::string_view kXclientKeyword =
    "XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT";
inline constexpr std::string_view kXforwardKeyword =
    "XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT";

struct AttributeSyntax {
  bool utf8 = true;  // smtputf8_enable
  // inet_protocols: addresses of others are errors.
  bool ipv4 = true;
  bool ipv6 = true;
};

// `arguments` of the command, at least one. nullopt: good.
std::optional<Reply> ParseXclient(std::string_view arguments, const AttributeSyntax& syntax,
                                  ClientAttributes* attributes);
std::optional<Reply> ParseXforward(std::string_view arguments, const AttributeSyntax& syntax,
                                   ClientAttributes* attributes);

// With `?` for each control character and each byte that is not of a character of UTF-8; without
// `utf8` for each byte over 127.
std::string Printable(std::string_view text, bool utf8);
// The same, and for each blank and each of <>()\";@.
std::string WithoutSpecials(std::string_view text, bool utf8);

}  // namespace postfleet::smtp
