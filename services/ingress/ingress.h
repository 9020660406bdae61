// The SMTP server of a node: listening sockets, sessions on one event loop, and the streams to
// queue and lookup.
//
// Start opens the listeners and returns; it registers with the queue and opens the streams in the
// background and repeats that for ever. Connections wait in the kernel until the first time that
// both are there (at most kFirstReadyWait, then clients are told 421 4.3.2). Later, while the queue
// is away, MAIL and DATA are told 451 4.3.0 at once. A message that is on its way meanwhile is sent
// again under the same id when the queue is back; after kResendMax its client is told 451 4.3.0.
//
// A new configuration holds for the sessions that begin after it; those that run end by the one
// that they began with. Sockets stay: a service that is gone from it closes its own, and what would
// need a new one is the caller's to name.
//
// Limits: IngressOptions. Log lines go to libs/base/maillog.h.
#pragma once

#include <grpcpp/channel.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/config/config.h"
#include "libs/metrics/metrics.h"
#include "libs/rpc/leader_channel.h"
#include "services/ingress/core/client_lists.h"
#include "services/ingress/core/session_config.h"

namespace postfleet::ingress {

inline constexpr std::chrono::seconds kFirstReadyWait{5};
inline constexpr std::chrono::seconds kResendMax{5};

// One listening socket. Several with equal `name` share a metrics label.
struct ListenerOptions {
  std::string name = "smtpd";         // label of metrics; "submission"
  std::string log_program = "smtpd";  // as in the log: "submission/smtpd" if syslog_name says so
  int fd = -1;        // a bound and listening socket, taken over; -1: bind host and port
  std::string host;   // an address
  uint16_t port = 0;  // 0: any
  SessionConfig session;
  // Of sessions that begin when few are left; null: the same.
  std::shared_ptr<const SessionConfig> stressed_session;
  size_t sessions_max = 0;  // of all listeners of this name; 0: IngressOptions::sessions_max
  ClientLists clients;
  // smtpd_upstream_proxy_protocol = haproxy: who connects says first whom it speaks for.
  bool behind_proxy = false;
  std::chrono::milliseconds proxy_timeout{5'000};

  // Everything but fd, host and port. `config` has the service's overrides.
  static absl::StatusOr<ListenerOptions> From(const config::Config& config, std::string name);
};

struct IngressOptions {
  std::string name = "ingress@localhost";  // for the queue's logs
  std::vector<ListenerOptions> listeners;
  // The same listeners, in the same order, with tables of their own, for each loop more than one.
  // They share the sockets of `listeners`.
  std::vector<std::vector<ListenerOptions>> further_loops;
  rpc::LeaderChannel queue;
  std::shared_ptr<grpc::Channel> lookup;
  const Clock* clock = &SystemClock();
  metrics::Registry* metrics = nullptr;  // outlives the Ingress; nullptr: nobody counts
  // Contents of all sessions in memory; past it sessions send what they have, new DATA gets 452.
  size_t ingress_buffer_bytes_max = 64u << 20;
  // Between two reports of what clients did most (anvil_status_update_time).
  std::chrono::milliseconds statistics_every{600'000};
  int64_t rate_unit_ms = 60'000;  // anvil_rate_time_unit
  // Sessions at once over all listeners; the next ones wait in the kernel.
  size_t sessions_max = 20'000;
};

class Ingress {
 public:
  // Errors: an address that cannot be bound.
  static absl::StatusOr<std::unique_ptr<Ingress>> Start(IngressOptions options);
  ~Ingress();  // Stops

  // Registered with the queue and both streams are open. Thread-safe.
  bool Ready() const;
  // Stops accepting, ends sessions between messages with 421, and waits until the others have
  // ended, at most `grace`. Blocks; not from a loop. True: all have ended.
  bool Drain(std::chrono::milliseconds grace);
  // Closes what is left. Thread-safe, may be called again.
  void Stop();

  // For the sessions that begin from now on. Its `listeners` and `further_loops` name the sockets
  // of Start by `fd` (or, bound by Start, by host and port) and are as many loops; its
  // `statistics_every` and `rate_unit_ms` hold too, the rest is ignored. Returns once all loops
  // have it; not from a loop.
  void Reconfigure(IngressOptions options);

  // The port of each listener, in their order.
  std::vector<uint16_t> ports() const;
  // For tests and figures. Thread-safe.
  struct Figures {
    size_t sessions = 0;
    size_t buffered_bytes = 0;
    size_t buffered_bytes_peak = 0;
    uint64_t messages_accepted = 0;
  };
  Figures figures() const;

 private:
  class Impl;
  explicit Ingress(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace postfleet::ingress
