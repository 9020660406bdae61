// qshape(1): recipients (with -s: messages) in the queue by domain and age, as Postfix's program
// prints them (shape_report.h).
//
//   qshape [-s] [-p] [-m min_subdomains] [-b bucket_count] [-t bucket_time] [-l]
//          [-w terminal_width] [-N batch_msg_count] [-n batch_top_domains]
//          [-c config_directory] [queue_name ...]
//
// Queues: incoming and active unless named; corrupt can be. The queue's service counts, so there
// are no results in between: -N 0 is what happens always, another number is named as unsupported.
// -n limits the rows on a terminal (20), as in Postfix. At most 10,000 domains are told apart; a
// warning says so when there are more, and -p counts only those. A queue that does not exist is
// warned of.
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunQshape(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
