#include "libs/server/instance.h"

#include <algorithm>
#include <cstdio>
#include <iterator>

#include "libs/base/concat.h"

namespace postfleet::server {
namespace {

constexpr ServerProgram kPrograms[] = {
    {.name = "postfleetd",
     .pid_file = "/master.pid",
     .what = "the whole mail system in one process",
     .queue = true,
     .ports = true,
     .helper = true},
    {.name = "postfleet-ingressd",
     .pid_file = "/ingress.pid",
     .what = "receives mail by SMTP on the ports of master.cf; one of five processes",
     .ports = true},
    {.name = "postfleet-deliveryd",
     .pid_file = "/delivery.pid",
     .what = "delivers mail by SMTP and to mailboxes; one of five processes",
     .helper = true},
    {.name = "postfleet-schedulerd",
     .pid_file = "/scheduler.pid",
     .what =
         "decides when mail is delivered, at postfleet_scheduler_address; one of five processes"},
    {.name = "postfleet-lookupd",
     .pid_file = "/lookup.pid",
     .what =
         "resolves addresses and asks tables, at postfleet_lookup_address; one of five processes"},
    {.name = "postfleet-queued",
     .pid_file = "/master.pid",
     .what = "keeps the queue, at postfleet_queue_address; one of five processes",
     .queue = true},
};

}  // namespace

absl::Span<const ServerProgram> AllServerPrograms() { return kPrograms; }

const ServerProgram* FindServerProgram(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kPrograms), std::end(kPrograms),
                   [name](const ServerProgram& program) { return program.name == name; });
  return found == std::end(kPrograms) ? nullptr : found;
}

std::string ServerHelp(std::string_view name) {
  const ServerProgram* program = FindServerProgram(name);
  std::string help = Concat(
      name, ": ", program == nullptr ? "a server of Postfleet" : program->what,
      ".\n\nusage: ", name,
      " [-c DIR] [--listen NAME=FD]... [--helper FD]... [--log FD]\n"
      "  -c DIR            folder of main.cf and master.cf; else $MAIL_CONFIG, else /etc/postfix\n"
      "  --listen NAME=FD  a listening socket; NAME is the service's first column in master.cf\n"
      "  --helper FD       a connection to postfleet-delivery-helper\n"
      "  --log FD          maillog_file, open\n"
      "The descriptors come from postfleet-launcher, which opens what needs root and then becomes "
      "this program\nas mail_owner: start it that way. SIGTERM ends it; SIGHUP takes over main.cf "
      "and master.cf and opens the log file anew.\n\nexample: ");
  if (name == "postfleetd") {
    ConcatTo(&help, "postfix -c /etc/postfix start\n");
  } else {
    ConcatTo(&help, "postfleet-launcher -c /etc/postfix --server ", name, "\n");
  }
  return help;
}

std::string LauncherHelp() {
  std::string help =
      "postfleet-launcher: does what needs root (lock, queue folders, ports, log file, delivery "
      "helper), drops to\nmail_owner and becomes a server program.\n\n"
      "usage: postfleet-launcher -c DIR [--server PROGRAM]\n"
      "  -c DIR            folder of main.cf and master.cf; else $MAIL_CONFIG; there is no "
      "default\n"
      "  --server PROGRAM  what to start, from the launcher's own folder; without it postfleetd:\n";
  for (const ServerProgram& program : kPrograms) {
    ConcatTo(&help, "      ", program.name, std::string(22 - program.name.size(), ' '),
             program.what, "\n");
  }
  return help +
         "`postfix start` and `postfix start-fg` start it; `postfix status` and `postfix stop` "
         "know "
         "what it started.\n\n"
         "example: postfleet-launcher -c /etc/postfix --server postfleet-queued\n";
}

bool PrintHelpIfAsked(std::string_view name, int argc, char** argv) {
  if (argc < 2) return false;
  const std::string_view first = argv[1];
  if (first != "--help" && first != "-h") return false;
  std::fputs(ServerHelp(name).c_str(), stdout);
  return true;
}

}  // namespace postfleet::server
