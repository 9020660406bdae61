// postmap(1): builds lookup tables and asks them.
//
//   postmap [type:]file...              builds hash, btree and lmdb tables
//   postmap -q key [type:]name...       prints the first table's value; exit status 1: in none
//   postmap -q - [type:]name...         keys from standard input; prints "key<TAB>value" lines
//
// Keys that are asked for are looked up in lower case, as Postfix does for such tables.
// Nothing but default_database_type has to be right in main.cf.
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunPostmap(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
