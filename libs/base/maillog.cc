#include "libs/base/maillog.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <iterator>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "libs/base/log_sink.h"
#include "libs/base/log_text.h"

namespace postfleet::maillog {
namespace {

constexpr std::chrono::milliseconds kGatherTime{20};
constexpr std::chrono::milliseconds kFlushWait{1000};
constexpr size_t kBufferBytesMax = 64 * 1024;
constexpr size_t kBufferBytesLimit = 4 * 1024 * 1024;

// What stands in front of a line: of Postfix's file, of syslog, of JSON. Formatted once a second.
class Timestamp {
 public:
  // "Nov 05 17:28:50": two digits, as postlogd writes it; syslog has a blank there (RFC 3164).
  const std::string& Local(bool syslog) {
    const time_t now = time(nullptr);
    if (now != local_at_) {
      local_at_ = now;
      struct tm local;
      localtime_r(&now, &local);
      char text[32];
      local_.assign(
          text, strftime(text, sizeof(text), syslog ? "%b %e %H:%M:%S" : "%b %d %H:%M:%S", &local));
    }
    return local_;
  }

  // "2026-11-22T16:28:50.123456Z" (RFC 3339).
  const std::string& Utc() {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != utc_at_) {
      utc_at_ = now.tv_sec;
      struct tm utc;
      gmtime_r(&now.tv_sec, &utc);
      char text[32];
      utc_.assign(text, strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.000000Z", &utc));
    }
    long microseconds = now.tv_nsec / 1000;
    for (size_t digit = 0; digit < 6; ++digit, microseconds /= 10) {
      utc_[utc_.size() - 2 - digit] = static_cast<char>('0' + microseconds % 10);
    }
    return utc_;
  }

  void Forget() { local_at_ = utc_at_ = -1; }

 private:
  time_t local_at_ = -1;
  time_t utc_at_ = -1;
  std::string local_;
  std::string utc_;
};

int PriorityOf(int facility, Severity severity) {
  switch (severity) {
    case Severity::kWarning:
      return facility | LOG_WARNING;
    case Severity::kError:
      return facility | LOG_ERR;
    case Severity::kFatal:
    case Severity::kPanic:
      return facility | LOG_CRIT;
    case Severity::kInfo:
      break;
  }
  return facility | LOG_INFO;
}

absl::StatusOr<LogSink> OpenSink(const Options& options) {
  if (options.path.empty()) {
    LogSink syslog = LogSink::OfSyslog(options.syslog_path);
    // A machine without syslog is told once, by where the lines are.
    if (syslog.fd() >= 0) return syslog;
    return access(options.syslog_path.c_str(), F_OK) == 0 ? std::move(syslog) : LogSink();
  }
  int fd = options.fd;
  if (fd < 0 && options.path == "/dev/stdout") fd = dup(STDOUT_FILENO);
  if (fd < 0) {
    fd = open(options.path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, options.mode);
  }
  if (fd < 0) return absl::ErrnoToStatus(errno, Concat("open logfile '", options.path, "'"));
  return LogSink::OfDescriptor(fd);
}

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
    absl::StatusOr<LogSink> sink = OpenSink(options);
    if (!sink.ok()) return sink.status();
    Flush();  // where and how they were meant
    std::unique_lock lock(mutex_);
    if (!WaitForWriter(lock, std::chrono::steady_clock::now() + kFlushWait)) {
      return absl::UnavailableError("the old log is stuck");
    }
    lost_before_ += sink_.lost_lines();
    sink_ = *std::move(sink);
    options_ = options;
    options_.fd = -1;  // of this opening only
    pid_ = Concat(getpid());
    timestamp_.Forget();
    KeepFacts(options.format == Format::kJson);
    if (!writer_.joinable()) writer_ = std::thread([this] { Run(); });
    return absl::OkStatus();
  }

  absl::Status Reopen() {
    Options options;
    {
      std::lock_guard lock(mutex_);
      options = options_;
    }
    return Open(options);
  }

  void Write(std::string_view program, const Line& line) {
    const Severity severity = SeverityOf(line.text());
    bool wake, unwatched;
    {
      std::lock_guard lock(mutex_);
      if (buffer_.size() >= kBufferBytesLimit) {
        ++dropped_;
        return;
      }
      const size_t before = buffer_.size();
      AppendLine(program, severity, line);
      wake = before == 0 || (before < kBufferBytesMax && buffer_.size() >= kBufferBytesMax);
      unwatched = !writer_.joinable();
    }
    if (unwatched) return Flush();
    if (wake) wake_.notify_one();
  }

  void Flush() {
    const auto until = std::chrono::steady_clock::now() + kFlushWait;
    std::unique_lock lock(mutex_);
    if (!WaitForWriter(lock, until)) return;
    WriteOut(lock, [until] { return std::chrono::steady_clock::now() >= until; });
  }

  uint64_t LostLines() {
    std::lock_guard lock(mutex_);
    return lost_before_ + dropped_before_ + dropped_ + sink_lost_;
  }

  // In a signal handler: takes no lock, and is right unless another thread logs at this moment.
  void FlushInCrash() {
    if (!sink_.is_syslog() && !buffer_.empty()) {
      [[maybe_unused]] const ssize_t written = write(sink_.fd(), buffer_.data(), buffer_.size());
    }
  }

 private:
  // Under mutex_.
  void AppendLine(std::string_view program, Severity severity, const Line& line) {
    const bool own_name = program.starts_with('/');
    const auto process = [&] {
      if (!own_name) ConcatTo(&buffer_, options_.syslog_name, '/');
      buffer_.append(program.substr(own_name ? 1 : 0));
    };
    const bool syslog = sink_.is_syslog();
    if (syslog) ConcatTo(&buffer_, '<', PriorityOf(options_.facility, severity), '>');
    if (syslog || options_.format == Format::kPostfix) {
      ConcatTo(&buffer_, timestamp_.Local(syslog), ' ');
      if (!syslog) ConcatTo(&buffer_, options_.hostname, ' ');
      process();
      ConcatTo(&buffer_, '[', pid_, "]: ");
    }
    if (options_.format == Format::kPostfix) {
      AppendClean(line.text(), options_.utf8, &buffer_);
    } else {
      ConcatTo(&buffer_, "{\"time\":\"", timestamp_.Utc(), "\",\"host\":");
      AppendJsonString(options_.hostname, options_.utf8, &buffer_);
      buffer_.append(",\"process\":\"");
      process();
      ConcatTo(&buffer_, "\",\"pid\":", pid_, ",\"severity\":\"", NameOf(severity), '"');
      AppendJsonFacts(line, options_.utf8, &buffer_);
      buffer_.push_back('}');
    }
    buffer_.push_back('\n');
  }

  // False: somebody still writes at `until`. The lock is held at both ends.
  bool WaitForWriter(std::unique_lock<std::mutex>& lock,
                     std::chrono::steady_clock::time_point until) {
    return written_.wait_until(lock, until, [this] { return !writing_; });
  }

  // One at a time, which keeps lines in order; without the lock while it writes.
  void WriteOut(std::unique_lock<std::mutex>& lock, const std::function<bool()>& give_up) {
    std::string lines;
    lines.swap(buffer_);
    dropped_before_ += dropped_;
    lost_unsaid_ += std::exchange(dropped_, 0);
    writing_ = true;
    lock.unlock();
    const std::string_view rest = sink_.Write(lines, give_up);
    lock.lock();
    writing_ = false;
    written_.notify_all();
    sink_lost_ = sink_.lost_lines();
    if (!rest.empty()) {
      buffer_.insert(0, rest);
    } else if (lost_unsaid_ > 0) {
      AppendLine("master", Severity::kWarning,
                 Line::Of("warning: the log was too slow: ", Fact("lines", lost_unsaid_),
                          " lines of it are lost", Event("log-lines-lost")));
      lost_unsaid_ = 0;
    } else if (buffer_.empty() && lines.capacity() <= 2 * kBufferBytesMax) {
      lines.clear();
      buffer_.swap(lines);  // its memory is used again
    }
  }

  void Run() {
    pthread_setname_np(pthread_self(), "pf-log");
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      wake_.wait(lock, [this] { return stopping_ || !buffer_.empty(); });
      wake_.wait_for(lock, kGatherTime,
                     [this] { return stopping_ || buffer_.size() >= kBufferBytesMax; });
      written_.wait(lock, [this] { return !writing_; });
      WriteOut(lock, [this] { return stopping_.load(); });
    }
  }

  std::mutex mutex_;                 // protects all below, but sink_ while writing_
  std::condition_variable wake_;     // lines, or the end
  std::condition_variable written_;  // !writing_
  bool writing_ = false;
  uint64_t lost_unsaid_ = 0;
  std::string buffer_;
  Timestamp timestamp_;
  Options options_;
  std::string pid_ = Concat(getpid());
  LogSink sink_;
  uint64_t dropped_ = 0;
  uint64_t dropped_before_ = 0;
  uint64_t lost_before_ = 0;
  uint64_t sink_lost_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread writer_;
};

Log& TheLog() {
  static Log log;
  return log;
}

// What FlushOnCrash found, by its place here.
constexpr int kCrashSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
struct sigaction before_us[std::size(kCrashSignals)];

void OnCrash(int signal, siginfo_t* info, void*) {
  TheLog().FlushInCrash();
  for (size_t i = 0; i < std::size(kCrashSignals); ++i) {
    if (kCrashSignals[i] == signal) sigaction(signal, &before_us[i], nullptr);
  }
  // A fault happens again when this returns, with all that a handler asks about it.
  if (info->si_code <= 0) raise(signal);
}

}  // namespace

absl::Status Open(const Options& options) { return TheLog().Open(options); }
absl::Status Reopen() { return TheLog().Reopen(); }
void Write(std::string_view program, const Line& line) { TheLog().Write(program, line); }
void Flush() { TheLog().Flush(); }
uint64_t LostLines() { return TheLog().LostLines(); }

void FatalLine(std::string_view program, const Line& line) {
  Write(program, line);
  Flush();
}

std::string ProgramOf(std::string_view syslog_name, std::string_view command) {
  constexpr std::string_view kUsual = "postfix";
  if (syslog_name == kUsual) return std::string(command);
  if (syslog_name.starts_with(Concat(kUsual, "/"))) {
    return Concat(syslog_name.substr(kUsual.size() + 1), "/", command);
  }
  return Concat("/", syslog_name, "/", command);
}

void FlushOnCrash() {
  TheLog();
  for (size_t i = 0; i < std::size(kCrashSignals); ++i) {
    struct sigaction now;
    if (sigaction(kCrashSignals[i], nullptr, &now) != 0) continue;
    if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == OnCrash) continue;
    before_us[i] = now;
    struct sigaction action = {};
    action.sa_sigaction = OnCrash;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(kCrashSignals[i], &action, nullptr);
  }
}

}  // namespace postfleet::maillog
