#include "commands/postfix.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>

#include "commands/folder_check.h"
#include "commands/log_rotation.h"
#include "commands/options.h"
#include "commands/postqueue.h"
#include "commands/queue_address.h"
#include "commands/server_control.h"
#include "commands/server_lock.h"
#include "commands/submission_rights.h"
#include "commands/table_check.h"
#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/server/node_credentials.h"

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

// nullopt: said why not.
std::optional<Servers> LookForServers(Call& call, int* status) {
  absl::StatusOr<Servers> servers = FindServers(call.config);
  if (servers.ok()) return *std::move(servers);
  *status = absl::IsPermissionDenied(servers.status())
                ? call.console.Fatal("the postfix command is reserved for the superuser")
                : call.console.Fatal(servers.status());
  return std::nullopt;
}

// 0 if no server runs; else says why not to start one.
int RefuseIfRunning(Call& call) {
  int status = 0;
  const std::optional<Servers> servers = LookForServers(call, &status);
  if (!servers) return status;
  if (servers->running.empty()) return 0;
  return call.console.Fatal("the Postfix mail system is already running");
}

std::vector<TableFault> TableFaults(Call& call) {
  const RightsOf mail_owner(call.config.GetString("mail_owner"));
  return FindTableFaults(call.config);
}

// Mail that needs a table waits until the table is there: no reason not to start.
void WarnOfTables(Call& call) {
  for (const TableFault& fault : TableFaults(call)) call.console.Warn(fault.text);
}

int StartInForeground(Call& call) {
  if (const int refused = RefuseIfRunning(call); refused != 0) return refused;
  WarnOfTables(call);
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
  WarnOfTables(call);
  call.console.Say("starting the Postfix mail system");
  const absl::Status started =
      StartServer({call.launcher, "-c", call.directory}, *address, call.streams.err);
  if (started.ok()) return 0;
  return call.console.Fatal(Concat("mail system startup failed: ", std::string(started.message())));
}

// All of them, even if one cannot be stopped.
int Stop(Call& call) {
  int status = 0;
  const std::optional<Servers> servers = LookForServers(call, &status);
  if (!servers) return status;
  if (servers->running.empty()) return NotRunning(call);
  call.console.Say("stopping the Postfix mail system");
  for (const RunningServer& server : servers->running) {
    const absl::Status stopped = StopServer(
        server, [&] { call.console.Say("waiting for the Postfix mail system to terminate"); });
    if (!stopped.ok()) status = call.console.Fatal(stopped);
  }
  return status;
}

// As Postfix's: told to stop like by Stop, and not waited for.
int Abort(Call& call) {
  int status = 0;
  const std::optional<Servers> servers = LookForServers(call, &status);
  if (!servers) return status;
  if (servers->running.empty()) return NotRunning(call);
  call.console.Say("aborting the Postfix mail system");
  for (const RunningServer& server : servers->running) {
    const absl::Status told = AbortServer(server);
    if (!told.ok()) status = call.console.Fatal(told);
  }
  return status;
}

// In one process that is Postfix's line. Of five each is named, with what is missing.
int Status(Call& call) {
  int status = 0;
  const std::optional<Servers> servers = LookForServers(call, &status);
  if (!servers) return status;
  if (servers->running.empty()) {
    call.console.Say("the Postfix mail system is not running");
    return 1;
  }
  const bool in_part = !servers->ended.empty();
  // The queue, or all in one, comes last of those that run.
  call.console.Say(Concat("the Postfix mail system is running", in_part ? " in part" : "",
                          ": PID: ", servers->running.back().pid));
  if (servers->running.size() == 1 && !in_part && servers->absent.empty()) return 0;
  for (const RunningServer& server : servers->running) {
    call.console.Say(Concat(server.program, " is running: PID: ", server.pid));
  }
  for (const std::string& program : servers->ended) {
    call.console.Say(Concat(program, " is not running"));
  }
  for (const std::string& program : servers->absent) {
    call.console.Say(Concat(program, " was never started on this machine"));
  }
  return in_part ? 1 : 0;
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

// What nobody could start with is no configuration to go on with: the servers are left alone.
absl::Status CheckConfiguration(const Call& call) {
  config::Diagnostics diagnostics;
  return config::Config::Load(call.directory, diagnostics).status();
}

int Reload(Call& call) {
  int status = 0;
  const std::optional<Servers> servers = LookForServers(call, &status);
  if (!servers) return status;
  if (servers->running.empty()) return NotRunning(call);
  if (const absl::Status checked = CheckConfiguration(call); !checked.ok()) {
    return call.console.Fatal(checked);
  }
  call.console.Say("refreshing the Postfix mail system");
  MakeLogFile(call.config);
  for (const RunningServer& server : servers->running) {
    const absl::Status sent = ReloadServer(server);
    if (!sent.ok()) status = call.console.Fatal(sent);
  }
  return status;
}

int LogRotate(Call& call) {
  const auto open_new = [&call]() -> absl::Status {
    MakeLogFile(call.config);
    const absl::StatusOr<Servers> servers = FindServers(call.config);
    if (!servers.ok()) return servers.status();
    for (const RunningServer& server : servers->running) {
      if (absl::Status told = ReloadServer(server); !told.ok()) return told;
    }
    return absl::OkStatus();
  };
  const absl::Status rotated = RotateLog(call.config, open_new);
  return rotated.ok() ? 0 : call.console.Fatal(rotated);
}

int Flush(Call& call) { return RunPostqueue({"postqueue", call.directory, {"-f"}}, call.streams); }

// It lies beside the launcher.
std::string PostdropOf(const Call& call) {
  return call.launcher.substr(0, call.launcher.rfind('/') + 1) + "postdrop";
}

// Errors of main.cf and master.cf have ended the command before. What is left are warnings; but a
// table that somebody asked for and that cannot be opened makes the check fail.
int Check(Call& call) {
  for (const config::Diagnostic& warning : call.diagnostics.warnings()) {
    call.console.Warn(warning.text);
  }
  const auto folders = FindFolderFaults(call.config, geteuid());
  if (!folders.ok()) return call.console.Fatal(folders.status());
  for (const std::string& fault : *folders) call.console.Warn(fault);
  for (const std::string& fault : FindSubmissionFaults(call.config, PostdropOf(call))) {
    call.console.Warn(fault);
  }
  int status = 0;
  for (const TableFault& fault : TableFaults(call)) {
    if (fault.by_default) {
      call.console.Warn(fault.text);
    } else {
      call.console.Error(fault.text);
      status = 1;
    }
  }
  return status;
}

// What a subcommand needs of the configuration.
enum class Needs {
  kValid,   // all of it: a server would not start otherwise
  kLegible  // to be read: stopping must be possible whatever is wrong
};

struct Subcommand {
  std::string_view name;
  int (*run)(Call& call);  // nullptr: not supported yet
  Needs needs = Needs::kValid;
  std::string_view instead = {};  // of what is not supported
};

int SetPermissions(Call& call) {
  const absl::Status set = SetSubmissionRights(call.config, PostdropOf(call));
  return set.ok() ? 0 : call.console.Fatal(set);
}

constexpr Subcommand kSubcommands[] = {
    {"start", Start},
    {"start-fg", StartInForeground},
    {"stop", Stop, Needs::kLegible},
    {"reload", Reload, Needs::kLegible},
    {"abort", Abort, Needs::kLegible},
    {"flush", Flush, Needs::kLegible},
    {"check", Check},
    {"status", Status, Needs::kLegible},
    {"set-permissions", SetPermissions, Needs::kLegible},
    {"upgrade-configuration", nullptr, Needs::kLegible,
     "a new version changes no configuration: \"postfix check\" says what it does not use"},
    {"logrotate", LogRotate},
    {"tls", nullptr, Needs::kLegible,
     "there is no TLS: let proxies in front of the server and a relayhost behind it encrypt"},
    // Postfix's leave out what takes its scripts time.
    {"quick-start", Start},
    {"quick-stop", Stop, Needs::kLegible},
    {"drain", nullptr, Needs::kLegible,
     "\"postfix stop\" lets deliveries that run come to their end"},
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
    if (option.letter == 'v') {
      console.Warn("option -v: there is nothing more to be said; see \"postfleet manual\"");
      continue;
    }
    if (option.letter != 'c') {
      return console.Fatal(
          "option -D: not supported yet; attach a debugger to the process that "
          "\"postfix status\" names");
    }
    directory = option.argument;
    if (!directory.starts_with('/')) return console.Fatal("-c requires absolute pathname");
  }
  Console script{std::string(kScript), 1, streams};
  const std::string name = line->operands.empty() ? "" : line->operands[0];
  const Subcommand* found =
      std::find_if(std::begin(kSubcommands), std::end(kSubcommands),
                   [&](const Subcommand& subcommand) { return subcommand.name == name; });
  if (found == std::end(kSubcommands)) return UnknownSubcommand(script, name);
  if (found->run == nullptr) {
    return script.Fatal(Concat(name, ": not supported yet; ", found->instead));
  }
  if (line->operands.size() > 1) {
    return script.NotSupported(Concat("argument '", line->operands[1], "' of ", name));
  }

  config::Diagnostics diagnostics;
  const absl::StatusOr<config::Config> config =
      found->needs == Needs::kValid
          ? config::Config::Load(directory, diagnostics)
          : script.LoadUnchecked(directory,
                                 {"queue_directory", "maillog_file", "postfleet_cluster_members",
                                  "postfleet_queue_address"});
  if (!config.ok()) return console.Fatal(config.status());
  script.LogTo(*config, "postfix-script");
  // What a command has to reach by TCP it cannot reach then; most need nothing of it.
  if (const absl::Status usable = server::UseNodeCredentials(*config); !usable.ok()) {
    script.Warn(std::string(usable.message()));
  }
  Call checked = {launcher, directory, streams, *config, diagnostics, script};
  return found->run(checked);
}

int RunPostfix(const Invocation& call, const Streams& streams) {
  return RunPostfixWith(LauncherBesideThisProgram(), call, streams);
}

}  // namespace postfleet::commands
