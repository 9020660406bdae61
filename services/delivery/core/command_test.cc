// The line, the environment and the end of a command. Facts of Postfix 3.7 (pipe_oracle_test.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/delivery/core/command_environment.h"
#include "services/delivery/core/command_line.h"
#include "services/delivery/core/command_outcome.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;
using testing::ElementsAre;

std::vector<std::string> Argv(std::string_view line) {
  return ArgvOfCommandLine(line, [](const std::string& name) { return name == "cat"; });
}

TEST(CommandLineTest, HarmlessCharactersNeedNoShell) {
  EXPECT_THAT(Argv("/usr/bin/x -a  b=c,d\te@f"), ElementsAre("/usr/bin/x", "-a", "b=c,d", "e@f"));
  EXPECT_THAT(Argv(" cat -"), ElementsAre("cat", "-"));
}

TEST(CommandLineTest, AnyOtherCharacterIsForTheShell) {
  for (const std::string line :
       {"/bin/x 'a b'", "/bin/x; id", "/bin/x $HOME", "/bin/x >f", "/bin/x #", "/bin/x ~a",
        "/bin/x a\nb", "/bin/x (", "/bin/x \x80", "/bin/x *", "/bin/x \\a", "/bin/x a&", ""}) {
    EXPECT_THAT(Argv(line), ElementsAre("/bin/sh", "-c", line));
  }
}

TEST(CommandLineTest, AWordThatIsNoProgramMayBeTheShellsOwn) {
  EXPECT_THAT(Argv("exit 75"), ElementsAre("/bin/sh", "-c", "exit 75"));
  EXPECT_THAT(ArgvWithShell("/bin/rsh -c", "exit 75"), ElementsAre("/bin/rsh", "-c", "exit 75"));
}

absl::StatusOr<CommandEnvironment> Environment(std::string_view value) {
  return CommandEnvironment::From(value, [](const std::string& name) {
    return name == "TZ" ? std::optional<std::string>("UTC") : std::nullopt;
  });
}

TEST(CommandEnvironmentTest, NamesValuesAndBracesAreTakenAndThePathIsOurs) {
  const auto environment =
      Environment("TZ, NONE A=b { SPACED = a  b } EMPTY= PATH=/nowhere A=c {X={y}}");
  ASSERT_TRUE(environment.ok()) << environment.status();
  EXPECT_THAT(environment->Strings(),
              ElementsAre("TZ=UTC", "A=c", "SPACED=a  b", "EMPTY=", "PATH=/usr/bin:/bin", "X={y}"));
}

TEST(CommandEnvironmentTest, WhatIsNoNameIsAnError) {
  EXPECT_FALSE(Environment("TZ =x").ok());
  EXPECT_FALSE(Environment("{ A = b").ok());
  EXPECT_FALSE(Environment("{ }").ok());
}

std::string Ended(CommandEnd end) {
  const Outcome outcome =
      OutcomeOfCommand(end, "/bin/x -a", "/bin/x", "pipe", "pipe_command: execvp");
  const char* action = outcome.action() == Outcome::ACTION_SENT       ? "sent "
                       : outcome.action() == Outcome::ACTION_DEFERRED ? "deferred "
                                                                      : "bounced ";
  return action + outcome.status() + " (" + outcome.text() + ") " + outcome.diagnostic();
}
std::string Exited(int code, std::string output = "") {
  return Ended({.how = CommandEnd::How::kExited, .code = code, .output = std::move(output)});
}

TEST(CommandOutcomeTest, ExitStatusesMeanWhatSysexitsSays) {
  EXPECT_EQ(Exited(0, "all\twell\nnext \x01\x80line\n"), "sent 2.0.0 (all well next __line) ");
  EXPECT_EQ(Exited(67), "bounced 5.1.1 (user unknown) user unknown");
  EXPECT_EQ(Exited(67, "no such one\n"),
            "bounced 5.1.1 (user unknown. Command output: no such one ) no such one");
  EXPECT_EQ(Exited(71), "deferred 4.3.0 (system resource problem) system resource problem");
  EXPECT_EQ(Exited(75), "deferred 4.3.0 (temporary failure) temporary failure");
  EXPECT_EQ(Exited(1),
            "bounced 5.3.0 (Command died with status 1: \"/bin/x -a\") "
            "unknown mail system error 1");
}

TEST(CommandOutcomeTest, AnEnhancedStatusInTheOutputWinsUnlessItWentWell) {
  EXPECT_EQ(Exited(1, "4.2.1 later please\n"), "deferred 4.2.1 (later please ) later please");
  EXPECT_EQ(Exited(75, "5.7.1 never\nmore\n"), "bounced 5.7.1 (never more ) never more");
  EXPECT_EQ(Exited(1, "2.0.0 fine"), "bounced 5.0.0 (fine) fine");
  EXPECT_EQ(Exited(1, "5.7.1"), "bounced 5.7.1 () ");
  EXPECT_EQ(Exited(0, "5.7.1 never"), "sent 2.0.0 (5.7.1 never) ");
  EXPECT_THAT(Exited(1, " 5.7.1 never"), testing::StartsWith("bounced 5.3.0 (Command died"));
  EXPECT_THAT(Exited(1, "5.7.1234 x"), testing::StartsWith("bounced 5.3.0 (Command died"));
}

TEST(CommandOutcomeTest, SignalsDeferAndTheTimeLimitReturns) {
  EXPECT_EQ(Ended({.how = CommandEnd::How::kSignalled, .code = 9, .output = "last words"}),
            "deferred 4.3.0 (Command died with signal 9: \"/bin/x -a\". Command output: last "
            "words) last words");
  EXPECT_EQ(Ended({.how = CommandEnd::How::kTimedOut}),
            "bounced 5.3.0 (Command time limit exceeded: \"/bin/x -a\") internal software error");
}

TEST(CommandOutcomeTest, WhatCannotBeRunIsDeferred) {
  using Kind = ActionFailure::Kind;
  const auto failed = [](Kind kind, int error, std::string text) {
    CommandEnd end;
    end.failure = {.kind = kind, .error_number = error, .text = std::move(text)};
    return Ended(end);
  };
  EXPECT_EQ(failed(Kind::kFailed, ENOENT, "execvp"),
            "deferred 4.3.0 (temporary failure. Command output: pipe: fatal: pipe_command: execvp "
            "/bin/x: No such file or directory ) pipe: fatal: pipe_command: execvp /bin/x: No such "
            "file or directory");
  EXPECT_EQ(failed(Kind::kFailed, ENOENT, "chdir"),
            "deferred 4.3.0 (temporary failure) temporary failure");
  EXPECT_EQ(failed(Kind::kUnavailable, 0, "no helper"),
            "deferred 4.3.0 (mail system error: no helper) ");
  EXPECT_EQ(failed(Kind::kCancelled, 0, ""), "deferred 4.3.2 (delivery was called off) ");
}

}  // namespace
}  // namespace postfleet::delivery
