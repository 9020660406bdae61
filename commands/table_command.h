// The command line that postmap(1) and postalias(1) share: -c DIR, -q KEY and tables.
//
// Diagnostics: as Postfix's: the usage for what cannot be parsed, "fatal: specify only one of -s -q
// or -d", and an error that names an option that is not supported.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "commands/command_table.h"
#include "commands/console.h"

namespace postfleet::commands {

struct TableCommand {
  std::optional<std::string> key;  // -q
  std::vector<std::string> names;  // never empty
  std::string type;                // default_database_type, of names without one
};

// `letters`: of all options, as getopt has them. nullopt: `*status` is the exit status, and the
// console has said why.
std::optional<TableCommand> ReadTableCommand(const Invocation& call, std::string_view letters,
                                             std::string_view usage, Console& console, int* status);

}  // namespace postfleet::commands
