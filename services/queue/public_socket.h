// Connections of this machine's users at a unix socket of mode 0666, each with the user whom the
// kernel names (SO_PEERCRED, unix(7)): the effective user at connect(2), which nobody can forge.
//
// One thread accepts. At most kConnectionsMax are open: past that, others wait in the socket's
// backlog; what one user opens past kConnectionsOfUserMax is closed at once. A connection counts
// until one of its ends has shut it down, whoever owns the descriptor: a duplicate of it is watched
// here.
//
// Errors of Listen: the socket cannot be made (what, where, why).
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

namespace postfleet::queue {

class PublicSocket {
 public:
  static constexpr size_t kConnectionsMax = 128;
  static constexpr size_t kConnectionsOfUserMax = 32;
  static constexpr size_t kPathBytesMax = 107;  // sockaddr_un's 108 with the zero (unix(7))

  // Is given the connection, non-blocking, to keep. Called on the socket's thread: while it works,
  // nobody is accepted.
  using OnConnection = std::function<void(int fd, uid_t user)>;

  // A socket that a crash left at `path` is replaced.
  static absl::StatusOr<std::unique_ptr<PublicSocket>> Listen(const std::string& path,
                                                              OnConnection on_connection);
  // Accepts no more and removes the socket. Connections that were handed over stay.
  ~PublicSocket();

  PublicSocket(const PublicSocket&) = delete;
  PublicSocket& operator=(const PublicSocket&) = delete;

 private:
  struct Connection {
    int fd;  // the duplicate
    uid_t user;
  };

  PublicSocket(std::string path, int listening, int wake, OnConnection on_connection);
  void Run();
  // False: out of descriptors or memory for now.
  bool Accept();
  bool IsFullFor(uid_t user) const;

  const std::string path_;
  const int listening_;
  const int wake_;  // an eventfd: the thread shall end
  const OnConnection on_connection_;
  std::vector<Connection> connections_;  // of the thread
  std::thread thread_;
};

}  // namespace postfleet::queue
