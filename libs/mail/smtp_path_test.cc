#include "libs/mail/smtp_path.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace postfleet::mail {
namespace {

constexpr PathOptions kSloppy{};
constexpr PathOptions kStrict{.strict = true};
constexpr PathOptions kUtf8{.allow_non_ascii = true};

// "local|domain+rest" or "error".
std::string Parse(std::string_view text, const PathOptions& options = kSloppy) {
  const auto path = ParsePath(text, options);
  if (!path.ok()) return "error";
  return path->address.local_part + "|" + path->address.domain + "+" +
         std::string(text.substr(path->length));
}

TEST(Rfc5321_4_1_2, MailboxIsSplitIntoLocalPartAndDomain) {
  EXPECT_EQ(Parse("<Smith@bar.example.COM> SIZE=1"), "Smith|bar.example.COM+ SIZE=1");
  EXPECT_EQ(Parse("<a.b+c@x.org>", kStrict), "a.b+c|x.org+");
}

TEST(Rfc5321_4_1_2, NullPathIsEmpty) {
  EXPECT_EQ(Parse("<>", kStrict), "|+");
  EXPECT_EQ(Parse("<> BODY=7BIT"), "|+ BODY=7BIT");
  for (const char* text : {"< >", "<<>>", "<\"\">", "<(nobody)>"}) {
    EXPECT_EQ(Parse(text), "|+") << text;
  }
}

TEST(Rfc5321_4_1_1_3, PostmasterNeedsNoDomain) {
  EXPECT_EQ(Parse("<Postmaster>", kStrict), "Postmaster|+");
}

TEST(Rfc5321_4_1_1_3, SourceRouteIsDropped) {
  EXPECT_EQ(Parse("<@hosta.int,@jkl.org:userc@d.bar.org>", kStrict), "userc|d.bar.org+");
  EXPECT_EQ(Parse("<@a,b:c@d>"), "c|d+") << "Postfix does not look at what it drops";
  EXPECT_EQ(Parse("<@:c@d>"), "c|d+");
  EXPECT_EQ(Parse("<@>"), "error");
  EXPECT_EQ(Parse("<@"), "error");
}

TEST(Path, AnEmptyLocalPartIsTakenUnlessStrict) {
  EXPECT_EQ(Parse("<@a.example>"), "|a.example+");
  EXPECT_EQ(Parse(R"(<""@a.example>)"), "|a.example+");
  EXPECT_EQ(Parse("<@a.example>", kStrict), "error");
}

TEST(Rfc5321_4_1_2, QuotedLocalPartIsUnquoted) {
  EXPECT_EQ(Parse(R"(<"a b"@x>)", kStrict), "a b|x+");
  EXPECT_EQ(Parse(R"(<"a\"\\@>"@x> Y)", kStrict), R"(a"\@>|x+ Y)");
  EXPECT_EQ(Parse(R"(<a\ b@x>)"), "a b|x+");
  EXPECT_EQ(Parse(R"(<"a@x">)"), "a|x+") << "the domain is behind the last @, in quotes or not";
  EXPECT_EQ(Parse(R"(<"a@x"@y>)"), "a@x|y+");
  EXPECT_EQ(Parse("<\"(a)\"@x>"), "(a)|x+");
}

TEST(Rfc5321_4_1_3, AddressLiterals) {
  EXPECT_EQ(Parse("<a@[192.0.2.1]>", kStrict), "a|[192.0.2.1]+");
  EXPECT_EQ(Parse("<a@[IPv6:2001:db8::1]>", kStrict), "a|[IPv6:2001:db8::1]+");
  EXPECT_EQ(Parse("<a@[192.0.2.1>"), "a|[192.0.2.1]+") << "whatever is open ends with the text";
  for (const char* text : {"<a@[192.0.2]>", "<a@[x]>", "<a@[]>", "<a@[::1]>", "<a@192.0.2.1>"})
    EXPECT_EQ(Parse(text), "error") << text;
  EXPECT_EQ(Parse("<a@192.0.2.1>", {.allow_numeric_domain = true}), "a|192.0.2.1+");
  EXPECT_EQ(Parse("<a@::1>", {.allow_numeric_domain = true}), "a|::1+");
  EXPECT_EQ(Parse("<a@192.0.2>", {.allow_numeric_domain = true}), "error");
}

TEST(Path, BracketsMayLackOrBeMoreUnlessStrict) {
  for (const char* text : {"a@b.c", "a@b.c>", "Foo<a@b.c>"}) {
    EXPECT_EQ(Parse(text), "a|b.c+") << text;
    EXPECT_EQ(Parse(text, kStrict), "error") << text;
  }
  EXPECT_EQ(Parse("<<a@b.c>>"), "a|b.c+");
  EXPECT_EQ(Parse("<<a@b.c>>", kStrict), "a|b.c+");
  EXPECT_EQ(Parse("<Foo <a@b.c>>"), "a|b.c+");
  for (const char* text : {"<", "<a@b", "<<a@b>", "a@b<", "<a@b>c"}) {
    EXPECT_EQ(Parse(text), "error") << text;
  }
}

TEST(Path, CommentsAreSetAsideUnlessStrict) {
  for (const char* text :
       {"<a (x)@b.c>", "<(x)a@b.c>", "<a@b.c (x)>", "<a@(x(y))b.c>", "<(x@y) a@b.c>"}) {
    EXPECT_EQ(Parse(text), "a|b.c+") << text;
    EXPECT_EQ(Parse(text, kStrict), "error") << text;
  }
}

TEST(Path, BlanksAndDotsAreFree) {
  for (const PathOptions& options : {kSloppy, kStrict}) {
    EXPECT_EQ(Parse("< a@b.c >", options), "a|b.c+");
    EXPECT_EQ(Parse("<a @\tb.c>", options), "a|b.c+");
    EXPECT_EQ(Parse("<.a..b.@c>", options), ".a..b.|c+");
    EXPECT_EQ(Parse("<a@b.c.>", options), "a|b.c.+");
  }
}

TEST(Path, BeyondTheLastAtIsTheDomain) {
  EXPECT_EQ(Parse("<a@b@c>"), "a@b|c+");
  EXPECT_EQ(Parse("<a%b@c>"), "a%b|c+");
  EXPECT_EQ(Parse("<a:b@c>"), "a:b|c+");
}

TEST(Path, LeadingBlanksAreSkippedAndCounted) {
  const auto path = ParsePath("  <a@b> X", kStrict);
  ASSERT_TRUE(path.ok());
  EXPECT_EQ(path->length, 7u);
}

TEST(Path, TwoAddressesAreAnError) {
  for (const char* text :
       {"<a b@c>", "<a@b c>", "<a@b,c@d>", "<a\"b\"@c>", "<\"a\"b@c>", "<a;b@c>", "<<a@b> c@d>"})
    EXPECT_EQ(Parse(text), "error") << text;
  EXPECT_EQ(Parse("a@b c@d"), "a|b+ c@d") << "a parameter";
}

TEST(Path, ADomainIsAHostNameOrALiteral) {
  for (const char* text : {"<a@>", "<a@.>", "<a@b..c>", "<a@b..>", "<a@-b>", "<a@b:25>", "<a@b#c>",
                           "<@@b@>", "<a@\"b\">", "<a@b\\ c>"})
    EXPECT_EQ(Parse(text), text == std::string("<a@\"b\">") ? "a|b+" : "error") << text;
  EXPECT_EQ(Parse("<a@>", {.allow_null_domain = true}), "a|+");
  EXPECT_EQ(Parse("<a@b@>", {.allow_null_domain = true}), "a|b+");
  EXPECT_EQ(Parse("<@>", {.allow_null_domain = true}), "error");
}

TEST(Path, ControlCharactersAreErrorsWhereverTheyAre) {
  for (char c = 1; c < 32; ++c) {
    if (c == '\t') continue;
    for (std::string text : {"<a?b@c>", "<\"a?b\"@c>", "<a\\?b@c>", "<(?)ab@c>", "<ab@c?>"}) {
      text[text.find('?')] = c;
      EXPECT_EQ(Parse(text), "error") << text;
    }
  }
  EXPECT_EQ(Parse("<\"a\x7f\"@b>"), "error");
  EXPECT_EQ(Parse(std::string_view("<a\0b@c>", 7)), "error");
  EXPECT_EQ(Parse("<\"a\tb\"@c>"), "a b|c+") << "Postfix makes a blank of it";
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

// Anything that parses comes back from its written form.
TEST(Path, WrittenFormParsesBack) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  constexpr std::string_view kBytes = "ab.@\"\\ <>[]:;,%!\xc3\xa9\x01\t()A1-";
  int parsed = 0;
  for (int round = 0; round < 200000; ++round) {
    std::string text = "<";
    for (size_t n = random() % 10; n > 0; --n) text += kBytes[random() % kBytes.size()];
    text += random() % 2 ? "@x>" : ">";
    const auto path = ParsePath(text, {.strict = random() % 2 == 0, .allow_non_ascii = true});
    if (!path.ok()) continue;
    ++parsed;
    const auto again = ParsePath("<" + path->address.ToSmtp() + ">", kUtf8);
    ASSERT_TRUE(again.ok()) << text << " -> " << path->address.ToSmtp();
    ASSERT_EQ(again->address, path->address) << text;
    ASSERT_LE(path->length, text.size());
  }
  EXPECT_GT(parsed, 100);
}

}  // namespace
}  // namespace postfleet::mail
