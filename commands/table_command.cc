#include "commands/table_command.h"

#include "commands/options.h"
#include "libs/base/concat.h"

namespace postfleet::commands {

std::optional<TableCommand> ReadTableCommand(const Invocation& call, std::string_view letters,
                                             std::string_view usage, Console& console,
                                             int* status) {
  const auto end = [status](int value) {
    *status = value;
    return std::nullopt;
  };
  const absl::StatusOr<CommandLine> line = ParseOptions(call.arguments, letters);
  if (!line.ok()) return end(console.Usage(usage, line.status()));
  TableCommand command;
  std::string directory = call.config_directory;
  for (const Option& option : line->options) {
    if (option.letter == 'c') {
      directory = option.argument;
    } else if (option.letter != 'q') {
      return end(console.NotSupported(Concat("option -", option.letter)));
    } else if (command.key) {
      return end(console.Fatal("specify only one of -s -q or -d"));
    } else {
      command.key = option.argument;
    }
  }
  if (line->operands.empty()) return end(console.Usage(usage));
  command.names = line->operands;
  const absl::StatusOr<config::Config> config =
      console.LoadUnchecked(directory, {"default_database_type"});
  if (!config.ok()) return end(console.Fatal(config.status()));
  command.type = config->GetString("default_database_type");
  return command;
}

}  // namespace postfleet::commands
