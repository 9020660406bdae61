#include "services/delivery/bounce/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postfleet::delivery {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kGood = R"(# A comment.

failure_template = <<EOF
Charset: utf-8
From: Post Office <postoffice>
Subject: It came back
Postmaster-Subject: Copy: it came back

Sorry, $myhostname could not.

failure_template = <<X
EOF
success_template=<< END
charset:us-ascii
FROM: a
subject: s

text
END
)";

TEST(Bounce5, ATemplateReplacesTheBuiltInOne) {
  std::vector<std::string> problems;
  const NoticeTemplates read = ParseTemplates(kGood, "f", &problems);
  EXPECT_THAT(problems, IsEmpty());
  EXPECT_EQ(
      read.failure,
      (NoticeTemplate{"utf-8", "Post Office <postoffice>", "It came back", "Copy: it came back",
                      "Sorry, $myhostname could not.\n\nfailure_template = <<X\n"}));
  EXPECT_EQ(read.success, (NoticeTemplate{"us-ascii", "a", "s", "", "text\n"}));
  EXPECT_EQ(read.delay, NoticeTemplates::BuiltIn().delay);
  EXPECT_EQ(read.verify, NoticeTemplates::BuiltIn().verify);
}

TEST(Bounce5, WhatIsWrongIsSaidAndTheBuiltInOneIsKept) {
  const std::string head = "Charset: us-ascii\nFrom: a\nSubject: s\nPostmaster-Subject: p\n";
  const struct {
    std::string text;
    std::string problem;
  } rows[] = {
      {"hello\n", "f, line 1: missing '=' after attribute name: \"hello\""},
      {"x_template = <<E\nE\n", "f, line 3: unknown template name: x_template -- ignoring"},
      {"failure_template = <<E\n" + head + "E\n",
       "f: missing message text in failure template -- ignoring this template"},
      {"failure_template = <<E\n" + head + "\nE\n", "missing message text"},
      {"failure_template = <<E\n" + head + "Foo: x\n\nt\nE\n",
       "f: unknown \"Foo\" header label in failure template -- ignoring this template"},
      {"failure_template = <<E\nSubject:\n\nt\nE\n", "f: empty \"Subject\" header value in"},
      {"failure_template = <<E\nFrom: \xc3\xa4\n\nt\nE\n", "non-ASCII \"From\" header value"},
      {std::string(kTemplateFileBytesMax + 1, '\n'), "ignoring this file"},
  };
  for (const auto& row : rows) {
    std::vector<std::string> problems;
    const NoticeTemplates read = ParseTemplates(row.text, "f", &problems);
    EXPECT_THAT(problems, ElementsAre(HasSubstr(row.problem)));
    EXPECT_EQ(read.failure, NoticeTemplates::BuiltIn().failure);
  }
}

TEST(Bounce5, TextOver7BitNeedsACharset) {
  std::vector<std::string> problems;
  const NoticeTemplates read =
      ParseTemplates("failure_template = <<E\n\n\xc3\xa4\nE\n", "f", &problems);
  EXPECT_THAT(problems, ElementsAre(HasSubstr("f: 8-bit message text in failure template"),
                                    "please specify a charset value other than us-ascii"));
  EXPECT_EQ(read.failure, NoticeTemplates::BuiltIn().failure);
}

NoticeTemplate Failure(std::string_view text, size_t problems_of_it = 0) {
  std::vector<std::string> problems;
  const NoticeTemplates read = ParseTemplates(text, "f", &problems);
  EXPECT_EQ(problems.size(), problems_of_it);
  return read.failure;
}

TEST(Bounce5, HeadersThatAreMissingAreTheBuiltInOnes) {
  NoticeTemplate expected = NoticeTemplates::BuiltIn().failure;
  expected.body = "t\n";
  EXPECT_EQ(Failure("failure_template = <<E\n\nt\nE\n"), expected);
  expected.subject = "s";
  EXPECT_EQ(Failure("failure_template = <<E\nSubject : s\n\nt\nE\n"), expected);
}

TEST(Bounce5, TheHeaderEndsAtALineThatIsNoneOfIt) {
  EXPECT_EQ(Failure("failure_template = <<E\nSubject: s\n t\nFrom: x\nE\n").body, " t\nFrom: x\n");
  EXPECT_EQ(Failure("failure_template = <<E\nno field\n\nt\nE\n").body, "no field\n\nt\n");
  EXPECT_EQ(Failure("failure_template = text\n").body, "text\n");
}

TEST(Bounce5, WithoutItsEndMarkATemplateIsTheRestOfTheFile) {
  std::vector<std::string> problems;
  const NoticeTemplates read = ParseTemplates("failure_template = <<E\n\nt\nE \n", "f", &problems);
  EXPECT_THAT(problems, ElementsAre("f, line 5: missing \"E\" end marker"));
  EXPECT_EQ(read.failure.body, "t\nE \n");
}

TEST(Bounce5, TheLastOneOfANameHolds) {
  EXPECT_EQ(Failure("failure_template=<<E\n\n1\nE\nfailure_template=<<E\n\n2\nE\n").body, "2\n");
}

TEST(Bounce5, OneBadTemplateDoesNotSpoilTheNext) {
  std::vector<std::string> problems;
  const NoticeTemplates read =
      ParseTemplates("delay_template = <<E\nFoo: x\n\nt\nE\n" + std::string(kGood), "f", &problems);
  EXPECT_EQ(problems.size(), 1u);
  EXPECT_EQ(read.failure.subject, "It came back");
  EXPECT_EQ(read.delay, NoticeTemplates::BuiltIn().delay);
}

std::string Expand(std::string_view text, std::vector<std::string>* problems) {
  return ExpandTemplate(
      text,
      [](std::string_view name) -> std::optional<std::string> {
        if (name == "myhostname") return "mx.test";
        if (name == "delay_warning_time") return "7199";
        if (name == "maximal_queue_lifetime") return "432000";
        return std::nullopt;
      },
      problems);
}

TEST(Bounce5, ParametersAreReplaced) {
  std::vector<std::string> problems;
  EXPECT_EQ(Expand("$myhostname ${myhostname}x $(myhostname)y $$ 5$", &problems),
            "mx.test mx.testx mx.testy $ 5");
  EXPECT_EQ(Expand("$delay_warning_time_seconds $delay_warning_time_minutes "
                   "$delay_warning_time_hours $maximal_queue_lifetime_days",
                   &problems),
            "7199 119 1 5");
  EXPECT_THAT(problems, IsEmpty());
}

TEST(Bounce5, UnknownParametersAndTimesBelowTheirUnitAreSaid) {
  std::vector<std::string> problems;
  EXPECT_EQ(Expand("a $nothing b", &problems), "a  b");
  EXPECT_EQ(Expand("$delay_warning_time_days", &problems), "0");
  EXPECT_THAT(problems,
              ElementsAre(HasSubstr("\"nothing\""), HasSubstr("\"delay_warning_time_days\"")));
}

}  // namespace
}  // namespace postfleet::delivery
