// Where the queue's service is: postfleet_queue_address if it is set, else the control socket of
// the server on this machine, postfleet_control_socket.
//
// The result is an address of gRPC's form: "127.0.0.1:7001", "unix:/path". Errors: InvalidArgument
// if the socket's path is longer than a unix socket's can be.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "libs/config/config.h"

namespace postfleet::commands {

// sockaddr_un's 108 bytes with the zero that ends them (unix(7)).
inline constexpr size_t kSocketPathBytesMax = 107;

absl::StatusOr<std::string> QueueAddress(const config::Config& config);
absl::StatusOr<std::string> ControlAddress(const config::Config& config);

}  // namespace postfleet::commands
