// The folders of an instance below queue_directory, and the lock that says who runs (instance.h).
//
// Called as root, or as the user whom all of it belongs to. Errors say what, where and what to do.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/server/instance.h"

namespace postfleet::launcher {

// Whom the server runs as.
struct Owner {
  std::string name;  // empty: the user who starts
  uid_t uid = 0;
  gid_t gid = 0;
  // setgid_group, if there is one: who has it may put mail into maildrop. Else only the owner may.
  std::optional<gid_t> submitters = std::nullopt;
};

// Makes queue_directory and the folders in it, maildrop (libs/maildrop/files.h) among them, gives
// the folders to the owner, and syncs their names: mail is not more durable than those, and an
// earlier start may have been cut off before it synced them.
absl::Status MakeQueueFolders(const std::string& queue_directory, const Owner& owner);

// Locks the program's pid file and writes this process's id and the program's name into it. The
// descriptor closes on exec; the lock lasts as long as some process has it open. AlreadyExists:
// somebody else has it.
absl::StatusOr<int> TakeLock(const std::string& queue_directory,
                             const server::ServerProgram& program, const Owner& owner);

}  // namespace postfleet::launcher
