// What the machine is, as far as parameters need it: host name and interface addresses. Read once
// at start; tests give their own.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/ip_network.h"

namespace postfleet::config {

struct InterfaceAddress {
  IpAddress address;
  int prefix_length = 0;
};

struct HostFacts {
  std::string hostname;  // as gethostname says; may lack a domain
  std::vector<InterfaceAddress> interfaces;
};

// fe80::/10: of one link, and means nothing without its interface.
bool IsLinkLocal(const IpAddress& address);

// gethostname and getifaddrs. Interfaces that are down are left out.
absl::StatusOr<HostFacts> ReadHostFacts();

// The addresses that inet_interfaces means: "all" or "loopback-only", alone, in the interfaces'
// order; or a list of names and addresses of this machine, sorted; only families of inet_protocols.
// Names are looked up with getaddrinfo. Errors: "config variable inet_interfaces: host not found:
// NAME", "parameter inet_interfaces: no local interface found for ADDRESS".
absl::StatusOr<std::vector<InterfaceAddress>> SelectInterfaces(
    const std::vector<std::string>& inet_interfaces, const std::vector<std::string>& inet_protocols,
    const HostFacts& facts);

// The default of mynetworks for a mynetworks_style: host, subnet or class. "127.0.0.1/32
// [::1]/128".
absl::StatusOr<std::string> DefaultMynetworks(std::string_view style,
                                              const std::vector<InterfaceAddress>& own);

}  // namespace postfleet::config
