// From a nexthop to the addresses to try, in order (hosts.h), or to the outcome of everybody:
// status and text as Postfix's client gives them.
//
//   no such domain, host or address        5.4.4      lookup failed                       4.4.3
//   the domain takes no mail (RFC 7505)    5.1.0      name or answer is
//   malformed         5.4.4, 5.4.3 the best MX is this machine            5.4.6      better MX
//   hosts have no address     4.4.4
// A domain without MX is its own host (RFC 5321, 5.1). Where several MX hosts have no address, a
// failure that may pass wins.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "libs/dns/resolver.h"
#include "services/delivery/smtp/core/hosts.h"
#include "services/delivery/smtp/smtp_agent.h"

namespace postfleet::delivery::smtp {

struct Hosts {
  // In the order to be tried. Empty: see status and text.
  std::vector<Candidate> candidates;
  uint16_t port = 0;
  std::string status;
  std::string text;
};

// MX hosts whose addresses are looked up; worse ones are left out.
inline constexpr size_t kMxHostsMax = 20;

// `done` is called once, on the resolver's loop, maybe before this returns (an address needs no
// lookup). Options and world must live until then.
void FindHosts(const std::string& nexthop, const SmtpOptions& options, const SmtpWorld& world,
               std::function<void(Hosts)> done);

}  // namespace postfleet::delivery::smtp
