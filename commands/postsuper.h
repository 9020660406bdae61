// postsuper(1): deletes, holds, releases, requeues and expires mail.
//
//   postsuper [-d ID] [-e ID] [-f ID] [-h ID] [-H ID] [-r ID] [-p] [-s] [-S] [-v] [--dry-run]
//             [hold] [incoming] [active] [deferred] [corrupt]
//
// Each option may be given several times; they are done in their order. An ID is a queue id, ALL,
// or
// "-": ids from standard input, one a line. Without queue names an action is done where Postfix
// does it; a named id is deleted, requeued and released (-H) from corrupt too. Names of Postfix's
// other directories (bounce, defer, trace, flush) are taken: nothing is in them. Of mail in
// maildrop, which is listed before it is in a queue, only -d is done. -s, -S and -p, also no
// options, find nothing to repair.
//
// What is said goes to standard error and the mail log: "postsuper: ID: removed" for ids that were
// named (with -v a requeue's new id behind it), totals for each action at the end. What ALL did is
// not said one by one, as in Postfix. On a terminal the progress of ALL is shown.
//
// Everything is durable when the command returns. ALL is a job of the queue (AdministerAll): it
// goes on when this command is interrupted. Mail that comes after its start is not in it. --dry-run
// changes nothing and says how many messages it would be.
//
// For root, and for the user whom the servers belong to. Exit status 1 after an error; what was
// done until then is said.
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunPostsuper(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
