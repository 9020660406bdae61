#include "libs/mail/address.h"

#include <arpa/inet.h>

#include <optional>

namespace postfleet::mail {
namespace {

absl::Status Bad(const char* why) { return absl::InvalidArgumentError(why); }

bool IsBlank(char c) { return c == ' ' || c == '\t'; }
bool IsNonAscii(char c) { return static_cast<unsigned char>(c) > 127; }
bool IsControl(char c) { return static_cast<unsigned char>(c) < 32 || c == 127; }
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

// The end of the word at `start`: the first blank outside quotes and brackets. nullopt: one of them
// stays open.
std::optional<size_t> EndOfWord(std::string_view text, size_t start) {
  bool quoted = false, bracketed = false;
  size_t at = start;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '\\') {
      ++at;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (quoted) {
      continue;
    } else if (c == '<') {
      bracketed = true;
    } else if (c == '>') {
      bracketed = false;
    } else if (IsBlank(c) && !bracketed) {
      break;
    }
  }
  if (quoted || bracketed || at > text.size()) return std::nullopt;
  return at;
}

// Takes the local part off the front of `*text`, unquoted.
absl::Status TakeLocalPart(std::string_view* text, bool strict, std::string* local_part) {
  const std::string_view all = *text;
  bool quoted = false;
  size_t quotes = 0, at = 0;
  for (; at < all.size(); ++at) {
    const char c = all[at];
    if (IsControl(c)) return Bad("control character in the local part");
    if (c == '"') {
      quoted = !quoted;
      ++quotes;
    } else if (c == '\\') {
      if (++at == all.size()) return Bad("nothing behind a backslash");
      if (strict && !quoted) return Bad("backslash outside quotes");
      if (IsControl(all[at])) return Bad("control character in the local part");
      local_part->push_back(all[at]);
    } else if (quoted || c == '.' || IsAtomByte(c)) {
      local_part->push_back(c);
    } else if (c == '@') {
      break;
    } else {
      return Bad("special character in the local part");
    }
  }
  if (quoted) return Bad("quote without its end");
  if (at == 0) return Bad("empty local part");
  const std::string_view written = all.substr(0, at);
  if (strict && quotes == 0 && !IsDotString(written)) return Bad("local part is no Dot-string");
  if (strict && quotes != 0 && (quotes != 2 || written.front() != '"' || written.back() != '"'))
    return Bad("local part is no Quoted-string");
  if (local_part->empty() && at == all.size()) return Bad("empty local part without a domain");
  *text = all.substr(at);
  return absl::OkStatus();
}

absl::StatusOr<std::string> CheckedDomain(std::string_view domain, const PathOptions& options) {
  if (domain.size() > 1 && domain.back() == '.') domain.remove_suffix(1);
  if (domain.empty()) return Bad("empty domain");
  if (domain.size() > kDomainBytesMax) return Bad("domain too long");
  if (domain.front() == '[') {
    if (!IsAddressLiteral(domain)) return Bad("not an address literal");
    return std::string(domain);
  }
  if (!IsValidDomainName(domain, options.allow_non_ascii)) return Bad("not a domain name");
  return LowerCasedAscii(domain);
}

// RFC 5321, 4.1.1.3: "@one,@two:" is accepted and ignored.
absl::Status DropSourceRoute(std::string_view* mailbox, const PathOptions& options) {
  if (mailbox->empty() || mailbox->front() != '@') return absl::OkStatus();
  std::string_view text = *mailbox;
  while (true) {
    if (text.empty() || text.front() != '@') return Bad("source route without @");
    const size_t end =
        text[1] == '[' ? text.find_first_of(",:", text.find(']')) : text.find_first_of(",:");
    if (end == std::string_view::npos) return Bad("source route without an address");
    const auto hop = CheckedDomain(text.substr(1, end - 1), options);
    if (!hop.ok()) return hop.status();
    const char separator = text[end];
    text.remove_prefix(end + 1);
    if (separator == ':') break;
  }
  if (text.empty()) return Bad("source route without an address");
  *mailbox = text;
  return absl::OkStatus();
}

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
    if (c == '.') {
      if (label == 0 || domain[i - 1] == '-') return false;
      label = 0;
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

absl::StatusOr<Address> ParseAddress(std::string_view text, const PathOptions& options) {
  if (!IsUtf8(text)) return Bad("not UTF-8");
  Address address;
  if (text.empty()) return address;
  if (auto status = DropSourceRoute(&text, options); !status.ok()) return status;
  if (auto status = TakeLocalPart(&text, options.strict, &address.local_part); !status.ok())
    return status;
  if (text.empty()) return address;
  auto domain = CheckedDomain(text.substr(1), options);
  if (!domain.ok()) return domain.status();
  address.domain = *std::move(domain);
  return address;
}

absl::StatusOr<ParsedPath> ParsePath(std::string_view text, const PathOptions& options) {
  size_t start = 0;
  while (start < text.size() && IsBlank(text[start])) ++start;
  const auto end = EndOfWord(text, start);
  if (!end) return Bad("quote or bracket without its end");
  std::string_view word = text.substr(start, *end - start);
  if (word.empty()) return Bad("no path");
  if (word.front() == '<') {
    if (word.back() != '>') return Bad("text behind the path");
    word = word.substr(1, word.size() - 2);
    while (!options.strict && !word.empty() && IsBlank(word.front())) word.remove_prefix(1);
    while (!options.strict && !word.empty() && IsBlank(word.back())) word.remove_suffix(1);
  } else if (options.strict) {
    return Bad("path without angle brackets");
  }
  auto address = ParseAddress(word, options);
  if (!address.ok()) return address.status();
  return ParsedPath{*std::move(address), *end};
}

Address SplitAddress(std::string_view internal_form) {
  const size_t at = internal_form.rfind('@');
  if (at == std::string_view::npos) return {std::string(internal_form), ""};
  return {std::string(internal_form.substr(0, at)), LowerCasedAscii(internal_form.substr(at + 1))};
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
