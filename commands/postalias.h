// postalias(1) and newaliases(1): build and ask alias tables (aliases(5)).
//
//   postalias [type:]file...              builds hash, btree and lmdb tables
//   postalias -q key [type:]name...       prints the first table's value; exit status 1: in none
//   newaliases                            builds the tables of alias_database
//
// Keys are looked up in lower case. Nothing but the parameters that are read has to be right in
// main.cf.
#pragma once

#include "commands/command_table.h"

namespace postfleet::commands {

int RunPostalias(const Invocation& call, const Streams& streams);
int RunNewaliases(const Invocation& call, const Streams& streams);

}  // namespace postfleet::commands
