// postfix(1): starts, stops and asks the server of this configuration.
//
//   postfix start | start-fg | stop | status | reload | flush | check
//
// start-fg becomes the launcher (and through it the server). start does the same in the background,
// and returns once the server answers health checks on its control socket or has ended; what it
// says until then is shown. stop returns when the server is gone. What is said goes to standard
// error and the mail log, as "postfix/postfix-script: ...".
#pragma once

#include <string>

#include "commands/command_table.h"

namespace postfleet::commands {

int RunPostfix(const Invocation& call, const Streams& streams);
// The same with a given launcher, for tests.
int RunPostfixWith(const std::string& launcher, const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
