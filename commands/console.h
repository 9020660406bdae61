// Where a command reads and writes, and Postfix's form of what it says.
//
//   postsuper: 4jXVqC48Jhz1cXNP: removed
//   postqueue: warning: ...
//   postqueue: fatal: Cannot flush mail queue - mail system is down
//
// Results go to `out`; what a Console says goes to `err`, and with LogTo also to the mail log. Not
// thread-safe.
#pragma once

#include <cstdio>
#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/config/config.h"

namespace postfleet::commands {

struct Streams {
  FILE* in = stdin;
  FILE* out = stdout;
  FILE* err = stderr;
};

class Console {
 public:
  // `fatal_status` is what Fatal returns: 1, or of <sysexits.h> where Postfix's command has it.
  Console(std::string program, int fatal_status, const Streams& streams)
      : program_(std::move(program)), fatal_status_(fatal_status), streams_(streams) {}
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;
  // Writes out the mail log's lines.
  ~Console();

  // The configuration for a command that must work whatever else main.cf holds; warns of bad values
  // of the parameters in `wanted`. Errors: main.cf cannot be read.
  absl::StatusOr<config::Config> LoadUnchecked(const std::string& directory,
                                               std::initializer_list<std::string_view> wanted);

  // Also into maillog_file, if it exists, is writable and lies in maillog_file_prefixes (the server
  // makes it, as its own user); where none is set, into the machine's syslog, if there is one.
  void LogTo(const config::Config& config, std::string_view log_program);

  // LogTo has opened it.
  bool logs() const { return !log_program_.empty(); }

  void Say(std::string_view text);
  void Warn(std::string_view text);
  void Error(std::string_view text);
  // Returns the exit status: `return console.Fatal(...)`.
  int Fatal(std::string_view text);
  int Fatal(const absl::Status& status);
  // `what` is "option -x" or "queue saved".
  int NotSupported(std::string_view what);
  // An error of the arguments: what was wrong, then the usage line.
  int Usage(std::string_view usage, const absl::Status& wrong = absl::OkStatus());

  // Writes a result. False when it cannot be written; WriteFailed then gives the exit status.
  bool Write(std::string_view bytes);
  // Writes out what is buffered, and gives the exit status of a command that went well.
  int Finish();
  // A reader that has gone (EPIPE) wants no more, and that is no error.
  int WriteFailed();

 private:
  const std::string program_;
  const int fatal_status_;
  const Streams streams_;
  std::string log_program_;  // empty: no log
};

}  // namespace postfleet::commands
