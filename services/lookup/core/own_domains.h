// Takes our own domains off an address, until the domain that is left is another's or nothing more
// hides in the local part: how trivial-rewrite(8) finds out where mail really goes. Nobody relays
// through us by hiding a destination in a local part of ours.
//
//   a%b@ours    site!a@ours    @ours:a@b    a@b@ours       a@b, or a@site
//   "a@b"@ours  "a%b"@ours     (resolve_dequoted_address)  a@b
//   a@ours@     (resolve_null_domain)                      a@ours
//   ""@ours     nothing at all                             $empty_address_recipient@...
//   user        no domain in the end                       user@$myhostname
//
// `%` counts where allow_percent_hack says so, `!` where swap_bangpath does. Between two rounds an
// address is completed as everywhere (append_at_myorigin, append_dot_mydomain).
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "libs/message/address_rewriting.h"

namespace postfleet::lookup {

struct OwnDomainRules {
  message::AddressRewriting rewriting;
  std::string myhostname;
  std::string empty_address_recipient;
  bool resolve_dequoted_address = true;
  bool resolve_null_domain = false;
};

struct Destination {
  std::string address;  // internal form; has an @
  bool own = false;     // its domain is ours
  // What is behind the @ is no word of a domain: quotes have an @ in them.
  bool malformed = false;
};

// Of a domain or an address literal. Errors: a table could not be asked.
using IsOwn = std::function<absl::StatusOr<bool>(std::string_view domain)>;

// `address` is in internal form. Errors: those of `is_own`; Unavailable for an address that does
// not come to an end.
absl::StatusOr<Destination> StripOwnDomains(const OwnDomainRules& rules, std::string_view address,
                                            const IsOwn& is_own);

}  // namespace postfleet::lookup
