// postcat(1): shows a message of the queue, as Postfix shows a queue file (queue_file_text.h).
//
//   postcat -q [-b] [-d] [-e] [-h] [-o] [-v] [-c config_dir] queue_id...
//   postcat [-b] [-e] [-h] file...      files of maildrop, whose ids -q takes, too
//   (maildrop_text.h)
//
// -e, -h and -b show the envelope, the header and the body; none of them: all. -d and -o put each
// record's type and offset in front, -v its name; not of maildrop's. The queue has no files of its
// own. Standard input is not supported; nor are -r and -s, which follow a file's order.
//
// Contents are read chunk by chunk and never whole in memory. A message that is marked corrupt, or
// has chunks that do not match their checksums, is shown as far as it can be, with warnings. Exit
// status 1 after an error, or when a chunk is missing.
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunPostcat(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
