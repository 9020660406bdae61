// The grammar of parameter values by type (postconf(5)).
//
//   bool  yes, no, in any case
//   int   decimal, optionally signed, within int64
//   time  integer and unit s m h d w; without a unit, the parameter's own
//   list  items separated by whitespace or commas; { ... } is one item and keeps its braces
// Errors: InvalidArgument with only the reason; Config adds the name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace postfleet::config {

absl::StatusOr<bool> ParseBool(std::string_view text);
absl::StatusOr<int64_t> ParseInteger(std::string_view text);
absl::StatusOr<absl::Duration> ParseTime(std::string_view text, char default_unit = 's');

std::vector<std::string> SplitList(std::string_view text);

// `path` is one of `folders` or lies below one, by its text alone (maillog_file_prefixes).
bool IsBelowAny(std::string_view path, const std::vector<std::string>& folders);

// "{ text }" -> "text"; without braces the text itself. nullopt-like error if braces do not match:
// "missing '}' in \"...\"".
absl::StatusOr<std::string> StripBraces(std::string_view text);

}  // namespace postfleet::config
