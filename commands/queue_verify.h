// postfleet queue verify: checks every checksum, count and index of the queue.
//
//   postfleet queue verify                  asks the running queue, which works on meanwhile
//   postfleet queue verify --offline DIR    reads the data folder of a queue that does not run
//                                           ($queue_directory/postfleet, or queue_directory)
//
// What is wrong comes to standard output, one line each, at most 1,000 of them; then a line of
// totals: "checked: 3 messages, 4 recipients, 5 chunks, 12345 bytes; faults: 0". Offline a line in
// front of it says what a start would replay from the log. On a terminal the progress is shown.
// Exit status 0: all is well; 1: something is wrong, or it could not be checked. For root, and for
// the user whom the servers belong to.
#pragma once

#include <string>
#include <vector>

#include "commands/command_table.h"

namespace postfleet::commands {

// `arguments` are those behind "verify".
int RunQueueVerify(const Invocation& call, const std::vector<std::string>& arguments,
                   const Streams& streams);

}  // namespace postfleet::commands
