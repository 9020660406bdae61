#include "libs/config/file_text.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "libs/base/concat.h"

namespace postfleet::config {
namespace {

absl::Status ErrnoStatus(std::string_view what, const std::string& path) {
  return absl::ErrnoToStatus(errno, Concat(what, ' ', path));
}

}  // namespace

absl::StatusOr<std::string> ReadFileText(const std::string& path) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus("open", path);
  absl::Cleanup close_fd = [fd] { close(fd); };
  std::string text;
  char buffer[65536];
  for (;;) {
    ssize_t size = read(fd, buffer, sizeof buffer);
    if (size == 0) return text;
    if (size > 0) {
      text.append(buffer, static_cast<size_t>(size));
    } else if (errno != EINTR) {
      return ErrnoStatus("read", path);
    }
  }
}

}  // namespace postfleet::config
