#include "services/delivery/core/command_line.h"

#include <unistd.h>

#include <algorithm>

#include "libs/base/concat.h"

namespace postfleet::delivery {
namespace {

constexpr std::string_view kBlanks = " \t";
// All others may mean something to a shell.
constexpr std::string_view kHarmless =
    "1234567890!@%-_=+:,./"
    "abcdefghijklmnopqrstuvwxyz"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    " \t";

std::vector<std::string> SplitAtBlanks(std::string_view text) {
  std::vector<std::string> words;
  for (size_t start = 0; (start = text.find_first_not_of(kBlanks, start)) != text.npos;) {
    const size_t end = std::min(text.find_first_of(kBlanks, start), text.size());
    words.emplace_back(text.substr(start, end - start));
    start = end;
  }
  return words;
}

}  // namespace

bool IsOnCommandPath(const std::string& name) {
  for (const std::string_view folder : {"/usr/bin", "/bin"}) {
    if (access(Concat(folder, "/", name).c_str(), F_OK) == 0) return true;
  }
  return false;
}

std::vector<std::string> ArgvOfCommandLine(
    std::string_view line, const std::function<bool(const std::string&)>& is_on_path) {
  if (line.find_first_not_of(kHarmless) == line.npos) {
    std::vector<std::string> words = SplitAtBlanks(line);
    if (!words.empty() && (words[0].find('/') != std::string::npos || is_on_path(words[0]))) {
      return words;
    }
  }
  return {"/bin/sh", "-c", std::string(line)};
}

std::vector<std::string> ArgvWithShell(std::string_view shell, std::string_view line) {
  std::vector<std::string> words = SplitAtBlanks(shell);
  words.emplace_back(line);
  return words;
}

}  // namespace postfleet::delivery
