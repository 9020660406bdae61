#include "libs/smtp/reply.h"

#include <gtest/gtest.h>

#include <random>

namespace postfleet::smtp {
namespace {

TEST(Rfc5321_4_2_1, AllLinesButTheLastHaveAHyphen) {
  Reply reply(250, "mx.example.org");
  reply.lines.push_back("PIPELINING");
  reply.lines.push_back("SIZE 10240000");
  EXPECT_EQ(FormatReply(reply), "250-mx.example.org\r\n250-PIPELINING\r\n250 SIZE 10240000\r\n");
}

TEST(Rfc2034_4, EnhancedCodeStandsOnEveryLine) {
  Reply reply(550, {5, 7, 1}, "one");
  reply.lines.push_back("two");
  EXPECT_EQ(FormatReply(reply), "550-5.7.1 one\r\n550 5.7.1 two\r\n");
  EXPECT_EQ(reply.ToLogText(), "550-5.7.1 one 550 5.7.1 two");
}

TEST(FormatReply, TextCannotSplitTheReply) {
  EXPECT_EQ(FormatReply(Reply(550, {5, 7, 1}, std::string("a\r\n250 ok\0b", 11))),
            "550 5.7.1 a  250 ok b\r\n");
}

std::string Text(std::string_view text) { return ParseReplyText(text, 554, {5, 7, 1}).ToLogText(); }

TEST(ParseReplyText, CodesAreOptional) {
  EXPECT_EQ(Text("Go away"), "554 5.7.1 Go away");
  EXPECT_EQ(Text("550 Go away"), "550 5.7.1 Go away");
  EXPECT_EQ(Text("5.1.2 Go away"), "554 5.1.2 Go away");
  EXPECT_EQ(Text("450 4.2.1 Later"), "450 4.2.1 Later");
  EXPECT_EQ(Text("450 Later"), "450 4.7.1 Later") << "the code decides the class";
  EXPECT_EQ(Text("450 5.1.1 Later"), "450 4.1.1 Later");
  EXPECT_EQ(Text("4500 x"), "554 5.7.1 4500 x");
  EXPECT_EQ(Text("550"), "550 5.7.1 ");
  EXPECT_EQ(Text(""), "554 5.7.1 ");
}

ServerReply Parse(std::string_view in) {
  ReplyParser parser;
  EXPECT_EQ(parser.Feed(&in), ReplyParser::kReply);
  EXPECT_EQ(in, "");
  return parser.reply();
}

TEST(ReplyParser, LogTextIsPostfixs) {
  const ServerReply reply = Parse("250 2.0.0 Ok: queued as 4jXVqC48Jhz1cXNP\r\n");
  EXPECT_EQ(reply.code, 250);
  EXPECT_EQ(reply.status, (mail::EnhancedStatus{2, 0, 0}));
  EXPECT_TRUE(reply.has_enhanced_status);
  EXPECT_EQ(reply.text, "250 2.0.0 Ok: queued as 4jXVqC48Jhz1cXNP");
  EXPECT_EQ(reply.lines, (std::vector<std::string>{"2.0.0 Ok: queued as 4jXVqC48Jhz1cXNP"}));
}

TEST(ReplyParser, LinesAreJoinedByABlank) {
  const ServerReply reply = Parse("550-5.1.1 No such\r\n550 5.1.1 user\r\n");
  EXPECT_EQ(reply.text, "550-5.1.1 No such 550 5.1.1 user");
  EXPECT_EQ(reply.status, (mail::EnhancedStatus{5, 1, 1}));
  EXPECT_EQ(reply.lines.size(), 2u);
}

TEST(ReplyParser, MissingOrForeignEnhancedCodeIsX00) {
  EXPECT_EQ(Parse("450 try later\r\n").status, (mail::EnhancedStatus{4, 0, 0}));
  EXPECT_EQ(Parse("550 4.1.1 user\r\n").status, (mail::EnhancedStatus{5, 0, 0}));
  EXPECT_FALSE(Parse("550 4.1.1 user\r\n").has_enhanced_status);
  EXPECT_FALSE(Parse("354 go\r\n").status.present());
}

TEST(Rfc5321_4_2, CodeAloneIsAReply) {
  EXPECT_EQ(Parse("250\r\n").code, 250);
  EXPECT_EQ(Parse("250\n").text, "250");
}

TEST(ReplyParser, JunkIsToleratedAndSaid) {
  const ServerReply reply = Parse("Hello\r\n\r\n25x\r\n2500 y\r\n250 ok\r\n");
  EXPECT_EQ(reply.code, 250);
  EXPECT_TRUE(reply.had_junk);
  EXPECT_EQ(reply.lines, (std::vector<std::string>{"ok"}));
  EXPECT_EQ(reply.junk, "Hello");
  EXPECT_FALSE(Parse("250 ok\r\n").had_junk);
}

TEST(ReplyParser, Bytes8BitAreQuestionMarksUnlessTheyAreUtf8AndThatIsKept) {
  const std::string_view line = "550 J\xc3\xb8rn \xe4 \xc3\r\n";
  EXPECT_EQ(Parse(line).text, "550 J??rn ? ?");
  ReplyParser keeping(true);
  std::string_view in = line;
  ASSERT_EQ(keeping.Feed(&in), ReplyParser::kReply);
  EXPECT_EQ(keeping.reply().text, "550 J\xc3\xb8rn ? ?");
}

TEST(ReplyParser, ALineEndsAtItsFirstNul) {
  EXPECT_EQ(Parse(std::string_view("250 a\0b\r\n", 9)).text, "250 a");
}

TEST(ReplyParser, TheFilterSeesAndReplacesLinesNotReplies) {
  ReplyParser parser(false, [](std::string* line) {
    if (*line == "550-no") *line = "250-yes";
    if (*line == "550 never") *line = "250 always";
    return *line != "500 ?";
  });
  std::string_view in = "550-no\r\n550 never\r\n500 \xff\r\n";
  ASSERT_EQ(parser.Feed(&in), ReplyParser::kReply);
  EXPECT_EQ(parser.reply().code, 250);
  EXPECT_EQ(parser.reply().text, "250-yes 250 always");
  parser.Reset();
  EXPECT_EQ(parser.Feed(&in), ReplyParser::kFailed);
}

TEST(ReplyParser, CodesOutsideTwoToFiveAreNone) {
  for (const char* text : {"000 x\r\n", "199 x\r\n", "600 x\r\n", "999 x\r\n"})
    EXPECT_EQ(Parse(text).code, 0) << text;
}

TEST(ReplyParser, ControlCharactersBecomeQuestionMarks) {
  EXPECT_EQ(Parse("250 a\x01\x1b[2J\r\n").text, "250 a??[2J");
}

TEST(ReplyParser, PipelinedRepliesComeOneByOne) {
  std::string_view in = "250 a\r\n250-b\r\n250 c\r\n354";
  ReplyParser parser;
  ASSERT_EQ(parser.Feed(&in), ReplyParser::kReply);
  EXPECT_EQ(parser.reply().text, "250 a");
  parser.Reset();
  ASSERT_EQ(parser.Feed(&in), ReplyParser::kReply);
  EXPECT_EQ(parser.reply().text, "250-b 250 c");
  parser.Reset();
  ASSERT_EQ(parser.Feed(&in), ReplyParser::kNeedMore);
  in = " go\r\n";
  ASSERT_EQ(parser.Feed(&in), ReplyParser::kReply);
  EXPECT_EQ(parser.reply().text, "354 go");
}

TEST(ReplyParser, OverlongLinesAndRepliesAreCut) {
  const ServerReply line = Parse("250 " + std::string(100000, 'x') + "\r\n");
  EXPECT_EQ(line.text.size(), kReplyLineBytesMax);
  std::string many;
  for (int i = 0; i < 900; ++i) many += "250-" + std::string(60, 'y') + "\r\n";
  const ServerReply reply = Parse(many + "250 end\r\n");
  EXPECT_LE(reply.text.size(), kReplyTextBytesMax + 1);
  EXPECT_EQ(reply.code, 250);
}

TEST(ReplyParser, EndlessReplyIsAFlood) {
  ReplyParser lines, bytes;
  bool flood = false;
  for (int i = 0; i < 2000 && !flood; ++i) {
    std::string_view in = "250-x\r\n";
    flood = lines.Feed(&in) == ReplyParser::kFlood;
  }
  EXPECT_TRUE(flood);
  flood = false;
  const std::string block(65536, 'x');
  for (int i = 0; i < 32 && !flood; ++i) {
    std::string_view in = block;
    flood = bytes.Feed(&in) == ReplyParser::kFlood;
  }
  EXPECT_TRUE(flood);
}

TEST(ReplyParser, AnySplitGivesTheSameReply) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::string tokens[] = {"250",   "-", " ",    "\r",   "\n",  "\r\n",
                                "5.1.1", "x", "550 ", "421-", "\x01"};
  for (int round = 0; round < 20000; ++round) {
    std::string all;
    for (size_t n = random() % 12; n > 0; --n) all += tokens[random() % std::size(tokens)];
    std::string_view whole = all;
    ReplyParser at_once, split;
    const auto want = at_once.Feed(&whole);
    auto got = ReplyParser::kNeedMore;
    size_t used = 0;
    while (used < all.size() && got == ReplyParser::kNeedMore) {
      std::string_view piece = std::string_view(all).substr(used, 1 + random() % 3);
      const size_t size = piece.size();
      got = split.Feed(&piece);
      used += size - piece.size();
    }
    ASSERT_EQ(got, want) << testing::PrintToString(all);
    ASSERT_EQ(used, all.size() - whole.size());
    ASSERT_EQ(split.reply().text, at_once.reply().text);
    ASSERT_EQ(split.reply().code, at_once.reply().code);
  }
}

}  // namespace
}  // namespace postfleet::smtp
