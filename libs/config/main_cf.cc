#include "libs/config/main_cf.h"

#include <algorithm>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "libs/base/concat.h"
#include "libs/config/file_text.h"
#include "libs/config/logical_lines.h"

namespace postfleet::config {
namespace {

constexpr std::string_view kWhitespace = " \t\r\n\v\f";

std::string_view Trim(std::string_view text) {
  size_t start = text.find_first_not_of(kWhitespace);
  if (start == std::string_view::npos) return {};
  return text.substr(start, text.find_last_not_of(kWhitespace) - start + 1);
}

bool HasCommentInside(std::string_view value) {
  for (size_t at = value.find('#'); at != std::string_view::npos; at = value.find('#', at + 1)) {
    if (at > 0 && kWhitespace.find(value[at - 1]) != std::string_view::npos) return true;
  }
  return false;
}

void Add(MainCf& file, MainCfEntry entry, Diagnostics& diagnostics) {
  auto earlier = std::find_if(file.entries.begin(), file.entries.end(),
                              [&](const MainCfEntry& other) { return other.name == entry.name; });
  if (earlier != file.entries.end()) {
    if (earlier->value != entry.value) {
      diagnostics.Warn(Concat(file.path, ", line ", entry.line,
                              ": overriding earlier entry: ", earlier->name, "=", earlier->value));
    }
    file.entries.erase(earlier);
  }
  if (HasCommentInside(entry.value)) {
    diagnostics.Warn(Concat(file.path, ", line ", entry.line,
                            ": #comment after other text is not allowed: ", entry.name, " = ",
                            entry.value));
  }
  file.entries.push_back(std::move(entry));
}

}  // namespace

const MainCfEntry* MainCf::Find(std::string_view name) const {
  for (const MainCfEntry& entry : entries) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

absl::StatusOr<MainCfEntry> ParseAssignment(std::string_view text) {
  size_t equals = text.find('=');
  std::string_view name = Trim(text.substr(0, equals));
  if (equals == std::string_view::npos || name.find_first_of(kWhitespace) != name.npos) {
    return absl::InvalidArgumentError(
        Concat("missing '=' after attribute name: \"", Trim(text), "\""));
  }
  if (name.empty()) {
    return absl::InvalidArgumentError(Concat("missing attribute name: \"", Trim(text), "\""));
  }
  return MainCfEntry{std::string(name), std::string(Trim(text.substr(equals + 1))), 0};
}

namespace {

MainCf ParseLines(std::string_view text, std::string path, Diagnostics& diagnostics,
                  absl::FunctionRef<void(absl::Status)> on_bad_line) {
  MainCf file;
  file.path = std::move(path);
  for (const LogicalLine& line : SplitLogicalLines(text)) {
    if (IsContinuationOfNothing(line)) {
      diagnostics.Warn(
          Concat(file.path, ", line ", line.first_line, ": ", kContinuesNothing, line.text, "\""));
      continue;
    }
    absl::StatusOr<MainCfEntry> entry = ParseAssignment(line.text);
    if (!entry.ok()) {
      on_bad_line(absl::InvalidArgumentError(
          Concat(file.path, ", line ", line.first_line, ": ",
                 std::string_view(entry.status().message().data(), entry.status().message().size()),
                 "; write it as name = value, or start the line with # or delete it")));
      continue;
    }
    entry->line = line.first_line;
    Add(file, *std::move(entry), diagnostics);
  }
  return file;
}

}  // namespace

absl::StatusOr<MainCf> ParseMainCf(std::string_view text, std::string path,
                                   Diagnostics& diagnostics) {
  absl::Status first_bad;
  MainCf file = ParseLines(text, std::move(path), diagnostics,
                           [&](absl::Status bad) { first_bad.Update(bad); });
  if (!first_bad.ok()) return first_bad;
  return file;
}

MainCf ParseMainCfLeniently(std::string_view text, std::string path, Diagnostics& diagnostics) {
  return ParseLines(text, std::move(path), diagnostics,
                    [&](absl::Status bad) { diagnostics.Warn(std::string(bad.message())); });
}

absl::StatusOr<MainCf> ReadMainCf(const std::string& path, Diagnostics& diagnostics) {
  absl::StatusOr<std::string> text = ReadFileText(path);
  if (!text.ok()) return text.status();
  return ParseMainCf(*text, path, diagnostics);
}

}  // namespace postfleet::config
