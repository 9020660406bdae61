// Every command of Postfix by name, and what it runs here.
//
//   postfleet [-c DIR] NAME ARGS...     NAME by its last path component
//   NAME ARGS...                        through a link of that name
//   postfleet --help
//
// DIR is made absolute. Without it: $MAIL_CONFIG, else /etc/postfix; a command's own -c comes
// before both. A command that is not here yet says so by its name, and what to use: "postfleet:
// fatal: NAME: not supported yet; ...".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "commands/console.h"

namespace postfleet::commands {

// One call of one command.
struct Invocation {
  std::string program;  // "postqueue"
  std::string config_directory;
  std::vector<std::string> arguments;
};

struct Command {
  std::string_view name;
  // Returns the exit status. nullptr: not supported yet.
  int (*run)(const Invocation& call, const Streams& streams);
  // What Postfix's command returns for a fatal error; of <sysexits.h> for some.
  int fatal_status = 1;
  // Of what is not supported: what to use.
  std::string_view instead = {};
};

// Sorted by name.
absl::Span<const Command> AllCommands();
const Command* FindCommand(std::string_view name);

// `arguments` as main has them, the program's name first. `default_directory` is used without -c.
int RunCommandLine(const std::vector<std::string>& arguments, const std::string& default_directory,
                   const Streams& streams);

}  // namespace postfleet::commands
