// The listening sockets that master.cf names and the launcher made.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "services/ingress/ingress.h"

namespace postfleet::ingress {

// One for each inherited descriptor (master.cf's first column -> socket), with its service's -o
// values. A descriptor that no smtpd service names is an error. Without any descriptor the ports of
// master.cf are to be bound by the server itself. The log shows "smtpd", or "<name>/smtpd" where -o
// syslog_name=postfix/<name> says so.
absl::StatusOr<std::vector<ListenerOptions>> ListenersFrom(
    const config::Config& config, const std::multimap<std::string, int>& listen_fds);

// Fills in the listeners of all loops: postfleet_ingress_loops, or, where that is 0, one for every
// `cores_divisor` cores: 1 for a process that does nothing else.
absl::Status AddListeners(const config::Config& config,
                          const std::multimap<std::string, int>& listen_fds, int cores_divisor,
                          IngressOptions* options);

}  // namespace postfleet::ingress
