#include "services/delivery/privileged/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace postfleet::delivery::privileged {
namespace {

void CloseAll(std::vector<int>* sockets) {
  for (int socket : *sockets) close(socket);
  sockets->clear();
}

// Two ends; the spawned process's is numbered above every number that it gets there, so that dup2
// overwrites none of them.
bool AddPair(int type, int above, std::vector<int>* ours, std::vector<int>* theirs) {
  int pair[2];
  if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) != 0) return false;
  ours->push_back(pair[0]);
  const int moved = fcntl(pair[1], F_DUPFD_CLOEXEC, above);
  const int error = errno;
  close(pair[1]);
  errno = error;
  if (moved < 0) return false;
  theirs->push_back(moved);
  return true;
}

int Exec(const SpawnOptions& options, const char* role, char* const* environment,
         const std::vector<int>& theirs, pid_t* pid) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (size_t i = 0; i < theirs.size(); ++i) {
    posix_spawn_file_actions_adddup2(&actions, theirs[i], kFirstSocket + static_cast<int>(i));
  }
  const std::string name = "postfleet-delivery-helper";
  const std::string connections = "--connections=" + std::to_string(options.connections);
  const std::string minimum = "--minimum-uid=" + std::to_string(options.minimum_uid);
  const std::string spool = "--mail-spool=" + options.mail_spool;
  const std::string as = role;
  std::vector<char*> arguments;
  for (const std::string* argument : {&name, &as, &connections, &minimum, &spool}) {
    arguments.push_back(const_cast<char*>(argument->c_str()));
  }
  arguments.push_back(nullptr);
  // A signal that the caller blocks must still end the helper.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  const int error =
      posix_spawn(pid, options.path.c_str(), &actions, &attributes, arguments.data(), environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

HelperProcess Spawn(const SpawnOptions& options, const char* role, char* const* environment,
                    int socket_type, int socket_count) {
  HelperProcess helper;
  if (options.connections < 1 || options.connections > kConnectionsMax) {
    helper.error = "delivery helper: bad number of connections";
    return helper;
  }
  std::vector<int> theirs;
  int error = 0;
  for (int i = 0; i < socket_count && error == 0; ++i) {
    if (!AddPair(socket_type, kFirstSocket + socket_count, &helper.sockets, &theirs)) error = errno;
  }
  if (error == 0) error = Exec(options, role, environment, theirs, &helper.pid);
  CloseAll(&theirs);
  if (error == 0) return helper;
  CloseAll(&helper.sockets);
  helper.pid = -1;
  helper.error = "cannot start " + options.path + ": " + strerror(error);
  return helper;
}

}  // namespace

HelperProcess SpawnHelper(const SpawnOptions& options) {
  char* const nothing[] = {nullptr};
  return Spawn(options, "--supervise", nothing, SOCK_SEQPACKET, 1);
}

HelperProcess SpawnWorker(const SpawnOptions& options) {
  return Spawn(options, "--serve", environ, SOCK_STREAM, options.connections + 1);
}

}  // namespace postfleet::delivery::privileged
