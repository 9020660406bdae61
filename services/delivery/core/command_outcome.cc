#include "services/delivery/core/command_outcome.h"

#include <sysexits.h>

#include <cstring>
#include <optional>

#include "libs/base/concat.h"
#include "libs/mail/enhanced_status.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;

struct ExitMeaning {
  int code;
  const char* status;
  const char* text;
};
constexpr ExitMeaning kExits[] = {
    {EX_USAGE, "5.3.0", "command line usage error"},
    {EX_DATAERR, "5.6.0", "data format error"},
    {EX_NOINPUT, "5.3.0", "cannot open input"},
    {EX_NOUSER, "5.1.1", "user unknown"},
    {EX_NOHOST, "5.1.2", "host name unknown"},
    {EX_UNAVAILABLE, "5.3.0", "service unavailable"},
    {EX_SOFTWARE, "5.3.0", "internal software error"},
    {EX_OSERR, "4.3.0", "system resource problem"},
    {EX_OSFILE, "5.3.0", "critical OS file missing"},
    {EX_CANTCREAT, "5.2.0", "can't create user output file"},
    {EX_IOERR, "5.3.0", "input/output error"},
    {EX_TEMPFAIL, "4.3.0", "temporary failure"},
    {EX_PROTOCOL, "5.5.0", "remote error in protocol"},
    {EX_NOPERM, "5.7.0", "permission denied"},
    {EX_CONFIG, "5.3.5", "local configuration error"},
};

const ExitMeaning* MeaningOf(int code) {
  for (const ExitMeaning& exit : kExits) {
    if (exit.code == code) return &exit;
  }
  return nullptr;
}

std::string_view Trimmed(std::string_view text) {
  const size_t start = text.find_first_not_of(' ');
  if (start == text.npos) return {};
  return text.substr(start, text.find_last_not_of(' ') - start + 1);
}

Outcome Undelivered(std::string_view status, std::string text, std::string_view diagnostic) {
  Outcome outcome;
  outcome.set_action(status.starts_with('4') ? Outcome::ACTION_DEFERRED : Outcome::ACTION_BOUNCED);
  outcome.set_status(std::string(status));
  outcome.set_text(std::move(text));
  outcome.set_diagnostic(std::string(Trimmed(diagnostic)));
  return outcome;
}

std::string WithOutput(std::string text, std::string_view output) {
  if (!output.empty()) ConcatTo(&text, ". Command output: ", output);
  return text;
}

// The command speaks for itself.
std::optional<Outcome> ByEnhancedStatus(std::string_view output) {
  size_t length = 0;
  const auto status = mail::ParseEnhancedStatusPrefix(output, &length);
  if (!status) return std::nullopt;
  const size_t start = output.find_first_not_of(" \t", length);
  const std::string text(start == output.npos ? "" : output.substr(start));
  // Failed it has, whatever it says.
  std::string code = status->ToString();
  if (status->IsSuccess()) code = "5.0.0";
  return Undelivered(code, text, text);
}

Outcome OfExit(int code, std::string_view command, const std::string& output) {
  if (std::optional<Outcome> outcome = ByEnhancedStatus(output)) return *std::move(outcome);
  if (const ExitMeaning* exit = MeaningOf(code)) {
    return Undelivered(exit->status, WithOutput(exit->text, output),
                       output.empty() ? exit->text : output);
  }
  return Undelivered(
      "5.3.0", WithOutput(Concat("Command died with status ", code, ": \"", command, "\""), output),
      output.empty() ? Concat("unknown mail system error ", code) : output);
}

// As a child of Postfix ends that cannot become the command.
Outcome OfFailure(const ActionFailure& failure, std::string_view first_word,
                  std::string_view program, std::string_view what) {
  constexpr std::string_view kTemporary = "temporary failure";
  switch (failure.kind) {
    case ActionFailure::Kind::kCancelled:
      return Undelivered("4.3.2", "delivery was called off", "");
    case ActionFailure::Kind::kFailed:
      break;
    default:
      return Undelivered("4.3.0", Concat("mail system error: ", failure.text), "");
  }
  if (failure.text != "execvp") return Undelivered("4.3.0", std::string(kTemporary), kTemporary);
  const std::string said = Concat(program, ": fatal: ", what, " ", first_word, ": ",
                                  std::string_view(strerror(failure.error_number)), " ");
  return Undelivered("4.3.0", WithOutput(std::string(kTemporary), said), said);
}

}  // namespace

std::string PrintableOutput(std::string_view output) {
  std::string text(output.substr(0, kCommandOutputBytesMax));
  for (char& c : text) {
    if (c == '\t' || c == '\n') c = ' ';
    if (c < ' ' || c > '~') c = '_';
  }
  return text;
}

Outcome OutcomeOfCommand(const CommandEnd& end, std::string_view command,
                         std::string_view first_word, std::string_view program,
                         std::string_view what) {
  // As of a C string: what stands behind a NUL is not seen.
  const std::string output = PrintableOutput(end.output.substr(0, end.output.find('\0')));
  const std::string software = MeaningOf(EX_SOFTWARE)->text;
  switch (end.how) {
    case CommandEnd::How::kNotRun:
      return OfFailure(end.failure, first_word, program, what);
    case CommandEnd::How::kTimedOut:
      return Undelivered(
          "5.3.0", WithOutput(Concat("Command time limit exceeded: \"", command, "\""), output),
          output.empty() ? software : output);
    case CommandEnd::How::kSignalled:
      return Undelivered(
          "4.3.0",
          WithOutput(Concat("Command died with signal ", end.code, ": \"", command, "\""), output),
          output.empty() ? software : output);
    case CommandEnd::How::kExited:
      break;
  }
  if (end.code != 0) return OfExit(end.code, command, output);
  Outcome outcome;
  outcome.set_action(Outcome::ACTION_SENT);
  outcome.set_status("2.0.0");
  outcome.set_text(std::string(Trimmed(output)));
  return outcome;
}

}  // namespace postfleet::delivery
