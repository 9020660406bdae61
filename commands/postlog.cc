#include "commands/postlog.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <thread>

#include "commands/options.h"
#include "commands/queue_report.h"
#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/log/log_options.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kUsage =
    "postlog [-iv] [-c config_dir] [-p priority] [-t tag] [text...]";
constexpr std::chrono::seconds kPauseAfterFatal{1};

struct Priority {
  std::string_view name;
  std::string_view prefix;
  bool pauses = false;
};

constexpr Priority kPriorities[] = {
    {"info", ""},
    {"warn", "warning: "},
    {"warning", "warning: "},
    {"error", "error: "},
    {"err", "error: "},
    {"fatal", "fatal: ", true},
    {"crit", "fatal: ", true},
    {"panic", "panic: ", true},
};

struct Wishes {
  std::string config_directory;
  const Priority* priority = &kPriorities[0];
  std::optional<std::string> tag;
  std::string text;
  bool from_input = true;
};

absl::StatusOr<Wishes> ParseWishes(const Invocation& call) {
  const absl::StatusOr<CommandLine> line = ParseOptions(call.arguments, "c:ip:t:v");
  if (!line.ok()) return line.status();
  Wishes wishes{.config_directory = call.config_directory};
  for (const Option& option : line->options) {
    if (option.letter == 'c') wishes.config_directory = option.argument;
    if (option.letter == 't') wishes.tag = option.argument;
    if (option.letter != 'p') continue;
    wishes.priority =
        std::find_if(std::begin(kPriorities), std::end(kPriorities),
                     [&](const Priority& row) { return row.name == option.argument; });
    if (wishes.priority == std::end(kPriorities)) {
      return absl::InvalidArgumentError(
          Concat("unknown priority: \"", Showable(option.argument), "\""));
    }
  }
  wishes.from_input = line->operands.empty();
  for (const std::string& word : line->operands) {
    if (!wishes.text.empty()) wishes.text += ' ';
    wishes.text += word;
  }
  return wishes;
}

// False: standard input cannot be read.
template <typename Say>
bool SayEachLine(FILE* input, const Say& say) {
  char* line = nullptr;
  size_t capacity = 0;
  for (ssize_t size; (size = getline(&line, &capacity, input)) >= 0;) {
    std::string_view text(line, static_cast<size_t>(size));
    if (text.ends_with('\n')) text.remove_suffix(1);
    say(text);
  }
  free(line);
  return !ferror(input);
}

}  // namespace

int RunPostlog(const Invocation& call, const Streams& streams) {
  Console console("postlog", 1, streams);
  const absl::StatusOr<Wishes> wishes = ParseWishes(call);
  if (!wishes.ok()) return console.Usage(kUsage, wishes.status());
  const absl::StatusOr<config::Config> config = console.LoadUnchecked(
      wishes->config_directory, {"maillog_file", "maillog_file_prefixes", "syslog_name"});
  if (!config.ok()) return console.Fatal(config.status());

  const std::string shown =
      wishes->tag ? *wishes->tag : Concat(config->GetString("syslog_name"), "/postlog");
  Console log(shown, 1, streams);
  log.LogTo(*config, wishes->tag ? Concat("/", *wishes->tag) : "postlog");
  const auto say = [&](std::string_view text) { log.Say(Concat(wishes->priority->prefix, text)); };
  if (!wishes->from_input) {
    say(wishes->text);
  } else if (!SayEachLine(streams.in, say)) {
    return console.Fatal("standard input cannot be read");
  }
  if (wishes->priority->pauses) std::this_thread::sleep_for(kPauseAfterFatal);
  return 0;
}

}  // namespace postfleet::commands
