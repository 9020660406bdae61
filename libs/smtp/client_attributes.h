// What XCLIENT and XFORWARD say of a client (XCLIENT_README, XFORWARD_README): `NAME=a.example
// ADDR=192.0.2.1`. Names are in any case, values in xtext (what is not is taken as it is, from
// Postfix before 2.3), of 1 to 255 bytes, or [UNAVAILABLE]; a name of XCLIENT also [TEMPUNAVAIL].
//
//   NAME REVERSE_NAME   a host name            PORT DESTPORT   digits
//   ADDR DESTADDR       192.0.2.1, IPV6:::1    SOURCE          LOCAL, REMOTE
//   PROTO               SMTP, ESMTP; of XFORWARD any word of at most 64 bytes
//   HELO IDENT LOGIN    anything
//
// Values come out decoded, an IPv6 address without its prefix, and with `?` in place of blanks,
// control characters, bytes over 127 and what is special in headers. Pure. Errors are the Reply to
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

// `arguments` of the command, at least one. nullopt: good.
std::optional<Reply> ParseXclient(std::string_view arguments, ClientAttributes* attributes);
std::optional<Reply> ParseXforward(std::string_view arguments, ClientAttributes* attributes);

}  // namespace postfleet::smtp
