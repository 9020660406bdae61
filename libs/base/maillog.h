// The mail log, in the form that Postfix's log readers know:
//
//   Nov 22 17:28:50 mx1 postfix/smtpd[4711]: connect from localhost[127.0.0.1]
//
// or one JSON object a line (RFC 8259), the same facts by name:
//
//   {"time":"2026-11-22T16:28:50.123456Z","host":"mx1","process":"postfix/smtpd","pid":4711,
//    "severity":"info","event":"connect","client":"localhost[127.0.0.1]"}
//
// Whoever logs never waits: a line goes into memory, and a thread writes what has gathered
// `kGatherTime` after the first of them, or once there are `kBufferBytesMax`; whatever is left is
// written by Flush and at exit. So a log costs one write(2) for many lines, and a crash loses at
// most the lines of the last 20 ms; on a signal that means a fault of our own (SIGSEGV, SIGABRT, …)
// they are written first. That is no loss of mail: what a 250 promises is in the queue, which does
// not read the log. When the log is slower than what it is told (a full pipe, a stuck disk),
// `kBufferBytesLimit` are kept, further lines are counted and dropped, and the log says how many
// once it goes on.
//
// A line is never torn, and is cleaned and cut as Postfix does (log_text.h): a peer cannot forge a
// line. Thread-safe. When the file cannot be written, lines go to standard error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "libs/base/concat.h"
#include "libs/base/log_line.h"

namespace postfleet::maillog {

enum class Format { kPostfix, kJson };

struct Options {
  // Empty: the machine's syslog, or standard error where there is none. "/dev/stdout" is standard
  // output.
  std::string path;
  // An open descriptor of that file, taken over; -1: Open opens it.
  int fd = -1;
  // Permission bits of a new file (maillog_file_permissions).
  int mode = 0600;
  // "postfix" of `postfix/smtpd`.
  std::string syslog_name = "postfix";
  std::string hostname = "localhost";
  Format format = Format::kPostfix;
  // A facility's bits, as of <syslog.h>.
  int facility = 2 << 3;
  // The socket of syslogd.
  std::string syslog_path = "/dev/log";
  // Characters beyond ASCII stay what they are (smtputf8_enable).
  bool utf8 = true;
};

// Opens the log; before that, lines go to standard error.
absl::Status Open(const Options& options);

// Opens the file anew by its path (after a rotation). On an error the old one stays.
absl::Status Reopen();

// `program` is "smtpd", "qmgr", "submission/smtpd", which stand behind Options::syslog_name; or
// "/name/smtpd", which is the whole tag, name/smtpd.
void Write(std::string_view program, const Line& line);

// The program of a service whose own syslog_name is this: "postfix/submission" and "smtpd" give
// "submission/smtpd", "name" and "smtpd" give "/name/smtpd".
std::string ProgramOf(std::string_view syslog_name, std::string_view command);

// The parts of Info, Warning, … are text, numbers, and facts of log_line.h.
template <typename... Parts>
void Info(std::string_view program, const Parts&... parts) {
  Write(program, Line::Of(parts...));
}
template <typename... Parts>
void Warning(std::string_view program, const Parts&... parts) {
  Write(program, Line::Of("warning: ", parts...));
}
template <typename... Parts>
void Error(std::string_view program, const Parts&... parts) {
  Write(program, Line::Of("error: ", parts...));
}
// Writes and flushes; the caller exits.
void FatalLine(std::string_view program, const Line& line);
template <typename... Parts>
void Fatal(std::string_view program, const Parts&... parts) {
  FatalLine(program, Line::Of("fatal: ", parts...));
}

// Writes out what is gathered. Waits for a slow log, but not longer than `kFlushWait`.
void Flush();

// Lines that reached nobody since the start, because the log was slow or could not be written.
uint64_t LostLines();

// On SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT, what is gathered is written before the process
// ends. Where a signal has a handler already (a sanitizer's, the Go runtime's), that one comes
// next. Uses the alternate stack of threads that have one (SA_ONSTACK): Go demands it.
void FlushOnCrash();

}  // namespace postfleet::maillog
