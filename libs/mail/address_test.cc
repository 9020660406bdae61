#include "libs/mail/address.h"

#include <gtest/gtest.h>

#include <random>

namespace postfleet::mail {
namespace {

constexpr PathOptions kSloppy{};
constexpr PathOptions kStrict{.strict = true};
constexpr PathOptions kUtf8{.allow_non_ascii = true};

// "local|domain+rest" or the error's word.
std::string Parse(std::string_view text, const PathOptions& options = kSloppy) {
  const auto path = ParsePath(text, options);
  if (!path.ok()) return "error";
  return path->address.local_part + "|" + path->address.domain + "+" +
         std::string(text.substr(path->length));
}

TEST(Rfc5321_4_1_2, MailboxIsSplitIntoLocalPartAndDomain) {
  EXPECT_EQ(Parse("<Smith@bar.example.COM> SIZE=1"), "Smith|bar.example.com+ SIZE=1");
  EXPECT_EQ(Parse("<a.b+c@x.org>", kStrict), "a.b+c|x.org+");
}

TEST(Rfc5321_4_1_2, NullPathIsEmpty) {
  EXPECT_EQ(Parse("<>", kStrict), "|+");
  EXPECT_EQ(Parse("<> BODY=7BIT"), "|+ BODY=7BIT");
}

TEST(Rfc5321_4_1_1_3, PostmasterNeedsNoDomain) {
  EXPECT_EQ(Parse("<Postmaster>", kStrict), "Postmaster|+");
}

TEST(Rfc5321_4_1_1_3, SourceRouteIsDropped) {
  EXPECT_EQ(Parse("<@hosta.int,@jkl.org:userc@d.bar.org>", kStrict), "userc|d.bar.org+");
  EXPECT_EQ(Parse("<@[IPv6:::1]:a@b>"), "a|b+");
  for (const char* text :
       {"<@a>", "<@a:>", "<@a,b:c@d>", "<@:c@d>", "<@a,:c@d>", "<@[:a@b>", "<@", "<@>"})
    EXPECT_EQ(Parse(text), "error") << text;
}

TEST(Rfc5321_4_1_2, QuotedLocalPartIsUnquoted) {
  EXPECT_EQ(Parse(R"(<"a b"@x>)", kStrict), "a b|x+");
  EXPECT_EQ(Parse(R"(<"a\"\\@>"@x> Y)", kStrict), R"(a"\@>|x+ Y)");
  EXPECT_EQ(Parse(R"(<"a> b"@x>)"), "a> b|x+");
  EXPECT_EQ(Parse(R"(<""@x>)", kStrict), "|x+");
}

TEST(Rfc5321_4_1_3, AddressLiterals) {
  EXPECT_EQ(Parse("<a@[192.0.2.1]>", kStrict), "a|[192.0.2.1]+");
  EXPECT_EQ(Parse("<a@[IPv6:2001:db8::1]>", kStrict), "a|[IPv6:2001:db8::1]+");
  for (const char* text : {"<a@[192.0.2]>", "<a@[IPv6:192.0.2.1]>", "<a@[x]>", "<a@[]>", "<a@[>",
                           "<a@[192.0.2.1>", "<a@[::1]x>", "<a@[::1]>", "<a@-b>", "<a@b->"})
    EXPECT_EQ(Parse(text), "error") << text;
}

TEST(Path, SloppyFormsAreTakenUnlessStrict) {
  for (const char* text :
       {"a@b.c", "a@b.c X=1", "< a@b.c >", "<a..b@c>", "<.a@c>", "<\"a\"b@c>", "<a\\@b@c>"}) {
    EXPECT_NE(Parse(text), "error") << text;
    EXPECT_EQ(Parse(text, kStrict), "error") << text;
  }
  EXPECT_EQ(Parse(R"(<a\@b@c>)"), "a@b|c+");
}

TEST(Path, LeadingBlanksAreSkippedAndCounted) {
  const auto path = ParsePath("  <a@b> X", kStrict);
  ASSERT_TRUE(path.ok());
  EXPECT_EQ(path->length, 7u);
}

TEST(Path, TrailingDotOfTheDomainGoesAway) { EXPECT_EQ(Parse("<a@b.c.>"), "a|b.c+"); }

TEST(Path, BrokenFormsAreErrors) {
  for (const char* text :
       {"",     " ",     "<",        ">",       "<a@b",    "a@b>",      "<a@b>c",       "<a@b@c>",
        "<a@>", "<a@.>", "<a@b..c>", "<a b@c>", "<\"a@b>", "<a(b)@c>",  "<a@b,c@d>",    "<\"\">",
        "\"\"", "<a\\>", "<a;b@c>",  "<<a@b>>", "<a@b c>", "<a\x01@b>", "<\"a\x7f\"@b>"})
    EXPECT_EQ(Parse(text), "error") << text;
  EXPECT_EQ(Parse(std::string_view("<a\0b@c>", 7)), "error");
}

TEST(Path, DomainHasAtMost255Bytes) {
  const std::string longest = std::string(63, 'a') + "." + std::string(63, 'b') + "." +
                              std::string(63, 'c') + "." + std::string(63, 'd');
  EXPECT_NE(Parse("<a@" + longest + ">", kStrict), "error");
  EXPECT_EQ(Parse("<a@" + longest + "x>", kStrict), "error") << "a label of 64";
  EXPECT_EQ(Parse("<a@" + longest + ".x.y>"), "error") << "a domain of 257";
}

TEST(Rfc6531_3_3, Utf8InADomainOnlyWhereItWasAllowed) {
  EXPECT_EQ(Parse("<j\xc3\xb6rg@b\xc3\xbc.example>", kUtf8), "j\xc3\xb6rg|b\xc3\xbc.example+");
  EXPECT_EQ(Parse("<j\xc3\xb6rg@b>"), "j\xc3\xb6rg|b+");
  EXPECT_EQ(Parse("<j@b\xc3\xbc.example>"), "error");
  for (const char* text : {"<\xc3@b>", "<\xc0\xaf@b>", "<\xed\xa0\x80@b>", "<\xf5\x80\x80\x80@b>",
                           "<a\x80@b>", "<\xe0\x80\xaf@b>"})
    EXPECT_EQ(Parse(text, kUtf8), "error") << text;
}

TEST(Address, QuotesOnlyWhatNeedsIt) {
  EXPECT_EQ((Address{"a.b", "c"}).ToSmtp(), "a.b@c");
  EXPECT_EQ((Address{"a b", "c"}).ToSmtp(), "\"a b\"@c");
  EXPECT_EQ((Address{"a..b", "c"}).ToSmtp(), "\"a..b\"@c");
  EXPECT_EQ((Address{"a\"\\", ""}).ToSmtp(), R"("a\"\\")");
  EXPECT_EQ((Address{"", "c"}).ToSmtp(), "\"\"@c");
  EXPECT_EQ(Address{}.ToSmtp(), "");
  EXPECT_EQ((Address{"a b", "c"}).ToString(), "a b@c");
}

TEST(Address, QuotedWholeKeepsTheDomainAsItCame) {
  EXPECT_EQ(QuoteAddress("jane.doe@Example.COM"), "jane.doe@Example.COM");
  EXPECT_EQ(QuoteAddress("jane doe@example.com"), "\"jane doe\"@example.com");
  EXPECT_EQ(QuoteAddress("a@b@example.com"), "\"a@b\"@example.com");
  EXPECT_EQ(QuoteAddress("postmaster"), "postmaster");
  EXPECT_EQ(QuoteAddress(""), "\"\"");
}

TEST(Address, SplitTakesTheLastAt) {
  EXPECT_EQ(SplitAddress("a@b@C.org"), (Address{"a@b", "c.org"}));
  EXPECT_EQ(SplitAddress("user"), (Address{"user", ""}));
}

// Anything that parses comes back from its written form.
TEST(Address, WrittenFormParsesBack) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  constexpr std::string_view kBytes = "ab.@\"\\ <>[]:,\xc3\xa9\x01(A1-";
  int parsed = 0;
  for (int round = 0; round < 200000; ++round) {
    std::string text = "<";
    for (size_t n = random() % 10; n > 0; --n) text += kBytes[random() % kBytes.size()];
    text += random() % 2 ? "@x>" : ">";
    const auto path = ParsePath(text, {.strict = random() % 2 == 0, .allow_non_ascii = true});
    if (!path.ok()) continue;
    ++parsed;
    const auto again =
        ParsePath("<" + path->address.ToSmtp() + ">", {.strict = false, .allow_non_ascii = true});
    ASSERT_TRUE(again.ok()) << text << " -> " << path->address.ToSmtp();
    ASSERT_EQ(again->address, path->address) << text;
    ASSERT_LE(path->length, text.size());
  }
  EXPECT_GT(parsed, 100);
}

}  // namespace
}  // namespace postfleet::mail
