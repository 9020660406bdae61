#include "services/lookup/core/resolver_parameters.h"

#include <utility>

namespace postfleet::lookup {
namespace {

bool Names(const std::vector<std::string>& list, std::string_view name) {
  for (const std::string& item : list) {
    if (item == name) return true;
  }
  return false;
}

OwnDomainRules ReadOwnDomainRules(const config::Config& config) {
  std::string origin = config.GetString("myorigin");
  if (origin.starts_with('@')) origin.erase(0, 1);
  return {.rewriting = {.origin = std::move(origin),
                        .domain = config.GetString("mydomain"),
                        .append_at_origin = config.GetBool("append_at_myorigin"),
                        .append_dot_domain = config.GetBool("append_dot_mydomain"),
                        .swap_bangpath = config.GetBool("swap_bangpath"),
                        .percent_hack = config.GetBool("allow_percent_hack")},
          .myhostname = config.GetString("myhostname"),
          .empty_address_recipient = config.GetString("empty_address_recipient"),
          .resolve_dequoted_address = config.GetBool("resolve_dequoted_address"),
          .resolve_null_domain = config.GetBool("resolve_null_domain")};
}

bool TakesText(const config::MasterService& service) {
  return service.command == "error" || service.command == "discard";
}

}  // namespace

ResolverParameters ResolverParameters::From(const config::Config& config) {
  ResolverParameters p;
  p.own_domains = ReadOwnDomainRules(config);
  p.resolve_numeric_domain = config.GetBool("resolve_numeric_domain");
  p.allow_min_user = config.GetBool("allow_min_user");
  p.mydestination = config.GetString("mydestination");
  p.virtual_mailbox_domains = config.GetString("virtual_mailbox_domains");
  p.relay_domains = config.GetString("relay_domains");
  std::vector<std::string> parents = config.GetList("parent_domain_matches_subdomains");
  p.relay_domains_match_subdomains = Names(parents, "relay_domains");
  p.transport_maps_match_subdomains = Names(parents, "transport_maps");
  p.relayhost = config.GetString("relayhost");
  p.local_transport = config.GetString("local_transport");
  p.virtual_transport = config.GetString("virtual_transport");
  p.relay_transport = config.GetString("relay_transport");
  p.default_transport = config.GetString("default_transport");
  p.transport_maps = config.GetList("transport_maps");
  p.local_recipient_maps = config.GetList("local_recipient_maps");
  p.virtual_mailbox_maps = config.GetList("virtual_mailbox_maps");
  p.relay_recipient_maps = config.GetList("relay_recipient_maps");
  p.recipient_delimiter = config.GetString("recipient_delimiter");
  p.double_bounce_sender = config.GetString("double_bounce_sender");
  p.default_database_type = config.GetString("default_database_type");
  p.text_transports.clear();
  for (const config::MasterService& service : config.master_cf().services) {
    if (TakesText(service)) p.text_transports.push_back(service.name);
  }
  for (const config::InterfaceAddress& own : config.own_addresses()) {
    p.own_addresses.push_back(own.address);
  }
  for (const std::string& proxy : config.GetList("proxy_interfaces")) {
    if (auto address = config::IpAddress::Parse(proxy)) p.own_addresses.push_back(*address);
  }
  return p;
}

}  // namespace postfleet::lookup
