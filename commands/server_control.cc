#include "commands/server_control.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>

#include "absl/cleanup/cleanup.h"
#include "commands/queue_client.h"
#include "commands/server_lock.h"
#include "libs/base/concat.h"

// glibc 2.36's header does not say that its functions are C's.
extern "C" {
#include <sys/pidfd.h>
#include <sys/stat.h>
}

extern char** environ;

namespace postfleet::commands {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kHealthWaitMs = 100;
constexpr int kPollMs = 20;

absl::Status Failed(std::string_view what, int error) {
  return absl::UnavailableError(Concat(what, ": ", std::string(strerror(error))));
}

// The process with its standard error on `errors`.
absl::StatusOr<pid_t> Spawn(const std::vector<std::string>& arguments, int errors) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&files, errors, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, argv[0], &files, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return Failed(Concat("run ", arguments[0]), error);
  return pid;
}

// What has arrived so far; the reading end does not block.
void CopyErrors(int from, FILE* to) {
  char bytes[4096];
  ssize_t size;
  while ((size = read(from, bytes, sizeof(bytes))) > 0) {
    fwrite(bytes, 1, static_cast<size_t>(size), to);
  }
}

// How a process ended, or nullopt while it runs.
std::optional<std::string> FindEnd(pid_t pid) {
  int status = 0;
  if (waitpid(pid, &status, WNOHANG) != pid) return std::nullopt;
  if (WIFEXITED(status)) return Concat("exit status ", WEXITSTATUS(status));
  return Concat("signal ", WTERMSIG(status));
}

}  // namespace

absl::Status StartServer(const std::vector<std::string>& argv, const std::string& address,
                         FILE* err) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Failed("pipe", errno);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  absl::Cleanup close_reading = [&] { close(ends[0]); };
  // Inherited: what the server says to its standard error later must not end it.
  signal(SIGPIPE, SIG_IGN);
  const absl::StatusOr<pid_t> pid = Spawn(argv, ends[1]);
  close(ends[1]);
  if (!pid.ok()) return pid.status();

  // gRPC runs from here on: nothing is spawned any more.
  const std::shared_ptr<grpc::Channel> channel = OpenChannel(address);
  const auto until = SteadyClock::now() + std::chrono::seconds(kStartSecondsMax);
  while (SteadyClock::now() < until) {
    const bool serving = IsUp(channel, kHealthWaitMs);
    // Whoever answers is not that process if it has ended.
    const std::optional<std::string> end = FindEnd(*pid);
    CopyErrors(ends[0], err);
    if (end) return absl::AbortedError(*end);
    if (serving) return absl::OkStatus();
    poll(nullptr, 0, kPollMs);  // one that answers "not yet" is not asked all the time
  }
  return absl::DeadlineExceededError(
      Concat("process ", *pid, " does not answer after ", kStartSecondsMax, " s and runs on"));
}

// The server writes the lock file, so it could name any process. Root signals only one of the user
// whom the folder belongs to.
absl::Status CheckOwner(pid_t pid, const std::string& lock_path) {
  struct stat folder, process;
  const std::string folder_path = lock_path.substr(0, lock_path.rfind('/'));
  if (stat(folder_path.c_str(), &folder) != 0) return Failed("stat " + folder_path, errno);
  if (stat(Concat("/proc/", pid).c_str(), &process) != 0) return absl::OkStatus();  // it has ended
  if (process.st_uid == folder.st_uid) return absl::OkStatus();
  return absl::PermissionDeniedError(Concat(lock_path, " names process ", pid,
                                            ", which is not of the user whom ", folder_path,
                                            " belongs to; it gets no signal"));
}

absl::Status StopServer(const RunningServer& server, const std::function<void()>& on_waiting) {
  const pid_t pid = server.pid;
  const std::string& lock_path = server.lock_path;
  const int fd = pidfd_open(pid, 0);
  if (fd < 0 && errno != ESRCH) return Failed(Concat("open process ", pid), errno);
  absl::Cleanup close_fd = [fd] { close(fd); };
  if (const absl::Status owner = CheckOwner(pid, lock_path); !owner.ok()) return owner;
  if (fd >= 0 && pidfd_send_signal(fd, SIGTERM, nullptr, 0) != 0 && errno != ESRCH) {
    return Failed(Concat("stop process ", pid), errno);
  }
  const auto until = SteadyClock::now() + std::chrono::seconds(kStopSecondsMax);
  pollfd gone = {fd, POLLIN, 0};
  while (fd >= 0 && poll(&gone, 1, kStopWordEverySeconds * 1000) == 0) {
    if (SteadyClock::now() > until) {
      return absl::DeadlineExceededError(
          Concat("process ", pid, " is still there ", kStopSecondsMax, " s after SIGTERM"));
    }
    on_waiting();
  }
  // Processes that the server started hold the lock until they have seen that it is gone.
  while (SteadyClock::now() < until) {
    const auto running = FindServer(lock_path);
    if (!running.ok() || !*running) return running.status();
    if ((*running)->pid != pid) return absl::OkStatus();  // another one has started
    poll(nullptr, 0, kPollMs);
  }
  return absl::DeadlineExceededError(Concat(lock_path, " is still locked"));
}

static absl::Status Signal(const RunningServer& server, int signal) {
  if (const absl::Status owner = CheckOwner(server.pid, server.lock_path); !owner.ok()) {
    return owner;
  }
  if (kill(server.pid, signal) != 0) return Failed(Concat("signal process ", server.pid), errno);
  return absl::OkStatus();
}

absl::Status ReloadServer(const RunningServer& server) { return Signal(server, SIGHUP); }

absl::Status AbortServer(const RunningServer& server) { return Signal(server, SIGTERM); }

}  // namespace postfleet::commands
