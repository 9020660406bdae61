// Where the queue's service is, for what the caller wants to do.
//
//   kEverything    postfleet_queue_address or the cluster's members (libs/config/queue_addresses.h)
//                  if they are set, else the control socket of the server on this machine,
//                  postfleet_control_socket. It gives every power, deletion too.
//   kListAndFlush  the same for who may administer the instance (server_lock.h); for all others
//                  the public socket, which gives no more than that
//                  (services/queue/public_queue.h), if the queue is on this machine.
//
// The result is addresses of gRPC's form, "127.0.0.1:7001", "unix:/path": several are those of the
// queue's replicas. Errors: InvalidArgument if a socket's path is longer than a unix socket's can
// be.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/config.h"

namespace postfleet::commands {

// sockaddr_un's 108 bytes with the zero that ends them (unix(7)).
inline constexpr size_t kSocketPathBytesMax = 107;

enum class QueuePower { kEverything, kListAndFlush };

absl::StatusOr<std::vector<std::string>> QueueAddresses(const config::Config& config,
                                                        QueuePower power, uid_t user);
absl::StatusOr<std::string> ControlAddress(const config::Config& config);

}  // namespace postfleet::commands
