#include "commands/options.h"

#include "libs/base/concat.h"

namespace postfleet::commands {

absl::Status ParseOptionWord(const std::vector<std::string>& arguments, std::string_view known,
                             size_t* at, CommandLine* line) {
  const std::string& word = arguments[*at];
  for (size_t i = 1; i < word.size(); ++i) {
    const char letter = word[i];
    const size_t found = letter == ':' ? known.npos : known.find(letter);
    if (found == known.npos) {
      return absl::InvalidArgumentError(Concat("invalid option -- '", letter, "'"));
    }
    const bool takes_argument = found + 1 < known.size() && known[found + 1] == ':';
    if (!takes_argument) {
      line->options.push_back({letter, ""});
      continue;
    }
    if (i + 1 < word.size()) {
      line->options.push_back({letter, word.substr(i + 1)});
    } else if (*at + 1 < arguments.size()) {
      line->options.push_back({letter, arguments[++*at]});
    } else {
      return absl::InvalidArgumentError(Concat("option requires an argument -- '", letter, "'"));
    }
    break;
  }
  return absl::OkStatus();
}

absl::StatusOr<CommandLine> ParseOptions(const std::vector<std::string>& arguments,
                                         std::string_view known) {
  CommandLine line;
  for (size_t at = 0; at < arguments.size(); ++at) {
    const std::string& word = arguments[at];
    if (word == "--") {
      line.operands.insert(line.operands.end(), arguments.begin() + at + 1, arguments.end());
      break;
    }
    if (word.size() < 2 || word[0] != '-') {
      line.operands.push_back(word);
      continue;
    }
    if (absl::Status parsed = ParseOptionWord(arguments, known, &at, &line); !parsed.ok()) {
      return parsed;
    }
  }
  return line;
}

}  // namespace postfleet::commands
