// $-expressions in parameter values (postconf(5), "main.cf file format"; COMPATIBILITY_README for
// levels).
//
//   $name  ${name}  $(name)     the value, itself expanded; empty if the name is not defined
//   ${name?text} ${name?{text}} text, expanded, if the value is not empty
//   ${name:text} ${name:{text}} text, expanded, if the value is empty
//   ${name?{a}:{b}}             a or b
//   ${{x} == {y} ? {a} : {b}}   also != < <= >= >: numbers if both sides are digits, else text; and
//   <level, <=level ... for
//                               dotted compatibility levels. Without ? the value is "bool:true" or
//                               empty.
//   $$                          one dollar sign
// Nesting is limited to kExpansionDepthMax. Errors: InvalidArgument in Postfix's words; the caller
// adds where.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace postfleet::config {

inline constexpr int kExpansionDepthMax = 100;

// The unexpanded value of a name; nullopt if it is not defined. The view stays valid during the
// expansion.
using ValueLookup = std::function<std::optional<std::string_view>(std::string_view name)>;

absl::StatusOr<std::string> ExpandValue(std::string_view text, const ValueLookup& lookup);

// Names that a text refers to by $, whether or not that branch is taken. Malformed text gives what
// could be read.
void CollectReferences(std::string_view text,
                       const std::function<void(std::string_view name)>& found);

}  // namespace postfleet::config
