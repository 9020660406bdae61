// postfleet, the command line: Postfix's commands by their names (command_table.h).

#include <signal.h>

#include <cstdlib>

#include "commands/command_table.h"

int main(int argc, char** argv) {
  // A reader that goes away is seen by the write that fails (console.h).
  signal(SIGPIPE, SIG_IGN);
  const char* from_environment = std::getenv("MAIL_CONFIG");
  const int status = postfleet::commands::RunCommandLine(
      std::vector<std::string>(argv, argv + argc),
      from_environment != nullptr ? from_environment : "/etc/postfix", {});
  return status;
}
