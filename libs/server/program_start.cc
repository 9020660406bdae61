#include "libs/server/program_start.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

#include "libs/base/concat.h"

namespace postfleet::server {
namespace {

constexpr char kOwnFile[] = "/proc/self/exe";
constexpr char kOwnDescriptors[] = "/proc/self/fd";

std::vector<int> OpenDescriptors() {
  std::vector<int> descriptors;
  DIR* folder = opendir(kOwnDescriptors);
  if (folder == nullptr) return descriptors;
  while (const dirent* entry = readdir(folder)) {
    const std::string_view name = entry->d_name;
    int fd = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), fd);
    if (error == std::errc() && end == name.data() + name.size() && fd != dirfd(folder)) {
      descriptors.push_back(fd);
    }
  }
  closedir(folder);
  return descriptors;
}

}  // namespace

ProgramStart ProgramStart::Of(int argc, char** argv) {
  ProgramStart start;
  start.arguments_.assign(argv, argv + argc);
  for (const int fd : OpenDescriptors()) {
    struct stat status;
    // What has the flag is of a library that was loaded, not of whoever started us.
    const int flags = fcntl(fd, F_GETFD);
    if (flags < 0 || (flags & FD_CLOEXEC) != 0 || fstat(fd, &status) != 0) continue;
    start.inherited_.push_back({fd, status.st_dev, status.st_ino});
  }
  return start;
}

absl::Status ProgramStart::Again() const {
  std::vector<char*> arguments;
  for (const std::string& argument : arguments_) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  if (close_range(0, ~0U, CLOSE_RANGE_CLOEXEC) != 0) {
    return absl::InternalError(Concat("close_range: ", strerror(errno)));
  }
  for (const Inherited& inherited : inherited_) {
    struct stat status;
    if (fstat(inherited.fd, &status) == 0 && status.st_dev == inherited.device &&
        status.st_ino == inherited.inode) {
      fcntl(inherited.fd, F_SETFD, 0);
    }
  }
  execv(kOwnFile, arguments.data());
  return absl::InternalError(Concat("exec of ", kOwnFile, ": ", strerror(errno)));
}

}  // namespace postfleet::server
