// Connections: reuse by host, time limits per request, QUIT, source addresses, unix sockets.
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "services/delivery/smtp/agent_under_test.h"

namespace postfleet::delivery::smtp {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

// ---- Reuse by host ----

class SharedHostTest : public SmtpAgentTest {
 protected:
  SharedHostTest() {
    resolver_.AddMx("second.test", 10, "mx.test");
    resolver_.AddAddress("alias.test", "127.0.0.1");
    resolver_.AddMx("third.test", 10, "alias.test");
  }
  // The last one of two at once at that destination, which makes it a reused one.
  scheduler::v1::DeliveryResult DeliverBusy(const std::string& nexthop) {
    const uint64_t first = Start({.nexthop = nexthop});
    const uint64_t second = Start({.nexthop = nexthop});
    Wait(first);
    return Wait(second);
  }
};

TEST_F(SharedHostTest, AConnectionServesAnotherDestinationOfTheSameHost) {
  WarmUp();
  ASSERT_EQ(agent().idle_connections(), 2u);
  EXPECT_THAT(Texts(DeliverBusy("second.test")), ElementsAre(StartsWith("sent")));
  // The first of the two started before its destination was known to be busy.
  EXPECT_LE(server_.connections, 3);
}

TEST_F(SharedHostTest, AnotherNameOfTheSameAddressIsAnotherHost) {
  WarmUp();
  DeliverBusy("third.test");
  EXPECT_EQ(server_.connections, 4);
}

TEST_F(SharedHostTest, ALoneMessageElsewhereTakesNoConnection) {
  WarmUp();
  Deliver({.nexthop = "second.test"});
  EXPECT_EQ(server_.connections, 3);
}

TEST_F(SharedHostTest, AListedDestinationIsReusedAtAnyLoad) {
  options_.reuse_connections = false;
  options_.reused_destinations = "example.test";
  Deliver({});
  EXPECT_EQ(agent().idle_connections(), 1u);
  Deliver({});
  EXPECT_EQ(server_.connections, 1);
  Deliver({.nexthop = "second.test"});
  Deliver({.nexthop = "second.test"});
  EXPECT_EQ(server_.connections, 3);
}

// ---- Time ----

// Answers MAIL with a byte of "250" each 200 s.
TEST_F(SmtpAgentTest, TrickledBytesWinNoTimeWhereLimitsArePerRequest) {
  options_.timeouts.per_request = true;
  Behaviour slow;
  slow.ehlo = "250 mx.test";
  slow.replies = {{"MAIL", "250-still here"}};
  server_.behaviours = {slow};
  const uint64_t id = Start({});
  RunUntil([&] { return server_.commands.size() == 2; });
  clock_.AdvanceMillis(299'999);
  server_.SayToAll("250-and still\r\n");
  RunTicks();
  EXPECT_FALSE(results_.contains(id));
  clock_.AdvanceMillis(2);
  EXPECT_THAT(Texts(Wait(id)),
              ElementsAre("deferred 4.4.2 conversation with mx.test[127.0.0.1] timed out while "
                          "sending MAIL FROM"));
}

TEST_F(SmtpAgentTest, TrickledBytesWinTimeWhereLimitsArePerRead) {
  Behaviour slow;
  slow.ehlo = "250 mx.test";
  slow.replies = {{"MAIL", "250-still here"}};
  server_.behaviours = {slow};
  const uint64_t id = Start({});
  RunUntil([&] { return server_.commands.size() == 2; });
  clock_.AdvanceMillis(299'999);
  server_.SayToAll("250-and still\r\n");
  RunTicks();
  clock_.AdvanceMillis(299'999);
  server_.SayToAll("250 now\r\n");
  EXPECT_THAT(Texts(Wait(id)), ElementsAre(StartsWith("sent")));
}

// ---- QUIT ----

TEST_F(SmtpAgentTest, TheReplyToQuitIsAwaitedWithoutHoldingTheAttempt) {
  options_.skip_quit_reply = false;
  server_.behaviours[0].replies = {{"QUIT", "silence"}};
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("sent")));
  RunUntil([&] { return server_.commands.back() == "QUIT"; });
  RunTicks();
  EXPECT_EQ(server_.open_connections, 1);
  server_.SayToAll("221 bye\r\n");
  RunUntil([&] { return server_.open_connections == 0; });
}

TEST_F(SmtpAgentTest, TheReplyToQuitIsNotAwaitedForever) {
  options_.skip_quit_reply = false;
  server_.behaviours[0].replies = {{"QUIT", "silence"}};
  Deliver({});
  RunUntil([&] { return server_.commands.back() == "QUIT"; });
  clock_.AdvanceMillis(300'001);
  RunUntil([&] { return server_.open_connections == 0; });
}

TEST_F(SmtpAgentTest, FewConnectionsAwaitTheReplyToQuit) {
  options_.skip_quit_reply = false;
  options_.quitting_connections_max = 0;
  server_.behaviours[0].replies = {{"QUIT", "silence"}};
  Deliver({});
  RunUntil([&] { return server_.open_connections == 0; });
}

// ---- Where connections come from ----

TEST_F(SmtpAgentTest, AnAddressThatIsNotOursIsWarnedOf) {
  options_.bind_address = asio::ip::make_address("192.0.2.77");
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("sent")));
}

TEST_F(SmtpAgentTest, AnAddressThatIsNotOursDefersWhereItIsEnforced) {
  options_.bind_address = asio::ip::make_address("192.0.2.77");
  options_.bind_address_enforce = true;
  const auto result = Deliver({});
  EXPECT_THAT(Texts(result), ElementsAre(StartsWith("deferred 4.4.0")));
  EXPECT_FALSE(result.destination_failed());
  EXPECT_TRUE(result.no_feedback());
  EXPECT_EQ(server_.connections, 0);
}

TEST_F(SmtpAgentTest, AKeptConnectionRemembersTheServersLimit) {
  server_.behaviours[0].ehlo = "250-mx.test\r\n250-SIZE 1000\r\n250 PIPELINING";
  WarmUp();
  ASSERT_GE(agent().idle_connections(), 1u);
  EXPECT_THAT(Texts(Deliver({.pieces = {std::string(1001, 'x')}})),
              ElementsAre(StartsWith("bounced 5.3.4 message size 1001 exceeds size limit 1000")));
  EXPECT_EQ(server_.connections, 2);
}

TEST_F(SmtpAgentTest, AConnectionIsNotKeptWhereTheAnswerCameBeforeTheDot) {
  server_.behaviours[0].replies = {{"DATA", "354 go on\r\n250 2.0.0 taken"}};
  WarmUp();
  EXPECT_EQ(agent().idle_connections(), 0u);
}

// ---- Unix sockets ----

class UnixSocketTest : public SmtpAgentTest {
 protected:
  UnixSocketTest() {
    char folder[] = "/tmp/lmtpXXXXXX";
    folder_ = mkdtemp(folder);
    options_.protocol = ClientProtocol::kLmtp;
    options_.program = "lmtp";
    options_.look_up_mx = false;
    options_.queue_directory = folder_;
  }
  ~UnixSocketTest() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(UnixSocketTest, EachRecipientHasItsReplyBehindTheDot) {
  ScriptedServer lmtp(loop_.io(), folder_ + "/s");
  lmtp.behaviours[0].replies = {{". RCPT TO:<two@example.test>", "552 5.2.2 full"},
                                {"RCPT TO:<three@example.test>", "550 5.1.1 unknown"}};
  const auto result = Deliver({.nexthop = "unix:s",
                               .recipients = {"one@example.test", "two@example.test",
                                              "three@example.test", "four@example.test"}});
  EXPECT_THAT(Texts(result),
              ElementsAre(EndsWith("250 2.0.0 Ok: queued as TEST"),
                          "bounced 5.2.2 host client.test[s] said: 552 5.2.2 full (in reply to end "
                          "of DATA command)",
                          "bounced 5.1.1 host client.test[s] said: 550 5.1.1 unknown (in reply to "
                          "RCPT TO command)",
                          EndsWith("250 2.0.0 Ok: queued as TEST")));
  EXPECT_EQ(lmtp.commands[0], "LHLO client.test");
  EXPECT_THAT(lmtp.bodies, SizeIs(1));
}

TEST_F(UnixSocketTest, ALossBetweenTheRepliesDefersOnlyThoseWithoutOne) {
  ScriptedServer lmtp(loop_.io(), folder_ + "/s");
  lmtp.behaviours[0].replies = {{". RCPT TO:<two@example.test>", "close"}};
  const auto result =
      Deliver({.nexthop = "unix:s",
               .recipients = {"one@example.test", "two@example.test", "three@example.test"}});
  EXPECT_THAT(Texts(result),
              ElementsAre(StartsWith("sent"),
                          StartsWith("deferred 4.4.2 lost connection with client.test[s] while"),
                          StartsWith("deferred 4.4.2 lost connection with client.test[s] while")));
}

TEST_F(UnixSocketTest, ConnectionsAreReused) {
  ScriptedServer lmtp(loop_.io(), folder_ + "/s");
  for (int i = 0; i < 5; ++i) Deliver({.nexthop = "unix:s"});
  EXPECT_EQ(lmtp.connections, 2);
  EXPECT_THAT(lmtp.bodies, SizeIs(5));
}

TEST_F(UnixSocketTest, AServerThatRefusesLhloIsAskedNothingElse) {
  ScriptedServer lmtp(loop_.io(), folder_ + "/s");
  lmtp.behaviours[0].ehlo = "502 5.5.1 what";
  EXPECT_THAT(Texts(Deliver({.nexthop = "unix:s"})),
              ElementsAre("bounced 5.5.1 host client.test[s] refused to talk to me: 502 5.5.1 "
                          "what"));
  EXPECT_THAT(lmtp.commands, ElementsAre("LHLO client.test"));
}

TEST_F(UnixSocketTest, AHostIsAskedForNoMx) {
  EXPECT_THAT(Texts(Deliver({.nexthop = "inet:mx.test"})), ElementsAre(StartsWith("sent")));
  EXPECT_THAT(resolver_.asked(), ElementsAre("A mx.test", "AAAA mx.test"));
  EXPECT_EQ(server_.commands[0], "LHLO client.test");
}

TEST_F(UnixSocketTest, ASocketThatIsNotThereIsNamedByItsPath) {
  const auto result = Deliver({.nexthop = "unix:private/Dovecot"});
  EXPECT_THAT(
      Texts(result),
      ElementsAre(
          "deferred 4.4.1 connect to client.test[private/Dovecot]: No such file or directory"));
  EXPECT_TRUE(result.destination_failed());
}

TEST_F(UnixSocketTest, AServerWhoseBacklogIsFullIsAskedAgain) {
  const std::string path = folder_ + "/s";
  std::optional<asio::local::stream_protocol::acceptor> busy(std::in_place, loop_.io());
  busy->open();
  busy->bind(path);
  busy->listen(0);
  asio::local::stream_protocol::socket first(loop_.io());
  first.connect(path);
  const uint64_t id = Start({.nexthop = "unix:s"});
  RunTicks();
  EXPECT_FALSE(results_.contains(id));
  busy.reset();
  std::filesystem::remove(path);
  ScriptedServer lmtp(loop_.io(), path);
  clock_.AdvanceMillis(100);
  EXPECT_THAT(Texts(Wait(id)), ElementsAre(StartsWith("sent")));
}

TEST_F(UnixSocketTest, ABacklogThatStaysFullTimesOut) {
  asio::local::stream_protocol::acceptor busy(loop_.io());
  busy.open();
  busy.bind(folder_ + "/s");
  busy.listen(0);
  asio::local::stream_protocol::socket first(loop_.io());
  first.connect(folder_ + "/s");
  const uint64_t id = Start({.nexthop = "unix:s"});
  RunTicks();
  clock_.AdvanceMillis(options_.timeouts.connect.count());
  EXPECT_THAT(Texts(Wait(id)),
              ElementsAre("deferred 4.4.1 connect to client.test[s]: Connection timed out"));
}

TEST_F(UnixSocketTest, TheFallbackRelayIsNotForASocket) {
  options_.fallback_relays = {"mx.test"};
  EXPECT_THAT(Texts(Deliver({.nexthop = "unix:s"})),
              ElementsAre(StartsWith("deferred 4.4.1 connect to client.test[s]: No such file")));
  EXPECT_EQ(server_.connections, 0);
}

TEST_F(UnixSocketTest, APathThatIsTooLongIsAConfigurationError) {
  EXPECT_THAT(Texts(Deliver({.nexthop = "unix:" + std::string(200, 'x')})),
              ElementsAre("deferred 4.3.5 Server configuration error"));
}

}  // namespace
}  // namespace postfleet::delivery::smtp
