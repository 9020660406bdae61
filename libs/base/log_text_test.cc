#include "libs/base/log_text.h"

#include <gtest/gtest.h>

namespace postfleet::maillog {
namespace {

std::string Cleaned(std::string_view text, bool utf8 = true) {
  std::string out;
  AppendClean(text, utf8, &out);
  return out;
}

std::string Json(const Line& line) {
  std::string out;
  AppendJsonFacts(line, true, &out);
  return out;
}

class LogText : public testing::Test {
 protected:
  void SetUp() override { KeepFacts(true); }
  void TearDown() override { KeepFacts(false); }
};

// As `postlog` of Postfix writes them.
TEST_F(LogText, ControlCharactersAreQuestionMarks) {
  EXPECT_EQ(Cleaned("a\r\nb\tc\x01\x7f.\x1b[2J"), "a??b?c??.?[2J");
}

TEST_F(LogText, CharactersOfUtf8StayWhereTheyMay) {
  EXPECT_EQ(Cleaned("y\xc3\xa9z\xe2\x82\xac \xf0\x9f\x98\x80"),
            "y\xc3\xa9z\xe2\x82\xac \xf0\x9f\x98\x80");
  EXPECT_EQ(Cleaned("x\xc3\xa9", false), "x??");
}

TEST_F(LogText, WhatIsNoUtf8IsQuestionMarks) {
  for (const auto& [bytes, clean] :
       std::initializer_list<std::pair<const char*, const char*>>{{"x\xffy", "x?y"},
                                                                  {"L\xc3.", "L?."},
                                                                  {"C\x80.", "C?."},
                                                                  {"O\xc0\x80.", "O??."},
                                                                  {"o\xe0\x80\x80.", "o???."},
                                                                  {"S\xed\xa0\x80.", "S???."},
                                                                  {"H\xf4\x90\x80\x80.", "H????."},
                                                                  {"f\xf0\x80\x80\x80.", "f????."},
                                                                  {"T\xe2\x82", "T??"}}) {
    EXPECT_EQ(Cleaned(bytes), clean);
  }
}

TEST_F(LogText, ALongTextIsCut) {
  EXPECT_EQ(Cleaned(std::string(5000, 'a')), std::string(2000, 'a'));
  // Inside a character.
  EXPECT_EQ(Cleaned(std::string(1999, 'a') + "\xc3\xa9"), std::string(1999, 'a') + "?");
}

TEST_F(LogText, FactsAreFieldsAndTheirTextIsOne) {
  const Line line = Line::Of(Fact("queue_id", "4jX"), ": from=<", Fact("from", std::string("a@b")),
                             ">, size=", Fact("size", 12), ", delay=", NumberText{"delay", "1.2"},
                             Event("queue_active"));
  EXPECT_EQ(line, "4jX: from=<a@b>, size=12, delay=1.2");
  EXPECT_EQ(Json(line),
            R"(,"event":"queue_active","queue_id":"4jX","from":"a@b","size":12,"delay":1.2)");
}

TEST_F(LogText, ALineWithoutAnEventHasItsMessage) {
  EXPECT_EQ(Json("free text"), R"(,"message":"free text")");
  EXPECT_EQ(Json(Line::Of("warning: ", Fact("queue_id", "4jX"), ": corrupt")),
            R"(,"queue_id":"4jX","message":"warning: 4jX: corrupt")");
}

TEST_F(LogText, APeerCannotLeaveItsString) {
  EXPECT_EQ(Json(Line::Of(Fact("helo", "\",\"event\":\"x\\\n\xff"), Event("connect"))),
            R"(,"event":"connect","helo":"\",\"event\":\"x\\??")");
}

TEST_F(LogText, JsonIsCutValueByValue) {
  const Line line = Line::Of(Fact("a", std::string(1999, 'x')), NumberText{"b", "12.5"},
                             Fact("c", "gone"), Event("e"));
  EXPECT_EQ(Json(line),
            Concat(R"(,"event":"e","a":")", std::string(1999, 'x'), R"(","b":"1","c":"")"));
}

TEST_F(LogText, FactsAreNotKeptForPostfixsForm) {
  KeepFacts(false);
  const Line line = Line::Of("a=", Fact("a", 1));
  EXPECT_EQ(line, "a=1");
  EXPECT_TRUE(line.facts().empty());
}

TEST_F(LogText, SeverityIsHowALineBegins) {
  EXPECT_EQ(SeverityOf("warning: x"), Severity::kWarning);
  EXPECT_EQ(SeverityOf("fatal: x"), Severity::kFatal);
  EXPECT_EQ(SeverityOf("panic: x"), Severity::kPanic);
  EXPECT_EQ(SeverityOf("warning x"), Severity::kInfo);
  EXPECT_EQ(SeverityOf("4jX: error: x"), Severity::kInfo);
}

}  // namespace
}  // namespace postfleet::maillog
