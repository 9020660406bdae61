// What of sendmail(1) has to do with the queue, and mailq, which is sendmail -bp.
//
//   sendmail -bp | -q | -qIqueueid | -qRsite     postqueue -p | -f | -i queueid | -s site
//   mailq
//
// Arguments: sendmail_options.h. Options that tell how mail is submitted change nothing here. What
// postqueue says and its exit status are the command's. Mail itself (-bm, -t, -bs) is handed to the
// program sendmail (sendmail_main.cc), which lies beside this one; -bd is `postfix start`, -bi and
// -I are newaliases. Wrong arguments: Postfix's words and 75 (EX_TEMPFAIL).
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunSendmail(const Invocation& call, const Streams& streams);
int RunMailq(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
