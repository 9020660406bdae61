// The path of MAIL, RCPT and VRFY, in every form that smtpd(8) takes (RFC 5321, 4.1.2; RFC 6531,
// 3.3; RFC 822's lists where strict_rfc821_envelopes is off). There is no other parser of them.
//
//   <user@host>  user@host  user@host>  <<user@host>>     brackets, and what is left of them
//   <@a,@b:user@host>                                     a source route goes
//   <(x) user @ host (y)>  <Foo <user@host>>              comments, blanks and a name go
//   <"a b"@host>  <a\ b@host>                             the local part without its quotes
//   <"user@host">  <a@b@host>                             the domain is behind the last @
//   <user@host.>                                          the dot stays, for replies and logs
//
// Two addresses, `a b@host` and `a"b"@host` among them, are an error, so is a domain that is
// neither a host name nor an address literal. Stricter than Postfix: control characters but for the
// tab are refused wherever they stand (Postfix stores them; what reads the address further on may
// take them for the end of a line), so is what is not UTF-8, and an @ at the end, or alone.
//
// Parsing promises: time linear in the text, no exceptions. Errors are InvalidArgument with a
// reason; the client is told a fixed text (libs/smtp/command.h).
#pragma once

#include <cstddef>
#include <string_view>

#include "absl/status/statusor.h"
#include "libs/mail/address.h"

namespace postfleet::mail {

struct PathOptions {
  // strict_rfc821_envelopes: brackets around it all, no comments or names, a local part. Blanks and
  // dots stay free, as in Postfix.
  bool strict = false;
  // SMTPUTF8 was said: the domain may have UTF-8. The local part may always, as in Postfix.
  bool allow_non_ascii = false;
  // resolve_null_domain: `user@` is `user`.
  bool allow_null_domain = false;
  // resolve_numeric_domain: `user@192.0.2.1` is meant to have brackets.
  bool allow_numeric_domain = false;
};

struct ParsedPath {
  Address address;
  // Bytes of `text` that the path took, leading blanks included; what follows are parameters
  // (starts with a blank or is empty).
  size_t length = 0;
};

// The path at the start of `text` ("<@relay:user@example.com> SIZE=1"), up to the first blank
// outside of brackets and quotes.
absl::StatusOr<ParsedPath> ParsePath(std::string_view text, const PathOptions& options);

}  // namespace postfleet::mail
