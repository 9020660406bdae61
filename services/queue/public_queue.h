// What every user of this machine may ask of the queue, as with Postfix: to list it, if
// authorized_mailq_users names the user, and to flush it, if authorized_flush_users does. Nothing
// else: contents and the services' own calls are UNIMPLEMENTED here, and so is all administration
// but a flush of messages that are named (Administer; other actions are PERMISSION_DENIED).
//
// A gRPC server of its own at the unix socket $queue_directory/postfleet-public/queue, mode 0666,
// in front of the queue. Who may reach the control socket, in a folder of mode 0700, needs it not.
//
// The kernel says whose a connection is (public_socket.h). The lists are Postfix's match lists of
// user names (postconf(5), libs/tables/match_list.h): a user id without a name is "unknown"; root,
// mail_owner and the server's own user are always allowed. Both rights are decided once, when a
// connection is accepted. Where that cannot be found out (a table or the name service fails), the
// answer is no, with a warning. Who is not allowed gets PERMISSION_DENIED, "not allowed to view the
// mail queue".
//
// A user who calls too much gets RESOURCE_EXHAUSTED past kCallsMax calls at once; connections are
// bounded for each user, and idle ones are closed. The control socket does not feel it.
//
// Where no replica of the queue leads, the answer is that of one (libs/rpc/leader.h).
//
// Errors of Serve: a list is malformed, or the socket cannot be made (what, where, what to do).
// Mail does not depend on it: the caller warns and goes on.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "libs/rpc/leader_channel.h"

namespace postfleet::queue {

struct PublicQueueOptions {
  std::string queue_directory;
  std::string mail_owner;
  std::string authorized_mailq_users = "static:anyone";
  std::string authorized_flush_users = "static:anyone";
  int idle_ms = 30'000;

  static PublicQueueOptions From(const config::Config& config);
};

class PublicQueue {
 public:
  static constexpr int kCallsMax = 16;
  static constexpr int kRequestBytesMax = 64 << 10;

  // `queue` is asked: of several replicas whichever leads.
  static absl::StatusOr<std::unique_ptr<PublicQueue>> Serve(const PublicQueueOptions& options,
                                                            rpc::LeaderChannel queue);
  // Cuts calls that take longer than a moment.
  ~PublicQueue();

  // What takes over the lists of another configuration, for the connections that come from then
  // on. Any thread. Errors: a list is malformed.
  absl::StatusOr<std::function<void()>> Prepare(const config::Config& config);

 private:
  struct Parts;
  explicit PublicQueue(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace postfleet::queue
