// postfleet queue jobs: the bulk work that the queue is at (postsuper with ALL).
//
//   postfleet queue jobs              a line for each: "3: hold deferred: 1200 of 50000 messages"
//   postfleet queue jobs --stop ID    ends it; what it has done stays done
//
// Exit status 1 after an error, also when there is no such job.
#pragma once

#include <string>
#include <vector>

#include "commands/command_table.h"

namespace postfleet::commands {

int RunQueueJobs(const Invocation& call, const std::vector<std::string>& arguments,
                 const Streams& streams);

}  // namespace postfleet::commands
