// The parameters that resolving reads, as values. Lists are unparsed text where a match list reads
// them.
#pragma once

#include <string>
#include <vector>

#include "libs/config/config.h"
#include "libs/config/ip_network.h"

namespace postfleet::lookup {

struct ResolverParameters {
  std::string myhostname;
  std::string myorigin;
  std::string mydomain;
  bool append_at_myorigin = true;
  bool append_dot_mydomain = false;
  std::string mydestination;
  std::string virtual_mailbox_domains;
  std::string relay_domains;
  bool relay_domains_match_subdomains = true;
  bool transport_maps_match_subdomains = false;
  std::string relayhost;
  std::string local_transport = "local:$myhostname";  // "transport", "transport:nexthop"; expanded
  std::string virtual_transport = "virtual";
  std::string relay_transport = "relay";
  std::string default_transport = "smtp";
  std::vector<std::string> transport_maps;
  std::vector<std::string> local_recipient_maps;
  std::vector<std::string> virtual_mailbox_maps;
  std::vector<std::string> relay_recipient_maps;
  std::string recipient_delimiter;
  std::string empty_address_recipient = "MAILER-DAEMON";
  std::string double_bounce_sender = "double-bounce";
  std::string default_database_type = "hash";
  std::vector<config::IpAddress> own_addresses;  // inet_interfaces and proxy_interfaces

  static ResolverParameters From(const config::Config& config);
};

}  // namespace postfleet::lookup
