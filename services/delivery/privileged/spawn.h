// Starts the privileged helper with its connections. By posix_spawn: nothing of the caller is
// copied, so a process with threads (gRPC) may do it; as root it must come before privileges are
// dropped.
//
// The launcher calls it as root, clears FD_CLOEXEC of the sockets, drops privileges and gives their
// numbers to the server that it execs. The helper ends by itself once all sockets are closed: it
// never outlives its server.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace postfleet::delivery::privileged {

inline constexpr int kConnectionsDefault = 20;
inline constexpr int kConnectionsMax = 100;

struct SpawnOptions {
  std::string path;  // of the helper's program
  int connections = kConnectionsDefault;
  uid_t minimum_uid = 100;  // virtual_minimum_uid
};

struct HelperProcess {
  pid_t pid = -1;
  std::vector<int> sockets;  // close on exec; the caller's
  std::string error;         // empty: started
};

HelperProcess SpawnHelper(const SpawnOptions& options);

}  // namespace postfleet::delivery::privileged
