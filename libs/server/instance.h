// The programs of an instance, and what they leave below queue_directory for each other and for the
// commands.
//
//   postfleet/              0700, mail_owner's: mail, pid files and the control socket. Who may
//   enter
//                           it has every power over the queue, deletion included.
//   postfleet/NAME.pid      locked while that program runs; its process id, then its name
//   postfleet-public/       0755, mail_owner's: what every user of this machine may reach
//   postfleet-public/queue  unix socket, 0666: lists and flushes, nothing else
//                           (services/queue/public_queue.h)
//
// Postfix's own folders (public, private, pid, ...) are left alone: a Postfix may share the
// queue_directory, and protects its sockets by the modes of those folders.
#pragma once

#include <string>
#include <string_view>

#include "absl/types/span.h"

namespace postfleet::server {

inline constexpr std::string_view kOwnFolder = "/postfleet";
inline constexpr std::string_view kPublicFolder = "/postfleet-public";
inline constexpr std::string_view kPublicSocket = "/postfleet-public/queue";

// In grpc.health.v1: the start is over. The whole server (service "") is ready when it accepts
// mail.
inline constexpr std::string_view kUpService = "up";

// A server program and what it needs from root.
struct ServerProgram {
  std::string_view name;
  std::string_view pid_file;  // in kOwnFolder
  std::string_view what;      // for --help
  bool queue = false;         // it cannot do without the folders and the lock
  bool ports = false;
  bool helper = false;
};

// In the order in which they are stopped: who takes mail in first, who keeps it last. The first is
// all the others in one process; it and the queue share a lock, since a queue has one owner.
absl::Span<const ServerProgram> AllServerPrograms();
const ServerProgram* FindServerProgram(std::string_view name);

// What `NAME --help` prints: of a server program (by its name in the table) and of the launcher.
std::string ServerHelp(std::string_view name);
std::string LauncherHelp();

// True if --help or -h is the first argument: then the help of the server is on standard output.
bool PrintHelpIfAsked(std::string_view name, int argc, char** argv);

}  // namespace postfleet::server
