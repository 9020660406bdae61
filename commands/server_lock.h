// Which process is the running server of an instance. The launcher writes its process id, which the
// server keeps, into $queue_directory/postfleet/master.pid and holds a flock on that file; the lock
// ends with the processes, so a file that was left by a crash is not believed.
//
// Errors: the file is there and cannot be read, or is locked and holds no process id.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "libs/config/config.h"

namespace postfleet::commands {

std::string ServerLockPath(const config::Config& config);

// nullopt: no server runs. Looking takes a shared lock for a moment: a server that starts in that
// moment would be refused its own.
absl::StatusOr<std::optional<pid_t>> FindServer(const std::string& lock_path);

}  // namespace postfleet::commands
