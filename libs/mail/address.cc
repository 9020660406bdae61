#include "libs/mail/address.h"

#include <arpa/inet.h>

namespace postfleet::mail {
namespace {

bool IsNonAscii(char c) { return static_cast<unsigned char>(c) > 127; }
bool IsAlnum(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// RFC 5322, 3.2.3, and bytes over 127 (RFC 6531): the caller has refused them already where they
// may not be.
bool IsAtomByte(char c) {
  constexpr std::string_view kOthers = "!#$%&'*+-/=?^_`{|}~";
  return IsAlnum(c) || IsNonAscii(c) || kOthers.find(c) != std::string_view::npos;
}

bool IsDotString(std::string_view text) {
  if (text.empty() || text.front() == '.' || text.back() == '.') return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '.' ? text[i - 1] == '.' : !IsAtomByte(text[i])) return false;
  }
  return true;
}

// In UTF-8, the dots that IDNA takes for the one of ASCII (RFC 3490, 3.1): U+3002, U+FF0E, U+FF61.
bool IsIdnaDot(std::string_view text) {
  return text.starts_with("\xe3\x80\x82") || text.starts_with("\xef\xbc\x8e") ||
         text.starts_with("\xef\xbd\xa1");
}
constexpr size_t kIdnaDotBytes = 3;

}  // namespace

bool IsUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t more = lead < 0x80   ? 0
                        : lead < 0xc2 ? 9
                        : lead < 0xe0 ? 1
                        : lead < 0xf0 ? 2
                        : lead < 0xf5 ? 3
                                      : 9;
    if (more == 9 || more >= text.size() - i) return false;
    for (size_t k = 1; k <= more; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    if (more >= 2) {
      const auto second = static_cast<unsigned char>(text[i + 1]);
      if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f)) return false;
      if ((lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) return false;
    }
    i += more + 1;
  }
  return true;
}

void LowerCaseAscii(std::string* text) {
  for (char& c : *text) {
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
  }
}

std::string LowerCasedAscii(std::string_view text) {
  std::string lower(text);
  LowerCaseAscii(&lower);
  return lower;
}

bool IsValidDomainName(std::string_view domain, bool allow_non_ascii) {
  if (domain.empty() || domain.size() > kDomainBytesMax) return false;
  size_t label = 0;
  for (size_t i = 0; i < domain.size(); ++i) {
    const char c = domain[i];
    const bool idna_dot = allow_non_ascii && IsIdnaDot(domain.substr(i));
    if (c == '.' || idna_dot) {
      if (label == 0 || domain[i - 1] == '-') return false;
      label = 0;
      if (idna_dot) i += kIdnaDotBytes - 1;
      continue;
    }
    if (c == '-' ? label == 0 : !(IsAlnum(c) || c == '_' || (IsNonAscii(c) && allow_non_ascii)))
      return false;
    if (++label > kDomainLabelBytesMax) return false;
  }
  return label != 0 && domain.back() != '-';
}

bool IsAddressLiteral(std::string_view domain) {
  if (domain.size() < 3 || domain.front() != '[' || domain.back() != ']') return false;
  const std::string_view inner = domain.substr(1, domain.size() - 2);
  constexpr std::string_view kIpv6 = "ipv6:";
  const bool tagged = LowerCasedAscii(inner.substr(0, kIpv6.size())) == kIpv6;
  const std::string address(tagged ? inner.substr(kIpv6.size()) : inner);
  if (address.find('\0') != std::string::npos) return false;
  unsigned char buffer[sizeof(in6_addr)];
  return inet_pton(tagged ? AF_INET6 : AF_INET, address.c_str(), buffer) == 1;
}

bool IsNetworkAddress(std::string_view text) {
  const std::string address(text);
  if (address.find('\0') != std::string::npos) return false;
  unsigned char buffer[sizeof(in6_addr)];
  return inet_pton(AF_INET, address.c_str(), buffer) == 1 ||
         inet_pton(AF_INET6, address.c_str(), buffer) == 1;
}

bool IsMailDomain(std::string_view domain, bool allow_non_ascii) {
  if (domain.starts_with('[')) return IsAddressLiteral(domain);
  return IsValidDomainName(domain, allow_non_ascii) &&
         domain.find_first_not_of("0123456789.") != std::string_view::npos;
}

Address SplitAddress(std::string_view internal_form) {
  const size_t at = internal_form.rfind('@');
  if (at == std::string_view::npos) return {std::string(internal_form), ""};
  return {std::string(internal_form.substr(0, at)), std::string(internal_form.substr(at + 1))};
}

std::string QuoteLocalPart(std::string_view local_part) {
  if (IsDotString(local_part)) return std::string(local_part);
  std::string quoted = "\"";
  for (char c : local_part) {
    if (c == '"' || c == '\\') quoted.push_back('\\');
    quoted.push_back(c);
  }
  quoted.push_back('"');
  return quoted;
}

std::string QuoteAddress(std::string_view internal_form) {
  const size_t at = internal_form.rfind('@');
  std::string text = QuoteLocalPart(internal_form.substr(0, at));
  if (at != std::string_view::npos) text += internal_form.substr(at);
  return text;
}

std::string Address::ToString() const {
  return domain.empty() ? local_part : local_part + "@" + domain;
}

std::string Address::ToSmtp() const {
  if (IsNull()) return "";
  return domain.empty() ? QuoteLocalPart(local_part) : QuoteLocalPart(local_part) + "@" + domain;
}

bool Address::HasNonAscii() const {
  for (char c : local_part) {
    if (IsNonAscii(c)) return true;
  }
  for (char c : domain) {
    if (IsNonAscii(c)) return true;
  }
  return false;
}

}  // namespace postfleet::mail
