// The table of every parameter that Postfix 3.9 has, and Postfleet's own: the only place that knows
// a name, its type, its default and whether it is honoured. `postfleet postconf`, the documentation
// and the warnings at start all read it.
//
// Defaults are in Postfix's syntax and may be $-expressions. They are Postfix 3.9's; paths are
// Debian's. To add a parameter: give its row in parameters.inc type, readers, status and a line of
// documentation; remove it from parameters_other.inc. bazel/style_check.py sees to it that what is
// marked as honoured is read by some source.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/types/span.h"

namespace postfleet::config {

inline constexpr std::string_view kMailVersion = "0.1.0";

enum class ParameterType {
  kString,
  kRaw,  // text whose $names are not main.cf's: read by Config::FindRaw
  kBool,
  kInt,
  kTime,
  kSize,
  kList,
  kEnum,
  kMaps,     // a list of tables
  kMatches,  // a list of patterns, some of which may be tables
};

enum class ParameterStatus {
  kHonoured,
  kPartly,  // honoured, but not everywhere Postfix does: a value other than the default is a
            // warning with the hint
  kNotYet,  // accepted in silence: what it asks for is what happens anyway, or happens only in part
            // (the doc line says which)
  kUnsupported,  // a value other than the default (or than `anyway`) is a warning and ignored
  kProtective,   // unsupported, and ignoring it would weaken what the administrator asked for: a
                 // value that is neither the default nor tolerated stops the start
};

struct Parameter {
  std::string_view name;
  ParameterType type = ParameterType::kString;
  std::string_view default_value;
  int64_t minimum = 0;       // kInt, kSize: least value; kTime: seconds
  std::string_view readers;  // "ingress, lookup"
  ParameterStatus status = ParameterStatus::kUnsupported;
  std::string_view doc;
  std::string_view choices;    // kEnum: space-separated
  std::string_view hint;       // what to do or use instead, where it is not honoured
  std::string_view tolerated;  // kProtective: values that only warn, space-separated
  // kUnsupported: the value that asks for what happens anyway, where that is not the default; any
  // other one that main.cf says is a warning, the default, too.
  std::string_view anyway;
};

// Sorted by name.
absl::Span<const Parameter> AllParameters();

// nullptr if the name is not in the table.
const Parameter* FindParameter(std::string_view name);

// "<transport>_destination_concurrency_limit" and its kin: the row of such a name for any
// transport. `fallback` is the parameter whose value is the default
// ("default_destination_concurrency_limit"), or empty where Postfix has a number of its own
// (`value`: local's 2).
struct TransportParameter {
  std::string_view transport;
  std::string_view suffix;  // "_destination_concurrency_limit"
  std::string_view fallback;
  std::string_view value;
  ParameterType type = ParameterType::kInt;
  ParameterStatus status = ParameterStatus::kUnsupported;
};
std::optional<TransportParameter> FindTransportParameter(std::string_view name);
// One row for each suffix, without a transport.
absl::Span<const TransportParameter> TransportParameters();

// The known name with the smallest edit distance, if it is near enough to be a misspelling: of the
// table, or of `others`, which are preferred and must outlive the result.
std::optional<std::string_view> NearestParameter(std::string_view name,
                                                 absl::Span<const std::string> others = {});
// The same among `names` alone.
std::optional<std::string_view> NearestName(std::string_view name,
                                            absl::Span<const std::string_view> names);

}  // namespace postfleet::config
