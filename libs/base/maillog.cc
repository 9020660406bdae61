#include "libs/base/maillog.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

namespace postfleet::maillog {
namespace {

constexpr std::chrono::milliseconds kFlushInterval{100};
constexpr size_t kBufferBytesMax = 64 * 1024;
// Past this a writer waits for the file: the log does not grow in memory when the disk is slow.
constexpr size_t kBufferBytesLimit = 4 * 1024 * 1024;
constexpr size_t kLineBytesMax = 4096;

void WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      if (fd != STDERR_FILENO) WriteAll(STDERR_FILENO, bytes);
      return;
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

// -1: this machine has none.
int ConnectSyslog() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, "/dev/log");
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0)
    return fd;
  if (fd >= 0) close(fd);
  return -1;
}

// One datagram a line: the priority, then the line without its host name (syslogd adds it).
void SendToSyslog(int fd, std::string_view lines, size_t hostname_bytes) {
  constexpr size_t kTimestampBytes = 16;  // with the blank behind it
  constexpr int kMailInfo = LOG_MAIL | LOG_INFO;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(line.size() + 1);
    const std::string datagram = Concat("<", kMailInfo, ">", line.substr(0, kTimestampBytes),
                                        line.substr(kTimestampBytes + hostname_bytes + 1));
    if (send(fd, datagram.data(), datagram.size(), MSG_NOSIGNAL) < 0)
      WriteAll(STDERR_FILENO, Concat(line, "\n"));
  }
}

// "Nov 22 17:28:50", formatted once a second.
class Timestamp {
 public:
  const std::string& Now() {
    const time_t now = time(nullptr);
    if (now != at_) {
      at_ = now;
      struct tm local;
      localtime_r(&now, &local);
      char text[32];
      text_.assign(text, strftime(text, sizeof(text), "%b %e %H:%M:%S", &local));
    }
    return text_;
  }

 private:
  time_t at_ = -1;
  std::string text_;
};

class Log {
 public:
  Log() = default;

  ~Log() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (writer_.joinable()) writer_.join();
    Flush();
  }

  absl::Status Open(const Options& options) {
    std::lock_guard write_lock(write_mutex_);
    const int fd = options.fd >= 0 ? options.fd : OpenFile(options);
    struct stat kind;
    const bool to_syslog =
        fd >= 0 && fstat(fd, &kind) == 0 && S_ISSOCK(kind.st_mode) && options.path.empty();
    if (fd < 0) {
      return absl::ErrnoToStatus(errno, Concat("open logfile '", options.path, "'"));
    }
    std::lock_guard lock(mutex_);
    Replace(fd);
    to_syslog_ = to_syslog;
    options_ = options;
    options_.fd = -1;  // of this opening only
    suffix_ = Concat("[", getpid(), "]: ");
    if (!writer_.joinable()) writer_ = std::thread([this] { Run(); });
    return absl::OkStatus();
  }

  absl::Status Reopen() {
    Flush();
    return Open(options_);
  }

  void Write(std::string_view program, std::string_view line) {
    if (line.size() > kLineBytesMax) line = line.substr(0, kLineBytesMax);
    bool full;
    {
      std::lock_guard lock(mutex_);
      ConcatTo(&buffer_, timestamp_.Now(), " ", options_.hostname, " ");
      if (program.starts_with('/')) {
        ConcatTo(&buffer_, program.substr(1), suffix_);
      } else {
        ConcatTo(&buffer_, options_.syslog_name, "/", program, suffix_);
      }
      const size_t start = buffer_.size();
      buffer_.append(line);
      for (size_t i = start; i < buffer_.size(); ++i) {
        const unsigned char c = static_cast<unsigned char>(buffer_[i]);
        if (c < 0x20 || c == 0x7F) buffer_[i] = '?';
      }
      buffer_.push_back('\n');
      full = buffer_.size() >= kBufferBytesMax;
      if (buffer_.size() < kBufferBytesLimit && writer_.joinable()) {
        if (full) wake_.notify_one();
        return;
      }
    }
    Flush();
  }

  void Flush() {
    std::lock_guard write_lock(write_mutex_);  // keeps lines in order
    std::string lines;
    int fd;
    bool to_syslog;
    size_t hostname_bytes;
    {
      std::lock_guard lock(mutex_);
      lines.swap(buffer_);
      fd = fd_;
      to_syslog = to_syslog_;
      hostname_bytes = options_.hostname.size();
    }
    if (lines.empty()) return;
    if (to_syslog) {
      SendToSyslog(fd, lines, hostname_bytes);
    } else {
      WriteAll(fd, lines);
    }
  }

 private:
  static int OpenFile(const Options& options) {
    if (options.path.empty()) {
      const int syslog = ConnectSyslog();
      return syslog >= 0 ? syslog : dup(STDERR_FILENO);
    }
    if (options.path == "/dev/stdout") return dup(STDOUT_FILENO);
    return open(options.path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, options.mode);
  }

  void Replace(int fd) {
    if (fd_ != STDERR_FILENO) close(fd_);
    fd_ = fd;
  }

  void Run() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      wake_.wait_for(lock, kFlushInterval);
      if (buffer_.empty()) continue;
      lock.unlock();
      Flush();
      lock.lock();
    }
  }

  std::mutex write_mutex_;  // taken before mutex_; held over the write
  std::mutex mutex_;        // protects all below
  std::condition_variable wake_;
  std::string buffer_;
  Timestamp timestamp_;
  Options options_;
  std::string suffix_ = Concat("[", getpid(), "]: ");
  int fd_ = STDERR_FILENO;
  bool to_syslog_ = false;
  bool stopping_ = false;
  std::thread writer_;
};

Log& TheLog() {
  static Log log;
  return log;
}

}  // namespace

absl::Status Open(const Options& options) { return TheLog().Open(options); }
absl::Status Reopen() { return TheLog().Reopen(); }
void Write(std::string_view program, std::string_view line) { TheLog().Write(program, line); }

std::string ProgramOf(std::string_view syslog_name, std::string_view command) {
  constexpr std::string_view kUsual = "postfix";
  if (syslog_name == kUsual) return std::string(command);
  if (syslog_name.starts_with(Concat(kUsual, "/"))) {
    return Concat(syslog_name.substr(kUsual.size() + 1), "/", command);
  }
  return Concat("/", syslog_name, "/", command);
}
void Flush() { TheLog().Flush(); }

void FatalLine(std::string_view program, std::string_view line) {
  Write(program, line);
  Flush();
}

}  // namespace postfleet::maillog
