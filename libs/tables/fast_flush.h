// Which sites' mail may be asked for (fast_flush_domains): by ETRN (RFC 1985) and `postqueue -s`.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "libs/tables/match_list.h"

namespace postfleet::tables {

class FastFlushDomains {
 public:
  // Fails where the list names a table that cannot be opened.
  static absl::StatusOr<FastFlushDomains> Open(const config::Config& config);

  // A domain name, or an address literal with its brackets: what may be asked for at all.
  static bool IsSite(std::string_view text);

  // Fails where a table cannot be read. Not thread-safe.
  absl::StatusOr<bool> Contains(const std::string& site) { return sites_.Matches(site); }

 private:
  explicit FastFlushDomains(MatchList sites) : sites_(std::move(sites)) {}

  MatchList sites_;
};

}  // namespace postfleet::tables
