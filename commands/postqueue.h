// postqueue(1): shows the queue and flushes deferred mail. mailq is postqueue -p.
//
//   postqueue -p | -j | -f | -i queueid
//
// -p and -j read the queue page by page and print each page before the next, so that memory does
// not grow with the queue. Exit status 69 (EX_UNAVAILABLE) for every error, as in Postfix.
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunPostqueue(const Invocation& call, const Streams& streams);
int RunMailq(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
