// postfix(1): starts, stops and asks the server of this configuration.
//
//   postfix start | start-fg | stop | status | reload | flush | check
//
// start-fg becomes the launcher (and through it the server). start does the same in the background,
// and returns once the server answers health checks on its control socket or has ended; what it
// says until then is shown. stop returns when all servers of this machine are gone, also those of
// the form of five processes, which the launcher was told to start one by one; status names those
// that run and those that ended (exit status 1), reload reaches all. These three and flush need no
// more of main.cf than queue_directory; start and check need a valid configuration.
//
// check (and start, which goes on) opens every table that the configuration names: one that cannot
// be opened is an error, exit status 1 (table_check.h). It warns of folders and files with a wrong
// owner or mode (folder_check.h). What is said goes to standard error and the mail log, as
// "postfix/postfix-script: ...".
#pragma once

#include <string>

#include "commands/command_table.h"

namespace postfleet::commands {

int RunPostfix(const Invocation& call, const Streams& streams);
// The same with a given launcher, for tests.
int RunPostfixWith(const std::string& launcher, const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
