// postfleet-launcher: what needs root, done before anything else runs.
//
//   postfleet-launcher -c DIR [--server postfleet-ingressd]    (or $MAIL_CONFIG; no default)
//
// Makes the queue folders, takes the program's lock (instance.h), binds the ports of master.cf,
// starts the privileged delivery helper, drops to mail_owner and execs postfleetd, or the program
// that was named, which lies beside this one, with the descriptors:
//
//   postfleetd -c DIR --listen NAME=FD ... --helper FD ... --log FD
//
// The process id stays the same, so the pid file names the server; the lock on it is held through
// the descriptor. Without root all of it works as far as the user may: ports over 1024, mailboxes
// of its own.
//
// Diagnostics: one line, "postfix/master: fatal: ...", that says what, where and what to do;
// exit 1.

#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/concat.h"
#include "libs/config/config.h"
#include "libs/server/instance.h"
#include "services/delivery/privileged/spawn.h"
#include "services/launcher/log_file.h"
#include "services/launcher/queue_folders.h"

namespace postfleet {
namespace {

constexpr int kListenBacklog = 1024;
// Sessions, connections to peers, table and store files.
constexpr rlim_t kOpenFilesWanted = 65'536;

[[noreturn]] void Die(const std::string& text) {
  const std::string line = Concat("postfix/master: fatal: ", text, "\n");
  std::fputs(line.c_str(), stderr);
  std::exit(1);
}

[[noreturn]] void DieErrno(const std::string& text) { Die(Concat(text, ": ", strerror(errno))); }

using launcher::Owner;
using server::ServerProgram;

// nullopt: users cannot send by sendmail.
std::optional<gid_t> FindSubmitters(const config::Config& config) {
  const std::string name = config.GetString("setgid_group");
  const group* entry = getgrnam(name.c_str());
  if (entry != nullptr) return entry->gr_gid;
  const std::string line = Concat(
      "postfix/master: warning: main.cf configuration error: setgid_group: unknown group name "
      "value: ",
      name, "; until it exists, only root and mail_owner can send mail by sendmail\n");
  std::fputs(line.c_str(), stderr);
  return std::nullopt;
}

// Whom the server runs as: mail_owner when started by root, else whoever started it.
Owner FindOwner(const config::Config& config) {
  if (geteuid() != 0) return {.name = "", .uid = geteuid(), .gid = getegid()};
  const std::string name = config.GetString("mail_owner");
  const passwd* entry = getpwnam(name.c_str());
  if (entry == nullptr) {
    Die(Concat("main.cf configuration error: mail_owner: unknown user name value: ", name,
               "; create the user, or set mail_owner to an existing one that owns nothing else"));
  }
  if (entry->pw_uid == 0) {
    Die(Concat("main.cf configuration error: mail_owner = ", name,
               " is root; the server never runs as root: name another user"));
  }
  return {.name = name,
          .uid = entry->pw_uid,
          .gid = entry->pw_gid,
          .submitters = FindSubmitters(config)};
}

// What the server cannot start without, if it keeps the queue. Another one may run where nothing
// can be written, as in a container: it is then unknown to `postfix status` and `postfix stop`. -1:
// no lock. The descriptor becomes inheritable just before the server is started: the helper must
// not hold it.
int TakeLock(const config::Config& config, const ServerProgram& program, const Owner& owner) {
  umask(022);
  const std::string queue_directory = config.GetString("queue_directory");
  const absl::Status made = launcher::MakeQueueFolders(queue_directory, owner);
  const absl::StatusOr<int> lock =
      made.ok() ? launcher::TakeLock(queue_directory, program, owner) : made;
  if (lock.ok()) return *lock;
  const std::string reason(lock.status().message());
  if (program.queue || absl::IsAlreadyExists(lock.status())) Die(reason);
  const std::string line =
      Concat("postfix/master: warning: ", program.name,
             " runs without a pid file, so `postfix status` and `postfix stop` "
             "do not know of it: ",
             reason, "\n");
  std::fputs(line.c_str(), stderr);
  return -1;
}

// -1: none is set.
int OpenLog(const config::Config& config, const Owner& owner) {
  const std::string path = config.GetString("maillog_file");
  if (path.empty() || path == "/dev/stdout") return -1;
  const auto mode = static_cast<mode_t>(
      std::strtol(config.GetString("maillog_file_permissions").c_str(), nullptr, 8));
  const absl::StatusOr<int> fd = launcher::OpenLogFile(path, mode, owner.uid, owner.gid);
  if (!fd.ok()) Die(std::string(fd.status().message()));
  return *fd;
}

void PassOn(int fd) { fcntl(fd, F_SETFD, 0); }

int Listen(const addrinfo& address, const std::string& what) {
  const int fd = socket(address.ai_family, SOCK_STREAM, 0);
  if (fd < 0) DieErrno("socket for " + what);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (address.ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
  if (bind(fd, address.ai_addr, address.ai_addrlen) != 0) {
    const char* hint =
        errno == EADDRINUSE ? "; another program has this port: stop it, or change the first "
                              "column of this service in master.cf"
        : errno == EACCES
            ? "; ports below 1024 need root: start as root, or change the port in master.cf"
            : "";
    Die(Concat("bind ", what, ": ", strerror(errno), hint));
  }
  if (listen(fd, kListenBacklog) != 0) DieErrno("listen on " + what);
  return fd;
}

void ListenOn(const std::string& host, int port, const std::string& name,
              std::vector<std::string>* arguments) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  const std::string what = Concat(host, " port ", port, " (master.cf service ", name, ")");
  if (error != 0) Die(Concat("resolve ", what, ": ", gai_strerror(error)));
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    arguments->push_back("--listen");
    arguments->push_back(Concat(name, "=", Listen(*address, what)));
  }
  freeaddrinfo(found);
}

void BindPorts(const config::Config& config, std::vector<std::string>* arguments) {
  for (const config::MasterService* service : config.master_cf().WithCommand("smtpd")) {
    if (service->type != config::ServiceType::kInet || !service->endpoint.has_value()) continue;
    if (!service->endpoint->host.empty()) {
      ListenOn(service->endpoint->host, service->endpoint->port, service->name, arguments);
      continue;
    }
    for (const config::InterfaceAddress& own : config.own_addresses()) {
      ListenOn(own.address.ToString(), service->endpoint->port, service->name, arguments);
    }
  }
}

std::string Beside(const std::string& program) {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);
  if (size < 0) DieErrno("readlink /proc/self/exe");
  const std::string self(path, static_cast<size_t>(size));
  return self.substr(0, self.rfind('/') + 1) + program;
}

std::vector<char*> Argv(std::vector<std::string>& arguments) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  return argv;
}

// The helper keeps this process's rights; it ends when the server's ends of its connections are
// closed.
void StartHelper(const config::Config& config, std::vector<std::string>* arguments) {
  const std::string path = Beside("postfleet-delivery-helper");
  const delivery::privileged::HelperProcess helper = delivery::privileged::SpawnHelper(
      {.path = path,
       .minimum_uid = static_cast<uid_t>(config.GetInt("virtual_minimum_uid")),
       .mail_spool = config.GetString("mail_spool_directory")});
  if (!helper.error.empty()) Die(Concat("start ", path, ": ", helper.error));
  for (int socket : helper.sockets) {
    PassOn(socket);
    arguments->push_back("--helper");
    arguments->push_back(Concat(socket));
  }
}

void RaiseOpenFiles() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max == RLIM_INFINITY ? kOpenFilesWanted
                                                   : std::min(limit.rlim_max, kOpenFilesWanted);
  setrlimit(RLIMIT_NOFILE, &limit);
}

void DropPrivileges(const Owner& owner) {
  if (geteuid() != 0) return;
  if (initgroups(owner.name.c_str(), owner.gid) != 0 ||
      setresgid(owner.gid, owner.gid, owner.gid) != 0 ||
      setresuid(owner.uid, owner.uid, owner.uid) != 0) {
    DieErrno("drop privileges to " + owner.name);
  }
  if (setuid(0) == 0) Die("privileges came back after they were dropped");
}

// The server reads both files again, as mail_owner.
void CheckReadable(const std::string& directory, const Owner& owner) {
  for (const char* file : {"main.cf", "master.cf"}) {
    const std::string path = Concat(directory, "/", file);
    if (access(path.c_str(), R_OK) == 0 || errno == ENOENT) continue;
    Die(Concat("open ", path, " as ", owner.name.empty() ? "this user" : owner.name, ": ",
               strerror(errno),
               "; make the file and the folders above it readable for mail_owner (chmod o+rX)"));
  }
}

struct Arguments {
  std::string directory;
  const ServerProgram* server = server::FindServerProgram("postfleetd");
};

Arguments ParseArguments(int argc, char** argv) {
  Arguments arguments;
  if (const char* directory = std::getenv("MAIL_CONFIG")) arguments.directory = directory;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view option = argv[i];
    if (i + 1 == argc || (option != "-c" && option != "--server")) {
      Die("usage: postfleet-launcher -c DIR [--server PROGRAM]; more by --help");
    }
    if (option == "-c") {
      arguments.directory = argv[i + 1];
      continue;
    }
    const ServerProgram* found = server::FindServerProgram(argv[i + 1]);
    if (found == nullptr) {
      Die(Concat("unknown server ", argv[i + 1], "; postfleet-launcher --help lists them"));
    }
    arguments.server = found;
  }
  if (arguments.directory.empty()) {
    Die("usage: postfleet-launcher -c DIR [--server PROGRAM]; it starts a mail system, so the "
        "configuration must be named");
  }
  return arguments;
}

int Run(int argc, char** argv) {
  if (argc > 1 && (std::string_view(argv[1]) == "--help" || std::string_view(argv[1]) == "-h")) {
    std::fputs(server::LauncherHelp().c_str(), stdout);
    return 0;
  }
  const Arguments given = ParseArguments(argc, argv);
  config::Diagnostics diagnostics;  // the server says them, in its log
  const absl::StatusOr<config::Config> config = config::Config::Load(given.directory, diagnostics);
  if (!config.ok()) Die(std::string(config.status().message()));

  const Owner owner = FindOwner(*config);
  std::vector<std::string> arguments = {Beside(std::string(given.server->name)), "-c",
                                        given.directory};
  const int lock = TakeLock(*config, *given.server, owner);
  if (given.server->helper) StartHelper(*config, &arguments);
  if (lock >= 0) PassOn(lock);
  if (given.server->ports) BindPorts(*config, &arguments);
  if (const int log = OpenLog(*config, owner); log >= 0) {
    PassOn(log);
    arguments.insert(arguments.end(), {"--log", Concat(log)});
  }
  RaiseOpenFiles();
  // Opened with this process's rights: mail_owner may not be able to search the folders above it.
  const int program = open(arguments[0].c_str(), O_RDONLY | O_CLOEXEC);
  if (program < 0) DieErrno(arguments[0]);
  DropPrivileges(owner);
  CheckReadable(given.directory, owner);
  fexecve(program, Argv(arguments).data(), environ);
  DieErrno(arguments[0]);
}

}  // namespace
}  // namespace postfleet

int main(int argc, char** argv) { return postfleet::Run(argc, argv); }
