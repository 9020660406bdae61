// The mail log, in the form that Postfix's log readers know:
//
//   Nov 22 17:28:50 mx1 postfix/smtpd[4711]: connect from localhost[127.0.0.1]
//
// Lines are gathered in memory and written with one write for each `kFlushInterval` or
// `kBufferBytesMax`; whatever is left is written by Flush and at exit. A line is never torn.
// Control characters in a line are replaced by `?` (a peer cannot forge a line). Thread-safe. When
// the file cannot be written, lines go to standard error.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "libs/base/concat.h"

namespace postfleet::maillog {

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
};

// Opens the log; before that, lines go to standard error.
absl::Status Open(const Options& options);

// Opens the file anew by its path (after a rotation). On an error the old one stays.
absl::Status Reopen();

// `program` is "smtpd", "qmgr", "submission/smtpd", which stand behind Options::syslog_name; or
// "/name/smtpd", which is the whole tag, name/smtpd.
void Write(std::string_view program, std::string_view line);

// The program of a service whose own syslog_name is this: "postfix/submission" and "smtpd" give
// "submission/smtpd", "name" and "smtpd" give "/name/smtpd".
std::string ProgramOf(std::string_view syslog_name, std::string_view command);

template <typename... Parts>
void Info(std::string_view program, const Parts&... parts) {
  Write(program, Concat(parts...));
}
template <typename... Parts>
void Warning(std::string_view program, const Parts&... parts) {
  Write(program, Concat("warning: ", parts...));
}
template <typename... Parts>
void Error(std::string_view program, const Parts&... parts) {
  Write(program, Concat("error: ", parts...));
}
// Writes and flushes; the caller exits.
void FatalLine(std::string_view program, std::string_view line);
template <typename... Parts>
void Fatal(std::string_view program, const Parts&... parts) {
  FatalLine(program, Concat("fatal: ", parts...));
}

// Writes out what is gathered. Blocks on the file.
void Flush();

}  // namespace postfleet::maillog
