#include "commands/sendmail_options.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "commands/options.h"
#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

constexpr std::string_view kOptions = "A:B:C:F:GIL:N:O:R:UV:X:b:ce:f:h:imno:p:r:q:tvx";
// The word -q alone, which takes no argument, unlike -qIqueueid.
constexpr char kFlushLetter = 'Q';
constexpr size_t kEnvelopeIdBytesMax = 100;

struct ModeRow {
  char letter;  // of -b
  SendmailMode mode;
};
constexpr ModeRow kModes[] = {
    {'H', SendmailMode::kNothing}, {'d', SendmailMode::kDaemon}, {'h', SendmailMode::kNothing},
    {'i', SendmailMode::kAliases}, {'l', SendmailMode::kDaemon}, {'m', SendmailMode::kSubmit},
    {'p', SendmailMode::kList},    {'s', SendmailMode::kServer},
};

struct NotifyRow {
  absl::string_view word;
  uint32_t flag;  // RFC 3461, as mail.v1.NotifyFlag
};
constexpr uint32_t kNever = 1;
constexpr NotifyRow kNotifyWords[] = {
    {"NEVER", kNever}, {"SUCCESS", 2}, {"FAILURE", 4}, {"DELAY", 8}};

absl::Status Wrong(std::string text) { return absl::InvalidArgumentError(std::move(text)); }

std::string_view View(absl::string_view text) { return {text.data(), text.size()}; }

std::string First(const std::string& argument) { return argument.substr(0, 1); }

// What -V said before Postfix 2.3, "-V" in front of a word of two characters and "-V+=", and what
// is said today.
std::string ReadObsoleteVerp(const std::vector<std::string>& arguments, size_t at,
                             std::vector<std::string>* warnings) {
  const std::string& word = arguments[at];
  constexpr std::string_view kDeprecated = " is deprecated with Postfix 2.3; specify -X";
  if (word == "-V" && at + 1 < arguments.size() && arguments[at + 1].size() == 2) {
    warnings->push_back(Concat("option -V", kDeprecated, "V instead"));
    return "-XV";
  }
  if (word.starts_with("-V") && word.size() == 4) {
    warnings->push_back(Concat("option ", word, kDeprecated, word.substr(1), " instead"));
    return Concat("-X", word.substr(1));
  }
  return word;
}

// In Postfix's order; what is behind the first operand is one, too.
absl::Status Parse(std::vector<std::string> arguments, CommandLine* line,
                   std::vector<std::string>* warnings) {
  size_t at = 0;
  for (; at < arguments.size(); ++at) {
    std::string& word = arguments[at];
    word = ReadObsoleteVerp(arguments, at, warnings);
    if (word == "-q") {
      line->options.push_back({kFlushLetter, ""});
      continue;
    }
    if (word == "--") {
      ++at;
      break;
    }
    if (word.size() < 2 || word[0] != '-') break;
    if (absl::Status parsed = ParseOptionWord(arguments, kOptions, &at, line); !parsed.ok()) {
      return parsed;
    }
  }
  for (; at < arguments.size(); ++at) line->operands.push_back(arguments[at]);
  return absl::OkStatus();
}

absl::Status SetMode(const std::string& argument, SendmailRequest* request) {
  const char letter = argument.empty() ? '\0' : argument[0];
  if (letter == 'v') {
    request->probe = true;
    return absl::OkStatus();
  }
  for (const ModeRow& row : kModes) {
    if (row.letter != letter) continue;
    request->mode = row.mode;
    return absl::OkStatus();
  }
  return Wrong(Concat("unsupported: -b", First(argument)));
}

absl::Status SetFlush(const std::string& argument, bool* interval, SendmailRequest* request) {
  const char letter = argument.empty() ? '\0' : argument[0];
  if (absl::ascii_isdigit(static_cast<unsigned char>(letter))) {
    *interval = true;
  } else if (letter == 'I') {
    request->queue_id = argument.substr(1);
    if (request->queue_id.empty()) return Wrong("specify: -qIqueueid");
  } else if (letter == 'R') {
    request->site = argument.substr(1);
    if (request->site.empty()) return Wrong("specify: -qRsitename");
  } else {
    return Wrong(Concat("-q", First(argument), " is not implemented"));
  }
  return absl::OkStatus();
}

// Of -C: main.cf or its folder.
std::string FolderOf(const std::string& path) {
  constexpr std::string_view kFile = "/main.cf";
  if (path == "main.cf") return ".";
  return path.ends_with(kFile) ? path.substr(0, path.size() - kFile.size()) : path;
}

void SetNotify(const std::string& argument, SendmailRequest* request) {
  uint32_t flags = 0;
  for (const absl::string_view word :
       absl::StrSplit(argument, absl::ByAnyChar(", \t\r\n"), absl::SkipEmpty())) {
    const NotifyRow* row =
        std::find_if(std::begin(kNotifyWords), std::end(kNotifyWords),
                     [&](const NotifyRow& one) { return absl::EqualsIgnoreCase(one.word, word); });
    if (row == std::end(kNotifyWords)) {
      request->warnings.push_back(
          Concat("unknown DSN NOTIFY command value \"", View(word), "\" in \"", argument, "\""));
      flags = 0;
      break;
    }
    flags |= row->flag;
  }
  if (flags == 0 || ((flags & kNever) != 0 && flags != kNever)) {
    request->warnings.push_back("bad -N option value -- ignored");
  } else {
    request->notify = flags;
  }
}

void SetReturn(const std::string& argument, SendmailRequest* request) {
  if (absl::EqualsIgnoreCase(argument, "full")) {
    request->dsn_return = 1;
  } else if (absl::EqualsIgnoreCase(argument, "hdrs")) {
    request->dsn_return = 2;
  } else {
    request->warnings.push_back("bad -R option value -- ignored");
  }
}

void SetEnvelopeId(const std::string& argument, SendmailRequest* request) {
  const bool printable =
      std::all_of(argument.begin(), argument.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (argument.size() > kEnvelopeIdBytesMax) {
    request->warnings.push_back("too long -V option value -- ignored");
  } else if (argument.empty() || !printable) {
    request->warnings.push_back("bad syntax in -V option value -- ignored");
  } else {
    request->envelope_id = argument;
  }
}

absl::Status SetBody(const std::string& argument, SendmailRequest* request) {
  if (argument != "8BITMIME" && argument != "7BIT") {
    return Wrong("-B option needs 8BITMIME or 7BIT");
  }
  request->encoding = argument == "7BIT" ? "7bit" : "8bit";
  return absl::OkStatus();
}

absl::Status Apply(const Option& option, bool* interval, SendmailRequest* request) {
  const std::string& argument = option.argument;
  switch (option.letter) {
    case kFlushLetter:
      if (request->mode != SendmailMode::kDaemon) request->mode = SendmailMode::kFlush;
      break;
    case 'B':
      return SetBody(argument, request);
    case 'C':
      request->config_directory = FolderOf(argument);
      break;
    case 'F':
      request->full_name = argument;
      break;
    case 'G':
      request->is_remote = true;
      break;
    case 'I':
      request->mode = SendmailMode::kAliases;
      break;
    case 'N':
      SetNotify(argument, request);
      break;
    case 'R':
      SetReturn(argument, request);
      break;
    case 'V':
      SetEnvelopeId(argument, request);
      break;
    case 'X':
      if (!argument.starts_with('V')) return Wrong(Concat("unsupported: -X", First(argument)));
      request->verp = argument.substr(1);
      break;
    case 'b':
      return SetMode(argument, request);
    case 'f':
    case 'r':
      request->sender = argument;
      break;
    case 'i':
      request->dot_ends = false;
      break;
    case 'n':
      return Wrong("-n option not supported");
    case 'o':
      if (argument == "A") return Wrong("-oA requires pathname");
      if (argument.starts_with('i')) request->dot_ends = false;
      break;
    case 'q':
      return SetFlush(argument, interval, request);
    case 't':
      request->recipients_in_header = true;
      break;
    case 'v':
      ++request->verbose;
      break;
    default:
      break;
  }
  return absl::OkStatus();
}

// Options that do not go together, and recipients where there can be none.
absl::Status Check(const SendmailRequest& request) {
  if (request.mode != SendmailMode::kSubmit) {
    constexpr std::string_view kWords = " can be used only in delivery mode";
    if (request.recipients_in_header) return Wrong(Concat("-t", kWords));
    if (!request.site.empty()) return Wrong(Concat("-qR", kWords));
    if (!request.queue_id.empty()) return Wrong(Concat("-qI", kWords));
  }
  if (request.probe && request.recipients_in_header) {
    return Wrong("-t option cannot be used with -bv");
  }
  const bool submits =
      request.mode == SendmailMode::kSubmit && request.queue_id.empty() && request.site.empty();
  if (request.probe && submits) {
    if (request.notify != 0) return Wrong("-N option cannot be used with -bv");
    if (request.dsn_return != 0) return Wrong("-R option cannot be used with -bv");
    if (request.verbose == 1) return Wrong("-v option cannot be used with -bv");
  }
  if (request.operands.empty() || request.mode == SendmailMode::kNothing) return absl::OkStatus();
  if (request.mode != SendmailMode::kSubmit) {
    return Wrong(Concat(SendmailModeName(request.mode), " mode requires no recipient"));
  }
  if (!request.site.empty()) return Wrong("flush site requires no recipient");
  if (!request.queue_id.empty()) return Wrong("flush queue_id requires no recipient");
  return absl::OkStatus();
}

}  // namespace

std::string_view SendmailModeName(SendmailMode mode) {
  switch (mode) {
    case SendmailMode::kList:
      return "display queue";
    case SendmailMode::kFlush:
      return "flush queue";
    case SendmailMode::kDaemon:
      return "daemon";
    case SendmailMode::kAliases:
      return "alias initialization";
    case SendmailMode::kServer:
      return "stand-alone";
    case SendmailMode::kSubmit:
    case SendmailMode::kNothing:
      break;
  }
  return "";
}

absl::Status ReadSendmailArguments(const std::vector<std::string>& arguments, SendmailMode mode,
                                   SendmailRequest* request) {
  *request = {.mode = mode};
  CommandLine line;
  if (absl::Status parsed = Parse(arguments, &line, &request->warnings); !parsed.ok()) {
    request->is_usage = true;
    return parsed;
  }
  bool interval = false;
  for (const Option& option : line.options) {
    if (absl::Status applied = Apply(option, &interval, request); !applied.ok()) return applied;
  }
  request->operands = std::move(line.operands);
  if (interval && request->mode != SendmailMode::kDaemon) {
    request->mode = SendmailMode::kNothing;
    return absl::OkStatus();
  }
  return Check(*request);
}

}  // namespace postfleet::commands
