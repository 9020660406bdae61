// The listening sockets that master.cf names and the launcher made.
#pragma once

#include <functional>
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

// What has `ingress` go by another configuration; of `cores_divisor`, below, as at its start.
// Errors: what ListenersFrom names, or that no service is left whose socket was passed. A socket
// whose service is gone is closed.
absl::StatusOr<std::function<void()>> PrepareListeners(
    const config::Config& config, const std::multimap<std::string, int>& listen_fds,
    int cores_divisor, Ingress& ingress);

// Fills in the listeners of all loops: postfleet_ingress_loops, or, where that is 0, one for every
// `cores_divisor` cores: 1 for a process that does nothing else.
absl::Status AddListeners(const config::Config& config,
                          const std::multimap<std::string, int>& listen_fds, int cores_divisor,
                          IngressOptions* options);

}  // namespace postfleet::ingress
