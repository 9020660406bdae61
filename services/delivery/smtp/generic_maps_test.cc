#include "services/delivery/smtp/generic_maps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "libs/config/diagnostics.h"
#include "libs/mail/address.h"
#include "services/delivery/smtp/agent_under_test.h"

namespace postfleet::delivery::smtp {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

constexpr char kTable[] =
    "inline:{ {a@one.example = b@two.example}, {plus@one.example = sum@two.example},"
    " {@dom.example = @out.example}, {@other.example = fixed@two.example},"
    " {user = mapped@two.example}, {bare@one.example = bare},"
    " {chain@one.example = a@one.example}, {multi@one.example = x@two.example, y@two.example},"
    " {exact+ext@one.example = exact@two.example}, {strip@one.example = @out.example},"
    " {none@one.example = (comment)}, {odd@one.example = \"q n\"@two.example} }";

GenericOptions Options(bool propagate = false) {
  GenericOptions options;
  options.tables = {kTable};
  options.recipient_delimiter = "+";
  options.propagate_extensions = propagate;
  options.mydestination = "home.example";
  options.rewriting = {.origin = "origin.example"};
  return options;
}

std::string Mapped(const std::string& address, bool propagate = false) {
  const auto maps = GenericMaps::Open(Options(propagate), "smtp", {"192.0.2.1", "::1"});
  if (!maps.ok()) return std::string(maps.status().message());
  const auto mapped = (*maps)->Map(address);
  if (!mapped.ok()) return "failed";
  return mapped->value_or("stays");
}

TEST(GenericMaps, WithoutTablesThereAreNone) {
  const auto maps = GenericMaps::Open({}, "smtp");
  ASSERT_TRUE(maps.ok());
  EXPECT_EQ(*maps, nullptr);
}

TEST(GenericMaps, ASpecificationThatIsWrongIsRefused) {
  GenericOptions options = Options();
  options.tables = {"mysql:/etc/x"};
  EXPECT_FALSE(GenericMaps::Open(options, "smtp").ok());
}

absl::StatusOr<SmtpOptions> OptionsOf(const std::string& main_cf, ClientProtocol protocol) {
  config::Diagnostics diagnostics;
  const auto config =
      config::Config::FromText(main_cf, "", {.hostname = "mx.example.com"}, diagnostics);
  if (!config.ok()) return config.status();
  return SmtpOptions::FromConfig(*config, protocol);
}

TEST(GenericMaps, SmtpAndLmtpHaveTheirOwn) {
  const std::string main_cf =
      "smtp_generic_maps = inline:{a=b}\nlmtp_generic_maps = inline:{c=d}, inline:{e=f}\n"
      "propagate_unmatched_extensions = canonical, Generic\nmyorigin = home.example\n"
      "recipient_delimiter = +-\nmydestination = here.example\n";
  const auto smtp = OptionsOf(main_cf, ClientProtocol::kSmtp);
  ASSERT_TRUE(smtp.ok()) << smtp.status();
  EXPECT_THAT(smtp->generic.tables, ElementsAre("inline:{a=b}"));
  EXPECT_TRUE(smtp->generic.propagate_extensions);
  EXPECT_EQ(smtp->generic.rewriting.origin, "home.example");
  EXPECT_EQ(smtp->generic.recipient_delimiter, "+-");
  EXPECT_EQ(smtp->generic.mydestination, "here.example");
  const auto lmtp = OptionsOf(main_cf, ClientProtocol::kLmtp);
  ASSERT_TRUE(lmtp.ok()) << lmtp.status();
  EXPECT_THAT(lmtp->generic.tables, ElementsAre("inline:{c=d}", "inline:{e=f}"));
}

TEST(GenericMaps, ExtensionsAreDroppedUnlessConfigured) {
  const auto options = OptionsOf("", ClientProtocol::kSmtp);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_FALSE(options->generic.propagate_extensions);
  EXPECT_TRUE(options->generic.tables.empty());
}

TEST(GenericMaps, ATableThatCannotBeEndsTheStart) {
  EXPECT_FALSE(OptionsOf("smtp_generic_maps = inline:x\n", ClientProtocol::kSmtp).ok());
}

TEST(GenericMaps, WholeAddressesComeFirstAndCaseDoesNotMatter) {
  EXPECT_EQ(Mapped("a@one.example"), "b@two.example");
  EXPECT_EQ(Mapped("A@One.Example"), "b@two.example");
  EXPECT_EQ(Mapped("c@one.example"), "stays");
  EXPECT_EQ(Mapped("exact+ext@one.example", true), "exact@two.example");
}

TEST(GenericMaps, ExtensionsAreKeptOnlyWhereThatIsAskedFor) {
  EXPECT_EQ(Mapped("plus+ext@one.example"), "sum@two.example");
  EXPECT_EQ(Mapped("plus+ext@one.example", true), "sum+ext@two.example");
}

TEST(GenericMaps, ADomainForADomainKeepsTheUser) {
  for (bool propagate : {false, true}) {
    EXPECT_EQ(Mapped("x@dom.example", propagate), "x@out.example");
    EXPECT_EQ(Mapped("x+y@dom.example", propagate), "x+y@out.example");
    EXPECT_EQ(Mapped("a b@dom.example", propagate), "a b@out.example");
    EXPECT_EQ(Mapped("z+e@other.example", propagate), "fixed@two.example");
  }
  EXPECT_EQ(Mapped("strip+e@one.example"), "strip@out.example");
  EXPECT_EQ(Mapped("strip+e@one.example", true), "strip+e@out.example");
}

TEST(GenericMaps, UsersWithoutADomainAreLookedForWhereTheDomainIsOurs) {
  EXPECT_EQ(Mapped("user@home.example"), "mapped@two.example");
  EXPECT_EQ(Mapped("user@ORIGIN.example"), "mapped@two.example");
  EXPECT_EQ(Mapped("user@[192.0.2.1]"), "mapped@two.example");
  EXPECT_EQ(Mapped("user@[IPv6:::1]"), "mapped@two.example");
  EXPECT_EQ(Mapped("user"), "mapped@two.example");
  EXPECT_EQ(Mapped("user+e@home.example", true), "mapped+e@two.example");
  EXPECT_EQ(Mapped("user@one.example"), "stays");
  EXPECT_EQ(Mapped("user@[192.0.2.2]"), "stays");
}

TEST(GenericMaps, ResultsAreCompletedAndNotLookedUpAgain) {
  EXPECT_EQ(Mapped("bare@one.example"), "bare@origin.example");
  EXPECT_EQ(Mapped("chain@one.example"), "a@one.example");
  EXPECT_EQ(Mapped("odd@one.example"), "q n@two.example");
}

TEST(GenericMaps, TheFirstOfMoreResultsIsTaken) {
  EXPECT_EQ(Mapped("multi@one.example"), "x@two.example");
}

TEST(GenericMaps, AResultThatIsNoAddressFails) { EXPECT_EQ(Mapped("none@one.example"), "failed"); }

TEST(GenericMaps, TheEnvelopeRemembersWhatItWas) {
  const auto maps = GenericMaps::Open(Options(), "smtp");
  mail::v1::Envelope envelope;
  envelope.set_sender("a@one.example");
  std::vector<mail::v1::Recipient> recipients(3);
  recipients[0].set_address("a@one.example");
  recipients[1].set_address("a@one.example");
  recipients[1].set_original_address("first@one.example");
  recipients[2].set_address("else@one.example");
  ASSERT_TRUE((*maps)->MapEnvelope(&envelope, &recipients).ok());
  EXPECT_EQ(envelope.sender(), "b@two.example");
  EXPECT_EQ(recipients[0].address(), "b@two.example");
  EXPECT_EQ(recipients[0].original_address(), "a@one.example");
  EXPECT_EQ(recipients[1].original_address(), "first@one.example");
  EXPECT_EQ(recipients[2].address(), "else@one.example");
  EXPECT_EQ(recipients[2].original_address(), "");
}

TEST(GenericMaps, TheNullSenderStays) {
  const auto maps = GenericMaps::Open(Options(), "smtp");
  mail::v1::Envelope envelope;
  std::vector<mail::v1::Recipient> none;
  ASSERT_TRUE((*maps)->MapEnvelope(&envelope, &none).ok());
  EXPECT_EQ(envelope.sender(), "");
}

std::string Field(std::string field) {
  const auto maps = GenericMaps::Open(Options(), "smtp");
  GenericHeader header(maps->get());
  header.OnField(mail::LowerCasedAscii(field.substr(0, field.find(':'))), &field);
  return header.failure().empty() ? field : "failed";
}

TEST(GenericHeader, AddressesAreReplacedAndNamesStay) {
  EXPECT_EQ(Field("From: \"A B\" <a@one.example> (c)"), "From: \"A B\" <b@two.example>(c)");
  EXPECT_EQ(Field("Resent-Reply-To: a@one.example, a@one.example,\n else@one.example"),
            "Resent-Reply-To: b@two.example, b@two.example, else@one.example");
  EXPECT_EQ(Field("To: Group: plus+z@one.example, n@n.example;"),
            "To: Group: sum@two.example, n@n.example;");
}

TEST(GenericHeader, WhereNothingIsReplacedEveryByteStays) {
  for (std::string_view field : {"To:  c@one.example ,\n\td", "X-To: a@one.example",
                                 "Message-Id: <a@one.example>", "Subject: a@one.example"}) {
    EXPECT_EQ(Field(std::string(field)), field);
  }
}

TEST(GenericHeader, ATableThatCannotBeAskedFailsTheContents) {
  GenericOptions options = Options();
  options.tables = {"texthash:/nonexistent/generic"};
  const auto maps = GenericMaps::Open(options, "smtp");
  ASSERT_TRUE(maps.ok());
  GenericHeader header(maps->get());
  std::string field = "From: a@one.example, b@one.example";
  header.OnField("from", &field);
  EXPECT_EQ(header.failure(), "unknown mail transport error");
}

class SmtpAgentWithGenericMaps : public SmtpAgentTest {
 protected:
  SmtpAgentWithGenericMaps() {
    options_.generic.tables = {
        "inline:{ {from@client.test = out@pub.test}, {one@example.test = two@pub.test} }"};
  }
};

TEST_F(SmtpAgentWithGenericMaps, SaysTheOthersToTheServerAndInTheHeader) {
  server_.behaviours[0].ehlo = "250-mx.test\r\n250 DSN";
  EXPECT_THAT(Texts(Deliver({.pieces = {"From: fr", "om@client.test\n\nfrom@client.test\n"}})),
              ElementsAre(StartsWith("sent")));
  EXPECT_THAT(server_.commands,
              ElementsAre("EHLO client.test", "MAIL FROM:<out@pub.test>",
                          "RCPT TO:<two@pub.test> ORCPT=rfc822;one@example.test", "DATA"));
  EXPECT_THAT(server_.bodies, ElementsAre("From: out@pub.test\r\n\r\nfrom@client.test\r\n"));
}

TEST_F(SmtpAgentWithGenericMaps, TellsOfTheRecipientsAsTheyWere) {
  server_.behaviours[0].replies = {{"RCPT TO:<two@pub.test>", "550 5.1.1 unknown"}};
  EXPECT_THAT(
      Texts(Deliver({.recipients = {"zero@example.test", "one@example.test"}})),
      ElementsAre(StartsWith("sent"),
                  "bounced 5.1.1 host mx.test[127.0.0.1] said: 550 5.1.1 unknown (in reply to "
                  "RCPT TO command)"));
}

TEST_F(SmtpAgentWithGenericMaps, DefersWhereTheTableCannotBeAsked) {
  options_.generic.tables = {"texthash:/nonexistent/generic"};
  EXPECT_THAT(Texts(Deliver({.recipients = {"one@example.test", "two@example.test"}})),
              ElementsAre("deferred 4.3.0 unknown mail transport error",
                          "deferred 4.3.0 unknown mail transport error"));
  EXPECT_THAT(server_.bodies, ElementsAre());
}

}  // namespace
}  // namespace postfleet::delivery::smtp
