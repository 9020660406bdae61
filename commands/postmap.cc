#include "commands/postmap.h"

#include <memory>
#include <optional>

#include "commands/table_command.h"
#include "libs/base/concat.h"
#include "libs/tables/postmap.h"
#include "libs/tables/table.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kUsage =
    "postmap [-c config_dir] [-q key] [map_type:]file...; not supported yet: -bfFhimnNoprsuUvw, -d "
    "key";

using Tables = std::vector<std::unique_ptr<tables::Table>>;

int Build(Console& console, const std::vector<std::string>& names, const std::string& type) {
  for (const std::string& name : names) {
    config::Diagnostics diagnostics;
    const absl::Status built = tables::BuildTable(
        tables::LooksLikeTable(name) ? name : Concat(type, ':', name), diagnostics);
    for (const config::Diagnostic& warning : diagnostics.warnings()) console.Warn(warning.text);
    if (!built.ok()) return console.Fatal(built);
  }
  return 0;
}

absl::StatusOr<std::optional<std::string>> Find(Tables& tables, std::string_view key) {
  for (const std::unique_ptr<tables::Table>& table : tables) {
    absl::StatusOr<std::optional<std::string>> value = table->Lookup(key);
    if (!value.ok() || *value) return value;
  }
  return std::nullopt;
}

int AskOne(Console& console, Tables& tables, const std::string& key) {
  const absl::StatusOr<std::optional<std::string>> value = Find(tables, key);
  if (!value.ok()) return console.Fatal(value.status());
  if (!*value) return 1;
  return console.Write(Concat(**value, "\n")) ? console.Finish() : console.WriteFailed();
}

int AskEach(Console& console, Tables& tables, FILE* in) {
  char* line = nullptr;
  size_t capacity = 0;
  ssize_t size;
  bool any = false;
  absl::Status failed;
  bool written = true;
  while (written && (size = getline(&line, &capacity, in)) >= 0) {
    std::string_view key(line, static_cast<size_t>(size));
    if (key.ends_with('\n')) key.remove_suffix(1);
    const absl::StatusOr<std::optional<std::string>> value = Find(tables, key);
    if (!value.ok()) {
      failed = value.status();
      break;
    }
    if (!*value) continue;
    any = true;
    written = console.Write(Concat(key, "\t", **value, "\n"));
  }
  free(line);
  if (!failed.ok()) return console.Fatal(failed);
  if (!written) return console.WriteFailed();
  const int finished = console.Finish();
  return any ? finished : 1;
}

int Ask(Console& console, const std::string& key, const std::vector<std::string>& names,
        const std::string& type, FILE* in) {
  Tables tables;
  for (const std::string& name : names) {
    absl::StatusOr<std::unique_ptr<tables::Table>> table =
        tables::OpenTable(name, {.default_type = type});
    if (!table.ok()) return console.Fatal(table.status());
    tables.push_back(*std::move(table));
  }
  return key == "-" ? AskEach(console, tables, in) : AskOne(console, tables, key);
}

}  // namespace

int RunPostmap(const Invocation& call, const Streams& streams) {
  Console console("postmap", 1, streams);
  int status = 0;
  const std::optional<TableCommand> command =
      ReadTableCommand(call, "bc:d:fFhimnNopq:rsuUvw", kUsage, console, &status);
  if (!command) return status;
  if (!command->key) return Build(console, command->names, command->type);
  return Ask(console, *command->key, command->names, command->type, streams.in);
}

}  // namespace postfleet::commands
