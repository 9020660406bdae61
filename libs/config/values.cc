#include "libs/config/values.h"

#include <limits>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "libs/base/concat.h"

namespace postfleet::config {
namespace {

// Postfix's CHARS_COMMA_SP.
bool IsSeparator(char c) { return c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

bool IsSpace(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); }

int64_t UnitSeconds(char unit) {
  switch (absl::ascii_tolower(static_cast<unsigned char>(unit))) {
    case 's':
      return 1;
    case 'm':
      return 60;
    case 'h':
      return 3600;
    case 'd':
      return 86400;
    case 'w':
      return 604800;
    default:
      return 0;
  }
}

}  // namespace

absl::StatusOr<bool> ParseBool(std::string_view text) {
  if (absl::EqualsIgnoreCase(absl::string_view(text.data(), text.size()), "yes")) return true;
  if (absl::EqualsIgnoreCase(absl::string_view(text.data(), text.size()), "no")) return false;
  return absl::InvalidArgumentError("specify \"yes\" or \"no\"");
}

absl::StatusOr<int64_t> ParseInteger(std::string_view text) {
  int64_t value = 0;
  if (text.empty() || IsSpace(text.front()) || IsSpace(text.back()) ||
      !absl::SimpleAtoi(absl::string_view(text.data(), text.size()), &value)) {
    return absl::InvalidArgumentError("specify a number");
  }
  return value;
}

absl::StatusOr<absl::Duration> ParseTime(std::string_view text, char default_unit) {
  absl::Status bad = absl::InvalidArgumentError("specify a number and s, m, h, d or w");
  if (text.empty()) return bad;
  char unit = default_unit;
  if (!absl::ascii_isdigit(static_cast<unsigned char>(text.back()))) {
    unit = text.back();
    text.remove_suffix(1);
  }
  int64_t seconds_in_unit = UnitSeconds(unit);
  absl::StatusOr<int64_t> number = ParseInteger(text);
  if (seconds_in_unit == 0 || !number.ok()) return bad;
  // Postfix keeps times in an int.
  if (*number < 0 || *number > std::numeric_limits<int>::max() / seconds_in_unit) return bad;
  return absl::Seconds(*number * seconds_in_unit);
}

std::vector<std::string> SplitList(std::string_view text) {
  std::vector<std::string> items;
  std::string item;
  int depth = 0;
  for (char c : text) {
    if (depth == 0 && IsSeparator(c)) {
      if (!item.empty()) items.push_back(std::move(item));
      item.clear();
      continue;
    }
    if (c == '{') ++depth;
    if (c == '}' && depth > 0) --depth;
    item.push_back(c);
  }
  if (!item.empty()) items.push_back(std::move(item));
  return items;
}

bool IsBelowAny(std::string_view path, const std::vector<std::string>& folders) {
  for (std::string folder : folders) {
    if (path == folder) return true;
    if (!folder.ends_with('/')) folder += '/';
    if (path.starts_with(folder)) return true;
  }
  return false;
}

absl::StatusOr<std::string> StripBraces(std::string_view text) {
  if (text.empty() || text.front() != '{') return std::string(text);
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '{') ++depth;
    if (text[i] != '}' || --depth > 0) continue;
    if (i + 1 != text.size()) {
      return absl::InvalidArgumentError(Concat("syntax error after '}' in \"", text, "\""));
    }
    std::string_view inner = text.substr(1, i - 1);
    while (!inner.empty() && IsSpace(inner.front())) inner.remove_prefix(1);
    while (!inner.empty() && IsSpace(inner.back())) inner.remove_suffix(1);
    return std::string(inner);
  }
  return absl::InvalidArgumentError(Concat("missing '}' in \"", text, "\""));
}

}  // namespace postfleet::config
