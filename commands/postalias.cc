#include "commands/postalias.h"

#include <unistd.h>

#include <memory>
#include <optional>

#include "commands/table_command.h"
#include "libs/base/clock.h"
#include "libs/base/concat.h"
#include "libs/mail/address.h"
#include "libs/tables/postmap.h"
#include "libs/tables/table.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kUsage =
    "postalias [-c config_dir] [-q key] [map_type:]file...; not supported yet: -finNoprsuvw, -d "
    "key";

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
}

int Build(Console& console, const std::vector<std::string>& names, const std::string& type) {
  const int64_t seconds = SystemClock().WallMillis() / 1000;
  for (const std::string& name : names) {
    config::Diagnostics diagnostics;
    const absl::Status built =
        tables::BuildAliasTable(tables::LooksLikeTable(name) ? name : Concat(type, ':', name),
                                seconds, HostName(), diagnostics);
    for (const config::Diagnostic& warning : diagnostics.warnings()) console.Warn(warning.text);
    if (!built.ok()) return console.Fatal(built);
  }
  return 0;
}

int Ask(Console& console, const std::string& key, const std::vector<std::string>& names,
        const std::string& type) {
  for (const std::string& name : names) {
    absl::StatusOr<std::unique_ptr<tables::Table>> table =
        tables::OpenTable(name, {.default_type = type});
    if (!table.ok()) return console.Fatal(table.status());
    const absl::StatusOr<std::optional<std::string>> value =
        (*table)->Lookup(mail::LowerCasedAscii(key));
    if (!value.ok()) return console.Fatal(value.status());
    if (!*value) continue;
    return console.Write(Concat(**value, "\n")) ? console.Finish() : console.WriteFailed();
  }
  return 1;
}

}  // namespace

int RunPostalias(const Invocation& call, const Streams& streams) {
  Console console("postalias", 1, streams);
  int status = 0;
  const std::optional<TableCommand> command =
      ReadTableCommand(call, "c:d:finNopq:rsuvw", kUsage, console, &status);
  if (!command) return status;
  return command->key ? Ask(console, *command->key, command->names, command->type)
                      : Build(console, command->names, command->type);
}

int RunNewaliases(const Invocation& call, const Streams& streams) {
  Console console("postalias", 1, streams);
  std::string directory = call.config_directory;
  // Options are sendmail's, which it ignores here but for the folder.
  for (size_t i = 0; i + 1 < call.arguments.size(); ++i) {
    if (call.arguments[i] == "-C" || call.arguments[i] == "-c") directory = call.arguments[i + 1];
  }
  const absl::StatusOr<config::Config> config =
      console.LoadUnchecked(directory, {"alias_database", "default_database_type"});
  if (!config.ok()) return console.Fatal(config.status());
  return Build(console, config->GetList("alias_database"),
               config->GetString("default_database_type"));
}

}  // namespace postfleet::commands
