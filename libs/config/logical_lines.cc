#include "libs/config/logical_lines.h"

#include "absl/strings/ascii.h"

namespace postfleet::config {
namespace {

// "", "   ", "  # text": neither starts nor ends a logical line.
bool IsIgnored(std::string_view line) {
  for (char c : line) {
    if (!absl::ascii_isspace(static_cast<unsigned char>(c))) return c == '#';
  }
  return true;
}

void TrimRight(std::string& text) {
  while (!text.empty() && absl::ascii_isspace(static_cast<unsigned char>(text.back()))) {
    text.pop_back();
  }
}

}  // namespace

std::vector<LogicalLine> SplitLogicalLines(std::string_view text) {
  std::vector<LogicalLine> lines;
  int number = 0;
  while (!text.empty()) {
    ++number;
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (IsIgnored(line)) continue;
    bool continues =
        absl::ascii_isspace(static_cast<unsigned char>(line.front())) && !lines.empty();
    if (continues) {
      lines.back().text.append(line);
      lines.back().last_line = number;
    } else {
      lines.push_back({std::string(line), number, number});
    }
  }
  for (LogicalLine& line : lines) TrimRight(line.text);
  return lines;
}

bool IsContinuationOfNothing(const LogicalLine& line) {
  return !line.text.empty() && absl::ascii_isspace(static_cast<unsigned char>(line.text.front()));
}

}  // namespace postfleet::config
