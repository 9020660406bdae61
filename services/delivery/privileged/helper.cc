// The privileged delivery helper: writes mailbox files as the users that own them.
//
//   helper --connections=N --minimum-uid=U
//
// Sockets 3 to 2+N are the connections (protocol.h), each served by a thread of its own. It is the
// only process that stays root, so it does nothing else: no configuration, no tables, no network,
// no log. It ends when all connections are closed.
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <string_view>
#include <thread>
#include <vector>

#include "services/delivery/privileged/mailbox_server.h"
#include "services/delivery/privileged/spawn.h"

namespace postfleet::delivery::privileged {
namespace {

constexpr int kFirstSocket = 3;

bool NumberOption(std::string_view argument, std::string_view name, unsigned* value) {
  if (!argument.starts_with(name)) return false;
  argument.remove_prefix(name.size());
  const char* end = argument.data() + argument.size();
  const auto parsed = std::from_chars(argument.data(), end, *value);
  return parsed.ec == std::errc() && parsed.ptr == end;
}

int Usage() {
  std::fprintf(stderr, "usage: helper --connections=N --minimum-uid=U\n");
  return 2;
}

void PrepareProcess(unsigned connections) {
  // Whatever else the parent had open is not ours.
  close_range(kFirstSocket + connections, ~0U, 0);
  umask(077);
  signal(SIGPIPE, SIG_IGN);
  // A signal to the whole group is for the server, which drains; this process ends when the server
  // has gone.
  for (int stop : {SIGTERM, SIGINT, SIGHUP}) signal(stop, SIG_IGN);
  // Files over the size limit of a resource class give EFBIG, not death.
  signal(SIGXFSZ, SIG_IGN);
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
}

int Run(int argc, char** argv) {
  unsigned connections = 0, minimum_uid = 0;
  for (int i = 1; i < argc; ++i) {
    if (!NumberOption(argv[i], "--connections=", &connections) &&
        !NumberOption(argv[i], "--minimum-uid=", &minimum_uid)) {
      return Usage();
    }
  }
  if (connections < 1 || connections > kConnectionsMax || minimum_uid < 1) return Usage();
  PrepareProcess(connections);

  System system;
  DirectorySyncs syncs(system);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < connections; ++i) {
    const int fd = kFirstSocket + static_cast<int>(i);
    threads.emplace_back([&system, &syncs, minimum_uid, fd] {
      MailboxServer(system, syncs, minimum_uid, fd).Serve();
      close(fd);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return 0;
}

}  // namespace
}  // namespace postfleet::delivery::privileged

int main(int argc, char** argv) { return postfleet::delivery::privileged::Run(argc, argv); }
