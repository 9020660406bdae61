// Where the log's bytes go: a file, a pipe or terminal, or the machine's syslog.
//
// A write to a file blocks as the disk does. A pipe or socket is waited for in slices, so that a
// reader who has stopped reading cannot hold up a process that wants to end: then Write comes back
// with what is left. Bytes that a file does not take (no space) go to standard error, if that takes
// them, else they are lost and counted. After a write that failed half-way, the next begins a line
// of its own.
//
// syslog: one datagram a line. When syslogd was restarted, the next line opens /dev/log again and
// is sent by the new one; while there is none, lines go to standard error. Not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace postfleet::maillog {

class LogSink {
 public:
  // Standard error.
  LogSink() = default;
  LogSink(LogSink&& other) noexcept;
  LogSink& operator=(LogSink&& other) noexcept;
  ~LogSink();

  // Takes the descriptor over.
  static LogSink OfDescriptor(int fd);
  // `path`: the datagram socket of syslogd, /dev/log. It need not be there yet.
  static LogSink OfSyslog(std::string path);

  // Lines begin with the priority, "<22>", and have no host name (RFC 3164).
  bool is_syslog() const { return !syslog_path_.empty(); }
  int fd() const { return fd_; }

  // Whole lines. Asks `give_up` while a reader does not read; what was not written is returned, it
  // may begin inside a line.
  std::string_view Write(std::string_view lines, const std::function<bool()>& give_up);

  // Lines that were taken from Write and reached nobody.
  uint64_t lost_lines() const { return lost_lines_; }

 private:
  std::string_view WriteStream(std::string_view lines, const std::function<bool()>& give_up);
  std::string_view WriteSyslog(std::string_view lines, const std::function<bool()>& give_up);
  enum class Sending { kSent, kWouldBlock, kFailed };
  Sending Send(std::string_view line);
  void ConnectSyslog();
  // What else could not be written. Waits for nothing.
  void ToStandardError(std::string_view lines);
  void Close();

  int fd_ = 2;
  std::string syslog_path_;  // empty: not syslog
  std::chrono::steady_clock::time_point syslog_retry_{};
  bool torn_ = false;
  uint64_t lost_lines_ = 0;
};

}  // namespace postfleet::maillog
