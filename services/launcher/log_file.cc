#include "services/launcher/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "libs/base/concat.h"

namespace postfleet::launcher {
namespace {

constexpr int kFlags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

absl::Status Failed(const std::string& path, std::string_view why) {
  return absl::UnavailableError(Concat("open maillog_file ", path, ": ", why));
}

absl::Status FailedErrno(const std::string& path) { return Failed(path, strerror(errno)); }

bool IsTrusted(uid_t uid) { return uid == 0 || uid == geteuid(); }

// Nobody else has made it or can change it.
bool IsTrustedLink(const std::string& path) {
  const std::string folder = path.substr(0, path.rfind('/') + 1);
  struct stat link, above;
  return lstat(path.c_str(), &link) == 0 && stat(folder.c_str(), &above) == 0 &&
         IsTrusted(link.st_uid) && IsTrusted(above.st_uid) &&
         (above.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

int OpenExisting(const std::string& path) {
  const int fd = open(path.c_str(), kFlags | O_NOFOLLOW);
  if (fd >= 0 || errno != ELOOP || !IsTrustedLink(path)) return fd;
  return open(path.c_str(), kFlags);
}

}  // namespace

absl::StatusOr<int> OpenLogFile(const std::string& path, mode_t mode, uid_t owner, gid_t group) {
  int fd = open(path.c_str(), kFlags | O_CREAT | O_EXCL, mode);
  const bool made = fd >= 0;
  if (!made && errno == EEXIST) fd = OpenExisting(path);
  if (fd < 0 && errno == ELOOP) return Failed(path, "file is a symbolic link");
  if (fd < 0) return FailedErrno(path);
  absl::Cleanup close_fd = [fd] { close(fd); };
  if (made && geteuid() == 0 && fchown(fd, owner, group) != 0) return FailedErrno(path);
  struct stat file;
  if (fstat(fd, &file) != 0) return FailedErrno(path);
  if (S_ISREG(file.st_mode) && file.st_nlink != 1) {
    return Failed(path, Concat("file has ", file.st_nlink, " hard links"));
  }
  if (fcntl(fd, F_SETFL, O_APPEND) != 0) return FailedErrno(path);
  std::move(close_fd).Cancel();
  return fd;
}

}  // namespace postfleet::launcher
