// sendmail(1) as far as the queue goes, and mailq, which is sendmail -bp.
//
//   sendmail -bp | -q | -qIqueueid | -qRsite     postqueue -p | -f | -i queueid | -s site
//   mailq
//
// Options are read as Postfix reads them: they end at the first operand, "-q" is a word of its own,
// an id or a site stands in the same word as -qI or -qR, the last of -bp, -q, ... decides. Those
// that tell how mail is submitted change nothing here; -bh, -bH and -qINTERVAL do nothing at all,
// with success. What postqueue says and its exit status are the command's.
//
// Everything else (mail on standard input, -bs, -bd, -bi, ...) is not supported yet: a fatal line
// and exit status 69 (EX_UNAVAILABLE); nothing of the input is read. Wrong arguments: Postfix's
// words and 75 (EX_TEMPFAIL).
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunSendmail(const Invocation& call, const Streams& streams);
int RunMailq(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
