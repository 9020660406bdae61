// The text source of a lookup table (postmap(1)): "key whitespace value" in logical lines.
//
// A key in double quotes may contain whitespace (not in texthash, where Postfix takes quotes as
// they are). Keys are folded to lower case unless asked otherwise. A line without value and a key
// that ends in ':' are warned of in postmap's words; a duplicate keeps the first entry, with a
// warning.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libs/config/diagnostics.h"

namespace postfleet::tables {

struct TextEntry {
  std::string key;
  std::string value;
  int line = 0;
};

// `name` is "hash:/path" or a path, for messages.
std::vector<TextEntry> ParseTextSource(std::string_view text, std::string_view name, bool fold_keys,
                                       config::Diagnostics& diagnostics, bool quoted_keys = true);

}  // namespace postfleet::tables
