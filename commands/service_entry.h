// An entry of master.cf as text (master(5)): what postconf -M, -F and -P show and change.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace postfleet::commands {

// The names of the columns, as postconf -F has them. The last is the program with its arguments.
inline constexpr std::array<std::string_view, 8> kServiceFields = {
    "service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command"};

struct ServiceEntry {
  std::array<std::string, 8> fields;  // the last: the program alone
  // "-o" is followed by its "name=value", which has no braces here.
  std::vector<std::string> arguments;

  // Errors: InvalidArgument, "bad field count".
  static absl::StatusOr<ServiceEntry> Parse(std::string_view text);

  // "smtp/inet"
  std::string Name() const;
  // Program and arguments.
  std::string Command() const;
  absl::Status SetCommand(std::string_view text);

  // Behind the last option: what is behind the first word that is none is the program's own.
  size_t OptionsEnd() const;

  // {name, value} of each -o, in their order.
  std::vector<std::pair<std::string, std::string>> Parameters() const;
  void SetParameter(std::string_view name, std::string_view value);
  void RemoveParameter(std::string_view name);

  // One line, or, folded, with each -o on a line of its own and no line over 79 columns where words
  // allow it. Without the last line's end.
  std::string ToString(bool folded) const;
};

// `text`, its words separated by one blank each, below `first` (which may be empty); folded: lines
// of at most `columns`, those after the first indented by four.
std::string FoldWords(std::string_view first, std::string_view text, bool folded, size_t columns);

}  // namespace postfleet::commands
