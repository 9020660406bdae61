#include "commands/postconf.h"

#include <algorithm>
#include <optional>
#include <set>

#include "commands/options.h"
#include "libs/base/concat.h"
#include "libs/config/interfaces.h"
#include "libs/config/parameters.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kUsage =
    "postconf [-c config_dir] [-d (parameter defaults)] [-h (no names)] [-n (non-default "
    "parameters)] [-x (expand parameter values)] [name...]; not supported yet: "
    "-abeEfFHlmMopPqtTvX#, -C class";
// Postfix's other options.
constexpr std::string_view kKnown = "aAbc:C:deEfFhHlmMno:pPqtT:vxX#";

struct Wanted {
  bool defaults = false;
  bool only_set = false;
  bool expanded = false;
  bool values_only = false;
};

// Defaults are those of a configuration with an empty main.cf.
absl::StatusOr<config::Config> LoadDefaults(const std::string& directory) {
  const absl::StatusOr<config::HostFacts> facts = config::ReadHostFacts();
  if (!facts.ok()) return facts.status();
  config::Diagnostics of_empty_files;
  return config::Config::FromText("", "", *facts, of_empty_files, directory);
}

// Sorted, as Postfix prints them.
std::set<std::string> NamesToPrint(const config::Config& config, const Wanted& wanted) {
  std::set<std::string> names;
  for (const config::MainCfEntry& entry : config.main_cf().entries) names.insert(entry.name);
  if (wanted.only_set) return names;
  for (const config::Parameter& parameter : config::AllParameters()) {
    names.insert(std::string(parameter.name));
  }
  return names;
}

absl::StatusOr<std::optional<std::string>> FindValue(const config::Config& config,
                                                     const Wanted& wanted,
                                                     const std::string& name) {
  const std::optional<std::string> raw = config.FindRaw(name);
  if (!raw || !wanted.expanded) return raw;
  absl::StatusOr<std::string> expanded = config.FindExpanded(name);
  if (!expanded.ok()) return expanded.status();
  return *std::move(expanded);
}

std::string FormatParameter(const Wanted& wanted, std::string_view name, std::string_view value) {
  if (wanted.values_only) return Concat(value, "\n");
  return Concat(name, value.empty() ? " =" : " = ", value, "\n");
}

int Print(Console& console, const config::Config& config, const Wanted& wanted,
          const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const absl::StatusOr<std::optional<std::string>> value = FindValue(config, wanted, name);
    if (!value.ok()) return console.Fatal(value.status());
    if (!*value) {
      console.Warn(Concat(name, ": unknown parameter"));
    } else if (wanted.only_set && !config.IsSet(name)) {
      continue;
    } else if (!console.Write(FormatParameter(wanted, name, **value))) {
      return console.WriteFailed();
    }
  }
  return console.Finish();
}

}  // namespace

int RunPostconf(const Invocation& call, const Streams& streams) {
  Console console("postconf", 1, streams);
  const absl::StatusOr<CommandLine> line = ParseOptions(call.arguments, kKnown);
  if (!line.ok()) return console.Usage(kUsage, line.status());
  std::string directory = call.config_directory;
  Wanted wanted;
  for (const Option& option : line->options) {
    switch (option.letter) {
      case 'c':
        directory = option.argument;
        break;
      case 'd':
        wanted.defaults = true;
        break;
      case 'h':
        wanted.values_only = true;
        break;
      case 'n':
        wanted.only_set = true;
        break;
      case 'x':
        wanted.expanded = true;
        break;
      default:
        return console.NotSupported(Concat("option -", option.letter));
    }
  }
  if (wanted.defaults && wanted.only_set) return console.Fatal("specify one of -d -n");

  config::Diagnostics diagnostics;
  absl::StatusOr<config::Config> config =
      wanted.defaults ? LoadDefaults(directory) : config::Config::Load(directory, diagnostics);
  // What is wrong is looked for with this command.
  if (!config.ok() && !wanted.defaults) {
    const std::string wrong(config.status().message());
    config = config::Config::LoadUnchecked(directory, {"config_directory"}, diagnostics);
    if (config.ok()) diagnostics.Warn(Concat(wrong, "; the mail system would not start"));
  }
  if (!config.ok()) return console.Fatal(config.status());
  if (!line->operands.empty()) return Print(console, *config, wanted, line->operands);
  const std::set<std::string> names = NamesToPrint(*config, wanted);
  const int status = Print(console, *config, wanted, {names.begin(), names.end()});
  for (const config::Diagnostic& warning : diagnostics.warnings()) console.Warn(warning.text);
  return status;
}

}  // namespace postfleet::commands
