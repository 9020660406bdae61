// Decides an address's class, transport and nexthop, and whether the address exists:
// trivial-rewrite(8)'s resolve and the recipient check of smtpd(8). See ADDRESS_CLASS_README,
// transport(5), LOCAL_RECIPIENT_README.
//
// In order:
//   1. complete the recipient and take our own domains off it, as long as another hides in its
//   local part (own_domains.h): bob%elsewhere@ours is bob@elsewhere
//   2. class, first match: mydestination or a [literal] of ours -> local; virtual_mailbox_domains
//   -> virtual; relay_domains -> relay;
//      else default. Its transport parameter gives transport and nexthop; the nexthop is else the
//      recipient's domain, or relayhost in the default and relay classes
//   3. transport_maps overrides transport, nexthop or both: user+ext@domain, user@domain, domain,
//   .domain of each parent, *
//   4. listed, if asked: the class's table of valid recipients
//
// What is malformed ("user@", a domain that is no host name, "-user" where allow_min_user is off)
// has no class (ADDRESS_CLASS_UNSPECIFIED) and transport "error" with nexthop "5.1.3 ...": the
// answer says how to bounce. An `error:text` result of transport_maps is passed on as transport
// "error", nexthop text. A table that cannot be read fills Answer.failure ("transport_maps:
// hash:/x: open ...") and leaves transport and nexthop empty.
//
// Thread-compatible. Lookups may read files: run it on the lookup thread.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "proto/postfleet/lookup/v1/lookup.pb.h"
#include "services/lookup/core/resolver_parameters.h"

namespace postfleet::lookup {

class Resolver {
 public:
  // Errors: a specification that cannot work (unsupported table type, malformed list), with the
  // parameter's name: do not start.
  static absl::StatusOr<std::unique_ptr<Resolver>> Open(ResolverParameters parameters,
                                                        const Clock& clock = SystemClock());
  ~Resolver();

  // Answer.id is left to the caller.
  v1::Answer Resolve(std::string_view recipient, std::string_view sender, bool check_listed);

 private:
  friend class Resolution;
  struct Tables;

  explicit Resolver(ResolverParameters parameters, std::unique_ptr<Tables> tables);

  ResolverParameters parameters_;
  std::unique_ptr<Tables> tables_;
};

}  // namespace postfleet::lookup
