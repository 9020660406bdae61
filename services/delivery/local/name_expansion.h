// $names of a recipient in forward_path, luser_relay and command_execution_directory (local(8)).
//
//   $name ${name} $(name)                the value
//   ${name?text} ${name?{text}}          text, expanded, if name is defined
//   ${name:text} ${name:{text}}          text, expanded, if not
//   ${name?{text}:{text}}                one or the other
//   $$                                   a dollar sign
// Values are not expanded again: what a recipient's address holds stays text. Of a value, what is
// not in `filter` becomes "_". Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace postfleet::delivery {

struct ExpandedNames {
  std::string text;
  bool is_malformed = false;
  bool has_undefined = false;  // $name of a name without a value
  bool has_extension = false;  // asked for $extension, which has a value
};

using NameValue = std::function<std::optional<std::string>(std::string_view name)>;

// `filter`: the characters that pass; nullptr: all.
ExpandedNames ExpandNames(std::string_view text, const NameValue& value, const std::string* filter);

}  // namespace postfleet::delivery
