#include "commands/sendmail_postdrop.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "commands/postdrop.h"
#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kRefused = "refused ";

struct Pipe {
  int read = -1;
  int write = -1;

  bool Open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    read = ends[0];
    write = ends[1];
    return true;
  }
};

}  // namespace

std::string Beside(std::string_view program) {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  const std::string self(path, size > 0 ? static_cast<size_t>(size) : 0);
  return Concat(self.substr(0, self.rfind('/') + 1), program);
}

absl::StatusOr<PostdropProcess> PostdropProcess::Start(const std::string& config_directory) {
  const std::string path = Beside("postdrop");
  Pipe input, output;
  if (!input.Open() || !output.Open()) {
    return absl::UnavailableError(Concat("pipe: ", std::string_view(strerror(errno))));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.read, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.write, STDOUT_FILENO);
  std::string words[] = {"postdrop", "-r", "-c", config_directory};
  char* const arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(),
                             nullptr};
  PostdropProcess process;
  const int error =
      posix_spawn(&process.process_, path.c_str(), &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(input.read);
  close(output.write);
  process.input_ = input.write;
  process.output_ = output.read;
  if (error == 0) return process;
  process.process_ = -1;
  return absl::UnavailableError(
      Concat("unable to execute ", path, ": ", std::string_view(strerror(error))));
}

PostdropProcess::PostdropProcess(PostdropProcess&& other) noexcept
    : process_(std::exchange(other.process_, -1)),
      input_(std::exchange(other.input_, -1)),
      output_(std::exchange(other.output_, -1)),
      said_(std::move(other.said_)),
      has_id_(other.has_id_) {}

PostdropProcess::~PostdropProcess() {
  Wait();
  if (output_ >= 0) close(output_);
}

// An input that ends before its last record is no mail.
int PostdropProcess::Wait() {
  if (input_ >= 0) close(std::exchange(input_, -1));
  if (process_ < 0) return -1;
  int status = 0;
  while (waitpid(process_, &status, 0) < 0 && errno == EINTR) {
  }
  process_ = -1;
  return status;
}

std::string PostdropProcess::ReadLine() {
  while (said_.find('\n') == said_.npos) {
    char bytes[512];
    const ssize_t size = read(output_, bytes, sizeof(bytes));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return "";
    said_.append(bytes, static_cast<size_t>(size));
  }
  const size_t end = said_.find('\n');
  std::string line = said_.substr(0, end);
  said_.erase(0, end + 1);
  return line;
}

std::string PostdropProcess::QueueId() {
  has_id_ = true;
  return ReadLine();
}

void PostdropProcess::Write(std::string_view records) {
  while (!records.empty()) {
    const ssize_t written = write(input_, records.data(), records.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return;
    records.remove_prefix(static_cast<size_t>(written));
  }
}

absl::Status PostdropProcess::Commit() {
  if (!has_id_) QueueId();
  close(std::exchange(input_, -1));
  const std::string word = ReadLine();
  const int status = Wait();
  if (word.starts_with(kRefused)) {
    return absl::PermissionDeniedError(word.substr(kRefused.size()));
  }
  switch (WIFEXITED(status) ? WEXITSTATUS(status) : -1) {
    case 0:
      if (word == "ok") return absl::OkStatus();
      break;
    case kPostdropTooBig:
      return absl::OutOfRangeError("message file too big");
    case kPostdropNoRights:
      return absl::FailedPreconditionError("mail cannot be put into maildrop");
    default:
      break;
  }
  return absl::UnavailableError("queue file write error");
}

}  // namespace postfleet::commands
