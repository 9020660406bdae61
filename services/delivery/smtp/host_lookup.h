// From one destination of a nexthop to the addresses to try, in order (hosts.h), or to the outcome
// of everybody: status and text as Postfix's client gives them.
//
//   no such domain, host or address        5.4.4      lookup failed                       4.4.3
//   the domain takes no mail (RFC 7505)    5.1.0      name or answer is malformed  5.4.4, 5.4.3
//   the best MX is this machine            5.4.6      better MX hosts have no address     4.4.4
//
// A domain without MX is its own host (RFC 5321, 5.1). Where several MX hosts have no address, a
// failure that may pass wins. SRV records (RFC 2782) come first where use_srv_lookup names the
// service; they have ports of their own, and their order is final. What they lead to nowhere for,
// hosts without address and ourselves included, is looked up as without them where
// allow_srv_lookup_fallback has it; after a lookup that failed, ignore_srv_lookup_error does it
// too. Ourselves are looked for by SMTP alone, and where the nexthop, not an SRV record, has port
// 25. The machine's own naming service is asked for a host that
// the DNS gave no address of, or alone, by smtp_host_lookup. As lmtp, "unix:path" is a socket and
// "inet:" in front of a host is taken off; MX is not asked for.
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
  // This machine is among the destination's hosts: what is tried besides must not come behind it.
  bool found_self = false;
  // A server that calls itself by our name is ourselves.
  bool detect_loop = false;
  std::string status;
  std::string text;
};

// MX or SRV hosts whose addresses are looked up; worse ones are left out.
inline constexpr size_t kMxHostsMax = 20;

// `done` is called once, on the resolver's loop, maybe before this returns (an address needs no
// lookup). Options and world must live until then.
void FindHosts(const std::string& destination, const SmtpOptions& options, const SmtpWorld& world,
               std::function<void(Hosts)> done);

}  // namespace postfleet::delivery::smtp
