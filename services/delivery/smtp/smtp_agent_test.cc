#include "services/delivery/smtp/smtp_agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "libs/base/concat.h"
#include "libs/config/diagnostics.h"
#include "services/delivery/smtp/agent_under_test.h"

namespace postfleet::delivery::smtp {
namespace {

using mail::v1::Outcome;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

TEST_F(SmtpAgentTest, AMessageIsSentWithItsDotsStuffed) {
  const auto result = Deliver({.pieces = {"Subject: x\n\n.one\n", "two"}});
  EXPECT_THAT(Texts(result), ElementsAre(AllOf(StartsWith("sent 2.0.0 "),
                                               EndsWith("250 2.0.0 Ok: queued as TEST"))));
  EXPECT_FALSE(result.destination_failed());
  EXPECT_THAT(server_.bodies, ElementsAre("Subject: x\r\n\r\n..one\r\ntwo\r\n"));
  EXPECT_THAT(server_.commands, ElementsAre("EHLO client.test", "MAIL FROM:<from@client.test>",
                                            "RCPT TO:<one@example.test>", "DATA"));
  RunUntil([&] { return server_.open_connections == 0; });
  EXPECT_EQ(server_.commands.back(), "QUIT");
}

TEST_F(SmtpAgentTest, ALargeMessageGoesInPiecesAndArrivesWhole) {
  std::vector<std::string> pieces;
  std::string expected;
  for (int i = 0; i < 40; ++i) {
    pieces.push_back(std::string(70'000 + i, static_cast<char>('a' + i % 26)) + "\n");
  }
  options_.line_bytes_max = 0;
  for (const std::string& piece : pieces) {
    expected += piece.substr(0, piece.size() - 1) + "\r\n";
  }
  EXPECT_THAT(Texts(Deliver({.pieces = pieces})), ElementsAre(StartsWith("sent")));
  ASSERT_THAT(server_.bodies, SizeIs(1));
  EXPECT_TRUE(server_.bodies[0] == expected);
}

TEST_F(SmtpAgentTest, EightBitContentIsConvertedWhere8BitmimeIsNotOffered) {
  const std::vector<std::string> pieces = {"Content-Transfer-Encoding: 8bit\n\n\xc3", "\xa4=\n"};
  Deliver({.pieces = pieces});
  server_.behaviours = {{.ehlo = "250-mx.test\r\n250-SIZE\r\n250 PIPELINING"}};
  Deliver({.nexthop = "[mx.test]", .pieces = pieces});
  EXPECT_THAT(server_.bodies,
              ElementsAre("Content-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa4=\r\n",
                          "Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4=3D\r\n"));
}

TEST_F(SmtpAgentTest, ConversionCanBeDisabled) {
  options_.convert_content = false;
  server_.behaviours = {{.ehlo = "250-mx.test\r\n250 PIPELINING"}};
  Deliver({.pieces = {"Content-Transfer-Encoding: 8bit\n\n\xc3\xa4\n"}});
  EXPECT_THAT(server_.bodies, ElementsAre("Content-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa4\r\n"));
}

TEST_F(SmtpAgentTest, TheNextHostGetsTheContentsInTheFormThatItTakes) {
  resolver_.AddAddress("mx2.test", "127.0.0.2");
  ScriptedServer second(loop_.io(), asio::ip::make_address("127.0.0.2"), server_.port());
  resolver_.AddMx("example.test", 20, "mx2.test");
  server_.behaviours = {{.ehlo = "250 mx.test", .replies = {{".", "450 4.2.1 later"}}}};
  EXPECT_THAT(Texts(Deliver({.pieces = {"Content-Transfer-Encoding: 8bit\n\n\xc3\xa4\n"}})),
              ElementsAre(StartsWith("sent")));
  EXPECT_THAT(server_.bodies, ElementsAre(HasSubstr("=C3=A4")));
  EXPECT_THAT(second.bodies, ElementsAre(HasSubstr("\xc3\xa4")));
}

TEST_F(SmtpAgentTest, ContentsThatCannotBeConvertedBounce) {
  options_.content_limits.nesting_max = 0;
  server_.behaviours = {{.ehlo = "250 mx.test"}};
  std::string content;
  for (int i = 0; i < 3; ++i) {
    content += "Content-Type: multipart/mixed; boundary=b\n\n--b\n";
  }
  EXPECT_THAT(Texts(Deliver({.pieces = {content}})),
              ElementsAre("bounced 5.6.0 MIME nesting exceeds safety limit"));
  EXPECT_THAT(server_.bodies, ElementsAre());
}

TEST_F(SmtpAgentTest, LongLinesAreFolded) {
  Deliver({.pieces = {std::string(1000, 'x') + "\n"}});
  EXPECT_THAT(server_.bodies, ElementsAre(std::string(998, 'x') + "\r\n xx\r\n"));
}

TEST_F(SmtpAgentTest, RecipientsHaveTheirOwnOutcomes) {
  server_.behaviours[0].replies = {{"RCPT TO:<two@example.test>", "550 5.1.1 unknown"},
                                   {"RCPT TO:<three@example.test>", "450 4.2.1 later"}};
  const auto result =
      Deliver({.recipients = {"one@example.test", "two@example.test", "three@example.test"}});
  EXPECT_THAT(
      Texts(result),
      ElementsAre(StartsWith("sent 2.0.0"),
                  "bounced 5.1.1 host mx.test[127.0.0.1] said: 550 5.1.1 unknown (in reply to "
                  "RCPT TO command)",
                  "deferred 4.2.1 host mx.test[127.0.0.1] said: 450 4.2.1 later (in reply to "
                  "RCPT TO command)"));
  EXPECT_FALSE(result.destination_failed());
}

// ---- Finding hosts ----

TEST_F(SmtpAgentTest, RefusedConnectionIsAFailureOfTheDestination) {
  uint16_t port;
  {
    ScriptedServer gone(loop_.io());
    port = gone.port();
  }
  const auto result = Deliver({.nexthop = Concat("[127.0.0.1]:", port)});
  const std::string text = Concat("connect to 127.0.0.1[127.0.0.1]:", port, ": Connection refused");
  EXPECT_THAT(Texts(result), ElementsAre("deferred 4.4.1 " + text));
  EXPECT_TRUE(result.destination_failed());
  EXPECT_EQ(result.destination_text(), text);
  EXPECT_EQ(result.destination_status(), "4.4.1");
}

TEST_F(SmtpAgentTest, UnknownDomainBounces) {
  const auto result = Deliver({.nexthop = "nowhere.test"});
  EXPECT_THAT(Texts(result),
              ElementsAre("bounced 5.4.4 Host or domain name not found. Name service error for "
                          "name=nowhere.test type=AAAA: Host not found"));
  EXPECT_FALSE(result.destination_failed());
}

TEST_F(SmtpAgentTest, FailedLookupDefers) {
  resolver_.Fail(dns::Type::kMx, "slow.test", dns::Result::kTemporary);
  const auto result = Deliver({.nexthop = "slow.test"});
  EXPECT_THAT(Texts(result),
              ElementsAre("deferred 4.4.3 Host or domain name not found. Name service error for "
                          "name=slow.test type=MX: Host not found, try again"));
  EXPECT_TRUE(result.destination_failed());
}

TEST_F(SmtpAgentTest, NullMxBounces) {
  resolver_.AddMx("nomail.test", 0, "");
  EXPECT_THAT(Texts(Deliver({.nexthop = "nomail.test"})),
              ElementsAre("bounced 5.1.0 Domain nomail.test does not accept mail (nullMX)"));
}

TEST_F(SmtpAgentTest, DomainWithoutMxIsItsOwnHost) {
  resolver_.AddAddress("plain.test", "127.0.0.1");
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})), ElementsAre(StartsWith("sent")));
}

TEST_F(SmtpAgentTest, BracketsAskForNoMx) {
  resolver_.AddAddress("bare.test", "127.0.0.1");
  EXPECT_THAT(Texts(Deliver({.nexthop = "[bare.test]"})), ElementsAre(StartsWith("sent")));
  EXPECT_THAT(resolver_.asked(), ElementsAre("A bare.test", "AAAA bare.test"));
}

TEST_F(SmtpAgentTest, MxWithoutAddressThatMayComeBackDefers) {
  resolver_.AddMx("half.test", 10, "gone.test");
  resolver_.AddMx("half.test", 20, "flaky.test");
  resolver_.Fail(dns::Type::kA, "flaky.test", dns::Result::kTemporary);
  EXPECT_THAT(Texts(Deliver({.nexthop = "half.test"})), ElementsAre(StartsWith("deferred 4.4.3")));
}

TEST_F(SmtpAgentTest, OurselvesAsBestMxIsALoop) {
  options_.own_addresses = {asio::ip::make_address("127.0.0.1")};
  const auto result = Deliver({});
  EXPECT_THAT(Texts(result),
              ElementsAre("bounced 5.4.6 mail for example.test loops back to myself"));
  EXPECT_EQ(server_.connections, 0);
}

TEST_F(SmtpAgentTest, OnAnotherPortOurOwnAddressIsNoLoop) {
  options_.own_addresses = {asio::ip::make_address("127.0.0.1")};
  options_.loop_port = 25;
  EXPECT_THAT(Texts(Deliver({.nexthop = Concat("[mx.test]:", server_.port())})),
              ElementsAre(StartsWith("sent")));
}

TEST_F(SmtpAgentTest, OurOwnNameInTheEhloReplyIsALoop) {
  server_.behaviours[0].ehlo = "250 client.test";
  EXPECT_THAT(Texts(Deliver({})),
              ElementsAre("bounced 5.4.6 mail for example.test loops back to myself"));
}

TEST_F(SmtpAgentTest, RelayhostThatDoesNotExistDefers) {
  options_.relayhost = "nowhere.test";
  EXPECT_THAT(Texts(Deliver({.nexthop = "nowhere.test"})),
              ElementsAre("deferred 4.3.5 Host or domain name not found. Name service error for "
                          "name=nowhere.test type=AAAA: Host not found"));
}

TEST_F(SmtpAgentTest, ANexthopThatIsNoHostBounces) {
  EXPECT_THAT(Texts(Deliver({.nexthop = "192.0.2.1"})),
              ElementsAre("bounced 5.4.4 Name service error for 192.0.2.1: invalid host or domain "
                          "name"));
}

// ---- The next host ----

class TwoHostsTest : public SmtpAgentTest {
 protected:
  TwoHostsTest() {
    resolver_.AddAddress("backup.test", "127.0.0.2");
    resolver_.AddMx("example.test", 20, "backup.test");
  }
  ScriptedServer backup_{loop_.io(), asio::ip::make_address("127.0.0.2"), options_.port};
};

TEST_F(TwoHostsTest, IsTriedWhenTheFirstRefusesToTalk) {
  server_.behaviours[0].greeting = "554 not today";
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("sent")));
  EXPECT_THAT(backup_.bodies, SizeIs(1));
}

TEST_F(TwoHostsTest, IsTriedForRecipientsThatWerePutOff) {
  server_.behaviours[0].replies = {{"RCPT TO:<two@example.test>", "450 4.2.0 greylisted"}};
  const auto result = Deliver({.recipients = {"one@example.test", "two@example.test"}});
  EXPECT_THAT(Texts(result), ElementsAre(StartsWith("sent"), StartsWith("sent")));
  EXPECT_THAT(server_.bodies, SizeIs(1));
  EXPECT_THAT(backup_.bodies, ElementsAre("Subject: x\r\n\r\nbody\r\n"));
  EXPECT_THAT(backup_.commands, ::testing::Contains("RCPT TO:<two@example.test>"));
  EXPECT_THAT(backup_.commands, ::testing::Not(::testing::Contains("RCPT TO:<one@example.test>")));
}

TEST_F(TwoHostsTest, IsNotTriedAfterAPermanentRefusal) {
  server_.behaviours[0].replies = {{"RCPT", "550 5.1.1 no"}};
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("bounced 5.1.1")));
  EXPECT_EQ(backup_.connections, 0);
}

TEST_F(TwoHostsTest, IsTriedAfterAPermanentRefusalThatSoftBounceMakesOneForNow) {
  options_.soft_bounce = true;
  server_.behaviours[0].replies = {{"RCPT TO:<two@example.test>", "550 5.1.1 no"}};
  EXPECT_THAT(Texts(Deliver({.recipients = {"one@example.test", "two@example.test"}})),
              ElementsAre(StartsWith("sent"), StartsWith("sent")));
  EXPECT_THAT(backup_.commands, ::testing::Contains("RCPT TO:<two@example.test>"));
  EXPECT_THAT(backup_.commands, ::testing::Not(::testing::Contains("RCPT TO:<one@example.test>")));
}

TEST_F(TwoHostsTest, SaysWhatIsDeferredBySoftBounceWhereItRefusesToo) {
  options_.soft_bounce = true;
  server_.behaviours[0].replies = {{"RCPT", "550 5.1.1 no"}};
  backup_.behaviours[0].replies = {{"RCPT", "550 5.1.2 no"}};
  const auto result = Deliver({});
  EXPECT_THAT(Texts(result), ElementsAre(StartsWith("deferred 4.1.2 host backup.test")));
  EXPECT_FALSE(result.destination_failed());
}

TEST_F(TwoHostsTest, IsTriedAfterAGreetingThatSoftBounceMakesOneForNow) {
  options_.soft_bounce = true;
  options_.skip_5xx_greeting = false;
  server_.behaviours[0].greeting = "554 not today";
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("sent")));
  EXPECT_THAT(backup_.bodies, SizeIs(1));
}

TEST_F(SmtpAgentTest, AGreetingThatSoftBounceMakesOneForNowCountsAgainstTheDestination) {
  options_.soft_bounce = true;
  options_.skip_5xx_greeting = false;
  server_.behaviours[0].greeting = "554 5.7.1 not today";
  const auto result = Deliver({});
  EXPECT_THAT(Texts(result), ElementsAre(StartsWith("deferred 4.7.1 host mx.test")));
  EXPECT_TRUE(result.destination_failed());
}

TEST_F(TwoHostsTest, IsTriedBeforeTheStatusFilterIsAsked) {
  options_.status_filter.maps = {"regexp:{{/^4(.*) later (.*)/ 5$1 never $2}}"};
  server_.behaviours[0].replies = {{"RCPT TO:<two@example.test>", "450 4.2.0 later please"}};
  backup_.behaviours[0].replies = {{"RCPT TO:<three@example.test>", "450 4.2.0 later please"}};
  EXPECT_THAT(Texts(Deliver({.recipients = {"one@example.test", "two@example.test"}})),
              ElementsAre(StartsWith("sent"), StartsWith("sent")));
  server_.behaviours[0].replies = {{"RCPT TO:<three@example.test>", "450 4.2.0 later please"}};
  agent_.reset();
  EXPECT_THAT(Texts(Deliver({.recipients = {"three@example.test"}})),
              ElementsAre("bounced 5.2.0 host backup.test[127.0.0.2] said: 450 4.2.0 never please "
                          "(in reply to RCPT TO command)"));
}

TEST_F(TwoHostsTest, IsTriedAfterALossBeforeTheDot) {
  server_.behaviours[0].replies = {{"DATA", "close"}};
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("sent")));
}

TEST_F(TwoHostsTest, IsNotTriedAfterALossBehindTheDot) {
  server_.behaviours[0].replies = {{".", "close"}};
  const auto result = Deliver({});
  EXPECT_THAT(Texts(result),
              ElementsAre("deferred 4.4.2 lost connection with mx.test[127.0.0.1] while "
                          "sending end of data -- message may be sent more than once"));
  EXPECT_TRUE(result.destination_failed());
  EXPECT_EQ(backup_.connections, 0);
}

TEST_F(TwoHostsTest, SessionsAreLimited) {
  options_.mx_sessions_max = 1;
  server_.behaviours[0].replies = {{"MAIL", "451 4.3.0 no"}};
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("deferred 4.3.0")));
  EXPECT_EQ(backup_.connections, 0);
}

TEST_F(TwoHostsTest, TheLastHostSaysWhy) {
  server_.behaviours[0].greeting = "421 first";
  backup_.behaviours[0].greeting = "421 second";
  const auto result = Deliver({});
  EXPECT_THAT(Texts(result), ElementsAre(HasSubstr("421 second")));
  EXPECT_TRUE(result.destination_failed());
}

TEST_F(TwoHostsTest, AKeptConnectionThatPutsOffLeadsToTheOther) {
  WarmUp();
  server_.commands.clear();
  ASSERT_EQ(agent().idle_connections(), 2u);
  server_.HangUp();
  RunUntil([&] { return agent().idle_connections() == 0; });
  server_.behaviours[0].replies = {{"RCPT TO:<x@example.test>", "450 4.2.0 no"}};
  const auto first = Start({});
  const auto second = Start({});
  Wait(first);
  Wait(second);
  ASSERT_GE(agent().idle_connections(), 1u);
  const int before = server_.connections;
  EXPECT_THAT(Texts(Deliver({.recipients = {"x@example.test"}})), ElementsAre(StartsWith("sent")));
  EXPECT_EQ(server_.connections, before);
  EXPECT_THAT(backup_.commands, ::testing::Contains("RCPT TO:<x@example.test>"));
}

// ---- Time limits ----

TEST_F(SmtpAgentTest, SilenceAfterACommandTimesOut) {
  server_.behaviours[0].replies = {{"MAIL", "silence"}, {"RCPT", "silence"}, {"DATA", "silence"}};
  const uint64_t id = Start({});
  RunUntil([&] { return server_.commands.size() == 4; });
  clock_.AdvanceMillis(299'999);
  // The tick looks, and finds that it is not time yet.
  loop_.io().run_one_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(results_.contains(id));
  clock_.AdvanceMillis(1);
  const auto result = Wait(id);
  EXPECT_THAT(Texts(result),
              ElementsAre("deferred 4.4.2 conversation with mx.test[127.0.0.1] timed out "
                          "while sending MAIL FROM"));
  EXPECT_TRUE(result.destination_failed());
}

TEST_F(SmtpAgentTest, AServerThatDoesNotReadTheBodyTimesOut) {
  server_.behaviours[0].stop_reading_at = "DATA";
  Given given;
  given.pieces.assign(200, std::string(100'000, 'x') + "\n");
  const uint64_t id = Start(given);
  RunUntil([&] { return server_.commands.size() == 4; });
  // Until nothing moves any more, then past the limit.
  while (loop_.io().run_one_for(std::chrono::milliseconds(20)) != 0 && !results_.contains(id)) {
    clock_.AdvanceMillis(1'000);
  }
  EXPECT_THAT(Texts(Wait(id)),
              ElementsAre("deferred 4.4.2 conversation with mx.test[127.0.0.1] timed "
                          "out while sending message body"));
}

// ---- Contents and cancelling ----

TEST_F(SmtpAgentTest, DamagedContentsAreNeverDelivered) {
  const auto result =
      Deliver({.pieces = {"half"}, .end = absl::DataLossError("crc"), .content_bytes = 100});
  EXPECT_THAT(
      Texts(result),
      ElementsAre("deferred 4.3.0 local data error while talking to mx.test[127.0.0.1]: crc"));
  EXPECT_FALSE(result.destination_failed());
  EXPECT_TRUE(result.no_feedback());
  RunUntil([&] { return server_.open_connections == 0; });
  EXPECT_THAT(server_.bodies, SizeIs(0));
}

TEST_F(SmtpAgentTest, ContentsThatDoNotComeAreNotTheServersFault) {
  const uint64_t id = Start({.pieces = {"half"}, .content_bytes = 100, .stalls = true});
  RunUntil([&] { return !server_.commands.empty() && server_.commands.back() == "DATA"; });
  RunTicks();
  clock_.AdvanceMillis(options_.timeouts.data_xfer.count());
  const auto result = Wait(id);
  EXPECT_THAT(Texts(result),
              ElementsAre("deferred 4.3.0 local data error while talking to mx.test[127.0.0.1]: "
                          "message contents did not come in time"));
  EXPECT_FALSE(result.destination_failed());
  EXPECT_TRUE(result.no_feedback());
  EXPECT_THAT(server_.bodies, SizeIs(0));
}

TEST_F(SmtpAgentTest, ContentsThatEndEarlyAreNeverDelivered) {
  const auto result = Deliver({.pieces = {"half"}, .content_bytes = 100});
  EXPECT_THAT(Texts(result), ElementsAre(StartsWith("deferred 4.3.0")));
  RunUntil([&] { return server_.open_connections == 0; });
  EXPECT_THAT(server_.bodies, SizeIs(0));
}

TEST_F(SmtpAgentTest, CancelInTheBodyEndsIt) {
  server_.behaviours[0].stop_reading_at = "DATA";
  Given given;
  given.pieces.assign(200, std::string(100'000, 'x') + "\n");
  const uint64_t id = Start(given);
  RunUntil([&] { return server_.commands.size() == 4; });
  agent().Cancel(id);
  EXPECT_THAT(Texts(Wait(id)), ElementsAre(StartsWith("deferred 4.3.2")));
  EXPECT_THAT(server_.bodies, SizeIs(0));
}

TEST_F(SmtpAgentTest, CancelInTheEnvelopeEndsIt) {
  server_.behaviours[0].replies = {{"RCPT TO:<two@example.test>", "silence"}};
  Given given;
  given.recipients = {"one@example.test", "two@example.test"};
  const uint64_t id = Start(given);
  RunUntil([&] { return server_.commands.size() >= 4; });
  agent().Cancel(id);
  EXPECT_THAT(Texts(Wait(id)),
              ElementsAre(StartsWith("deferred 4.3.2"), StartsWith("deferred 4.3.2")));
  RunUntil([&] { return server_.open_connections == 0; });
  EXPECT_THAT(server_.bodies, SizeIs(0));
}

TEST_F(SmtpAgentTest, CancelKeepsWhatTheServerSaidOfSome) {
  server_.behaviours[0].replies = {{"RCPT TO:<one@example.test>", "550 5.1.1 no such user"}};
  server_.behaviours[0].stop_reading_at = "DATA";
  // Without pipelining DATA follows the replies to RCPT.
  server_.behaviours[0].ehlo = "250 mx.test";
  Given given;
  given.recipients = {"one@example.test", "two@example.test"};
  given.pieces.assign(200, std::string(100'000, 'x') + "\n");
  const uint64_t id = Start(given);
  RunUntil([&] { return server_.commands.size() == 5; });
  agent().Cancel(id);
  EXPECT_THAT(Texts(Wait(id)),
              ElementsAre(StartsWith("bounced 5.1.1"), StartsWith("deferred 4.3.2")));
  EXPECT_THAT(server_.bodies, SizeIs(0));
}

TEST_F(SmtpAgentTest, CancelDuringTheLookupAnswers) {
  const uint64_t id = Start({});
  agent().Cancel(id);
  EXPECT_THAT(Texts(Wait(id)), ElementsAre(StartsWith("deferred 4.3.2")));
  EXPECT_EQ(agent().running_attempts(), 0u);
}

TEST_F(SmtpAgentTest, CancelBehindTheDotIsTooLate) {
  server_.behaviours[0].replies = {{".", "silence"}};
  const uint64_t id = Start({});
  RunUntil([&] { return server_.bodies.size() == 1; });
  agent().Cancel(id);
  EXPECT_FALSE(results_.contains(id));
  server_.HangUp();
  EXPECT_THAT(Texts(Wait(id)), ElementsAre(HasSubstr("message may be sent more than once")));
}

TEST_F(SmtpAgentTest, CancelOfAnUnknownIdIsIgnored) { agent().Cancel(99); }

TEST_F(SmtpAgentTest, DestroyedWithAttemptsOpenAnswersNothing) {
  server_.behaviours[0].replies = {{"MAIL", "silence"}};
  Start({});
  RunUntil([&] { return !server_.commands.empty(); });
  agent_.reset();
  RunUntil([&] { return server_.open_connections == 0; });
  EXPECT_TRUE(results_.empty());
}

// ---- Reuse ----

TEST_F(SmtpAgentTest, ALoneMessageLeavesNoConnectionOpen) {
  Deliver({});
  EXPECT_EQ(agent().idle_connections(), 0u);
}

TEST_F(SmtpAgentTest, BackToBackMessagesShareAConnection) {
  Deliver({});
  for (int i = 0; i < 5; ++i) Deliver({});
  EXPECT_EQ(server_.connections, 2);
  EXPECT_THAT(server_.bodies, SizeIs(6));
}

TEST_F(SmtpAgentTest, AnIdleConnectionIsClosedInTime) {
  WarmUp();
  ASSERT_EQ(agent().idle_connections(), 2u);
  clock_.AdvanceMillis(2'000);
  RunUntil([&] { return agent().idle_connections() == 0 && server_.open_connections == 0; });
  EXPECT_EQ(server_.commands.back(), "QUIT");
}

TEST_F(SmtpAgentTest, IdleConnectionsAreLimited) {
  options_.idle_connections_max = 1;
  WarmUp();
  EXPECT_EQ(agent().idle_connections(), 1u);
}

TEST_F(SmtpAgentTest, AnOldConnectionIsRetired) {
  WarmUp();
  ASSERT_EQ(server_.connections, 2);
  for (int i = 0; i < 301; ++i) {
    clock_.AdvanceMillis(1'000);
    Deliver({});
  }
  EXPECT_GT(server_.connections, 2);
  EXPECT_LT(server_.connections, 10);
}

TEST_F(SmtpAgentTest, AConnectionServesSoManyTransactions) {
  options_.reuse_count_max = 3;
  WarmUp();
  for (int i = 0; i < 10; ++i) Deliver({});
  EXPECT_EQ(server_.connections, 4);
}

TEST_F(SmtpAgentTest, RefusedRecipientsLeaveAConnectionThatIsResetAndUsed) {
  WarmUp();
  server_.commands.clear();
  // The open connections keep their behaviour: the refusal must be theirs.
  server_.HangUp();
  RunUntil([&] { return agent().idle_connections() == 0; });
  server_.behaviours[0].replies = {{"RCPT TO:<no@example.test>", "550 5.1.1 no"}};
  const int before = server_.connections;
  EXPECT_THAT(Texts(Deliver({.recipients = {"no@example.test"}})),
              ElementsAre(StartsWith("bounced")));
  RunUntil([&] { return server_.bodies.size() == 3; });
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("sent")));
  EXPECT_EQ(server_.connections, before + 1);
}

TEST_F(SmtpAgentTest, AKeptConnectionThatDiesAtMailIsReplacedWithoutAFailure) {
  // Answers one message; the next MAIL on the same connection finds it gone.
  auto mails = std::make_shared<int>(0);
  Behaviour dying;
  dying.on_command = [this, mails](const std::string& command) {
    if (command.starts_with("MAIL") && ++*mails == 3) server_.HangUp();
  };
  server_.behaviours = {dying};
  WarmUp();
  const auto result = Deliver({});
  EXPECT_THAT(Texts(result), ElementsAre(StartsWith("sent")));
  EXPECT_FALSE(result.destination_failed());
  EXPECT_EQ(server_.connections, 3);
}

TEST_F(SmtpAgentTest, AKeptConnectionThatSays421AtMailIsReplaced) {
  int mails = 0;
  server_.behaviours[0].replies_at = [&mails](const std::string& command) {
    const bool tired = command.starts_with("MAIL") && ++mails == 3;
    return tired ? "421 4.4.2 idle too long" : "";
  };
  WarmUp();
  const auto result = Deliver({});
  EXPECT_THAT(Texts(result), ElementsAre(StartsWith("sent")));
  EXPECT_FALSE(result.destination_failed());
  EXPECT_EQ(mails, 4);
}

TEST_F(SmtpAgentTest, AKeptConnectionLostAfterItAnsweredIsAFailureOfTheDestination) {
  int mails = 0;
  server_.behaviours[0].replies_at = [&mails](const std::string& command) {
    if (command.starts_with("MAIL")) ++mails;
    return mails == 3 && command == "DATA" ? "close" : "";
  };
  WarmUp();
  const auto result = Deliver({});
  EXPECT_THAT(Texts(result),
              ElementsAre("deferred 4.4.2 lost connection with mx.test[127.0.0.1] while "
                          "sending DATA command"));
  EXPECT_TRUE(result.destination_failed());
  EXPECT_EQ(server_.connections, 2);
}

TEST_F(SmtpAgentTest, CloseIdleQuits) {
  WarmUp();
  agent().CloseIdle();
  EXPECT_EQ(agent().idle_connections(), 0u);
  RunUntil([&] { return server_.open_connections == 0; });
  EXPECT_EQ(server_.commands.back(), "QUIT");
}

TEST_F(SmtpAgentTest, ReuseCanBeTurnedOff) {
  options_.reuse_connections = false;
  WarmUp();
  EXPECT_EQ(agent().idle_connections(), 0u);
}

// ---- Options ----

TEST(SmtpOptions, DefaultsArePostfixs) {
  config::Diagnostics diagnostics;
  const auto config = config::Config::FromText("myhostname = mx.example.com\n", "",
                                               {.hostname = "mx.example.com"}, diagnostics);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto options = SmtpOptions::FromConfig(*config);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->helo_name, "mx.example.com");
  EXPECT_EQ(options->port, 25);
  EXPECT_EQ(options->timeouts.data_done, std::chrono::seconds(600));
  EXPECT_EQ(options->order.addresses_max, 5u);
  EXPECT_EQ(options->mx_sessions_max, 2u);
  EXPECT_EQ(options->line_bytes_max, 998u);
  EXPECT_TRUE(options->skip_quit_reply);
  EXPECT_TRUE(options->look_up_dns && options->look_up_mx && !options->look_up_native);
  EXPECT_TRUE(options->use_ipv4 && options->use_ipv6);
}

TEST(SmtpOptions, LmtpHasItsOwn) {
  config::Diagnostics diagnostics;
  const auto config = config::Config::FromText(
      "myhostname = mx.example.com\nsmtp_mail_timeout = 1s\nlmtp_mail_timeout = 2s\n", "",
      {.hostname = "mx.example.com"}, diagnostics);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto options = SmtpOptions::FromConfig(*config, ClientProtocol::kLmtp);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->program, "lmtp");
  EXPECT_EQ(options->port, 24);
  EXPECT_EQ(options->timeouts.mail, std::chrono::seconds(2));
  EXPECT_FALSE(options->skip_quit_reply);
  EXPECT_FALSE(options->look_up_mx);
}

TEST(SmtpOptions, WithoutDnsTheMachinesOwnNamesAreAsked) {
  config::Diagnostics diagnostics;
  const auto config = config::Config::FromText("smtp_dns_support_level = disabled\n", "",
                                               {.hostname = "mx.example.com"}, diagnostics);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto options = SmtpOptions::FromConfig(*config);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_TRUE(!options->look_up_dns && !options->look_up_mx && options->look_up_native);
}

TEST(SmtpOptions, AnUnknownLookupMethodIsRefused) {
  config::Diagnostics diagnostics;
  const auto config = config::Config::FromText("smtp_host_lookup = dns, telepathy\n", "",
                                               {.hostname = "mx.example.com"}, diagnostics);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(SmtpOptions::FromConfig(*config).ok());
}

TEST(SmtpOptions, AServiceThatIsLoggedUnderItsNameIs) {
  config::Diagnostics diagnostics;
  const auto config = config::Config::FromText("syslog_name = postfix/relay\n", "",
                                               {.hostname = "mx.example.com"}, diagnostics);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(SmtpOptions::FromConfig(*config)->program, "relay/smtp");
}

TEST(SmtpOptions, TheOnlyAddressOfAFamilyIsWhereConnectionsComeFrom) {
  config::Diagnostics diagnostics;
  const config::HostFacts facts = {
      .hostname = "mx.example.com",
      .interfaces = {{.address = *config::IpAddress::Parse("127.0.0.1"), .prefix_length = 8},
                     {.address = *config::IpAddress::Parse("192.0.2.1"), .prefix_length = 24},
                     {.address = *config::IpAddress::Parse("::1"), .prefix_length = 128}}};
  const auto one = config::Config::FromText(
      "inet_interfaces = 192.0.2.1, ::1\nproxy_interfaces = 198.51.100.7\n", "", facts,
      diagnostics);
  ASSERT_TRUE(one.ok()) << one.status();
  const auto options = SmtpOptions::FromConfig(*one);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->bind_address, asio::ip::make_address("192.0.2.1"));
  EXPECT_EQ(options->bind_address6, std::nullopt);
  EXPECT_THAT(options->own_addresses, ::testing::Contains(asio::ip::make_address("198.51.100.7")));
  const auto all = config::Config::FromText("inet_interfaces = all\n", "", facts, diagnostics);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(SmtpOptions::FromConfig(*all)->bind_address, std::nullopt);
}

TEST(SmtpOptions, ABadPortIsRefused) {
  config::Diagnostics diagnostics;
  const auto config = config::Config::FromText("smtp_tcp_port = nosuchservice\n", "",
                                               {.hostname = "mx.example.com"}, diagnostics);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(SmtpOptions::FromConfig(*config).ok());
}

}  // namespace
}  // namespace postfleet::delivery::smtp
