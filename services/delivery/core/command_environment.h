// The environment of a command that a delivery agent runs: nothing but what export_environment
// names, the PATH, and what the agent adds.
//
//   export_environment = TZ MAIL_CONFIG LANG=C { SPACED = two words }
//
// A NAME has its value in our own environment, if it has one there (MAIL_CONFIG: always, the
// configuration's folder); NAME=VALUE has that one. A later value of a name replaces the earlier.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace postfleet::delivery {

class CommandEnvironment {
 public:
  // nullopt: not set.
  using Lookup = std::function<std::optional<std::string>(const std::string& name)>;

  // `value`: export_environment as Config gives it. Errors: braces that do not match, an empty
  // name.
  static absl::StatusOr<CommandEnvironment> From(std::string_view value, const Lookup& lookup);
  // Our own environment, with MAIL_CONFIG.
  static Lookup OwnEnvironment(std::string config_directory);

  void Set(std::string_view name, std::string_view value);
  // "NAME=VALUE" each, in the order in which the names came first.
  std::vector<std::string> Strings() const;

 private:
  std::vector<std::pair<std::string, std::string>> values_;
};

}  // namespace postfleet::delivery
