// Every expected value was seen on Postfix 3.7.11 (services/ingress/oracle_test.cc asks
// much of it again).
#include "libs/message/address_rewriting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace postfleet::message {
namespace {

const AddressRewriting kLocal = {.origin = "example.com", .domain = "example.com"};

std::string Rewritten(std::string field, const AddressRewriting& rules = kLocal) {
  const std::string before = field;
  const bool changed = RewriteAddressField(rules, &field);
  EXPECT_EQ(changed, field != before);
  return field;
}

TEST(Sender, OfABounceThatIsSentUnderANameIsEmpty) {
  EXPECT_EQ(CompleteSender(kLocal, {"user", ""}), "user@example.com");
  EXPECT_EQ(CompleteSender(kLocal, {"", ""}), "");
  EXPECT_EQ(CompleteSender(kLocal, {"MAILER-DAEMON", ""}), "");
  EXPECT_EQ(CompleteSender(kLocal, {"Mailer-Daemon", "Example.COM"}), "");
  EXPECT_EQ(CompleteSender(kLocal, {"mailer-daemon", "elsewhere.example"}),
            "mailer-daemon@elsewhere.example");
  EXPECT_EQ(CompleteSender({.append_at_origin = false}, {"mailer-daemon", ""}), "mailer-daemon");
}

TEST(AddressField, IncompleteAddressGetsTheOrigin) {
  EXPECT_EQ(Rewritten("From: user"), "From: user@example.com");
  EXPECT_EQ(Rewritten("FROM: =?utf-8?q?x?= <u>"), "FROM: =?utf-8?q?x?= <u@example.com>");
  EXPECT_EQ(Rewritten("From: \xc3\xa4 <\xc3\xb6>"), "From: \xc3\xa4 <\xc3\xb6@example.com>");
}

TEST(AddressField, CompleteListKeepsItsBytes) {
  for (const char* field :
       {"From: user@x.y", "From:a@b.c", "To: a@b.c,d@e.f,\n  g@h.i", "From: <>",
        "From:", "From:  \"A, B\"\t <a@b.c> (c (d) \\) e)", "To: undisclosed-recipients:;",
        "To: a@b.c, list: ;", "Cc: a(b)@(c)d.e (f)", "Cc: a@b.c>", "Cc: a@", "Cc: a@[1.2.3.4]",
        "Cc: a@localhost", "To: grp: a@b.c, d@e.f;", "To: Johnny B. Goode <a@b.c>,,",
        "From: a%b!c@d.e", "From: \\"}) {
    EXPECT_EQ(Rewritten(field), field);
  }
}

TEST(AddressField, ByteZeroKeepsAFieldAsItIs) {
  const std::string field("From: a\0b", 9);
  EXPECT_EQ(Rewritten(field), field);
}

TEST(AddressField, WordsWithoutCommasAreAddresses) {
  EXPECT_EQ(Rewritten("To: John Doe"), "To: John@example.com, Doe@example.com");
  EXPECT_EQ(Rewritten("From: x <y> z"), "From: x <y@example.com>, z@example.com");
  EXPECT_EQ(Rewritten("Cc:<u>\\"), "Cc: <u@example.com>, \"\"");
  EXPECT_EQ(Rewritten("Cc: a@b.c:x y<u>"), "Cc: a@b.c:x y <u@example.com>");
  EXPECT_EQ(Rewritten("To: grp: a, b@c.d;, e"), "To: grp: a@example.com, b@c.d;, e@example.com");
}

TEST(AddressField, CommentsMoveBehindTheirAddress) {
  EXPECT_EQ(Rewritten("From: (c1) foo (c2) bar (c3)"),
            "From: foo@example.com (c1), bar@example.com (c2) (c3)");
  EXPECT_EQ(Rewritten("To: x (y) z"), "To: x@example.com, z@example.com (y)");
}

TEST(AddressField, QuotesComeAndGoByNeed) {
  EXPECT_EQ(Rewritten("From: \"bob\"@x.y"), "From: bob@x.y");
  EXPECT_EQ(Rewritten("From: a@b@c"), "From: \"a@b\"@c");
  EXPECT_EQ(Rewritten("From: .foo@bar"), "From: \".foo\"@bar");
  EXPECT_EQ(Rewritten("Cc: <a@b.c"), "Cc: \"<a\"@b.c");
  EXPECT_EQ(Rewritten("From: x <a@b.c"), "From: \"x <a\"@b.c");
  EXPECT_EQ(Rewritten("Cc: @"), "Cc: \"\"");
  EXPECT_EQ(Rewritten("Cc: [1.2.3.4]"), "Cc: \"[1.2.3.4]\"@example.com");
  EXPECT_EQ(Rewritten("From: J\\\"r <u>"), "From: \"J\\\"r\" <u@example.com>");
  EXPECT_EQ(Rewritten("From: Johnny B. Goode <jb>"), "From: Johnny B.Goode <jb@example.com>");
}

TEST(AddressField, OldRoutesAreStraightened) {
  EXPECT_EQ(Rewritten("To: <@a,@b:user@c.d>, x!y, p%q@r.s, u%v"),
            "To: <user@c.d>, y@x, p%q@r.s, u@v");
  EXPECT_EQ(Rewritten("From: a!b!c"), "From: b!c@a");
  EXPECT_EQ(Rewritten("From: user@host."), "From: user@host");
}

TEST(AddressField, LinesBreakBehindCommasBeforeTheyReach70Bytes) {
  EXPECT_EQ(Rewritten("Reply-To: \"A, B\" <a@b.c>,\n\tfoo"),
            "Reply-To: \"A, B\" <a@b.c>, foo@example.com");
  const std::string name = "recipient@verylongdomain.example";
  EXPECT_EQ(Rewritten("To: " + name + "," + name + "," + name + ",x"),
            "To: " + name + ",\n\t" + name + ", " + name + ",\n\tx@example.com");
  EXPECT_EQ(Rewritten("To: g,"), "To: g@example.com, ");
}

TEST(AddressField, WithAppendDotMydomainAHostAloneIsCompletedToo) {
  AddressRewriting rules = kLocal;
  rules.append_dot_domain = true;
  EXPECT_EQ(Rewritten("From: u, v@localhost, w@[1.2.3.4], x@y, z@a.b", rules),
            "From: u@example.com, v@localhost.example.com, w@[1.2.3.4],\n\tx@y.example.com, z@a.b");
  EXPECT_EQ(Rewritten("From: u@h", rules), "From: u@h.example.com");
}

TEST(AddressField, WithoutAnOriginNothingIsAppended) {
  EXPECT_EQ(Rewritten("From: u", {}), "From: u");
  EXPECT_EQ(Rewritten("From: u", {.origin = "a.b", .append_at_origin = false}), "From: u");
  EXPECT_EQ(Rewritten("From: u!v, w%x", {.swap_bangpath = false, .percent_hack = false}),
            "From: u!v, w%x");
}

TEST(AddressField, WhatIsBehindTheTokenLimitIsLost) {
  EXPECT_EQ(Rewritten("To: a, b, c, d", {.origin = "x.y", .tokens_max = 3}), "To: a@x.y, b@x.y");
}

std::string Mapped(std::string field) {
  MapAddressField(
      [](const std::string& address) -> std::optional<std::string> {
        if (address != "old@x.y") return std::nullopt;
        return "new one@x.y";
      },
      &field);
  return field;
}

TEST(AddressField, AddressesAreMappedOneByOne) {
  EXPECT_EQ(Mapped("To: a@x.y,\n\tN. N. <old@x.y> (c), g: old@x.y;"),
            "To: a@x.y, N.N. <\"new one\"@x.y>(c), g: \"new one\"@x.y;");
  EXPECT_EQ(Mapped("To: <o ld@x.y>, <a b@x.y>"), "To: <\"new one\"@x.y>, <ab@x.y>");
  EXPECT_EQ(Mapped("To:  a@x.y ,\n\tb@x.y"), "To:  a@x.y ,\n\tb@x.y");
}

TEST(AddressList, AddressesAreReadInTheirOrder) {
  EXPECT_THAT(ReadAddressList(kLocal, "a@x.y, <b> (c), \"d e\"@x.y"),
              testing::ElementsAre("a@x.y", "b@example.com", "d e@x.y"));
  EXPECT_THAT(ReadAddressList(kLocal, "(c)"), testing::IsEmpty());
  EXPECT_THAT(ReadAddressList(kLocal, ""), testing::IsEmpty());
}

std::string Completed(const mail::Address& address, bool append_dot = false) {
  AddressRewriting rules = kLocal;
  rules.append_dot_domain = append_dot;
  return CompleteAddress(rules, address);
}

TEST(EnvelopeAddress, IsCompletedAsInHeaders) {
  EXPECT_EQ(Completed({}), "");
  EXPECT_EQ(Completed({"a", "b.c"}), "a@b.c");
  EXPECT_EQ(Completed({"a", ""}), "a@example.com");
  EXPECT_EQ(Completed({"a b", ""}), "a b@example.com");
  EXPECT_EQ(Completed({"a", "h"}), "a@h");
  EXPECT_EQ(Completed({"a", "h"}, true), "a@h.example.com");
  EXPECT_EQ(Completed({"a", "localhost"}, true), "a@localhost.example.com");
  EXPECT_EQ(Completed({"a", "[1.2.3.4]"}, true), "a@[1.2.3.4]");
  EXPECT_EQ(Completed({"a", "[ipv6:::1]"}, true), "a@[ipv6:::1]");
  EXPECT_EQ(Completed({"a%b", ""}, true), "a@b.example.com");
  EXPECT_EQ(Completed({"a%b%c", ""}), "a%b@c");
  EXPECT_EQ(Completed({"a!b", ""}), "b@a");
  EXPECT_EQ(Completed({"x!y", "z"}, true), "x!y@z.example.com");
}

std::optional<std::string> AppendX(const std::string& address) {
  if (address.empty() || address.front() != 'a') return std::nullopt;
  return address + "x";
}

// Whatever comes in: the result is stable, in bounds, and has no line that could start a field.
TEST(AddressField, RandomFieldsStaySound) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  constexpr std::string_view kBytes = "ab<>@,;:\"\\.[]()%!| \t\n\xc3";
  for (int round = 0; round < 20'000; ++round) {
    std::string field = "To:";
    for (int i = random() % 24; i > 0; --i) {
      field += kBytes[random() % kBytes.size()];
      if (field.back() == '\n') field += ' ';
    }
    std::string once = field;
    const bool changed =
        round % 2 == 0 ? RewriteAddressField(kLocal, &once) : MapAddressField(AppendX, &once);
    if (!changed) {
      ASSERT_EQ(once, field);
      continue;
    }
    for (size_t at = once.find('\n'); at != std::string::npos; at = once.find('\n', at + 1)) {
      ASSERT_TRUE(at + 1 < once.size() && (once[at + 1] == '\t' || once[at + 1] == ' ')) << field;
    }
    ASSERT_TRUE(once.starts_with("To: ")) << field;
    ASSERT_LT(once.size(), 16 * (field.size() + 16)) << field;
  }
}

}  // namespace
}  // namespace postfleet::message
