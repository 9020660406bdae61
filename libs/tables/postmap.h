// Writes hash and lmdb tables from a text source, as postmap(1) does; Postfix reads them, too.
//
// "hash:/path" reads /path and writes /path.db, "lmdb:/path" writes /path.lmdb. The new table is
// built beside the old one, synced, and renamed over it: readers see the old or the new one. It
// gets the owner and group-readable mode of the source. Errors: unsupported type, source cannot be
// read, table cannot be written; the old table is then as it was.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "libs/config/diagnostics.h"

namespace postfleet::tables {

absl::Status BuildTable(std::string_view type_and_name, config::Diagnostics& diagnostics);

// From a text of aliases(5), as postalias(1) does (alias_source.h). `seconds` since the epoch and
// `host` go into the table.
absl::Status BuildAliasTable(std::string_view type_and_name, int64_t seconds, std::string_view host,
                             config::Diagnostics& diagnostics);

}  // namespace postfleet::tables
