#include "libs/base/log_sink.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace postfleet::maillog {
namespace {

constexpr int kPollSliceMs = 50;
// Of a pipe that polls as writable, this much can be written without waiting (PIPE_BUF).
constexpr size_t kPieceBytes = 4096;
// Where there is no syslogd, it is looked for this often.
constexpr std::chrono::seconds kSyslogRetry{1};

bool IsWritable(int fd, int timeout_ms) {
  pollfd entry{.fd = fd, .events = POLLOUT, .revents = 0};
  return poll(&entry, 1, timeout_ms) > 0;
}

bool IsRegularFile(int fd) {
  struct stat kind;
  return fstat(fd, &kind) == 0 && S_ISREG(kind.st_mode);
}

uint64_t LinesIn(std::string_view lines) {
  return static_cast<uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
}

// Bytes written, or -1.
ssize_t WriteSome(int fd, std::string_view bytes) {
  ssize_t written;
  do {
    written = write(fd, bytes.data(), bytes.size());
  } while (written < 0 && errno == EINTR);
  return written;
}

}  // namespace

LogSink::LogSink(LogSink&& other) noexcept { *this = std::move(other); }

LogSink& LogSink::operator=(LogSink&& other) noexcept {
  if (this == &other) return *this;
  Close();
  fd_ = std::exchange(other.fd_, STDERR_FILENO);
  syslog_path_ = std::exchange(other.syslog_path_, {});
  torn_ = other.torn_;
  lost_lines_ += other.lost_lines_;
  return *this;
}

LogSink::~LogSink() { Close(); }

void LogSink::Close() {
  if (fd_ >= 0 && fd_ != STDERR_FILENO) close(fd_);
  fd_ = -1;
}

LogSink LogSink::OfDescriptor(int fd) {
  LogSink sink;
  sink.fd_ = fd;
  return sink;
}

LogSink LogSink::OfSyslog(std::string path) {
  LogSink sink;
  sink.syslog_path_ = std::move(path);
  sink.fd_ = -1;
  sink.ConnectSyslog();
  return sink;
}

std::string_view LogSink::Write(std::string_view lines, const std::function<bool()>& give_up) {
  if (is_syslog()) return WriteSyslog(lines, give_up);
  if (torn_ && WriteSome(fd_, "\n") == 1) torn_ = false;
  return WriteStream(lines, give_up);
}

std::string_view LogSink::WriteStream(std::string_view lines,
                                      const std::function<bool()>& give_up) {
  const bool waits = !IsRegularFile(fd_);
  bool inside_line = false;
  while (!lines.empty()) {
    while (waits && !IsWritable(fd_, kPollSliceMs)) {
      if (give_up()) return lines;
    }
    const ssize_t written = WriteSome(fd_, waits ? lines.substr(0, kPieceBytes) : lines);
    if (written < 0 && errno == EAGAIN) continue;
    if (written < 0) {
      torn_ = inside_line;
      ToStandardError(lines);
      return {};
    }
    if (written > 0) inside_line = lines[static_cast<size_t>(written) - 1] != '\n';
    lines.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

void LogSink::ToStandardError(std::string_view lines) {
  const bool fits = fd_ != STDERR_FILENO && IsWritable(STDERR_FILENO, 0) &&
                    WriteSome(STDERR_FILENO, lines.substr(0, kPieceBytes)) >= 0;
  if (!fits) {
    lost_lines_ += LinesIn(lines);
  } else if (lines.size() > kPieceBytes) {
    lost_lines_ += LinesIn(lines.substr(kPieceBytes));
  }
}

std::string_view LogSink::WriteSyslog(std::string_view lines,
                                      const std::function<bool()>& give_up) {
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    Sending sent = Send(line);
    if (sent == Sending::kFailed) {  // once more, by a syslogd that may have come since
      ConnectSyslog();
      sent = Send(line);
    }
    if (sent == Sending::kWouldBlock) {
      if (!IsWritable(fd_, kPollSliceMs) && give_up()) return lines;
      continue;
    }
    if (sent == Sending::kFailed) {
      ToStandardError(std::string(line.substr(line.find('>') + 1)).append("\n"));
    }
    lines.remove_prefix(std::min(lines.size(), line.size() + 1));
  }
  return {};
}

LogSink::Sending LogSink::Send(std::string_view line) {
  if (fd_ < 0) return Sending::kFailed;
  if (send(fd_, line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return Sending::kSent;
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS ? Sending::kWouldBlock
                                                                     : Sending::kFailed;
}

void LogSink::ConnectSyslog() {
  const auto now = std::chrono::steady_clock::now();
  if (fd_ < 0 && now < syslog_retry_) return;
  syslog_retry_ = now + kSyslogRetry;
  Close();
  sockaddr_un address{};
  if (syslog_path_.size() >= sizeof(address.sun_path)) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, syslog_path_.data(), syslog_path_.size());
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    fd_ = fd;
  } else {
    close(fd);
  }
}

}  // namespace postfleet::maillog
