#include "commands/table_check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <set>
#include <string_view>

#include "libs/base/concat.h"
#include "libs/config/parameters.h"
#include "libs/config/table_types.h"
#include "libs/config/values.h"
#include "libs/tables/match_list.h"
#include "libs/tables/table.h"

namespace postfleet::commands {
namespace {

using config::ParameterType;

// Any table can be asked for it, cidr included.
constexpr std::string_view kProbeKey = "127.0.0.1";

std::string_view Text(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

bool NamesTables(const config::Parameter& parameter) {
  const bool read = parameter.status == config::ParameterStatus::kHonoured ||
                    parameter.status == config::ParameterStatus::kPartly;
  return read &&
         (parameter.type == ParameterType::kMaps || parameter.type == ParameterType::kMatches);
}

// One value: of main.cf or a default, or of a service's -o.
struct Value {
  const config::Config& config;  // the service's, if there is one
  const config::MasterService* service = nullptr;
  const config::Parameter& parameter;
};

struct Place {
  std::string text;  // "virtual_mailbox_maps (/etc/postfix/main.cf, line 3)"
  bool by_default = false;
};

// Where the administrator finds the table's name.
Place FindPlace(const Value& value, std::string_view name_in_text) {
  const std::string_view parameter = value.parameter.name;
  if (value.service != nullptr) {
    return {Concat(parameter, " (", value.config.master_cf().path, ", line ", value.service->line,
                   ", -o of ", value.service->Selector(), ")")};
  }
  const config::MainCf& main_cf = value.config.main_cf();
  const config::MainCfEntry* own = main_cf.Find(parameter);
  const auto holds = [&](const config::MainCfEntry& entry) {
    return entry.value.find(name_in_text) != entry.value.npos;
  };
  const auto at = [&](const config::MainCfEntry& entry) {
    return Concat(" (", main_cf.path, ", line ", entry.line, ")");
  };
  if (own == nullptr || !holds(*own)) {
    for (const config::MainCfEntry& entry : main_cf.entries) {
      if (holds(entry)) return {Concat(parameter, " by ", entry.name, at(entry))};
    }
  }
  if (own != nullptr) return {Concat(parameter, at(*own))};
  return {Concat(parameter, " (its default; set it in ", main_cf.path, ")"), true};
}

// What the file of a table is, and how it comes to be.
struct TableFile {
  std::string path;
  bool built = false;  // by postmap, from the path without its ending
};
TableFile FileOf(const config::TableReference& table) {
  if (table.type == "hash" || table.type == "btree") return {Concat(table.argument, ".db"), true};
  if (table.type == "lmdb") return {Concat(table.argument, ".lmdb"), true};
  return {std::string(table.argument), false};
}

// By what the file system says, not by the words of the error.
std::string Advice(const config::TableReference& table) {
  const TableFile file = FileOf(table);
  const std::string name = Concat(table.type, ":", table.argument);
  struct stat status;
  if (stat(file.path.c_str(), &status) == 0) {
    // Effective rights, as opening has them.
    if (faccessat(AT_FDCWD, file.path.c_str(), R_OK, AT_EACCESS) != 0) {
      return Concat("make ", file.path, " readable for mail_owner");
    }
    return file.built ? Concat("build it anew: run `postmap ", name, "`")
                      : Concat("correct ", file.path);
  }
  if (errno != ENOENT) return "make the folders above it searchable for mail_owner";
  if (!file.built) return Concat("create ", file.path);
  if (table.argument == "/etc/aliases") {
    return "build it with newaliases, or set alias_maps to nothing where there are no aliases";
  }
  if (stat(std::string(table.argument).c_str(), &status) == 0) {
    return Concat("run `postmap ", name, "`");
  }
  return Concat("create ", table.argument, " and run `postmap ", name, "`");
}

absl::Status Probe(const std::string& name, const std::string& default_type) {
  auto table = tables::OpenTable(name, {.default_type = default_type});
  if (!table.ok()) return table.status();
  return (*table)->Lookup(kProbeKey).status();
}

class Finder {
 public:
  void Check(const Value& value) {
    const auto text = value.config.FindExpanded(value.parameter.name);
    if (!text.ok()) return;  // a checked configuration has none
    for (const std::string& item : config::SplitList(*text)) CheckItem(value, item);
  }
  std::vector<TableFault> Take() { return std::move(faults_); }

 private:
  void CheckItem(const Value& value, std::string_view item) {
    const bool is_list = value.parameter.type == ParameterType::kMatches;
    while (is_list && item.starts_with('!')) item.remove_prefix(1);
    std::string name(item);
    std::optional<config::TableReference> table = config::ParseTableReference(name);
    if (!table && item.starts_with('/')) {
      if (is_list) return CheckListFile(value, name);
      name.insert(0, value.config.GetString("default_database_type") + ":");
      table = config::ParseTableReference(name);
    }
    if (!table || !seen_.insert(name).second) return;
    const absl::Status asked = Probe(name, value.config.GetString("default_database_type"));
    if (asked.ok()) return;
    Add(FindPlace(value, table->argument), Concat(Text(asked), "; ", Advice(*table)));
  }

  void CheckListFile(const Value& value, const std::string& path) {
    if (!seen_.insert(path).second) return;
    // Networks are known to this kind alone, and names are no error in it.
    const auto list =
        tables::MatchList::Open(value.parameter.name, path, {.kind = tables::MatchKind::kHost});
    if (list.ok()) return;
    std::string_view what = Text(list.status());
    // The place says it already.
    const std::string parameter = Concat("parameter ", value.parameter.name, ": ");
    if (what.starts_with(parameter)) what.remove_prefix(parameter.size());
    Add(FindPlace(value, path), Concat(what, "; create or correct ", path));
  }

  void Add(Place place, std::string_view what) {
    faults_.push_back({Concat("parameter ", place.text, ": ", what), place.by_default});
  }

  std::set<std::string> seen_;
  std::vector<TableFault> faults_;
};

}  // namespace

std::vector<TableFault> FindTableFaults(const config::Config& config) {
  Finder finder;
  // What is set comes first: a default may only refer to it.
  for (const bool set : {true, false}) {
    for (const config::Parameter& parameter : config::AllParameters()) {
      if (!NamesTables(parameter) || config.IsSet(parameter.name) != set) continue;
      finder.Check({config, nullptr, parameter});
    }
  }
  for (const config::MasterService& service : config.master_cf().services) {
    if (service.overrides.empty()) continue;
    const absl::StatusOr<config::Config> own = config.WithOverrides(service);
    if (!own.ok()) continue;  // a checked configuration has none
    for (const auto& [name, value] : service.overrides) {
      const config::Parameter* parameter = config::FindParameter(name);
      if (parameter != nullptr && NamesTables(*parameter)) {
        finder.Check({*own, &service, *parameter});
      }
    }
  }
  return finder.Take();
}

}  // namespace postfleet::commands
