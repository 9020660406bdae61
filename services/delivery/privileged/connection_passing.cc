#include "services/delivery/privileged/connection_passing.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "services/delivery/privileged/spawn.h"

namespace postfleet::delivery::privileged {
namespace {

// A packet's bytes and its descriptors, for sendmsg and recvmsg.
struct Packet {
  Packet() {
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
  }
  Packet(const Packet&) = delete;
  Packet& operator=(const Packet&) = delete;

  pid_t worker = 0;
  struct iovec bytes = {&worker, sizeof(worker)};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * (kConnectionsMax + 1))] = {};
  struct msghdr header = {};
};

void TakeDescriptors(struct msghdr* header, std::vector<int>* sockets) {
  for (struct cmsghdr* part = CMSG_FIRSTHDR(header); part != nullptr;
       part = CMSG_NXTHDR(header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const size_t before = sockets->size();
    sockets->resize(before + count);
    memcpy(sockets->data() + before, CMSG_DATA(part), count * sizeof(int));
  }
}

}  // namespace

bool SendConnections(int socket, const WorkerConnections& connections) {
  Packet packet;
  packet.worker = connections.worker;
  const size_t bytes = connections.sockets.size() * sizeof(int);
  packet.header.msg_controllen = CMSG_SPACE(bytes);
  struct cmsghdr* part = CMSG_FIRSTHDR(&packet.header);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(bytes);
  memcpy(CMSG_DATA(part), connections.sockets.data(), bytes);
  return sendmsg(socket, &packet.header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

Received ReceiveConnections(int socket, WorkerConnections* connections) {
  Packet packet;
  ssize_t got;
  do {
    got = recvmsg(socket, &packet.header, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return Received::kNothingYet;
  if (got <= 0) return Received::kEnd;
  connections->worker = packet.worker;
  connections->sockets.clear();
  TakeDescriptors(&packet.header, &connections->sockets);
  const bool whole = got == sizeof(packet.worker) && !connections->sockets.empty() &&
                     (packet.header.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) == 0;
  if (whole) return Received::kConnections;
  for (int taken : connections->sockets) close(taken);
  connections->sockets.clear();
  return Received::kEnd;
}

}  // namespace postfleet::delivery::privileged
