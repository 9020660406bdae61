// What an administrator says of commands, whatever they mean to SMTP (postconf(5)):
//
//   smtpd_command_filter      a table by the whole line; its value is executed instead
//   smtpd_noop_commands       words that are answered with 250 and do nothing
//   smtpd_forbidden_commands  words that no mail client says: the session ends
//   smtpd_discard_ehlo_keyword_address_maps   by the client's address: what EHLO does not offer
//
// Errors: Open: a list or table that cannot be; the others: Unavailable, a table that could not be
// asked. Tables are asked on the session's loop and may read files. Not thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "libs/smtp/ehlo_keywords.h"
#include "libs/tables/maps.h"
#include "libs/tables/match_list.h"

namespace postfleet::ingress {

class CommandRules {
 public:
  static absl::StatusOr<CommandRules> Open(const config::Config& config);

  absl::StatusOr<bool> IsNoop(std::string_view word);
  absl::StatusOr<bool> IsForbidden(std::string_view word);
  // nullopt: the line stays as it is.
  absl::StatusOr<std::optional<std::string>> Filtered(std::string_view line);
  // nullopt: as smtpd_discard_ehlo_keywords says.
  absl::StatusOr<std::optional<smtp::EhloKeywords>> DiscardedFor(std::string_view address);

 private:
  tables::MatchList noop_;
  tables::MatchList forbidden_;
  tables::Maps filter_;
  tables::Maps discarded_;
};

}  // namespace postfleet::ingress
