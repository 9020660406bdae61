#include "commands/command_table.h"

#include <sysexits.h>

#include <algorithm>
#include <filesystem>

#include "commands/cluster_command.h"
#include "commands/command_help.h"
#include "commands/manual.h"
#include "commands/postalias.h"
#include "commands/postcat.h"
#include "commands/postconf.h"
#include "commands/postfix.h"
#include "commands/postlog.h"
#include "commands/postmap.h"
#include "commands/postqueue.h"
#include "commands/postsuper.h"
#include "commands/qshape.h"
#include "commands/queue_command.h"
#include "commands/sendmail.h"
#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kProgram = "postfleet";

constexpr Command kCommands[] = {
    {"cluster", RunCluster},
    {"mailq", RunMailq, EX_TEMPFAIL},
    {"manual", RunManual},
    {"newaliases", RunNewaliases},
    {"postalias", RunPostalias},
    {"postcat", RunPostcat},
    {"postconf", RunPostconf},
    {"postdrop", nullptr, EX_UNAVAILABLE, "it is a program of its own, which sendmail runs"},
    {"postfix", RunPostfix},
    {"postfix-tls", nullptr, 1, "there is no TLS: let proxies in front of the server encrypt"},
    {"postkick", nullptr, 1,
     "the queue is told by \"postqueue -f\", the server by \"postfix reload\""},
    {"postlock", nullptr, EX_SOFTWARE, "use flock(1), or dotlockfile(1) for mailboxes"},
    {"postlog", RunPostlog},
    {"postmap", RunPostmap},
    {"postmulti", nullptr, 1,
     "give each instance a folder of its own: \"postfleet -c FOLDER postfix start\""},
    {"postqueue", RunPostqueue, EX_UNAVAILABLE},
    {"postsuper", RunPostsuper},
    {"posttls-finger", nullptr, 1, "there is no TLS; use \"openssl s_client -starttls smtp\""},
    {"qmqp-sink", nullptr, 1, "there is no QMQP"},
    {"qmqp-source", nullptr, 1, "there is no QMQP"},
    {"qshape", RunQshape, 255},
    {"queue", RunQueue},
    {"rmail", nullptr, EX_UNAVAILABLE,
     "there is no UUCP; \"sendmail -i -f SENDER RECIPIENT\" takes the mail"},
    {"sendmail", RunSendmail, EX_TEMPFAIL},
    {"smtp-sink", nullptr, 1, "use that of Postfix, or another test server"},
    {"smtp-source", nullptr, 1, "use that of Postfix, or another test client"},
};

std::string LastComponent(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string UsageLine() {
  std::string usage = Concat(kProgram, " [-c config_dir] command [argument...]; commands:");
  for (const Command& command : kCommands) {
    if (command.run != nullptr) ConcatTo(&usage, ' ', command.name);
  }
  return usage;
}

std::string Help() {
  std::string here, missing;
  for (const Command& command : kCommands) {
    if (command.run != nullptr) {
      ConcatTo(&here, "  ", command.name, "\n");
    } else {
      ConcatTo(&missing, "  ", command.name, ": ", command.instead, "\n");
    }
  }
  return Concat(kProgram, ": Postfix's commands for this mail system.\n\nusage: ", kProgram,
                " [-c DIR] COMMAND [ARGUMENT...]\n"
                "  -c DIR   folder of main.cf and master.cf; else $MAIL_CONFIG, else /etc/postfix\n"
                "A link of a command's name to this program is that command.\n\ncommands:\n",
                here, "not supported yet:\n", missing,
                "\nA command's own help: postfleet COMMAND --help\n"
                "example: postfleet -c /etc/postfix postfix status\n");
}

int RunNamed(Invocation call, const Streams& streams) {
  const Command* command = FindCommand(call.program);
  if (command == nullptr) {
    Console console(std::string(kProgram), 1, streams);
    return console.Usage(
        UsageLine(), absl::InvalidArgumentError(Concat("unknown command: '", call.program, "'")));
  }
  const CommandHelp* help = FindCommandHelp(command->name);
  if (help != nullptr && call.arguments == std::vector<std::string>{"--help"}) {
    Console console(call.program, command->fatal_status, streams);
    return console.Write(FormatHelp(*help)) ? console.Finish() : console.WriteFailed();
  }
  if (command->run == nullptr) {
    Console console(std::string(kProgram), command->fatal_status, streams);
    return console.Fatal(Concat(command->name, ": not supported yet; ", command->instead));
  }
  return command->run(call, streams);
}

}  // namespace

absl::Span<const Command> AllCommands() { return kCommands; }

const Command* FindCommand(std::string_view name) {
  const Command* found = std::lower_bound(
      std::begin(kCommands), std::end(kCommands), name,
      [](const Command& command, std::string_view wanted) { return command.name < wanted; });
  return found != std::end(kCommands) && found->name == name ? found : nullptr;
}

int RunCommandLine(const std::vector<std::string>& arguments, const std::string& default_directory,
                   const Streams& streams) {
  const std::string self = arguments.empty() ? std::string(kProgram) : LastComponent(arguments[0]);
  Invocation call = {self, default_directory, {}};
  size_t rest = 1;
  if (FindCommand(self) == nullptr) {
    Console console(std::string(kProgram), 1, streams);
    if (arguments.size() == 2 && (arguments[1] == "--help" || arguments[1] == "-h")) {
      return console.Write(Help()) ? console.Finish() : console.WriteFailed();
    }
    if (arguments.size() > 2 && arguments[1] == "-c") {
      call.config_directory = std::filesystem::absolute(arguments[2]).string();
      rest = 3;
    }
    if (rest >= arguments.size() || arguments[rest].starts_with("-")) {
      return console.Usage(UsageLine());
    }
    call.program = LastComponent(arguments[rest++]);
  }
  call.arguments.assign(arguments.begin() + std::min(rest, arguments.size()), arguments.end());
  return RunNamed(std::move(call), streams);
}

}  // namespace postfleet::commands
