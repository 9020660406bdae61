// Opens every table that the configuration's honoured parameters name, in main.cf and in the -o of
// each service of master.cf, and asks it for a key: what the servers would do later, mail by mail.
//
// Each fault is one line that says the parameter, where it is set, the table, what is wrong and
// what to do:
//   parameter virtual_mailbox_maps (/etc/postfix/main.cf, line 12): hash:/etc/postfix/virtual: open
//   /etc/postfix/virtual.db: No such file or directory; run `postmap hash:/etc/postfix/virtual`
// A table that several parameters name is said once. Files of match lists ("/etc/postfix/networks")
// count as tables. Reads files with the rights of the process: call it with mail_owner's
// (RightsOf). May block.
#pragma once

#include <string>
#include <vector>

#include "libs/config/config.h"

namespace postfleet::commands {

struct TableFault {
  std::string text;
  // Nobody asked for the table: a default value names it.
  bool by_default = false;
};

std::vector<TableFault> FindTableFaults(const config::Config& config);

}  // namespace postfleet::commands
