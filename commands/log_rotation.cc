#include "commands/log_rotation.h"

#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

constexpr std::chrono::seconds kServersOpenWithin{1};

absl::StatusOr<std::string> Suffix(const std::string& format) {
  const time_t now = time(nullptr);
  struct tm local;
  localtime_r(&now, &local);
  char text[256];
  const size_t size = strftime(text, sizeof(text), format.c_str(), &local);
  const std::string suffix(text, size);
  if (size == 0 || suffix.find('/') != suffix.npos) {
    return absl::InvalidArgumentError(
        Concat("maillog_file_rotate_suffix '", format, "' makes no file name"));
  }
  return suffix;
}

absl::Status Compress(const std::string& program, const std::string& path) {
  std::string name = program, argument = path;
  char* arguments[] = {name.data(), argument.data(), nullptr};
  pid_t child = -1;
  if (const int error = posix_spawnp(&child, program.c_str(), nullptr, nullptr, arguments, environ);
      error != 0) {
    return absl::UnavailableError(Concat(program, ": ", std::string(strerror(error))));
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::UnavailableError(Concat(program, " failed for ", path));
}

absl::Status Rotate(const config::Config& config, const std::string& path,
                    const std::function<absl::Status()>& open_new) {
  const absl::StatusOr<std::string> suffix = Suffix(config.GetString("maillog_file_rotate_suffix"));
  if (!suffix.ok()) return suffix.status();
  const std::string old = Concat(path, ".", *suffix);
  if (rename(path.c_str(), old.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, Concat("rename ", path, " to ", old));
  }
  if (const absl::Status opened = open_new(); !opened.ok()) return opened;
  std::this_thread::sleep_for(kServersOpenWithin);
  return Compress(config.GetString("maillog_file_compressor"), old);
}

}  // namespace

absl::Status RotateLog(const config::Config& config,
                       const std::function<absl::Status()>& open_new) {
  for (const char* name :
       {"maillog_file", "maillog_file_compressor", "maillog_file_rotate_suffix"}) {
    if (config.GetString(name).empty()) {
      return absl::InvalidArgumentError(
          Concat("empty '", name, "' parameter value - logfile rotation failed"));
    }
  }
  const std::string path = config.GetString("maillog_file");
  if (path.starts_with("/dev/")) {
    return absl::InvalidArgumentError(Concat("not rotating '", path, "'"));
  }
  const absl::Status rotated = Rotate(config, path, open_new);
  if (rotated.ok()) return rotated;
  return absl::Status(
      rotated.code(),
      Concat("logfile '", path, "' rotation failed: ", std::string(rotated.message())));
}

}  // namespace postfleet::commands
