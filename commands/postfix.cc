#include "commands/postfix.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "commands/options.h"
#include "commands/postqueue.h"
#include "commands/queue_address.h"
#include "commands/server_control.h"
#include "commands/server_lock.h"
#include "libs/base/concat.h"
#include "libs/base/maillog.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kUsage = "postfix [-c config_dir] [-Dv] command";
constexpr std::string_view kScript = "postfix/postfix-script";

// One call: what its subcommands need.
struct Call {
  const std::string& launcher;
  const std::string& directory;
  const Streams& streams;
  const config::Config& config;
  const config::Diagnostics& diagnostics;
  Console& console;  // says as postfix-script
};

int NotRunning(Call& call) { return call.console.Fatal("the Postfix mail system is not running"); }

// 0 if no server runs; else says why not to start one.
int RefuseIfRunning(Call& call) {
  const auto running = FindServer(ServerLockPath(call.config));
  if (!running.ok()) return call.console.Fatal(running.status());
  if (*running) return call.console.Fatal("the Postfix mail system is already running");
  return 0;
}

int StartInForeground(Call& call) {
  if (const int refused = RefuseIfRunning(call); refused != 0) return refused;
  call.console.Say("starting the Postfix mail system");
  maillog::Flush();  // exec keeps nothing
  execl(call.launcher.c_str(), call.launcher.c_str(), "-c", call.directory.c_str(), nullptr);
  const std::string reason = strerror(errno);
  return call.console.Fatal(Concat("exec ", call.launcher, ": ", reason));
}

int Start(Call& call) {
  if (const int refused = RefuseIfRunning(call); refused != 0) return refused;
  const absl::StatusOr<std::string> address = ControlAddress(call.config);
  if (!address.ok()) return call.console.Fatal(address.status());
  call.console.Say("starting the Postfix mail system");
  const absl::Status started =
      StartServer({call.launcher, "-c", call.directory}, *address, call.streams.err);
  if (started.ok()) return 0;
  return call.console.Fatal(Concat("mail system startup failed: ", std::string(started.message())));
}

int Stop(Call& call) {
  const auto running = FindServer(ServerLockPath(call.config));
  if (!running.ok()) return call.console.Fatal(running.status());
  if (!*running) return NotRunning(call);
  call.console.Say("stopping the Postfix mail system");
  const absl::Status stopped = StopServer(**running, ServerLockPath(call.config), [&] {
    call.console.Say("waiting for the Postfix mail system to terminate");
  });
  return stopped.ok() ? 0 : call.console.Fatal(stopped);
}

int Status(Call& call) {
  const auto running = FindServer(ServerLockPath(call.config));
  if (!running.ok()) return call.console.Fatal(running.status());
  if (!*running) {
    call.console.Say("the Postfix mail system is not running");
    return 1;
  }
  call.console.Say(Concat("the Postfix mail system is running: PID: ", **running));
  return 0;
}

// After a rotation the server opens its log as mail_owner, who may not make files in a folder of
// root's: root makes it.
void MakeLogFile(const config::Config& config) {
  const std::string path = config.GetString("maillog_file");
  const std::string lock_path = ServerLockPath(config);
  struct stat folder;
  if (geteuid() != 0 || path.empty() || path == "/dev/stdout" ||
      stat(lock_path.substr(0, lock_path.rfind('/')).c_str(), &folder) != 0) {
    return;
  }
  const auto mode = static_cast<mode_t>(
      std::strtol(config.GetString("maillog_file_permissions").c_str(), nullptr, 8));
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) return;  // it is there; what is wrong with it the server says
  if (fchown(fd, folder.st_uid, folder.st_gid) != 0) unlink(path.c_str());
  close(fd);
}

int Reload(Call& call) {
  const auto running = FindServer(ServerLockPath(call.config));
  if (!running.ok()) return call.console.Fatal(running.status());
  if (!*running) return NotRunning(call);
  call.console.Say("refreshing the Postfix mail system");
  call.console.Warn(
      "only the log file is opened anew; to apply changes of main.cf and master.cf, use `postfix "
      "stop` and `postfix start`");
  MakeLogFile(call.config);
  const absl::Status sent = ReloadServer(**running, ServerLockPath(call.config));
  return sent.ok() ? 0 : call.console.Fatal(sent);
}

int Flush(Call& call) { return RunPostqueue({"postqueue", call.directory, {"-f"}}, call.streams); }

// Errors have ended the command before; what is left are warnings.
int Check(Call& call) {
  for (const config::Diagnostic& warning : call.diagnostics.warnings()) {
    call.console.Warn(warning.text);
  }
  return 0;
}

struct Subcommand {
  std::string_view name;
  int (*run)(Call& call);  // nullptr: not supported yet
};

constexpr Subcommand kSubcommands[] = {
    {"start", Start},
    {"start-fg", StartInForeground},
    {"stop", Stop},
    {"reload", Reload},
    {"abort", nullptr},
    {"flush", Flush},
    {"check", Check},
    {"status", Status},
    {"set-permissions", nullptr},
    {"upgrade-configuration", nullptr},
    {"logrotate", nullptr},
    {"tls", nullptr},
    {"quick-start", nullptr},
    {"drain", nullptr},
};

int UnknownSubcommand(Console& console, std::string_view name) {
  std::string known;
  for (const Subcommand& subcommand : kSubcommands) {
    if (subcommand.run == nullptr) continue;
    ConcatTo(&known, known.empty() ? "" : ", ", subcommand.name);
  }
  return console.Fatal(
      Concat("unknown command: '", name, "'. Usage: postfix command, with one of: ", known));
}

std::string LauncherBesideThisProgram() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (self.parent_path() / "postfleet-launcher").string();
}

}  // namespace

int RunPostfixWith(const std::string& launcher, const Invocation& call, const Streams& streams) {
  Console console("postfix", 1, streams);
  const absl::StatusOr<CommandLine> line = ParseOptions(call.arguments, "c:Dv");
  if (!line.ok()) return console.Usage(kUsage, line.status());
  std::string directory = call.config_directory;
  for (const Option& option : line->options) {
    if (option.letter != 'c') return console.NotSupported(Concat("option -", option.letter));
    directory = option.argument;
    if (!directory.starts_with('/')) return console.Fatal("-c requires absolute pathname");
  }
  Console script{std::string(kScript), 1, streams};
  const std::string name = line->operands.empty() ? "" : line->operands[0];
  const Subcommand* found =
      std::find_if(std::begin(kSubcommands), std::end(kSubcommands),
                   [&](const Subcommand& subcommand) { return subcommand.name == name; });
  if (found == std::end(kSubcommands)) return UnknownSubcommand(script, name);
  if (found->run == nullptr) return script.NotSupported(name);
  if (line->operands.size() > 1) {
    return script.NotSupported(Concat("argument '", line->operands[1], "' of ", name));
  }

  config::Diagnostics diagnostics;
  const absl::StatusOr<config::Config> config = config::Config::Load(directory, diagnostics);
  if (!config.ok()) return console.Fatal(config.status());
  script.LogTo(*config, "postfix-script");
  Call checked = {launcher, directory, streams, *config, diagnostics, script};
  return found->run(checked);
}

int RunPostfix(const Invocation& call, const Streams& streams) {
  return RunPostfixWith(LauncherBesideThisProgram(), call, streams);
}

}  // namespace postfleet::commands
