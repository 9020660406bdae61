// postconf(1): prints parameters.
//
//   postconf [-dhnx] [name...]
//
// -d defaults instead of values, -n only what main.cf sets, -x with $names expanded, -h without
// names. Without names: all of the parameter table, and what main.cf defines besides. A name that
// nobody knows is a warning. What would stop the start is
// a warning too, when all parameters are printed.
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunPostconf(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
