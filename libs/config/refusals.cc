#include "libs/config/refusals.h"

#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "libs/base/concat.h"
#include "libs/config/table_types.h"
#include "libs/config/values.h"

namespace postfleet::config {
namespace {

bool IsTolerated(const Parameter& row, std::string_view value, std::string_view standard) {
  std::string lower = absl::AsciiStrToLower(absl::string_view(value.data(), value.size()));
  if (lower.empty() || lower == standard) return true;
  for (const std::string& item : SplitList(row.tolerated)) {
    if (item == lower) return true;
  }
  return false;
}

// Where the text stands that a default value, which stands nowhere, refers to.
std::string WhereIsText(const ConfigValues& values, std::string_view text) {
  for (const MainCfEntry& entry : values.main_cf->entries) {
    if (entry.value.find(text) == entry.value.npos) continue;
    return Concat(" (", values.main_cf->path, ", line ", entry.line, ", parameter ", entry.name,
                  ")");
  }
  return "";
}

absl::Status CheckTable(const Parameter& row, std::string_view item) {
  std::optional<TableReference> table = ParseTableReference(item);
  if (!table) return absl::OkStatus();
  if (!IsTableType(table->type)) {
    std::string_view hint =
        row.type == ParameterType::kMatches ? "; an IPv6 address stands in [ ]" : "";
    return absl::InvalidArgumentError(Concat("unsupported dictionary type: ", table->type,
                                             " (in \"", item, "\"); supported are ",
                                             TableTypeNames(), hint));
  }
  if (!table->argument.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat("open \"", item, "\": need \"type:name\" form"));
}

}  // namespace

absl::Status CheckProtections(const ConfigValues& values, const Settings& settings) {
  for (const auto& [name, raw] : settings) {
    const Parameter* row = FindParameter(name);
    if (row == nullptr || row->status != ParameterStatus::kProtective) continue;
    absl::StatusOr<std::string> value = values.Value(name);
    if (!value.ok()) return value.status();
    absl::StatusOr<std::string> standard = values.Expand(row->default_value);
    if (!standard.ok()) return standard.status();
    if (IsTolerated(*row, *value, *standard)) continue;
    return absl::InvalidArgumentError(Concat("parameter ", name, " = ", *value, " asks that ",
                                             row->doc, "; ", row->hint, values.Where(name)));
  }
  return absl::OkStatus();
}

absl::Status CheckTables(const ConfigValues& values, const Parameter& row, std::string_view value) {
  if (row.type != ParameterType::kMaps && row.type != ParameterType::kMatches) {
    return absl::OkStatus();
  }
  for (const std::string& item : SplitList(value)) {
    std::string_view table = item;
    while (row.type == ParameterType::kMatches && table.starts_with('!')) table.remove_prefix(1);
    absl::Status status = CheckTable(row, table);
    if (status.ok()) continue;
    std::string where = values.Where(row.name);
    if (where.empty()) where = WhereIsText(values, item);
    return absl::InvalidArgumentError(
        Concat("parameter ", row.name, ": ",
               std::string_view(status.message().data(), status.message().size()), where));
  }
  return absl::OkStatus();
}

absl::Status CheckLogFile(const ConfigValues& values) {
  absl::StatusOr<std::string> file = values.Value("maillog_file");
  if (!file.ok()) return file.status();
  absl::StatusOr<std::string> prefixes = values.Value("maillog_file_prefixes");
  if (!prefixes.ok()) return prefixes.status();
  if (file->empty() || IsBelowAny(*file, SplitList(*prefixes))) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat("parameter maillog_file: ", *file, " is in no folder of maillog_file_prefixes (",
             *prefixes, "); add its folder there, or log elsewhere", values.Where("maillog_file")));
}

}  // namespace postfleet::config
