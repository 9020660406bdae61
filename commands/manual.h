// postfleet manual FOLDER: writes the manual pages, made of the table of parameters and of the
// commands' own help.
//
//   FOLDER/man1/postqueue.1 ...    one for each command
//   FOLDER/man5/postfleet.cf.5     every parameter of main.cf by name, and master.cf
//   FOLDER/man8/postfleetd.8 ...   the servers
//
// Folders are made; pages of these names are replaced, and named on standard output. Exit status 1
// if one cannot be written.
#pragma once

#include <string>

#include "commands/command_table.h"

namespace postfleet::commands {

int RunManual(const Invocation& call, const Streams& streams);

// The page of the configuration's files. Pure.
std::string ConfigurationPage();

}  // namespace postfleet::commands
