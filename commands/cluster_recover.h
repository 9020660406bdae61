// postfleet cluster recover --lose-what-others-have: makes the replica of this host, whose server
// is down, the only voter of its group (services/queue/recover.h), after a majority was lost for
// good.
//
// Prints up to where it has the queue. Exit status 0: it starts alone now; 1: nothing was changed.
// For root, and for the user whom the servers belong to.
#pragma once

#include <string>
#include <vector>

#include "commands/command_table.h"

namespace postfleet::commands {

// `arguments` are those behind "recover".
int RunClusterRecover(const Invocation& call, const std::vector<std::string>& arguments,
                      const Streams& streams);

}  // namespace postfleet::commands
