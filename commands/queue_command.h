// postfleet queue ...: what Postfix has no command for.
//
//   postfleet queue list [-j] [QUEUE...]    as postqueue -p (-j), of these queues; corrupt is one
//   postfleet queue jobs ...                queue_jobs.h
//   postfleet queue repair                  queue_repair.h
//   postfleet queue verify ...              queue_verify.h
//
// Without queue names: all, corrupt too. Exit status 1 after an error.
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunQueue(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
