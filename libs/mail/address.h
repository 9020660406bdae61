// Mail addresses, as the envelope knows them, and the only parser of SMTP paths (RFC 5321, 4.1.2;
// RFC 6531, 3.3).
//
// An Address is kept in Postfix's internal form: the local part without quotes and backslashes, the
// domain in lower case (ASCII letters only; a UTF-8 domain stays as it came), no source route, no
// angle brackets. The null path `<>` is an empty Address. `<Postmaster>` and other names without a
// domain have an empty domain: ingress completes them with $myorigin. ToSmtp() quotes again where
// RFC 5321 asks for it, so ParsePath("<" + a.ToSmtp() + ">") gives `a` back.
//
// Parsing promises: no allocation beyond the result, time linear in the text, no exceptions. Errors
// are InvalidArgument with a reason for the log; the client is told a fixed text (command.h).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace postfleet::mail {

// RFC 1035, 2.3.4 and RFC 5321, 4.5.3.1.2. A local part has no limit of its own, as in Postfix:
// line_length_limit bounds it.
inline constexpr size_t kDomainBytesMax = 255;
inline constexpr size_t kDomainLabelBytesMax = 63;

struct Address {
  std::string local_part;  // unquoted
  std::string
      domain;  // lower case; "[192.0.2.1]", "[IPv6:2001:db8::1]" for a literal; may be empty

  bool IsNull() const { return local_part.empty() && domain.empty(); }
  bool HasDomain() const { return !domain.empty(); }
  // For tables, logs and the queue: `local@domain` unquoted, `local` without a domain, "" for the
  // null path.
  std::string ToString() const;
  // For MAIL FROM, RCPT TO and headers: `"a b"@example.com`. Without angle brackets; "" for the
  // null path.
  std::string ToSmtp() const;
  // Any byte over 127: needs SMTPUTF8.
  bool HasNonAscii() const;

  friend bool operator==(const Address&, const Address&) = default;
};

struct PathOptions {
  // strict_rfc821_envelopes: angle brackets are a must, no blanks inside; RFC 5321's Dot-string or
  // Quoted-string.
  bool strict = false;
  // SMTPUTF8 was said: the domain may have UTF-8. The local part may always, as in Postfix; what is
  // not UTF-8 is an error.
  bool allow_non_ascii = false;
};

struct ParsedPath {
  Address address;
  // Bytes of `text` that the path took, leading blanks included; what follows are parameters
  // (starts with a blank or is empty).
  size_t length = 0;
};

// A Reverse-path or Forward-path at the start of `text` ("<@relay:user@example.com> SIZE=1");
// leading blanks are skipped. Not strict, it also takes `user@example.com` up to the next blank,
// blanks just inside the brackets, dots anywhere in the local part, quoted and plain words side by
// side. A dot that ends the domain goes away. `a@b@c` and text between `>` and the next blank are
// errors always.
absl::StatusOr<ParsedPath> ParsePath(std::string_view text, const PathOptions& options);

// One address alone in quoted form, without brackets ("\"a b\"@example.com", "user", "" = null).
absl::StatusOr<Address> ParseAddress(std::string_view text, const PathOptions& options);

// Splits the internal (unquoted) form at the last `@`. Cannot fail; lower-cases the domain. For
// stored and table addresses.
Address SplitAddress(std::string_view internal_form);

// The local part as it must be written: itself if it is a Dot-string, else a Quoted-string.
std::string QuoteLocalPart(std::string_view local_part);

// The internal form as it must be written: the local part quoted if need be, the domain as it came
// (Address::ToSmtp lower-cases it). The empty address is a quoted empty local part.
std::string QuoteAddress(std::string_view internal_form);

// RFC 3629: the shortest form only, no surrogates, at most U+10FFFF.
bool IsUtf8(std::string_view text);

// ASCII letters only.
void LowerCaseAscii(std::string* text);
std::string LowerCasedAscii(std::string_view text);

// A domain name by RFC 5321's letter (LDH labels and `_`, which Postfix takes too; UTF-8 if
// allowed), 1 to 255 bytes.
bool IsValidDomainName(std::string_view domain, bool allow_non_ascii);
// "[127.0.0.1]", "[IPv6:::1]".
bool IsAddressLiteral(std::string_view domain);

}  // namespace postfleet::mail
