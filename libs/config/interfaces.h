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

// gethostname and getifaddrs. Interfaces that are down and IPv6 link-local addresses are left out.
absl::StatusOr<HostFacts> ReadHostFacts();

// The addresses that inet_interfaces means: "all", "loopback-only", or a list of names and
// addresses; only families of inet_protocols. Names are looked up with getaddrinfo. Errors: "config
// variable inet_interfaces: host not found: NAME".
absl::StatusOr<std::vector<InterfaceAddress>> SelectInterfaces(
    const std::vector<std::string>& inet_interfaces, const std::vector<std::string>& inet_protocols,
    const HostFacts& facts);

// The default of mynetworks for a mynetworks_style: host, subnet or class. "127.0.0.1/32
// [::1]/128".
absl::StatusOr<std::string> DefaultMynetworks(std::string_view style,
                                              const std::vector<InterfaceAddress>& own);

}  // namespace postfleet::config
