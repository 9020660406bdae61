#include "commands/sendmail.h"

#include <sysexits.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "commands/options.h"
#include "commands/postqueue.h"
#include "commands/queue_report.h"
#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kOptions = "A:B:C:F:GIL:N:O:R:UV:X:b:ce:f:h:imno:p:r:q:tvx";
// The word -q alone, which takes no argument, unlike -qIqueueid.
constexpr char kFlushLetter = 'Q';

enum class Mode { kSubmit, kList, kFlush, kNothing, kDaemon, kAliases, kServer };

struct ModeOption {
  char letter;  // of -b
  Mode mode;
};
constexpr ModeOption kModeOptions[] = {
    {'H', Mode::kNothing}, {'d', Mode::kDaemon}, {'h', Mode::kNothing}, {'i', Mode::kAliases},
    {'l', Mode::kDaemon},  {'m', Mode::kSubmit}, {'p', Mode::kList},    {'s', Mode::kServer},
};

// What a mode's calls are named in messages.
struct ModeWords {
  std::string_view name;
  std::string_view what;  // is not supported yet
};
ModeWords WordsOf(Mode mode) {
  switch (mode) {
    case Mode::kList:
      return {"display queue", ""};
    case Mode::kFlush:
      return {"flush queue", ""};
    case Mode::kDaemon:
      return {"daemon", "option -bd"};
    case Mode::kAliases:
      return {"alias initialization", "option -bi"};
    case Mode::kServer:
      return {"stand-alone", "option -bs"};
    case Mode::kSubmit:
    case Mode::kNothing:
      break;
  }
  return {"", "submission of mail"};
}

// What the options ask for.
struct Wanted {
  Mode mode = Mode::kSubmit;
  std::string config_directory;
  std::string queue_id;  // -qI
  std::string site;      // -qR
  bool interval = false;
  bool recipients_in_header = false;
  bool report = false;  // -bv
  int verbose = 0;
};

absl::Status Wrong(std::string text) { return absl::InvalidArgumentError(std::move(text)); }

// In Postfix's order; what is behind the first operand is one, too.
absl::StatusOr<CommandLine> Parse(const std::vector<std::string>& arguments) {
  CommandLine line;
  size_t at = 0;
  for (; at < arguments.size(); ++at) {
    const std::string& word = arguments[at];
    if (word == "-q") {
      line.options.push_back({kFlushLetter, ""});
      continue;
    }
    if (word == "--") {
      ++at;
      break;
    }
    if (word.size() < 2 || word[0] != '-') break;
    if (absl::Status parsed = ParseOptionWord(arguments, kOptions, &at, &line); !parsed.ok()) {
      return parsed;
    }
  }
  for (; at < arguments.size(); ++at) line.operands.push_back(arguments[at]);
  return line;
}

absl::Status SetMode(const std::string& argument, Wanted* wanted) {
  const char letter = argument.empty() ? '\0' : argument[0];
  if (letter == 'v') {
    wanted->report = true;
    return absl::OkStatus();
  }
  for (const ModeOption& option : kModeOptions) {
    if (option.letter != letter) continue;
    wanted->mode = option.mode;
    return absl::OkStatus();
  }
  return Wrong(Concat("unsupported: -b", Showable(argument.substr(0, 1))));
}

absl::Status SetFlush(const std::string& argument, Wanted* wanted) {
  const char letter = argument.empty() ? '\0' : argument[0];
  if (absl::ascii_isdigit(static_cast<unsigned char>(letter))) {
    wanted->interval = true;
  } else if (letter == 'I') {
    wanted->queue_id = argument.substr(1);
    if (wanted->queue_id.empty()) return Wrong("specify: -qIqueueid");
  } else if (letter == 'R') {
    wanted->site = argument.substr(1);
    if (wanted->site.empty()) return Wrong("specify: -qRsitename");
  } else {
    return Wrong(Concat("-q", Showable(argument.substr(0, 1)), " is not implemented"));
  }
  return absl::OkStatus();
}

// Of -C: main.cf or its folder.
std::string FolderOf(const std::string& path) {
  constexpr std::string_view kFile = "/main.cf";
  if (path == "main.cf") return ".";
  return path.ends_with(kFile) ? path.substr(0, path.size() - kFile.size()) : path;
}

absl::Status Apply(const Option& option, Wanted* wanted) {
  switch (option.letter) {
    case kFlushLetter:
      if (wanted->mode != Mode::kDaemon) wanted->mode = Mode::kFlush;
      break;
    case 'C':
      wanted->config_directory = FolderOf(option.argument);
      break;
    case 'I':
      wanted->mode = Mode::kAliases;
      break;
    case 'b':
      return SetMode(option.argument, wanted);
    case 'n':
      return Wrong("-n option not supported");
    case 'q':
      return SetFlush(option.argument, wanted);
    case 't':
      wanted->recipients_in_header = true;
      break;
    case 'v':
      ++wanted->verbose;
      break;
    default:
      break;
  }
  return absl::OkStatus();
}

// Options that do not go together, and recipients where there can be none.
absl::Status Check(const Wanted& wanted, const std::vector<std::string>& operands) {
  if (wanted.mode != Mode::kSubmit) {
    constexpr std::string_view kWords = " can be used only in delivery mode";
    if (wanted.recipients_in_header) return Wrong(Concat("-t", kWords));
    if (!wanted.site.empty()) return Wrong(Concat("-qR", kWords));
    if (!wanted.queue_id.empty()) return Wrong(Concat("-qI", kWords));
  }
  if (wanted.report && wanted.recipients_in_header) {
    return Wrong("-t option cannot be used with -bv");
  }
  if (operands.empty() || wanted.mode == Mode::kNothing) return absl::OkStatus();
  if (wanted.mode != Mode::kSubmit) {
    return Wrong(Concat(WordsOf(wanted.mode).name, " mode requires no recipient"));
  }
  if (!wanted.site.empty()) return Wrong("flush site requires no recipient");
  if (!wanted.queue_id.empty()) return Wrong("flush queue_id requires no recipient");
  return absl::OkStatus();
}

// postqueue's arguments; empty: it is no matter of the queue.
std::vector<std::string> PostqueueArguments(const Wanted& wanted) {
  std::vector<std::string> arguments;
  if (wanted.mode == Mode::kList) {
    arguments = {"-p"};
  } else if (wanted.mode == Mode::kFlush) {
    arguments = {"-f"};
  } else if (wanted.mode == Mode::kSubmit && !wanted.site.empty()) {
    arguments = {"-s", wanted.site};
  } else if (wanted.mode == Mode::kSubmit && !wanted.queue_id.empty()) {
    arguments = {"-i", wanted.queue_id};
  } else {
    return arguments;
  }
  // One -v asks for a report of the delivery that does not take place.
  const bool is_report = wanted.mode == Mode::kSubmit && wanted.verbose == 1;
  if (!is_report) arguments.insert(arguments.end(), static_cast<size_t>(wanted.verbose), "-v");
  return arguments;
}

int Run(const Invocation& call, Mode mode, const Streams& streams) {
  Console console(call.program, EX_TEMPFAIL, streams);
  const absl::StatusOr<CommandLine> line = Parse(call.arguments);
  if (!line.ok()) return console.Usage(Concat(call.program, " [options]"), line.status());
  Wanted wanted = {.mode = mode, .config_directory = call.config_directory};
  for (const Option& option : line->options) {
    if (absl::Status applied = Apply(option, &wanted); !applied.ok()) return console.Fatal(applied);
  }
  if (wanted.interval && wanted.mode != Mode::kDaemon) return EX_OK;
  if (absl::Status checked = Check(wanted, line->operands); !checked.ok()) {
    return console.Fatal(checked);
  }
  if (wanted.mode == Mode::kNothing) return EX_OK;
  Invocation postqueue = {"postqueue", wanted.config_directory, PostqueueArguments(wanted)};
  if (!postqueue.arguments.empty()) return RunPostqueue(postqueue, streams);
  return Console(call.program, EX_UNAVAILABLE, streams).NotSupported(WordsOf(wanted.mode).what);
}

}  // namespace

int RunSendmail(const Invocation& call, const Streams& streams) {
  return Run(call, Mode::kSubmit, streams);
}

int RunMailq(const Invocation& call, const Streams& streams) {
  return Run(call, Mode::kList, streams);
}

}  // namespace postfleet::commands
