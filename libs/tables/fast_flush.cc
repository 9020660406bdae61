#include "libs/tables/fast_flush.h"

#include <algorithm>
#include <vector>

#include "libs/mail/address.h"

namespace postfleet::tables {

absl::StatusOr<FastFlushDomains> FastFlushDomains::Open(const config::Config& config) {
  constexpr std::string_view kName = "fast_flush_domains";
  const std::vector<std::string> below = config.GetList("parent_domain_matches_subdomains");
  absl::StatusOr<MatchList> sites = MatchList::Open(
      kName, config.GetString(kName),
      {.kind = MatchKind::kDomain,
       .parent_matches_subdomains = std::find(below.begin(), below.end(), kName) != below.end()});
  if (!sites.ok()) return sites.status();
  return FastFlushDomains(*std::move(sites));
}

// A numerical address needs its brackets.
bool FastFlushDomains::IsSite(std::string_view text) {
  const bool is_numeric = text.find_first_not_of("0123456789.") == text.npos;
  return (!is_numeric && mail::IsValidDomainName(text, true)) || mail::IsAddressLiteral(text);
}

}  // namespace postfleet::tables
