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
  mail::EditAddresses(mail::TokenizeAddresses(text, 0), take, &list);
  std::reverse(found.begin(), found.end());
  return found;
}

}  // namespace postfleet::delivery
