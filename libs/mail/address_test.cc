#include "libs/mail/address.h"

#include <gtest/gtest.h>

namespace postfleet::mail {
namespace {

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
  EXPECT_EQ(SplitAddress("a@b@C.org"), (Address{"a@b", "C.org"}));
  EXPECT_EQ(SplitAddress("user"), (Address{"user", ""}));
}

TEST(MailDomain, HostNamesAndLiterals) {
  for (const char* domain : {"a", "b_c.example", "xn--4ca.example", "0x7f.1", "1.example",
                             "[192.0.2.1]", "[IPv6:2001:db8::1]", "[ipv6:::1]"})
    EXPECT_TRUE(IsMailDomain(domain, false)) << domain;
  for (const char* domain : {"",           ".",
                             "a.",         ".a",
                             "a..b",       "-a",
                             "a-",         "a-.b",
                             "a b",        "a:25",
                             "a/b",        "a*b",
                             "192.0.2.1",  "2130706433",
                             "[192.0.2]",  "[IPv6:192.0.2.1]",
                             "[::1]",      "[x]",
                             "[]",         "[",
                             "[192.0.2.1", "[192.0.2.1]x",
                             "\xc3\xa4"})
    EXPECT_FALSE(IsMailDomain(domain, false)) << domain;
  EXPECT_TRUE(IsMailDomain("\xc3\xa4.example", true));
  EXPECT_TRUE(
      IsMailDomain("a\xe3\x80\x82"
                   "b",
                   true))
      << "a dot to IDNA";
  for (const char* domain : {"a\xe3\x80\x82",
                             "\xef\xbc\x8e"
                             "a",
                             "a.\xef\xbd\xa1"
                             "b"})
    EXPECT_FALSE(IsMailDomain(domain, true)) << domain;
}

}  // namespace
}  // namespace postfleet::mail
