// What every user of this machine may ask of the queue: to list it and to flush it, as with Postfix
// (authorized_mailq_users and authorized_flush_users, static:anyone). Nothing else: deletion,
// contents and the services' own calls are UNIMPLEMENTED here.
//
// A gRPC server of its own at the unix socket $queue_directory/postfleet-public/queue, mode 0666,
// in front of the queue. Who may reach the control socket, in a folder of mode 0700, needs it not.
//
// Another value of one of the two parameters closes that call to everybody but those (root and
// mail_owner) with PERMISSION_DENIED: lists of users are not supported yet, and guessing would give
// away more than was asked.
//
// A user who calls too much gets RESOURCE_EXHAUSTED past kCallsMax calls at once; the control
// socket does not feel it.
//
// Errors of Serve: the socket cannot be made (what, where, what to do). Mail does not depend on it:
// the caller warns and goes on.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "libs/config/config.h"

namespace postfleet::queue {

struct PublicQueueOptions {
  std::string queue_directory;
  std::string authorized_mailq_users = "static:anyone";
  std::string authorized_flush_users = "static:anyone";

  static PublicQueueOptions From(const config::Config& config);
};

class PublicQueue {
 public:
  static constexpr int kCallsMax = 16;
  static constexpr int kRequestBytesMax = 64 << 10;

  // `queue` is asked; it outlives this.
  static absl::StatusOr<std::unique_ptr<PublicQueue>> Serve(const PublicQueueOptions& options,
                                                            std::shared_ptr<grpc::Channel> queue);
  // Cuts calls that take longer than a moment.
  ~PublicQueue();

 private:
  struct Parts;
  explicit PublicQueue(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace postfleet::queue
