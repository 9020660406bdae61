// Mail addresses, as the envelope, the queue and the tables know them (RFC 5321, 4.1.2; RFC 6531,
// 3.3).
//
// An Address is kept in Postfix's internal form: the local part without quotes and backslashes, the
// domain as it came (who compares domains folds their letters), no source route, no angle brackets.
// The null path `<>` is an empty Address. `<Postmaster>` and other names without a domain have an
// empty domain: ingress completes them with $myorigin. ToSmtp() quotes again where RFC 5321 asks
// for it. The internal form has one weakness, Postfix's too: a local part with an @ in it, and
// without a domain, is read again as an address with one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace postfleet::mail {

// RFC 1035, 2.3.4 and RFC 5321, 4.5.3.1.2. A local part has no limit of its own, as in Postfix:
// line_length_limit bounds it.
inline constexpr size_t kDomainBytesMax = 255;
inline constexpr size_t kDomainLabelBytesMax = 63;

struct Address {
  std::string local_part;  // unquoted
  std::string domain;      // "Example.COM", "[192.0.2.1]", "[IPv6:2001:db8::1]"; may be empty

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

// Splits the internal (unquoted) form at the last `@`. Cannot fail.
Address SplitAddress(std::string_view internal_form);

// The local part as it must be written: itself if it is a Dot-string, else a Quoted-string.
std::string QuoteLocalPart(std::string_view local_part);

// The internal form as it must be written: the local part quoted if need be. The empty address is a
// quoted empty local part.
std::string QuoteAddress(std::string_view internal_form);

// RFC 3629: the shortest form only, no surrogates, at most U+10FFFF.
bool IsUtf8(std::string_view text);

// ASCII letters only.
void LowerCaseAscii(std::string* text);
std::string LowerCasedAscii(std::string_view text);

// A domain name by RFC 5321's letter (LDH labels and `_`, which Postfix takes too; UTF-8 if
// allowed, with the dots of IDNA), 1 to 255 bytes.
bool IsValidDomainName(std::string_view domain, bool allow_non_ascii);
// "[127.0.0.1]", "[IPv6:::1]".
bool IsAddressLiteral(std::string_view domain);
// "127.0.0.1", "::1".
bool IsNetworkAddress(std::string_view text);
// What may stand behind the @: a literal, or a domain name that has not digits and dots alone.
bool IsMailDomain(std::string_view domain, bool allow_non_ascii);

}  // namespace postfleet::mail
