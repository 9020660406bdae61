// The text of aliases(5), as postalias(1) reads it: "name: value, ..." in logical lines.
//
// The name is an address' local part, quoted where it must be, and folded to lower case; the value
// is kept as words with single blanks. As postalias writes them, entries of the signature come
// last:
// "@" for sendmail, and the time and host of making for NIS. Warned of, in postalias' words, and
// left out: a line without name or value, a name with a domain, a second entry of a name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libs/config/diagnostics.h"
#include "libs/tables/text_source.h"

namespace postfleet::tables {

// `source`, `table`: paths, for messages.
std::vector<TextEntry> ParseAliasSource(std::string_view text, std::string_view source,
                                        std::string_view table, config::Diagnostics& diagnostics);

// Of a table made at `seconds` since the epoch on `host`.
std::vector<TextEntry> AliasSignature(int64_t seconds, std::string_view host);

}  // namespace postfleet::tables
