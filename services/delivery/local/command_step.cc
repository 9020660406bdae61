#include "services/delivery/local/command_step.h"

#include <cstring>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "services/delivery/core/command_environment.h"
#include "services/delivery/core/command_line.h"
#include "services/delivery/core/command_outcome.h"
#include "services/delivery/core/mailbox_fields.h"
#include "services/delivery/local/mailbox_step.h"

namespace postfleet::delivery {
namespace {

std::vector<std::string> ArgvOf(const Step& step, const LocalOptions& options) {
  return options.command_shell.empty() ? ArgvOfCommandLine(step.text)
                                       : ArgvWithShell(options.command_shell, step.text);
}

std::vector<std::string> EnvironmentOf(const Step& step, const LocalOptions& options,
                                       const mail::v1::Envelope& envelope) {
  // FromConfig has read it.
  CommandEnvironment environment = *CommandEnvironment::From(
      options.export_environment, CommandEnvironment::OwnEnvironment(options.config_directory));
  const auto set = [&](std::string_view name, std::string value) {
    if (value.empty()) return;
    // What a sender has chosen shall not be a shell's special characters.
    for (char& c : value) {
      if (options.command_filter.find(c) == std::string::npos) c = '_';
    }
    environment.Set(name, value);
  };
  const Party& party = step.party;
  if (party.rights) set("HOME", party.rights->home);
  set("LOGNAME", party.user);
  set("USER", party.user);
  // Of a bounce there and empty, which scripts ask for.
  if (party.sender.empty()) environment.Set("SENDER", "");
  set("SENDER", party.sender);
  set("RECIPIENT", party.recipient.address());
  set("LOCAL", party.local);
  if (party.rights) set("SHELL", party.rights->shell);
  set("DOMAIN", party.domain);
  set("EXTENSION", party.extension.value_or(""));
  set("ORIGINAL_RECIPIENT", party.recipient.original_address());
  set("CLIENT_HOSTNAME", envelope.origin().client_name());
  set("CLIENT_ADDRESS", envelope.origin().client_address());
  set("CLIENT_HELO", envelope.origin().helo());
  set("CLIENT_PROTOCOL", envelope.origin().protocol());
  return environment.Strings();
}

}  // namespace

std::optional<Command> CommandFor(const Step& step, const LocalOptions& options,
                                  const mail::v1::Envelope& envelope, int64_t wall_ms) {
  const ExpandedNames directory = ExpandNames(
      options.command_directory, NamesOf(step.party, options), &options.command_directory_filter);
  if (directory.is_malformed) {
    maillog::Warning(
        options.program,
        "bad parameter value syntax for command_execution_directory: ", options.command_directory);
    return std::nullopt;
  }
  Command command;
  command.user = step.rights;
  // Postfix's commands begin in its queue, of which they have no use.
  command.directory = directory.text.empty() ? "/" : directory.text;
  command.argv = ArgvOf(step, options);
  command.environment = EnvironmentOf(step, options, envelope);
  command.header = Concat(MboxFromLine(step.party.sender, wall_ms),
                          DeliveryFields(step.party, options.delivered_to_commands));
  command.time_limit = options.command_time_limit;
  return command;
}

mail::v1::Outcome CommandStepOutcome(const Step& step, const LocalOptions& options,
                                     const CommandEnd& end) {
  const std::vector<std::string> argv = ArgvOf(step, options);
  if (end.how == CommandEnd::How::kTimedOut) {
    maillog::Warning(options.program, "pipe_command_read: read time limit exceeded");
  } else if (end.how == CommandEnd::How::kNotRun && end.failure.text == "execvp") {
    maillog::Write(options.program,
                   maillog::Line::Of("fatal: execvp ", argv.front(), ": ",
                                     std::string_view(strerror(end.failure.error_number))));
  }
  mail::v1::Outcome outcome =
      OutcomeOfCommand(end, step.text, argv.front(), options.program, "execvp");
  if (outcome.action() == mail::v1::Outcome::ACTION_SENT) {
    outcome.set_text(Concat("delivered to command: ", step.text));
    outcome.set_success(mail::v1::Outcome::SUCCESS_DELIVERED);
  }
  return outcome;
}

}  // namespace postfleet::delivery
