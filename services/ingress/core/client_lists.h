// Which lists a client is on, asked once when it connects: mynetworks,
// smtpd_forbid_bare_newline_exclusions, smtpd_client_event_limit_exceptions,
// smtpd_authorized_xclient_hosts, smtpd_authorized_xforward_hosts, smtpd_authorized_verp_clients.
// And by which network it is counted.
//
// Lists may name tables: asking can read files. Not thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "libs/config/ip_network.h"
#include "services/ingress/core/restrictions.h"

namespace postfleet::ingress {

struct ClientMemberships {
  Membership mynetworks = Membership::kNo;
  bool bare_newline_excluded = false;  // false also if a table cannot be read: the strict way
  bool event_limit_excepted = false;
  // As bare_newline_excluded: false if a table cannot be read.
  bool may_xclient = false;
  bool may_xforward = false;
  bool may_verp = false;
};

class ClientLists {
 public:
  // Empty lists.
  ClientLists();
  ~ClientLists();
  ClientLists(ClientLists&&) noexcept;
  ClientLists& operator=(ClientLists&&) noexcept;

  static absl::StatusOr<ClientLists> Open(const config::Config& config);

  ClientMemberships Judge(std::string_view name, const config::IpAddress& address);
  // The network that counts as one client (smtpd_client_ipv4_prefix_length and ipv6).
  config::IpNetwork CountedNetwork(const config::IpAddress& address) const;

 private:
  struct Lists;
  std::unique_ptr<Lists> lists_;
  int ipv4_prefix_length_ = 32;
  int ipv6_prefix_length_ = 84;
};

}  // namespace postfleet::ingress
