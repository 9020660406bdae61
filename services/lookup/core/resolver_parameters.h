// The parameters that resolving reads, as values. Lists are unparsed text where a match list reads
// them.
#pragma once

#include <string>
#include <vector>

#include "libs/config/config.h"
#include "libs/config/ip_network.h"
#include "services/lookup/core/own_domains.h"

namespace postfleet::lookup {

struct ResolverParameters {
  // How addresses are completed, and what hides in those of ours.
  OwnDomainRules own_domains;
  bool resolve_numeric_domain = false;
  bool allow_min_user = false;
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
  // Services of master.cf whose nexthop is a text: those that run error(8) or discard(8).
  std::vector<std::string> text_transports = {"error", "retry", "discard"};
  std::vector<std::string> local_recipient_maps;
  std::vector<std::string> virtual_mailbox_maps;
  std::vector<std::string> relay_recipient_maps;
  std::string recipient_delimiter;
  std::string double_bounce_sender = "double-bounce";
  std::string default_database_type = "hash";
  std::vector<config::IpAddress> own_addresses;  // inet_interfaces and proxy_interfaces

  static ResolverParameters From(const config::Config& config);
};

}  // namespace postfleet::lookup
