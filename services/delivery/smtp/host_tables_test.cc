#include "services/delivery/smtp/host_tables.h"

#include <gmock/gmock.h>

#include "services/delivery/smtp/agent_under_test.h"

namespace postfleet::delivery::smtp {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

class HostTablesTest : public SmtpAgentTest {};

TEST_F(HostTablesTest, KeywordsAreDiscardedByAddressOrElseAsTheParameterSays) {
  options_.host_tables.discarded_keywords = "8bitmime";
  options_.host_tables.discarded_keyword_maps = {
      "inline:{ { 127.0.0.1 = pipelining, dsn }, 127.0.0.3=size }"};
  auto tables = HostTables::Open(options_.host_tables, "smtp");
  ASSERT_TRUE(tables.ok());
  EXPECT_EQ((*tables)->DiscardedKeywords("127.0.0.1")->names(), "PIPELINING DSN");
  EXPECT_EQ((*tables)->DiscardedKeywords("127.0.0.2")->names(), "8BITMIME");
}

TEST_F(HostTablesTest, WhatATableSaysIsObeyedOnTheWire) {
  options_.host_tables.discarded_keyword_maps = {"inline:{ 127.0.0.1=pipelining }"};
  server_.behaviours = {{.replies = {{"RCPT", "550 5.1.1 no"}}}};
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("bounced 5.1.1")));
  EXPECT_THAT(server_.commands, Not(Contains("DATA")));
}

TEST_F(HostTablesTest, ATableThatCannotBeReadDefersAndNoConnectionIsMade) {
  options_.host_tables.discarded_keyword_maps = {"hash:/nowhere/at/all"};
  const auto result = Deliver({});
  EXPECT_THAT(Texts(result),
              ElementsAre(StartsWith("deferred 4.3.0 local data error while talking to mx.test[")));
  EXPECT_FALSE(result.destination_failed());
  EXPECT_TRUE(result.no_feedback());
  EXPECT_EQ(server_.connections, 0);
}

TEST_F(HostTablesTest, AFilterOfRepliesThatCannotBeReadIsNotTheDestinationsFault) {
  options_.host_tables.reply_filter = {"hash:/nowhere/at/all"};
  const auto result = Deliver({});
  EXPECT_THAT(Texts(result),
              ElementsAre("deferred 4.3.0 local data error while talking to mx.test[127.0.0.1]"));
  EXPECT_FALSE(result.destination_failed());
  EXPECT_TRUE(result.no_feedback());
}

TEST_F(HostTablesTest, ATableOfWorkaroundsThatCannotBeReadHoldsNoMailUp) {
  options_.host_tables.pix_workaround_maps = {"hash:/nowhere/at/all"};
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("sent")));
}

TEST_F(HostTablesTest, ATableOfNoKnownTypeDoesNotOpen) {
  EXPECT_FALSE(HostTables::Open({.pix_workaround_maps = {"nosuch:table"}}, "smtp").ok());
}

TEST_F(HostTablesTest, RepliesAreReadAsTheFilterSays) {
  options_.host_tables.reply_filter = {"inline:{ 550=450, 250-PIPELINING=250-X }"};
  server_.behaviours = {
      {.ehlo = "250-mx.test\r\n250-PIPELINING\r\n250 SIZE", .replies = {{"RCPT", "550"}}}};
  EXPECT_THAT(Texts(Deliver({})),
              ElementsAre("deferred 4.0.0 host mx.test[127.0.0.1] said: 450 (in reply to RCPT TO "
                          "command)"));
  EXPECT_THAT(server_.commands, Not(Contains("DATA")));
}

TEST_F(HostTablesTest, PatternsOfTheFilterSeeTheLetters) {
  options_.host_tables.reply_filter = {"regexp:{{/^550 (.* Greylisted.*)/ 450 $1}}"};
  server_.behaviours = {{.replies = {{"RCPT", "550 5.7.1 Greylisted"}}}};
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("deferred 4.0.0 host mx.test")));
}

// ---- PIX firewalls ----

class FirewallTest : public SmtpAgentTest {
 protected:
  FirewallTest() { server_.behaviours = {{.greeting = "220 **********0*2"}}; }
};

TEST_F(FirewallTest, TheDotOfOldMailComesAfterAPause) {
  const uint64_t id = Start({});
  RunUntil([&] { return !server_.commands.empty() && server_.commands.back() == "DATA"; });
  EXPECT_EQ(server_.commands.front(), "HELO client.test");
  RunTicks();
  clock_.AdvanceMillis(9'999);
  RunTicks();
  EXPECT_THAT(server_.bodies, IsEmpty());
  clock_.AdvanceMillis(2);
  EXPECT_THAT(Texts(Wait(id)), ElementsAre(StartsWith("sent")));
  EXPECT_THAT(server_.bodies, ElementsAre("Subject: x\r\n\r\nbody\r\n"));
}

TEST_F(FirewallTest, YoungMailGoesWithoutAPause) {
  // Mail of these tests arrived at 0.
  options_.pix_threshold = std::chrono::milliseconds(clock_.WallMillis() + 1);
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("sent")));
}

TEST_F(FirewallTest, IsSparedWhatItsTableSays) {
  options_.host_tables.pix_workaround_maps = {"inline:{ 127.0.0.1=delay_dotcrlf }"};
  options_.pix_delay = std::chrono::milliseconds(0);
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("sent")));
  EXPECT_EQ(server_.commands.front(), "EHLO client.test");
}

TEST_F(FirewallTest, ALossInThePauseDefers) {
  const uint64_t id = Start({});
  RunUntil([&] { return !server_.commands.empty() && server_.commands.back() == "DATA"; });
  RunTicks();
  server_.HangUp();
  EXPECT_THAT(Texts(Wait(id)), ElementsAre(StartsWith("deferred 4.4.2 lost connection")));
  EXPECT_THAT(server_.bodies, SizeIs(0));
}

}  // namespace
}  // namespace postfleet::delivery::smtp
