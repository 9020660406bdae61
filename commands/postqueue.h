// postqueue(1): shows the queue and flushes deferred mail. mailq is postqueue -p.
//
//   postqueue -p | -j | -f | -i queueid
//
// -p and -j read the queue page by page and print each page before the next, so that memory does
// not grow with the queue. Every user may (queue_address.h). Nothing but queue_directory,
// postfleet_control_socket and postfleet_queue_address has to be right in main.cf. Exit status 69
// (EX_UNAVAILABLE) for every error, as in Postfix; "fatal: Queue report unavailable - mail system
// is down" and "Cannot flush mail queue - ...": there is no looking at the queue past the server.
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunPostqueue(const Invocation& call, const Streams& streams);
int RunMailq(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
