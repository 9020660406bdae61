// Logical lines: the layout that main.cf, master.cf and every text table share (postconf(5),
// postmap(1)).
//
// - A line that starts with whitespace continues the logical line before it; the newline goes, the
// whitespace stays.
// - Empty lines, lines of only whitespace and lines whose first non-whitespace character is '#' are
// ignored, also between a line and
//   its continuation.
// A leading continuation line (nothing before it) is a logical line of its own, with its white
// space: Postfix warns of it and leaves it out (IsContinuationOfNothing). Text is bytes; CR before
// LF is kept (it is trimmed as whitespace by whoever reads values). Cost: one pass, one copy.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace postfleet::config {

struct LogicalLine {
  std::string text;    // without trailing whitespace
  int first_line = 0;  // of the file, from 1
  int last_line = 0;   // differs from first_line if continued
};

std::vector<LogicalLine> SplitLogicalLines(std::string_view text);

bool IsContinuationOfNothing(const LogicalLine& line);
// The words for it; the line and a quote follow.
inline constexpr std::string_view kContinuesNothing =
    "logical line must not start with whitespace: \"";

}  // namespace postfleet::config
