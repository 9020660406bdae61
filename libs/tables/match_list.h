// Postfix's match lists: mydestination, relay_domains, mynetworks, debug_peer_list, ...
// (postconf(5)).
//
// Items, separated by comma or whitespace, are tried in order and the first that matches decides:
//   !item           not, if it matches
//   /file           the items in that file (logical lines)
//   type:table      matches if the key is found (the value does not matter)
//   1.2.3.0/24  [::1]/128  1.2.3.4      networks and addresses (MatchesHost only)
//   example.com     that name; with parent_matches_subdomains also names below it
//   .example.com    names below it (without parent_matches_subdomains)
// Comparison ignores case. Files are read when the list is opened.
// Errors: Open: InvalidArgument for malformed items (a network with host bits, a file that cannot
// be read). Matches: Unavailable, if a table could not be asked; never taken for "no match".
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/ip_network.h"
#include "libs/tables/table.h"

namespace postfleet::tables {

enum class MatchKind {
  kString,  // the whole string: mydestination, virtual_mailbox_domains
  kDomain,  // with the domain rules above: relay_domains
  kHost,    // name and address of a client: mynetworks
};

struct MatchListOptions {
  MatchKind kind = MatchKind::kString;
  // From parent_domain_matches_subdomains: whether it names this parameter (or the group it belongs
  // to).
  bool parent_matches_subdomains = false;
  OpenOptions tables;
};

class MatchList {
 public:
  MatchList();
  ~MatchList();
  MatchList(MatchList&&) noexcept;
  MatchList& operator=(MatchList&&) noexcept;

  // `parameter` is for messages; `value` is expanded.
  static absl::StatusOr<MatchList> Open(std::string_view parameter, std::string_view value,
                                        const MatchListOptions& options);

  bool empty() const;
  // kString and kDomain.
  absl::StatusOr<bool> Matches(std::string_view name);
  // kHost. `name` is "unknown" where the client has none.
  absl::StatusOr<bool> MatchesHost(std::string_view name, const config::IpAddress& address);

 private:
  friend class MatchListParser;
  struct Item;
  absl::StatusOr<bool> ItemMatches(Item& item, std::string_view name) const;

  std::string parameter_;
  MatchListOptions options_;
  std::vector<Item> items_;
};

}  // namespace postfleet::tables
