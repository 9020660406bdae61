// How the connections to a worker reach the server: one packet on the SOCK_SEQPACKET socket between
// the helper's supervisor and the server, with the worker's process id as its bytes and the
// server's ends of the connections as its descriptors (SCM_RIGHTS, unix(7)).
//
// The supervisor sends one packet for each worker that it starts and reads nothing: what the server
// writes cannot reach the process that holds root.
#pragma once

#include <sys/types.h>

#include <vector>

namespace postfleet::delivery::privileged {

struct WorkerConnections {
  pid_t worker = 0;          // for people; it may have ended
  std::vector<int> sockets;  // close on exec where they were received; the receiver's
};

// Never blocks. The sender keeps its own descriptors. False with errno.
bool SendConnections(int socket, const WorkerConnections& connections);

enum class Received { kConnections, kNothingYet, kEnd };
// Blocks unless the socket is non-blocking. kEnd: the supervisor has gone, or sent what it never
// sends.
Received ReceiveConnections(int socket, WorkerConnections* connections);

}  // namespace postfleet::delivery::privileged
