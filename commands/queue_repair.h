// postfleet queue repair: makes a queue open again whose log is damaged.
//
// For a mail system that is down and refuses to start since records of its log cannot be read. The
// records are given up: a line for each place says which, and between which times they were
// written. Mail that was accepted then may be missing, mail that was delivered or deleted then may
// be there again; the mail log of that time tells. Everything else stays as it is, and the next
// start needs none of it any more. What it cannot repair (the store's tables) it says, with the
// file's name.
//
// Exit status 0: the queue opens; 1: it does not, or was in use. For root, and for the user whom
// the servers belong to.
#pragma once

#include <string>
#include <vector>

#include "commands/command_table.h"

namespace postfleet::commands {

// `arguments` are those behind "repair"; there must be none.
int RunQueueRepair(const Invocation& call, const std::vector<std::string>& arguments,
                   const Streams& streams);

}  // namespace postfleet::commands
