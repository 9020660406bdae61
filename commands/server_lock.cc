#include "commands/server_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "libs/base/concat.h"
#include "libs/config/queue_addresses.h"
#include "libs/server/instance.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kAllInOne = "postfleetd";
constexpr std::string_view kQueueAlone = "postfleet-queued";

absl::Status Failed(std::string_view what) {
  const int error = errno;
  const std::string text = Concat(what, ": ", std::string_view(strerror(error)));
  return error == EACCES ? absl::PermissionDeniedError(text) : absl::UnavailableError(text);
}

// "PID\nPROGRAM\n". pid 0: it holds none.
RunningServer Read(int fd, const std::string& lock_path) {
  RunningServer server = {.program = {}, .pid = 0, .lock_path = lock_path};
  char text[128];
  const ssize_t size = pread(fd, text, sizeof(text), 0);
  if (size <= 0) return server;
  const char* const end = text + size;
  const char* at = std::from_chars(text, end, server.pid).ptr;
  if (at == end || *at != '\n') return server;
  const char* const name = at + 1;
  const char* const name_end = std::find(name, end, '\n');
  // Only a name that is known is said on.
  const std::string_view program(name, static_cast<size_t>(name_end - name));
  if (server::FindServerProgram(program) != nullptr) server.program = program;
  return server;
}

// A pid file; `locked` if its server runs. nullopt: there is no such file.
struct PidFile {
  RunningServer server;
  bool locked = false;
};
absl::StatusOr<std::optional<PidFile>> Look(const std::string& lock_path) {
  const int fd = open(lock_path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) return std::nullopt;
  if (fd < 0) return Failed(Concat("open lock file ", lock_path));
  absl::Cleanup close_fd = [fd] { close(fd); };
  const bool locked = flock(fd, LOCK_SH | LOCK_NB) != 0;
  if (locked && errno != EWOULDBLOCK) return Failed(Concat("lock ", lock_path));
  return PidFile{Read(fd, lock_path), locked};
}

absl::StatusOr<std::optional<RunningServer>> Running(std::optional<PidFile> file) {
  if (!file || !file->locked) return std::nullopt;
  if (file->server.pid > 0) return std::move(file->server);
  return absl::UnavailableError(
      Concat("lock file ", file->server.lock_path,
             " is locked but holds no process id; is the server starting?"));
}

}  // namespace

std::string ServerLockPath(const config::Config& config, std::string_view program) {
  return Concat(config.GetString("queue_directory"), server::kOwnFolder,
                server::FindServerProgram(program)->pid_file);
}

absl::StatusOr<std::optional<RunningServer>> FindServer(const std::string& lock_path) {
  absl::StatusOr<std::optional<PidFile>> file = Look(lock_path);
  if (!file.ok()) return file.status();
  return Running(*std::move(file));
}

absl::StatusOr<Servers> FindServers(const config::Config& config) {
  Servers servers;
  bool five = !config::QueueAddressesOf(config).empty();
  bool all_in_one = false;
  for (const server::ServerProgram& program : server::AllServerPrograms()) {
    absl::StatusOr<std::optional<PidFile>> file = Look(ServerLockPath(config, program.name));
    if (!file.ok()) return file.status();
    // postfleetd and the queue share a file, which says whose it is.
    const bool shared = program.queue;
    if (shared && *file) {
      const bool of_queue = (*file)->server.program == kQueueAlone;
      if (of_queue != (program.name == kQueueAlone)) continue;
    }
    if (!*file) {
      if (program.name != kAllInOne) servers.absent.emplace_back(program.name);
      continue;
    }
    absl::StatusOr<std::optional<RunningServer>> running = Running(**file);
    if (!running.ok()) return running.status();
    if (*running) {
      servers.running.push_back(*std::move(*running));
      (program.name == kAllInOne ? all_in_one : five) = true;
    } else if (program.name != kAllInOne) {
      servers.ended.emplace_back(program.name);
    }
  }
  // What was left by another form that the instance once had says nothing.
  if (all_in_one || !five) servers.ended.clear();
  if (all_in_one || !five) servers.absent.clear();
  return servers;
}

bool MayAdminister(const config::Config& config, uid_t user) {
  if (user == 0) return true;
  const std::string folder = Concat(config.GetString("queue_directory"), server::kOwnFolder);
  struct stat status;
  if (stat(folder.c_str(), &status) != 0) return errno == ENOENT || errno == ENOTDIR;
  return status.st_uid == user;
}

}  // namespace postfleet::commands
