#include "libs/tables/text_source.h"

#include <unordered_set>
#include <utility>

#include "libs/base/concat.h"
#include "libs/config/logical_lines.h"

namespace postfleet::tables {
namespace {

constexpr std::string_view kWhitespace = " \t\r\n\v\f";

void FoldAscii(std::string& text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

// The key, unquoted; `text` moves behind it. Inside quotes a backslash takes the next character as
// it is.
std::string TakeKey(std::string_view& text, bool quotes) {
  std::string key;
  bool quoted = false;
  size_t i = 0;
  for (; i < text.size(); ++i) {
    char c = text[i];
    if (quotes && c == '"') {
      quoted = !quoted;
    } else if (quoted && c == '\\' && i + 1 < text.size()) {
      key.push_back(text[++i]);
    } else if (!quoted && kWhitespace.find(c) != kWhitespace.npos) {
      break;
    } else {
      key.push_back(c);
    }
  }
  text.remove_prefix(i);
  return key;
}

}  // namespace

std::vector<TextEntry> ParseTextSource(std::string_view text, std::string_view name, bool fold_keys,
                                       config::Diagnostics& diagnostics, bool quoted_keys) {
  std::vector<TextEntry> entries;
  std::unordered_set<std::string> seen;
  for (const config::LogicalLine& line : config::SplitLogicalLines(text)) {
    auto warn = [&](std::string_view what) {
      diagnostics.Warn(Concat(name, ", line ", line.first_line, ": ", what));
    };
    std::string_view rest = line.text;
    TextEntry entry;
    entry.line = line.first_line;
    entry.key = TakeKey(rest, quoted_keys);
    size_t start = rest.find_first_not_of(kWhitespace);
    if (start != rest.npos) entry.value = rest.substr(start);
    if (entry.key.empty() || entry.value.empty()) {
      warn("expected format: key whitespace value");
      continue;
    }
    if (entry.key.back() == ':') {
      warn("record is in \"key: value\" format; is this an alias file?");
    }
    if (fold_keys) FoldAscii(entry.key);
    if (!seen.insert(entry.key).second) {
      warn(Concat("duplicate entry: \"", entry.key, "\"; the first one is used"));
      continue;
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace postfleet::tables
