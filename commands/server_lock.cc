#include "commands/server_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "libs/base/concat.h"

namespace postfleet::commands {

std::string ServerLockPath(const config::Config& config) {
  return config.GetString("queue_directory") + "/postfleet/master.pid";
}

absl::StatusOr<std::optional<pid_t>> FindServer(const std::string& lock_path) {
  const int fd = open(lock_path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) return std::nullopt;
  if (fd < 0) {
    const std::string reason = strerror(errno);
    return absl::UnavailableError(Concat("open lock file ", lock_path, ": ", reason));
  }
  absl::Cleanup close_fd = [fd] { close(fd); };
  if (flock(fd, LOCK_SH | LOCK_NB) == 0) return std::nullopt;
  if (errno != EWOULDBLOCK) {
    const std::string reason = strerror(errno);
    return absl::UnavailableError(Concat("lock ", lock_path, ": ", reason));
  }
  char text[32];
  const ssize_t size = pread(fd, text, sizeof(text), 0);
  pid_t pid = 0;
  if (size > 0) std::from_chars(text, text + size, pid);
  if (pid > 0) return pid;
  return absl::UnavailableError(Concat(
      "lock file ", lock_path, " is locked but holds no process id; is the server starting?"));
}

}  // namespace postfleet::commands
