// The options of a command line, as getopt(3) reads them: "-d ID -q", "-dID", "-fp", "--" ends
// them. Options may stand behind operands. `known` lists the letters; a colon behind a letter says
// that it takes an argument.
//
// Errors: InvalidArgument, "invalid option -- 'x'" or "option requires an argument -- 'd'".
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace postfleet::commands {

struct Option {
  char letter = 0;
  std::string argument;
};

struct CommandLine {
  std::vector<Option> options;  // in their order
  std::vector<std::string> operands;
};

absl::StatusOr<CommandLine> ParseOptions(const std::vector<std::string>& arguments,
                                         std::string_view known);

// Adds to `line` the options of one word, arguments[*at] ("-fp"). The last one's argument may be
// the next word: then `*at` is that one's place.
absl::Status ParseOptionWord(const std::vector<std::string>& arguments, std::string_view known,
                             size_t* at, CommandLine* line);

}  // namespace postfleet::commands
