// The manual pages, and the help of each command.
#include "commands/manual.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "commands/command_help.h"
#include "commands/command_run.h"
#include "libs/base/concat.h"
#include "libs/config/parameters.h"

namespace postfleet::commands {
namespace {

CommandResult RunLine(std::vector<std::string> arguments) {
  return Capture("", [&](const Streams& streams) {
    return RunCommandLine(arguments, "/nonexistent", streams);
  });
}

// Warnings of the formatter, with all of them on; what it prints goes nowhere.
std::string FormatterSays(const std::string& path) {
  FILE* pipe =
      popen(Concat("groff -ww -b -man -Tascii -z '", path, "' 2>&1 >/dev/null").c_str(), "r");
  std::string said;
  char buffer[4096];
  while (const size_t size = fread(buffer, 1, sizeof buffer, pipe)) said.append(buffer, size);
  EXPECT_EQ(pclose(pipe), 0) << path;
  return said;
}

TEST(Manual, HasAPageForEachCommandThatRuns) {
  for (const Command& command : AllCommands()) {
    if (command.run == nullptr || command.name == "manual") continue;
    EXPECT_NE(FindCommandHelp(command.name), nullptr) << command.name;
  }
}

TEST(Manual, PagesAreFormattedWithoutAWarning) {
  std::string folder = testing::TempDir() + "manual_XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const CommandResult written = RunLine({"postfleet", "manual", folder});
  ASSERT_EQ(written.status, 0) << written.err;
  size_t pages = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    ++pages;
    EXPECT_EQ(FormatterSays(entry.path().string()), "");
  }
  EXPECT_EQ(pages, AllCommandHelp().size() + 1);
  std::filesystem::remove_all(folder);
}

TEST(Manual, NamesEveryParameterOnce) {
  const std::string page = ConfigurationPage();
  for (const config::Parameter& row : config::AllParameters()) {
    const std::string term = Concat("\n.B \"", row.name, " (default");
    const size_t at = page.find(term);
    ASSERT_NE(at, std::string::npos) << row.name;
    EXPECT_EQ(page.find(term, at + 1), std::string::npos) << row.name;
  }
}

TEST(Manual, WhatCannotBeWrittenIsAnError) {
  const CommandResult result = RunLine({"postfleet", "manual", "/dev/null/folder"});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("postfleet: fatal: create /dev/null/folder/man1"), std::string::npos)
      << result.err;
}

TEST(Help, OfEachCommandFitsATerminal) {
  for (const CommandHelp& help : AllCommandHelp()) {
    const std::string text = FormatHelp(help);
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.find('\n', at);
      if (text.compare(at, 7, "usage: ") != 0 && text.compare(at, 7, "       ") != 0) {
        EXPECT_LE(end - at, 80u) << text.substr(at, end - at);
      }
      at = end + 1;
    }
  }
}

TEST(Help, IsPrintedForACommandByItsName) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"postfleet", "postqueue", "--help"},
        std::vector<std::string>{"/usr/sbin/postqueue", "--help"}}) {
    const CommandResult result = RunLine(arguments);
    EXPECT_EQ(result.status, 0);
    EXPECT_TRUE(
        result.out.starts_with("postqueue: show and flush the mail queue\n\n"
                               "usage: postqueue [-c DIR] -p | -j\n"
                               "       postqueue [-c DIR] -f | -i ID | -s SITE\n\n"
                               "  -p                List the queue: "))
        << result.out;
  }
}

TEST(Help, EscapesWhatRoffWouldRead) {
  const std::string page = FormatManualPage(
      {"x", 1, "a - b", "x [-f]", ".start \\ and 'quotes'\n\n-f A :: \"text\"", "y(1)"});
  EXPECT_NE(page.find(".PP\n\\&.start \\e and \\(aqquotes\\(aq\n"), std::string::npos) << page;
  EXPECT_NE(page.find(".TP\n.B \"\\-f A\"\n\"text\"\n"), std::string::npos) << page;
}

}  // namespace
}  // namespace postfleet::commands
