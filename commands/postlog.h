// postlog(1): a line into the mail log, from a script.
//
//   postlog [-iv] [-c config_dir] [-p priority] [-t tag] [text...]
//
// The words of `text` are one line; without them each line of standard input is one. A line also
// goes to standard error, as Postfix 3.9 has it. Priority fatal and panic wait a second, as its
// programs do when they end; the exit status is 0 all the same.
//
// The log is maillog_file if this user may write it, else the machine's syslog. (Postfix's postlog
// is set-group-id and hands its line to postlogd; ours has no powers of its own.)
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunPostlog(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
