#include "commands/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> Letters(const CommandLine& line) {
  std::vector<std::string> letters;
  for (const Option& option : line.options) {
    letters.push_back(Concat(option.letter, '=', option.argument));
  }
  return letters;
}

TEST(ParseOptions, ReadsLettersTogetherAndArgumentsBesideOrBehind) {
  const auto line = ParseOptions({"-fp", "-dID", "-d", "-", "-fd", "ALL"}, "fpd:");
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(Letters(*line), ElementsAre("f=", "p=", "d=ID", "d=-", "f=", "d=ALL"));
  EXPECT_THAT(line->operands, IsEmpty());
}

TEST(ParseOptions, OptionsMayStandBehindOperands) {
  const auto line = ParseOptions({"hold", "-d", "ID", "-", "deferred"}, "d:");
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(Letters(*line), ElementsAre("d=ID"));
  EXPECT_THAT(line->operands, ElementsAre("hold", "-", "deferred"));
}

TEST(ParseOptions, TwoDashesEndOptions) {
  const auto line = ParseOptions({"-f", "--", "-d", "--"}, "fd:");
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(Letters(*line), ElementsAre("f="));
  EXPECT_THAT(line->operands, ElementsAre("-d", "--"));
}

TEST(ParseOptions, ErrorsNameTheLetter) {
  EXPECT_EQ(ParseOptions({"-fx"}, "f").status().message(), "invalid option -- 'x'");
  EXPECT_EQ(ParseOptions({"-:"}, "f:").status().message(), "invalid option -- ':'");
  EXPECT_EQ(ParseOptions({"--help"}, "f").status().message(), "invalid option -- '-'");
  EXPECT_EQ(ParseOptions({"-fd"}, "fd:").status().message(), "option requires an argument -- 'd'");
}

}  // namespace
}  // namespace postfleet::commands
