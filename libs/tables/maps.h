// A list of tables, first match wins: the value of every *_maps parameter.
//
// Lookup asks the tables in order; an error of one ends the search (what a later table says could
// be overruled by it). FindAddress tries an address's forms as Postfix's mail_addr_find does
// (transport(5), virtual(5), ADDRESS_REWRITING_README):
//   user+ext@domain, user@domain; then, as asked for: user+ext and user without domain, @domain.
// Errors: Unavailable naming table and reason.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/tables/table.h"

namespace postfleet::tables {

struct AddressForms {
  std::string recipient_delimiter;  // set of characters, may be empty
  // user+ext and user alone: for addresses whose domain is ours (the caller knows).
  bool bare_user = false;
  bool at_domain = true;
};

class Maps {
 public:
  Maps() = default;
  // `items`: type:name each, as Config::GetList gives them.
  static absl::StatusOr<Maps> Open(const std::vector<std::string>& items,
                                   const OpenOptions& options = {});

  bool empty() const { return tables_.empty(); }
  absl::StatusOr<std::optional<std::string>> Lookup(std::string_view key);
  // Partial keys are asked only of tables with fixed keys.
  absl::StatusOr<std::optional<std::string>> LookupPartial(std::string_view key);
  absl::StatusOr<std::optional<std::string>> FindAddress(std::string_view address,
                                                         const AddressForms& forms);

 private:
  std::vector<std::unique_ptr<Table>> tables_;
};

// "user+ext" -> "user"; nullopt without extension. As Postfix: no split of mailer-daemon,
// double-bounce, owner-* or *-request where '-' is the delimiter, nor of an empty user.
std::optional<std::string_view> WithoutExtension(std::string_view localpart,
                                                 std::string_view recipient_delimiter);

}  // namespace postfleet::tables
