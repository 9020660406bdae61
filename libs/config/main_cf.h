// Reader of Postfix's main.cf (postconf(5)): names and unexpanded values.
//
// Logical lines (logical_lines.h) of the form `name = value`; the last definition of a name wins,
// and an earlier one with another value is a warning "PATH, line N: overriding earlier entry:
// name=value" as Postfix logs it. A value that contains whitespace and then '#' is kept as it is
// and warned of ("#comment after other text is not allowed"). A first line that starts with white
// space continues nothing and is left out, with a warning. Errors: "open PATH: No such file or
// directory"; "PATH, line N: missing '=' after attribute name: \"text\"" and "PATH, line N: missing
// attribute name" with what to do about it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/diagnostics.h"

namespace postfleet::config {

struct MainCfEntry {
  std::string name;
  std::string
      value;     // not expanded; whitespace around it removed, newlines of continuations removed
  int line = 0;  // where the definition starts, from 1
};

struct MainCf {
  std::string path;
  std::vector<MainCfEntry> entries;  // one for each name, in the order of their last definition

  const MainCfEntry* Find(std::string_view name) const;
};

absl::StatusOr<MainCf> ParseMainCf(std::string_view text, std::string path,
                                   Diagnostics& diagnostics);
// A line that is no definition is skipped, with its error as a warning.
MainCf ParseMainCfLeniently(std::string_view text, std::string path, Diagnostics& diagnostics);
absl::StatusOr<MainCf> ReadMainCf(const std::string& path, Diagnostics& diagnostics);

// "name = value", as in main.cf's lines and in master.cf's -o. Errors: "missing '=' after attribute
// name: ...".
absl::StatusOr<MainCfEntry> ParseAssignment(std::string_view text);

}  // namespace postfleet::config
