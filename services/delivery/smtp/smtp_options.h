// What main.cf tells the SMTP and LMTP client: the smtp_* parameters, or, for a service whose
// program is lmtp, the lmtp_* ones, which have defaults of their own (no time limit to connect, a
// wait for the reply to QUIT, port 24).
#pragma once

#include <asio/ip/address.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "libs/message/downgrade.h"
#include "services/delivery/core/status_filter.h"
#include "services/delivery/smtp/core/hosts.h"
#include "services/delivery/smtp/generic_maps.h"
#include "services/delivery/smtp/host_tables.h"

namespace postfleet::delivery::smtp {

enum class ClientProtocol { kSmtp, kLmtp };

struct SmtpTimeouts {
  std::chrono::milliseconds connect{30'000};
  std::chrono::milliseconds helo{300'000};  // also for the greeting
  std::chrono::milliseconds xforward{300'000};
  std::chrono::milliseconds mail{300'000};
  std::chrono::milliseconds rcpt{300'000};
  std::chrono::milliseconds data_init{120'000};
  // Between two pieces of the body that the system takes.
  std::chrono::milliseconds data_xfer{180'000};
  std::chrono::milliseconds data_done{600'000};
  std::chrono::milliseconds rset{20'000};
  std::chrono::milliseconds quit{300'000};
  // Of one connection attempt or one transaction in all (daemon_timeout), however lively the
  // server.
  std::chrono::milliseconds in_all{18'000'000};
  // A limit is for a whole request with its reply, not for each read and write.
  bool per_request = false;
  // With per_request, what the body is given time for, beyond data_xfer.
  uint64_t bytes_per_second_min = 500;
};

struct SmtpOptions {
  ClientProtocol protocol = ClientProtocol::kSmtp;
  // In log lines: "smtp", "lmtp", "relay/smtp".
  std::string program = "smtp";
  std::string myhostname = "localhost";
  std::string helo_name = "localhost";
  // A permanent failure to find or greet it is our misconfiguration: deferred.
  std::string relayhost;
  // best_mx_transport, "local" or "transport:nexthop": where mail goes whose best host we are.
  // Empty: it bounces.
  std::string best_mx_transport;
  // Tried when the destination cannot be found or reached, or puts off.
  std::vector<std::string> fallback_relays;
  // Where a relative path of a unix socket begins.
  std::string queue_directory;
  uint16_t port = 25;
  // The service that `port` is; what SRV is asked for.
  std::string service = "smtp";
  // Loops are looked for on this port only.
  uint16_t loop_port = 25;
  bool use_ipv4 = true;
  bool use_ipv6 = true;
  // Of this machine, and of a proxy in front of it: an MX with one of them is ourselves.
  std::vector<asio::ip::address> own_addresses;
  // Set too where inet_interfaces has one address of the family, which is not loopback.
  std::optional<asio::ip::address> bind_address;
  std::optional<asio::ip::address> bind_address6;
  // Without one's own address the connection is not made; otherwise a warning says so.
  bool bind_address_enforce = false;

  OrderOptions order;
  size_t mx_sessions_max = 2;  // of one destination; 0: no limit
  bool look_up_dns = true;     // for addresses
  bool look_up_native = false;
  bool look_up_mx = true;
  std::vector<std::string> srv_services;  // in lower case
  bool allow_srv_fallback = false;
  bool ignore_srv_lookup_error = false;
  bool ignore_mx_lookup_error = false;
  bool defer_if_no_mx_address_found = false;
  bool cname_names_server = false;
  bool skip_5xx_greeting = true;
  size_t line_bytes_max = 998;  // 0: no limit
  message::DowngradeOptions content_limits;
  // Where 8BITMIME is not offered, 8-bit content becomes quoted-printable.
  bool convert_content = true;
  GenericOptions generic;
  HostTablesOptions host_tables;
  StatusFilterOptions status_filter;
  // Mail that is younger is sent without the pause before the dot that PIX firewalls need.
  std::chrono::milliseconds pix_threshold{500'000};
  std::chrono::milliseconds pix_delay{10'000};
  // See SessionOptions.
  bool always_send_ehlo = true;
  bool never_send_ehlo = false;
  bool quote_addresses = true;
  bool send_xforward = false;
  bool smtputf8 = false;  // smtputf8_enable
  SmtpTimeouts timeouts;
  // The reply to QUIT is not waited for.
  bool skip_quit_reply = true;
  bool soft_bounce = false;
  // LMTP: what a server took is in a mailbox, for notices of success.
  bool assume_final = false;

  bool reuse_connections = true;
  // smtp_connection_cache_destinations: reused at any load.
  std::string reused_destinations;
  std::string default_table_type = "hash";
  std::chrono::milliseconds cache_time{2'000};
  std::chrono::milliseconds reuse_time{300'000};
  size_t reuse_count_max = 0;  // transactions of one connection; 0: no limit
  size_t idle_connections_max = 100;
  // Sessions that wait for the reply to QUIT; more do not.
  size_t quitting_connections_max = 100;
  // How often time limits are looked at.
  std::chrono::milliseconds tick{250};

  // Errors: a port, an address, a lookup method or a list of fallback relays that cannot be.
  static absl::StatusOr<SmtpOptions> FromConfig(const config::Config& config,
                                                ClientProtocol protocol = ClientProtocol::kSmtp);
};

}  // namespace postfleet::delivery::smtp
