// The privileged delivery helper: writes mailbox files as the users that own them.
//
//   helper --supervise --connections=N --minimum-uid=U --mail-spool=DIR
//   helper --serve     --connections=N --minimum-uid=U --mail-spool=DIR
//
// Two processes of one program, the only ones that stay root. The supervisor (supervisor.h; socket
// 3 is the server's) starts the worker, and another one when it has ended. The worker's sockets 3
// to 2+N are the connections (protocol.h), each served by a thread of its own; socket 3+N is where
// actions begin (action_protocol.h): mailboxes, files and commands of local users. They do nothing
// else: no configuration, no tables, no network, no log. Both end when the server's sockets are
// closed.
#include <pwd.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "services/delivery/privileged/action_server.h"
#include "services/delivery/privileged/mailbox_server.h"
#include "services/delivery/privileged/spawn.h"
#include "services/delivery/privileged/supervisor.h"

namespace postfleet::delivery::privileged {
namespace {

bool NumberOption(std::string_view argument, std::string_view name, unsigned* value) {
  if (!argument.starts_with(name)) return false;
  argument.remove_prefix(name.size());
  const char* end = argument.data() + argument.size();
  const auto parsed = std::from_chars(argument.data(), end, *value);
  return parsed.ec == std::errc() && parsed.ptr == end;
}

int Usage() {
  std::fprintf(stderr,
               "usage: helper --supervise|--serve --connections=N --minimum-uid=U "
               "[--mail-spool=DIR]\n");
  return 2;
}

void PrepareProcess(unsigned sockets) {
  // Whatever else the parent had open is not ours.
  close_range(kFirstSocket + sockets, ~0U, 0);
  umask(077);
  signal(SIGPIPE, SIG_IGN);
  // A signal to the whole group is for the server, which drains; this process ends when the server
  // has gone.
  for (int stop : {SIGTERM, SIGINT, SIGHUP}) signal(stop, SIG_IGN);
  // Files over the size limit of a resource class give EFBIG, not death.
  signal(SIGXFSZ, SIG_IGN);
}

// What it was before.
rlimit RaiseOpenFiles() {
  rlimit before = {.rlim_cur = 1024, .rlim_max = 1024};
  if (getrlimit(RLIMIT_NOFILE, &before) != 0) return before;
  const rlimit most = {.rlim_cur = before.rlim_max, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &most);
  return before;
}

ActionPolicy PolicyFor(const std::string& mail_spool) {
  ActionPolicy policy{.own_uid = getuid(), .own_gid = getgid(), .mail_spool = mail_spool};
  const passwd* root = getpwuid(0);
  if (root != nullptr) policy.root_home = root->pw_dir;
  return policy;
}

void Serve(unsigned connections, unsigned minimum_uid, const std::string& mail_spool) {
  const rlimit open_files = RaiseOpenFiles();
  System system;
  DirectorySyncs syncs(system);
  ActionServer actions(system, syncs, PolicyFor(mail_spool), open_files);
  std::vector<std::thread> threads;
  threads.emplace_back(
      [&actions, connections] { actions.Serve(kFirstSocket + static_cast<int>(connections)); });
  for (unsigned i = 0; i < connections; ++i) {
    const int fd = kFirstSocket + static_cast<int>(i);
    threads.emplace_back([&system, &syncs, minimum_uid, fd] {
      MailboxServer(system, syncs, minimum_uid, fd).Serve();
      close(fd);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

int Run(int argc, char** argv) {
  unsigned connections = 0, minimum_uid = 0;
  std::string mail_spool;
  constexpr std::string_view kMailSpool = "--mail-spool=";
  const std::string_view role = argc > 1 ? argv[1] : "";
  for (int i = 2; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with(kMailSpool)) {
      mail_spool = argument.substr(kMailSpool.size());
      while (mail_spool.ends_with('/')) mail_spool.pop_back();
      continue;
    }
    if (!NumberOption(argv[i], "--connections=", &connections) &&
        !NumberOption(argv[i], "--minimum-uid=", &minimum_uid)) {
      return Usage();
    }
  }
  if (connections < 1 || connections > kConnectionsMax || minimum_uid < 1) return Usage();
  if (role == "--serve") {
    PrepareProcess(connections + 1);
    Serve(connections, minimum_uid, mail_spool);
  } else if (role == "--supervise") {
    PrepareProcess(1);
    // This same program, though another one may lie at its path by now (an upgrade).
    Supervise(kFirstSocket, {.path = "/proc/self/exe",
                             .connections = static_cast<int>(connections),
                             .minimum_uid = minimum_uid,
                             .mail_spool = mail_spool});
  } else {
    return Usage();
  }
  return 0;
}

}  // namespace
}  // namespace postfleet::delivery::privileged

int main(int argc, char** argv) { return postfleet::delivery::privileged::Run(argc, argv); }
