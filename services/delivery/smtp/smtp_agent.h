// The agent of transports of type smtp (smtp, relay): one attempt is one transaction on one
// connection; when hosts fail or put off, the next of the destination's hosts is tried, as
// Postfix's smtp(8) does.
//
// A connection is kept for the next attempt to the same destination when attempts follow one
// another: an attempt that starts while another one runs, or within a second of the last one's end,
// makes its destination a reused one (smtp_connection_cache_on_demand). A kept connection is closed
// after `cache_time` or when there are more than `idle_connections_max`; one that turns out dead
// before it has answered is replaced by a fresh one, which is no failure.
//
// A lost connection after the final dot is deferred (4.4.2) and not tried at another host at once:
// the message may have been taken. Cost of an attempt on a kept connection, PIPELINING, body within
// kSendBufferBytes: 2 sends, 2 reads that bring bytes.
//
// Log lines: one for each recipient, with relay=host[address]:port; one for each host that could
// not be reached.
#pragma once

#include <asio/ip/address.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/config/config.h"
#include "libs/dns/resolver.h"
#include "libs/runtime/event_loop.h"
#include "services/delivery/core/agent.h"
#include "services/delivery/smtp/core/hosts.h"
#include "services/delivery/smtp/core/session.h"

namespace postfleet::delivery::smtp {

struct SmtpTimeouts {
  std::chrono::milliseconds connect{30'000};
  std::chrono::milliseconds helo{300'000};  // also for the greeting
  std::chrono::milliseconds mail{300'000};
  std::chrono::milliseconds rcpt{300'000};
  std::chrono::milliseconds data_init{120'000};
  // Between two pieces of the body that the system takes.
  std::chrono::milliseconds data_xfer{180'000};
  std::chrono::milliseconds data_done{600'000};
  std::chrono::milliseconds rset{20'000};
};

struct SmtpOptions {
  // In log lines: "smtp", "relay/smtp".
  std::string program = "smtp";
  std::string myhostname = "localhost";
  std::string helo_name = "localhost";
  // A permanent failure to find or greet it is our misconfiguration: deferred.
  std::string relayhost;
  // Default port; loops are looked for on this port only.
  uint16_t port = 25;
  bool use_ipv4 = true;
  bool use_ipv6 = true;
  // Of this machine: an MX with one of them is ourselves.
  std::vector<asio::ip::address> own_addresses;
  std::optional<asio::ip::address> bind_address;
  std::optional<asio::ip::address> bind_address6;

  OrderOptions order;
  size_t mx_sessions_max = 2;  // 0: no limit
  bool ignore_mx_lookup_error = false;
  bool defer_if_no_mx_address_found = false;
  bool skip_5xx_greeting = true;
  size_t line_bytes_max = 998;  // 0: no limit
  SmtpTimeouts timeouts;

  bool reuse_connections = true;
  std::chrono::milliseconds cache_time{2'000};
  std::chrono::milliseconds reuse_time{300'000};
  size_t reuse_count_max = 0;  // transactions of one connection; 0: no limit
  size_t idle_connections_max = 100;
  // How often time limits are looked at.
  std::chrono::milliseconds tick{250};

  static absl::StatusOr<SmtpOptions> FromConfig(const config::Config& config);
};

// What the agent takes from the world; everything must outlive it.
struct SmtpWorld {
  runtime::EventLoop* loop = nullptr;
  dns::Resolver* resolver = nullptr;
  const Clock* clock = &SystemClock();
  Random random;
};

class SmtpAgent : public Agent {
 public:
  SmtpAgent(SmtpOptions options, SmtpWorld world);
  // Ends what runs without answering.
  ~SmtpAgent() override;

  void Start(std::unique_ptr<Attempt> attempt) override;
  void Cancel(uint64_t delivery_id) override;
  void CloseIdle() override;

  size_t idle_connections() const;
  size_t running_attempts() const;
  uint64_t connections_opened() const;

 private:
  class Core;
  const std::shared_ptr<Core> core_;
};

}  // namespace postfleet::delivery::smtp
