#include "libs/config/table_types.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "libs/base/concat.h"

namespace postfleet::config {
namespace {

constexpr std::array<std::string_view, 10> kTypes = {
    "hash", "btree", "lmdb", "texthash", "inline", "static", "cidr", "regexp", "pcre", "unix"};

bool IsTypeLetter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
}

}  // namespace

bool IsTableType(std::string_view type) {
  return std::find(kTypes.begin(), kTypes.end(), type) != kTypes.end();
}

std::string TableTypeNames() {
  std::string names;
  for (size_t i = 0; i < kTypes.size(); ++i) {
    ConcatTo(&names, i == 0 ? "" : i + 1 == kTypes.size() ? " and " : ", ", kTypes[i]);
  }
  return names;
}

std::vector<std::string> SortedTableTypes() {
  std::vector<std::string> names(kTypes.begin(), kTypes.end());
  names.emplace_back("proxy");
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<TableReference> ParseTableReference(std::string_view item) {
  while (item.starts_with("proxy:")) item.remove_prefix(6);
  size_t colon = item.find(':');
  if (colon == item.npos || colon == 0) return std::nullopt;
  std::string_view type = item.substr(0, colon);
  if (!std::all_of(type.begin(), type.end(), IsTypeLetter)) return std::nullopt;
  return TableReference{type, item.substr(colon + 1)};
}

}  // namespace postfleet::config
