#include "services/delivery/local/destinations.h"

#include <algorithm>
#include <utility>

#include "libs/mail/address.h"
#include "libs/mail/address_list.h"

namespace postfleet::delivery {
namespace {

constexpr std::string_view kInclude = ":include:";

Destination DestinationOf(std::string text) {
  using Kind = Destination::Kind;
  if (text.starts_with('/')) return {Kind::kFile, std::move(text)};
  if (text.starts_with('~')) return {Kind::kHome, std::move(text)};
  if (text.starts_with('|')) return {Kind::kCommand, text.substr(1)};
  if (mail::LowerCasedAscii(std::string_view(text).substr(0, kInclude.size())) == kInclude) {
    return {Kind::kInclude, text.substr(kInclude.size())};
  }
  return {Kind::kAddress, std::move(text)};
}

// A backslash in front of a name stays, as in Postfix: "\\user" is the user whatever aliases say.
std::string KeepBackslashes(std::string_view text) {
  std::string kept;
  bool in_quotes = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool starts_word =
        i == 0 || text[i - 1] == ',' || text[i - 1] == ' ' || text[i - 1] == '\t';
    if (text[i] == '"') in_quotes = !in_quotes;
    kept += text[i];
    if (text[i] != '\\') continue;
    if (!in_quotes && starts_word) {
      kept += '\\';
    } else if (i + 1 < text.size()) {
      kept += text[++i];
    }
  }
  return kept;
}

}  // namespace

std::vector<Destination> ReadDestinations(std::string_view text) {
  std::vector<Destination> found;
  const mail::AddressEdit take = [&](mail::AddressTokens* address) {
    std::string plain;
    mail::AppendAddressTokens(*address, {.quoted = false, .spaced = false}, &plain);
    if (!plain.empty()) found.push_back(DestinationOf(plain));
    address->resize(1);
    address->front() = {.kind = mail::AddressToken::Kind::kAddress, .text = std::move(plain)};
    return true;
  };
  mail::AddressTokens list;
  mail::EditAddresses(mail::TokenizeAddresses(KeepBackslashes(text), 0), take, &list);
  std::reverse(found.begin(), found.end());
  return found;
}

}  // namespace postfleet::delivery
