// What users and senders write for local delivery: values of aliases and .forward files, the text
// of aliases(5), $names in paths, and the Delivered-To of a message.
//
// A destination is never empty but behind a "|" or ":include:", and a file's path is absolute. A
// key of an alias table is read back as it is. Of a value only the characters of the filter come
// through, and it is not expanded again. Delivered-To is the same in pieces of any size.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "libs/mail/address.h"
#include "libs/tables/alias_source.h"
#include "services/delivery/local/delivered_to.h"
#include "services/delivery/local/destinations.h"
#include "services/delivery/local/name_expansion.h"

namespace {

using postfleet::delivery::DeliveredTo;
using postfleet::delivery::Destination;

void Check(bool holds) {
  if (!holds) std::abort();
}

void CheckDestinations(std::string_view text) {
  for (const Destination& destination : postfleet::delivery::ReadDestinations(text)) {
    switch (destination.kind) {
      case Destination::Kind::kFile:
        Check(destination.text.starts_with('/'));
        break;
      case Destination::Kind::kHome:
        Check(destination.text.starts_with('~'));
        break;
      case Destination::Kind::kAddress:
        Check(!destination.text.empty() && destination.text[0] != '|' &&
              destination.text[0] != '/');
        break;
      case Destination::Kind::kCommand:
      case Destination::Kind::kInclude:
        break;
    }
  }
}

void CheckAliases(std::string_view text) {
  postfleet::config::Diagnostics diagnostics;
  for (const auto& entry : postfleet::tables::ParseAliasSource(text, "/a", "/a.db", diagnostics)) {
    Check(entry.key == postfleet::mail::LowerCasedAscii(entry.key));
    Check(!entry.key.empty() && !entry.value.empty());
  }
}

void CheckNames(std::string_view text, std::string_view value) {
  const std::string filter = "abc/";
  const auto expanded = postfleet::delivery::ExpandNames(
      "/x/$user/y",
      [&](std::string_view) -> std::optional<std::string> { return std::string(value); }, &filter);
  Check(expanded.text.size() == value.size() + 5);
  Check(expanded.text.find_first_not_of("abc/_xy") == std::string::npos);
  postfleet::delivery::ExpandNames(
      text, [](std::string_view) -> std::optional<std::string> { return "$user"; }, nullptr);
}

std::set<std::string> DeliveredIn(std::string_view text, size_t piece) {
  DeliveredTo delivered;
  for (; !text.empty(); text.remove_prefix(std::min(piece, text.size()))) {
    if (delivered.Take(text.substr(0, piece))) break;
  }
  delivered.End();
  return delivered.addresses();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  CheckDestinations(text);
  CheckAliases(text);
  CheckNames(text, text.substr(0, text.size() / 2));
  Check(DeliveredIn(text, text.size() + 1) == DeliveredIn(text, 1 + data[0] % 7));
  return 0;
}
