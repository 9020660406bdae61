// Starts the two processes of the privileged helper (helper.cc). By posix_spawn: nothing of the
// caller is copied, so a process with threads (gRPC) may do it; as root it must come before
// privileges are dropped.
//
// The launcher calls SpawnHelper as root, clears FD_CLOEXEC of the socket, drops privileges and
// gives its number to the server that it execs: HelperConnections receives the connections to each
// worker over it (connection_passing.h). The helper ends by itself once the server's sockets are
// closed: it never outlives its server.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace postfleet::delivery::privileged {

inline constexpr int kConnectionsDefault = 20;
inline constexpr int kConnectionsMax = 100;
// The spawned process's sockets are numbered from here.
inline constexpr int kFirstSocket = 3;

struct SpawnOptions {
  std::string path;  // of the helper's program
  int connections = kConnectionsDefault;
  uid_t minimum_uid = 100;  // virtual_minimum_uid
  std::string mail_spool;   // mail_spool_directory, where root writes mailboxes
};

struct HelperProcess {
  pid_t pid = -1;
  std::vector<int> sockets;  // close on exec; the caller's
  std::string error;         // empty: started
};

// The supervisor, with an empty environment. One socket: the one for HelperConnections.
HelperProcess SpawnHelper(const SpawnOptions& options);

// A worker, with the caller's environment; for the supervisor. Its connections, and behind them one
// more, over which actions begin (action_protocol.h).
HelperProcess SpawnWorker(const SpawnOptions& options);

}  // namespace postfleet::delivery::privileged
