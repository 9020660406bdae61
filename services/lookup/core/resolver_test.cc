#include "services/lookup/core/resolver.h"

#include <gtest/gtest.h>

namespace postfleet::lookup {
namespace {

class ResolverTest : public testing::Test {
 protected:
  ResolverTest() {
    p_.own_domains = {.rewriting = {.origin = "example.com", .domain = "example.com"},
                      .myhostname = "mx.example.com",
                      .empty_address_recipient = "MAILER-DAEMON"};
    p_.mydestination = "example.com localhost";
    p_.virtual_mailbox_domains = "inline:{virtual.example=x}";
    p_.relay_domains = "relay.example";
    p_.local_transport = "local:mx.example.com";
    p_.recipient_delimiter = "+";
    p_.own_addresses = {*config::IpAddress::Parse("192.0.2.1"), *config::IpAddress::Parse("::1")};
  }

  v1::Answer Resolve(std::string_view recipient, bool check_listed = false) {
    absl::StatusOr<std::unique_ptr<Resolver>> resolver = Resolver::Open(p_, clock_);
    EXPECT_TRUE(resolver.ok()) << resolver.status();
    return (*resolver)->Resolve(recipient, "sender@example.net", check_listed);
  }

  std::string Route(std::string_view recipient) {
    v1::Answer answer = Resolve(recipient);
    return answer.transport() + ":" + answer.nexthop();
  }

  FakeClock clock_;
  ResolverParameters p_;
};

TEST_F(ResolverTest, ClassesAndTheirRoutes) {
  EXPECT_EQ(Route("u@Example.COM"), "local:mx.example.com");
  EXPECT_EQ(Route("u@virtual.example"), "virtual:virtual.example");
  EXPECT_EQ(Route("u@sub.relay.example"), "relay:sub.relay.example");
  EXPECT_EQ(Route("u@elsewhere.example"), "smtp:elsewhere.example");
  EXPECT_EQ(Resolve("u@virtual.example").address_class(), v1::ADDRESS_CLASS_VIRTUAL_MAILBOX);
  EXPECT_EQ(Resolve("u@relay.example").address_class(), v1::ADDRESS_CLASS_RELAY);
  EXPECT_EQ(Resolve("u@elsewhere.example").address_class(), v1::ADDRESS_CLASS_DEFAULT);
}

TEST_F(ResolverTest, NexthopsAreInLowerCaseButForPaths) {
  p_.transport_maps = {
      "inline:{{a.example=smtp:[MX.Example]} {b.example=lmtp:unix:private/Dovecot}}"};
  EXPECT_EQ(Route("u@a.example"), "smtp:[mx.example]");
  EXPECT_EQ(Route("u@b.example"), "lmtp:unix:private/Dovecot");
}

TEST_F(ResolverTest, TextsOfErrorServicesKeepTheirCapitals) {
  p_.text_transports = {"error", "retry", "discard", "quota"};
  p_.transport_maps = {
      "inline:{{a.example = quota:5.2.2 Mailbox Full} {b.example = discard:Gone For Good} "
      "{c.example = other:5.2.2 Mailbox Full}}"};
  EXPECT_EQ(Route("u@a.example"), "quota:5.2.2 Mailbox Full");
  EXPECT_EQ(Route("u@b.example"), "discard:Gone For Good");
  EXPECT_EQ(Route("u@c.example"), "other:5.2.2 mailbox full");
}

TEST_F(ResolverTest, MydestinationPrecedesTheOtherClasses) {
  p_.relay_domains = "example.com";
  EXPECT_EQ(Resolve("u@example.com").address_class(), v1::ADDRESS_CLASS_LOCAL);
}

TEST_F(ResolverTest, OwnLiteralsAreLocalOthersAreNot) {
  EXPECT_EQ(Resolve("u@[192.0.2.1]").address_class(), v1::ADDRESS_CLASS_LOCAL);
  EXPECT_EQ(Resolve("u@[IPv6:::1]").address_class(), v1::ADDRESS_CLASS_LOCAL);
  EXPECT_EQ(Route("u@[192.0.2.2]"), "smtp:[192.0.2.2]");
}

TEST_F(ResolverTest, AddressesAreCompleted) {
  EXPECT_EQ(Resolve("User").recipient(), "User@example.com");
  EXPECT_EQ(Resolve("").recipient(), "MAILER-DAEMON@mx.example.com");
  EXPECT_EQ(Resolve("u@host").recipient(), "u@host");
  p_.own_domains.rewriting.append_dot_domain = true;
  EXPECT_EQ(Resolve("u@host").recipient(), "u@host.example.com");
}

TEST_F(ResolverTest, MalformedRecipientsBounceWithTheReason) {
  for (std::string_view bad :
       {"u@", "u@a..b", "u@-a.example", "u@[1.2.3]", "u@127.0.0.1", "u@a b", "u%a..b@example.com",
        "-u@example.com", "-u%elsewhere.example@example.com"}) {
    EXPECT_EQ(Route(bad), "error:5.1.3 bad recipient address syntax") << bad;
    EXPECT_EQ(Resolve(bad).address_class(), v1::ADDRESS_CLASS_UNSPECIFIED) << bad;
  }
  p_.allow_min_user = true;
  EXPECT_EQ(Route("-u@example.com"), "local:mx.example.com");
}

TEST_F(ResolverTest, LettersOfTheDomainStay) {
  EXPECT_EQ(Resolve("U@Example.COM").recipient(), "U@Example.COM");
  EXPECT_EQ(Resolve("U@Elsewhere.Example").recipient(), "U@Elsewhere.Example");
}

TEST_F(ResolverTest, WhatHidesInALocalPartOfOursIsWhereMailGoes) {
  EXPECT_EQ(Resolve("a%elsewhere.example@example.com").recipient(), "a@elsewhere.example");
  EXPECT_EQ(Route("a%elsewhere.example@example.com"), "smtp:elsewhere.example");
  EXPECT_EQ(Route("virtual.example!a@localhost"), "virtual:virtual.example");
  EXPECT_EQ(Resolve("root%example.com@localhost").recipient(), "root@example.com");
  EXPECT_EQ(Resolve("a%elsewhere.example@relay.example").recipient(),
            "a%elsewhere.example@relay.example")
      << "only those of ours are opened";
}

TEST_F(ResolverTest, AnAddressWithoutALocalPartIsMailerDaemons) {
  EXPECT_EQ(Resolve("@example.com").recipient(), "MAILER-DAEMON@example.com");
}

TEST_F(ResolverTest, NumericDomainsAreLiteralsIfAskedFor) {
  p_.resolve_numeric_domain = true;
  EXPECT_EQ(Resolve("u@192.0.2.1").recipient(), "u@[192.0.2.1]");
  EXPECT_EQ(Resolve("u@192.0.2.1").address_class(), v1::ADDRESS_CLASS_LOCAL);
  EXPECT_EQ(Route("u@192.0.2.2"), "smtp:[192.0.2.2]");
  EXPECT_EQ(Route("u@192.0.2"), "error:5.1.3 bad recipient address syntax");
}

TEST_F(ResolverTest, RelayhostStandsInForTheDefaultAndRelayClasses) {
  p_.relayhost = "[Smart.example]:587";
  EXPECT_EQ(Route("u@elsewhere.example"), "smtp:[smart.example]:587");
  EXPECT_EQ(Route("u@relay.example"), "relay:[smart.example]:587");
  p_.default_transport = "lmtp:unix:/socket";
  EXPECT_EQ(Route("u@elsewhere.example"), "lmtp:unix:/socket");
}

TEST_F(ResolverTest, TransportMapsFromSpecialToGeneral) {
  p_.transport_maps = {
      "inline:{ u+x@t.example=a:, u@t.example=b:, t.example=c:h, .t.example=d:, *=e:all }"};
  EXPECT_EQ(Route("u+x@t.example"), "a:t.example");
  EXPECT_EQ(Route("u+y@t.example"), "b:t.example");
  EXPECT_EQ(Route("v@t.example"), "c:h");
  EXPECT_EQ(Route("v@T.Example"), "c:h");
  EXPECT_EQ(Route("v@a.b.t.example"), "d:a.b.t.example");
  EXPECT_EQ(Route("v@other.example"), "e:all");
}

TEST_F(ResolverTest, TransportResultsOverrideHalfOrNothing) {
  p_.relayhost = "smart.example";
  p_.transport_maps = {
      "inline:{ a.example=:, b.example=:hop, {c.example = error:5.7.1 No Mail}, d.example=error:, "
      "e.example=smtp }"};
  EXPECT_EQ(Route("u@a.example"), "smtp:smart.example");
  EXPECT_EQ(Route("u@b.example"), "smtp:hop");
  EXPECT_EQ(Route("u@c.example"), "error:5.7.1 No Mail");
  EXPECT_EQ(Route("u@d.example"), "error:Address is undeliverable");
  EXPECT_EQ(Route("u@e.example"), "smtp:e.example");
}

TEST_F(ResolverTest, ListedByTheTableOfTheClass) {
  p_.local_recipient_maps = {"inline:{root=x}"};
  p_.virtual_mailbox_maps = {"inline:{u@virtual.example=u/}"};
  EXPECT_EQ(Resolve("root+ext@example.com", true).listed(), v1::Answer::LISTED_YES);
  EXPECT_EQ(Resolve("nobody@example.com", true).listed(), v1::Answer::LISTED_NO);
  EXPECT_EQ(Resolve("U@virtual.example", true).listed(), v1::Answer::LISTED_YES);
  EXPECT_EQ(Resolve("root@virtual.example", true).listed(), v1::Answer::LISTED_NO);
  EXPECT_EQ(Resolve("x@relay.example", true).listed(), v1::Answer::LISTED_NO_TABLE);
  EXPECT_EQ(Resolve("x@elsewhere.example", true).listed(), v1::Answer::LISTED_NO_TABLE);
  EXPECT_EQ(Resolve("root@example.com").listed(), v1::Answer::LISTED_UNSPECIFIED);
  for (std::string_view known : {"double-bounce", "Postmaster", "MAILER-DAEMON"}) {
    EXPECT_EQ(Resolve(std::string(known) + "@example.com", true).listed(), v1::Answer::LISTED_YES);
  }
}

TEST_F(ResolverTest, SystemAccountsAreLocalRecipients) {
  p_.local_recipient_maps = {"proxy:unix:passwd.byname"};
  EXPECT_EQ(Resolve("root@example.com", true).listed(), v1::Answer::LISTED_YES);
  EXPECT_EQ(Resolve("no-such-user@example.com", true).listed(), v1::Answer::LISTED_NO);
}

TEST_F(ResolverTest, UnreadableTableIsAFailureAndNeverUnknown) {
  p_.virtual_mailbox_maps = {"hash:/nonexistent/boxes"};
  v1::Answer answer = Resolve("u@virtual.example", true);
  EXPECT_EQ(answer.failure(),
            "virtual_mailbox_maps: hash:/nonexistent/boxes: open /nonexistent/boxes.db: No such "
            "file or directory");
  EXPECT_EQ(answer.listed(), v1::Answer::LISTED_UNSPECIFIED);
  EXPECT_EQ(answer.transport(), "");
  p_.mydestination = "hash:/nonexistent/domains";
  EXPECT_TRUE(Resolve("u@elsewhere.example").failure().starts_with("mydestination: "));
}

TEST_F(ResolverTest, WhatCannotWorkDoesNotOpen) {
  p_.transport_maps = {"ldap:/x"};
  EXPECT_TRUE(Resolver::Open(p_, clock_).status().message().find("parameter transport_maps:") == 0);
  p_.transport_maps = {};
  p_.relay_transport = ":host";
  EXPECT_FALSE(Resolver::Open(p_, clock_).ok());
}

}  // namespace
}  // namespace postfleet::lookup
