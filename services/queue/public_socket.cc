#include "services/queue/public_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#include "libs/base/concat.h"

namespace postfleet::queue {
namespace {

constexpr int kBacklog = 128;
constexpr int kAcceptRetryMs = 1'000;

absl::Status Failed(std::string_view what, const std::string& path) {
  const std::string reason = strerror(errno);
  return absl::UnavailableError(Concat(what, " ", path, ": ", reason));
}

absl::Status BindAndListen(int fd, const std::string& path) {
  struct stat found;
  if (lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode)) unlink(path.c_str());
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Failed("listen on", path);
  }
  if (chmod(path.c_str(), 0666) != 0) return Failed("change the mode of", path);
  return listen(fd, kBacklog) == 0 ? absl::OkStatus() : Failed("listen on", path);
}

std::optional<uid_t> UserOf(int fd) {
  ucred peer;
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return std::nullopt;
  return peer.uid;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PublicSocket>> PublicSocket::Listen(const std::string& path,
                                                                   OnConnection on_connection) {
  if (path.size() > kPathBytesMax) {
    return absl::InvalidArgumentError(Concat("the path of a unix socket has at most ",
                                             kPathBytesMax, " bytes, ", path, " has ", path.size(),
                                             ": set a shorter queue_directory"));
  }
  const int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listening < 0) return Failed("make a socket for", path);
  if (absl::Status bound = BindAndListen(listening, path); !bound.ok()) {
    close(listening);
    return bound;
  }
  const int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake < 0) {
    close(listening);
    return Failed("make an eventfd for", path);
  }
  return std::unique_ptr<PublicSocket>(
      new PublicSocket(path, listening, wake, std::move(on_connection)));
}

PublicSocket::PublicSocket(std::string path, int listening, int wake, OnConnection on_connection)
    : path_(std::move(path)),
      listening_(listening),
      wake_(wake),
      on_connection_(std::move(on_connection)),
      thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "public-socket");
}

PublicSocket::~PublicSocket() {
  eventfd_write(wake_, 1);
  thread_.join();
  for (const Connection& connection : connections_) close(connection.fd);
  close(wake_);
  close(listening_);
  unlink(path_.c_str());
}

void PublicSocket::Run() {
  bool accepts = true;
  while (true) {
    const bool is_full = connections_.size() >= kConnectionsMax;
    // poll(2) leaves out what is negative, and tells of a hangup unasked.
    std::vector<pollfd> watched = {{wake_, POLLIN, 0},
                                   {is_full || !accepts ? -1 : listening_, POLLIN, 0}};
    for (const Connection& connection : connections_) watched.push_back({connection.fd, 0, 0});
    if (poll(watched.data(), watched.size(), accepts ? -1 : kAcceptRetryMs) < 0) continue;
    if (watched[0].revents != 0) return;
    for (size_t i = connections_.size(); i-- > 0;) {
      if ((watched[2 + i].revents & (POLLHUP | POLLERR)) == 0) continue;
      close(connections_[i].fd);
      connections_.erase(connections_.begin() + static_cast<ptrdiff_t>(i));
    }
    accepts = watched[1].revents == 0 || Accept();
  }
}

bool PublicSocket::Accept() {
  const int fd = accept4(listening_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  // Who has hung up meanwhile is no reason to wait.
  if (fd < 0) return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
  const std::optional<uid_t> user = UserOf(fd);
  if (!user || IsFullFor(*user)) {
    close(fd);
    return true;
  }
  const int watched = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (watched < 0) {
    close(fd);
    return false;
  }
  connections_.push_back({watched, *user});
  on_connection_(fd, *user);
  return true;
}

bool PublicSocket::IsFullFor(uid_t user) const {
  const auto of_user =
      std::count_if(connections_.begin(), connections_.end(),
                    [user](const Connection& connection) { return connection.user == user; });
  return static_cast<size_t>(of_user) >= kConnectionsOfUserMax;
}

}  // namespace postfleet::queue
