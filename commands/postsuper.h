// postsuper(1): deletes mail from the queue.
//
//   postsuper -d ID | -d ALL | -d - [hold] [incoming] [active] [deferred]
//
// "-" reads ids from standard input, one a line. Without queue names: all queues. What is said goes
// to standard error and the mail log: "postsuper: ID: removed" for ids that were named,
// "postsuper: Deleted: N messages" at the end. Deletions are durable when the command returns. ALL
// works through the queue in pages of 1,000; mail that arrives meanwhile may be deleted too, as in
// Postfix. For root, and for the user whom the servers belong to.
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunPostsuper(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
