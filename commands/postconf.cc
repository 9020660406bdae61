#include "commands/postconf.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "commands/postconf_edit.h"
#include "commands/postconf_request.h"
#include "commands/postconf_services.h"
#include "commands/postconf_templates.h"
#include "commands/service_entry.h"
#include "libs/base/concat.h"
#include "libs/config/expand.h"
#include "libs/config/file_text.h"
#include "libs/config/interfaces.h"
#include "libs/config/parameters.h"
#include "libs/config/table_types.h"

namespace postfleet::commands {
namespace {

using What = PostconfRequest::What;
using Names = std::set<std::string, std::less<>>;

constexpr size_t kLineColumns = 80;

// Defaults are those of a configuration with an empty main.cf. master.cf says which delivery agents
// have parameters of their own.
absl::StatusOr<config::Config> LoadDefaults(const std::string& directory) {
  const absl::StatusOr<config::HostFacts> facts = config::ReadHostFacts();
  if (!facts.ok()) return facts.status();
  const absl::StatusOr<std::string> master_cf =
      config::ReadFileText(Concat(directory, "/master.cf"));
  config::Diagnostics of_defaults;
  return config::Config::FromTextUnchecked("", master_cf.ok() ? *master_cf : "", *facts,
                                           {"config_directory"}, of_defaults, directory);
}

bool IsBuiltin(std::string_view name) { return config::FindParameter(name) != nullptr; }

// The parameters that delivery agents of master.cf have.
Names ServiceDefined(const config::Config& config) {
  Names names;
  for (const config::MasterService& service : config.master_cf().services) {
    // Postfix's postconf does not count discard among the agents.
    if (service.implied || service.command == "discard") continue;
    if (!config::IsDeliveryAgent(service.command)) continue;
    for (const config::TransportParameter& row : config::TransportParameters()) {
      const bool pipe_only = row.suffix == "_time_limit";
      if (pipe_only && service.command != "pipe") continue;
      std::string name = Concat(service.name, row.suffix);
      if (!IsBuiltin(name)) names.insert(std::move(name));
    }
  }
  return names;
}

// Names of main.cf that are nobody's but are used by others' values.
Names UserDefined(const config::Config& config, const Names& service_defined) {
  Names found;
  const std::function<void(std::string_view)> look = [&](std::string_view value) {
    config::CollectReferences(value, [&](std::string_view name) {
      const config::MainCfEntry* entry = config.main_cf().Find(name);
      if (entry == nullptr || IsBuiltin(name) || service_defined.contains(name)) return;
      if (found.insert(std::string(name)).second) look(entry->value);
    });
  };
  for (const config::MainCfEntry& entry : config.main_cf().entries) look(entry.value);
  for (const config::MasterService& service : config.master_cf().services) {
    for (const auto& [name, value] : service.overrides) look(value);
  }
  return found;
}

bool IsKnown(const config::Config& config, std::string_view name) {
  if (IsBuiltin(name)) return true;
  const Names service_defined = ServiceDefined(config);
  return service_defined.contains(name) || UserDefined(config, service_defined).contains(name);
}

// Sorted, as Postfix prints them.
Names NamesToPrint(const config::Config& config, const PostconfRequest& request) {
  Names names;
  const Names service_defined = ServiceDefined(config);
  if (request.builtin) {
    for (const config::Parameter& parameter : config::AllParameters()) {
      names.insert(std::string(parameter.name));
    }
  }
  if (request.service_defined) names.insert(service_defined.begin(), service_defined.end());
  if (request.user_defined && !request.defaults) {
    names.merge(UserDefined(config, service_defined));
  }
  if (request.only_set) {
    std::erase_if(names, [&](const std::string& name) { return !config.IsSet(name); });
  }
  return names;
}

absl::StatusOr<std::optional<std::string>> FindValue(const config::Config& config,
                                                     const PostconfRequest& request,
                                                     const std::string& name) {
  const std::optional<std::string> raw = config.FindRaw(name);
  const config::Parameter* row = config::FindParameter(name);
  const bool is_raw = row != nullptr && row->type == config::ParameterType::kRaw;
  if (!raw || !request.expanded || is_raw) return raw;
  absl::StatusOr<std::string> expanded = config.FindExpanded(name);
  if (!expanded.ok()) return expanded.status();
  return *std::move(expanded);
}

std::string FormatParameter(const PostconfRequest& request, std::string_view name,
                            std::string_view value) {
  if (request.names_only) return Concat(name, "\n");
  const std::string label = request.values_only ? "" : Concat(name, " =");
  return Concat(FoldWords(label, value, request.folded, kLineColumns), "\n");
}

int ShowParameters(const PostconfRequest& request, const config::Config& config, Console& console) {
  const Names all = request.operands.empty() ? NamesToPrint(config, request) : Names();
  const std::vector<std::string> names = request.operands.empty()
                                             ? std::vector<std::string>(all.begin(), all.end())
                                             : request.operands;
  for (const std::string& name : names) {
    const absl::StatusOr<std::optional<std::string>> value = FindValue(config, request, name);
    if (!value.ok()) return console.Fatal(value.status());
    if (!*value || (!request.operands.empty() && !IsKnown(config, name))) {
      console.Warn(Concat(name, ": unknown parameter"));
    } else if (request.only_set && !config.IsSet(name)) {
      continue;
    } else if (!console.Write(FormatParameter(request, name, **value))) {
      return console.WriteFailed();
    }
  }
  return console.Finish();
}

absl::StatusOr<config::Config> Overridden(const config::Config& config,
                                          const std::vector<std::string>& assignments) {
  config::MasterService overrides;
  for (const std::string& text : assignments) {
    absl::StatusOr<config::MainCfEntry> entry = config::ParseAssignment(text);
    if (!entry.ok()) return entry.status();
    overrides.overrides.emplace_back(entry->name, entry->value);
  }
  return config.WithOverrides(overrides);
}

// What is wrong is looked for with this command, so it works whatever main.cf has.
absl::StatusOr<config::Config> LoadWhatThereIs(const std::string& directory,
                                               config::Diagnostics& diagnostics) {
  absl::StatusOr<config::Config> config = config::Config::Load(directory, diagnostics);
  if (config.ok()) return config;
  const std::string wrong(config.status().message());
  config::Diagnostics of_the_rest;
  config = config::Config::LoadUnchecked(directory, {"config_directory"}, of_the_rest);
  if (!config.ok()) return config;
  for (const config::Diagnostic& warning : of_the_rest.warnings()) {
    if (warning.text != wrong) diagnostics.Warn(warning.text, warning.kind);
  }
  diagnostics.Warn(Concat(wrong, "; the mail system would not start"));
  return config;
}

int Show(const PostconfRequest& request, Console& console) {
  config::Diagnostics diagnostics;
  absl::StatusOr<config::Config> config = request.defaults
                                              ? LoadDefaults(request.directory)
                                              : LoadWhatThereIs(request.directory, diagnostics);
  if (config.ok() && !request.overrides.empty()) config = Overridden(*config, request.overrides);
  if (!config.ok()) return console.Fatal(config.status());
  const bool parameters = request.what == What::kParameters;
  const int status = parameters ? ShowParameters(request, *config, console)
                                : ShowServices(request, *config, console);
  if (parameters && !request.operands.empty()) return status;
  for (const config::Diagnostic& warning : diagnostics.warnings()) {
    if (request.quiet && warning.kind != config::Diagnostic::Kind::kOther) continue;
    console.Warn(warning.text);
  }
  return status;
}

int ShowLines(std::string_view text, Console& console) {
  return console.Write(text) ? console.Finish() : console.WriteFailed();
}

}  // namespace

int RunPostconf(const Invocation& call, const Streams& streams) {
  Console console("postconf", 1, streams);
  const absl::StatusOr<PostconfRequest> request =
      PostconfRequest::Parse(call.arguments, call.config_directory);
  if (absl::IsOutOfRange(request.status())) {
    return console.Usage(PostconfRequest::kUsage,
                         absl::InvalidArgumentError(request.status().message()));
  }
  if (!request.ok()) return console.Fatal(request.status());
  if (request->lists_locks) return ShowLines("flock\nfcntl\ndotlock\n", console);
  if (request->lists_tables) {
    std::string lines;
    for (const std::string& type : config::SortedTableTypes()) ConcatTo(&lines, type, "\n");
    return ShowLines(lines, console);
  }
  // Neither SASL nor TLS is built in: no type of login, and of TLS Postfix says nothing then.
  if (request->lists_login_types || !request->tls_mode.empty()) return ShowLines("", console);
  if (request->shows_templates || request->expands_templates) {
    return ShowTemplates(*request, console);
  }
  if (request->edit != PostconfRequest::Edit::kNone) return EditConfiguration(*request, console);
  return Show(*request, console);
}

}  // namespace postfleet::commands
