// Which processes are the running servers of an instance on this machine. The launcher writes the
// process id and the program's name into a pid file ($queue_directory/postfleet/NAME.pid,
// libs/server/instance.h) and holds a flock on it, which the server keeps; the lock ends with
// the processes, so a file that was left by a crash is not believed.
//
// Errors: the file is there and cannot be read (PermissionDenied: this user is neither root nor the
// one whom the servers belong to), or is locked and holds no process id.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/config.h"

namespace postfleet::commands {

struct RunningServer {
  std::string program;  // "postfleet-ingressd"; empty if the file does not say
  pid_t pid = 0;
  std::string lock_path;
};

std::string ServerLockPath(const config::Config& config, std::string_view program = "postfleetd");

// nullopt: no server runs. Looking takes a shared lock for a moment: a server that starts in that
// moment would be refused its own.
absl::StatusOr<std::optional<RunningServer>> FindServer(const std::string& lock_path);

// The servers of the instance, in the order in which they are stopped. In the form of five
// processes also those of the five that do not run: `ended` were started on this machine since its
// queue_directory exists, `absent` never were (they may run on another one).
struct Servers {
  std::vector<RunningServer> running;
  std::vector<std::string> ended;
  std::vector<std::string> absent;
};
absl::StatusOr<Servers> FindServers(const config::Config& config);

// True for root, for the user whom the servers belong to, and where there is nothing yet that
// belongs to anybody: may do everything with this instance.
bool MayAdminister(const config::Config& config, uid_t user);

}  // namespace postfleet::commands
