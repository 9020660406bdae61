#include "libs/mail/smtp_path.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "libs/mail/address_list.h"

namespace postfleet::mail {
namespace {

absl::Status Bad(const char* why) { return absl::InvalidArgumentError(why); }

bool IsBlank(char c) { return c == ' ' || c == '\t'; }
bool IsControl(char c) { return static_cast<unsigned char>(c) < 32 || c == 127; }

// The first blank outside of quotes and brackets; brackets nest. nullopt: one of them stays open.
std::optional<size_t> EndOfWord(std::string_view text, size_t start) {
  size_t brackets = 0;
  bool quoted = false;
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
      ++brackets;
    } else if (c == '>' && brackets > 0) {
      --brackets;
    } else if (IsBlank(c) && brackets == 0) {
      break;
    }
  }
  if (quoted || brackets > 0) return std::nullopt;
  return std::min(at, text.size());
}

// `text` is in quoted form, without brackets around it all; the result in internal form.
absl::StatusOr<std::string> OnlyAddress(std::string_view text, bool strict) {
  std::string internal;
  int addresses = 0;
  const auto take = [&](AddressTokens* tokens) {
    ++addresses;
    internal.clear();
    AppendAddressTokens(*tokens, {.quoted = false}, &internal);
    *tokens = {{AddressToken::Kind::kAddress, 0, {}}};
    return false;
  };
  AddressTokens list;
  EditAddresses(TokenizeAddresses(text, 0), take, &list);
  if (addresses > 1) return Bad("more than one address");
  const bool others = std::any_of(list.begin(), list.end(), [](const AddressToken& token) {
    return token.kind != AddressToken::Kind::kAddress && !token.IsOperator('<') &&
           !token.IsOperator('>');
  });
  if (strict && others) return Bad("more than an address");
  return internal;
}

absl::Status CheckDomain(std::string_view domain, const PathOptions& options) {
  // The root's dot, which completing takes off.
  if (domain.size() > 1 && domain.back() == '.') domain.remove_suffix(1);
  if (IsMailDomain(domain, options.allow_non_ascii)) return absl::OkStatus();
  if (options.allow_numeric_domain && IsNetworkAddress(domain)) return absl::OkStatus();
  return Bad("neither a host name nor an address literal");
}

absl::StatusOr<Address> AddressOf(std::string_view internal, const PathOptions& options) {
  if (options.strict && internal.starts_with('@')) return Bad("no local part");
  if (options.allow_null_domain && internal.size() > 1 && internal.ends_with('@')) {
    internal.remove_suffix(1);
  }
  Address address = SplitAddress(internal);
  if (internal.find('@') == std::string_view::npos) return address;
  if (auto status = CheckDomain(address.domain, options); !status.ok()) return status;
  return address;
}

}  // namespace

absl::StatusOr<ParsedPath> ParsePath(std::string_view text, const PathOptions& options) {
  size_t start = 0;
  while (start < text.size() && IsBlank(text[start])) ++start;
  const auto end = EndOfWord(text, start);
  if (!end) return Bad("quote or bracket without its end");
  std::string_view word = text.substr(start, *end - start);
  if (word.empty()) return Bad("no path");
  for (char c : word) {
    if (IsControl(c) && c != '\t') return Bad("control character");
  }
  if (!IsUtf8(word)) return Bad("not UTF-8");
  if (options.strict && word.front() != '<') return Bad("path without angle brackets");
  if (word.size() > 1 && word.front() == '<' && word.back() == '>') {
    word = word.substr(1, word.size() - 2);
  }
  // RFC 5321, 4.1.1.3: a source route is accepted and ignored.
  if (word.starts_with('@')) word.remove_prefix(word.find(':') + 1);
  const auto internal = OnlyAddress(word, options.strict);
  if (!internal.ok()) return internal.status();
  auto address = AddressOf(*internal, options);
  if (!address.ok()) return address.status();
  return ParsedPath{*std::move(address), *end};
}

}  // namespace postfleet::mail
