#include "commands/console.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/config/values.h"
#include "libs/log/log_options.h"

namespace postfleet::commands {

Console::~Console() {
  if (!log_program_.empty()) maillog::Flush();
}

absl::StatusOr<config::Config> Console::LoadUnchecked(
    const std::string& directory, std::initializer_list<std::string_view> wanted) {
  config::Diagnostics diagnostics;
  absl::StatusOr<config::Config> config =
      config::Config::LoadUnchecked(directory, wanted, diagnostics);
  for (const config::Diagnostic& warning : diagnostics.warnings()) Warn(warning.text);
  return config;
}

void Console::LogTo(const config::Config& config, std::string_view log_program) {
  const std::string path = config.GetString("maillog_file");
  const maillog::Options options = log::LogOptionsOf(config);
  if (path == "/dev/stdout") return;
  if (access(path.empty() ? options.syslog_path.c_str() : path.c_str(), W_OK) != 0) return;
  // What a checked configuration sees to: root appends to no other file.
  if (!path.empty() && !config::IsBelowAny(path, config.GetList("maillog_file_prefixes"))) return;
  if (maillog::Open(options).ok()) log_program_ = log_program;
}

void Console::Say(std::string_view text) {
  const std::string line = Concat(program_, ": ", text, "\n");
  std::fwrite(line.data(), 1, line.size(), streams_.err);
  if (!log_program_.empty()) maillog::Write(log_program_, std::string(text));
}

void Console::Warn(std::string_view text) { Say(Concat("warning: ", text)); }

void Console::Error(std::string_view text) { Say(Concat("error: ", text)); }

int Console::Fatal(std::string_view text) {
  // What was printed before comes before it.
  std::fflush(streams_.out);
  Say(Concat("fatal: ", text));
  return fatal_status_;
}

int Console::Fatal(const absl::Status& status) {
  return Fatal(std::string_view(status.message().data(), status.message().size()));
}

int Console::NotSupported(std::string_view what) {
  return Fatal(Concat(what, ": not supported yet"));
}

int Console::Usage(std::string_view usage, const absl::Status& wrong) {
  if (!wrong.ok()) Say(std::string(wrong.message()));
  return Fatal(Concat("usage: ", usage));
}

bool Console::Write(std::string_view bytes) {
  return std::fwrite(bytes.data(), 1, bytes.size(), streams_.out) == bytes.size();
}

int Console::Finish() { return std::fflush(streams_.out) == 0 ? 0 : WriteFailed(); }

int Console::WriteFailed() {
  if (errno == EPIPE) return 0;
  const std::string reason = strerror(errno);
  return Fatal(Concat("output write error: ", reason));
}

}  // namespace postfleet::commands
