// Which servers an attempt comes to: nexthop lists, fallback relays, SRV, the machine's own names.
#include <gmock/gmock.h>

#include "services/delivery/smtp/agent_under_test.h"

namespace postfleet::delivery::smtp {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

class DestinationsTest : public SmtpAgentTest {
 protected:
  DestinationsTest() { resolver_.AddAddress("other.test", "127.0.0.2"); }
  ScriptedServer other_{loop_.io(), asio::ip::make_address("127.0.0.2"), options_.port};
};

TEST_F(DestinationsTest, TheNextOfAListIsTriedWhenOneCannotBeFound) {
  EXPECT_THAT(Texts(Deliver({.nexthop = "nowhere.test, [other.test]"})),
              ElementsAre(StartsWith("sent")));
  EXPECT_THAT(other_.bodies, SizeIs(1));
}

TEST_F(DestinationsTest, TheNextOfAListIsTriedWhenOneRefusesToTalk) {
  server_.behaviours[0].greeting = "421 busy";
  EXPECT_THAT(Texts(Deliver({.nexthop = "example.test [other.test]"})),
              ElementsAre(StartsWith("sent")));
  EXPECT_EQ(server_.connections, 1);
  EXPECT_THAT(other_.bodies, SizeIs(1));
}

TEST_F(DestinationsTest, TheLastOfAListSaysWhy) {
  EXPECT_THAT(Texts(Deliver({.nexthop = "nowhere.test,elsewhere.test"})),
              ElementsAre("bounced 5.4.4 Host or domain name not found. Name service error for "
                          "name=elsewhere.test type=AAAA: Host not found"));
}

TEST_F(DestinationsTest, SessionsAreCountedForEachOfAList) {
  options_.mx_sessions_max = 1;
  server_.behaviours[0].replies = {{"MAIL", "451 4.3.0 no"}};
  EXPECT_THAT(Texts(Deliver({.nexthop = "example.test, [other.test]"})),
              ElementsAre(StartsWith("sent")));
}

TEST_F(DestinationsTest, TheFallbackRelayTakesWhatIsPutOff) {
  options_.fallback_relays = {"[other.test]"};
  server_.behaviours[0].replies = {{"RCPT TO:<two@example.test>", "450 4.2.0 later"}};
  EXPECT_THAT(Texts(Deliver({.recipients = {"one@example.test", "two@example.test"}})),
              ElementsAre(StartsWith("sent"), StartsWith("sent")));
  EXPECT_THAT(other_.commands, Contains("RCPT TO:<two@example.test>"));
  EXPECT_THAT(other_.bodies, SizeIs(1));
}

TEST_F(DestinationsTest, TheFallbackRelayTakesMailForDomainsThatAreNotFound) {
  options_.fallback_relays = {"[other.test]"};
  EXPECT_THAT(Texts(Deliver({.nexthop = "nowhere.test"})), ElementsAre(StartsWith("sent")));
}

TEST_F(DestinationsTest, TheFallbackRelayDoesNotGetWhatIsRefused) {
  options_.fallback_relays = {"[other.test]"};
  server_.behaviours[0].replies = {{"RCPT", "550 5.1.1 no"}};
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("bounced 5.1.1")));
  EXPECT_EQ(other_.connections, 0);
}

TEST_F(DestinationsTest, TheFallbackRelayDoesNotGetMailThatLoops) {
  options_.fallback_relays = {"[other.test]"};
  options_.own_addresses = {asio::ip::make_address("127.0.0.1")};
  EXPECT_THAT(Texts(Deliver({})),
              ElementsAre("bounced 5.4.6 mail for example.test loops back to myself"));
  EXPECT_EQ(other_.connections, 0);
}

TEST_F(DestinationsTest, TheFallbackRelayIsNotForMailThatWeAreABackupOf) {
  options_.fallback_relays = {"[other.test]"};
  options_.own_addresses = {asio::ip::make_address("127.0.0.9")};
  resolver_.AddAddress("self.test", "127.0.0.9");
  resolver_.AddMx("example.test", 20, "self.test");
  server_.behaviours[0].greeting = "421 busy";
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("deferred")));
  EXPECT_EQ(other_.connections, 0);
}

TEST_F(DestinationsTest, AFallbackRelayThatDoesNotExistDefers) {
  options_.fallback_relays = {"nowhere.test"};
  EXPECT_THAT(Texts(Deliver({.nexthop = "elsewhere.test"})),
              ElementsAre("deferred 4.3.5 Host or domain name not found. Name service error for "
                          "name=nowhere.test type=AAAA: Host not found"));
}

TEST_F(DestinationsTest, AFallbackRelayThatRefusesIsBelieved) {
  options_.fallback_relays = {"[other.test]"};
  options_.skip_5xx_greeting = false;
  other_.behaviours[0].greeting = "554 5.7.1 no";
  EXPECT_THAT(Texts(Deliver({.nexthop = "nowhere.test"})),
              ElementsAre(StartsWith("bounced 5.7.1 host other.test")));
}

TEST_F(DestinationsTest, AnAddressOfAFamilyThatIsNotUsedIsNone) {
  options_.use_ipv6 = false;
  EXPECT_THAT(Texts(Deliver({.nexthop = "[::1]"})),
              ElementsAre("bounced 5.4.4 Name service error for ::1: invalid host or domain name"));
}

TEST_F(DestinationsTest, AKeptConnectionThatPutsOffLeadsToTheFallbackRelay) {
  options_.fallback_relays = {"[other.test]"};
  options_.mx_sessions_max = 1;
  server_.behaviours[0].replies = {{"RCPT TO:<x@example.test>", "450 4.2.0 no"}};
  WarmUp();
  ASSERT_GE(agent().idle_connections(), 1u);
  EXPECT_THAT(Texts(Deliver({.recipients = {"x@example.test"}})), ElementsAre(StartsWith("sent")));
  EXPECT_EQ(server_.connections, 2);
  EXPECT_THAT(other_.bodies, SizeIs(1));
}

// ---- best_mx_transport ----

class BestMxTest : public DestinationsTest {
 protected:
  BestMxTest() {
    options_.own_addresses = {asio::ip::make_address("127.0.0.1")};
    options_.best_mx_transport = "local";
  }
};

TEST_F(BestMxTest, MailThatLoopsIsPassedOn) {
  const uint64_t id = Start({.recipients = {"one@example.test", "two@example.test"}});
  EXPECT_THAT(Texts(Wait(id)), IsEmpty());
  ASSERT_NE(passed_on_[id], nullptr);
  const scheduler::v1::Delivery& delivery = passed_on_[id]->delivery;
  EXPECT_EQ(delivery.transport(), "local");
  EXPECT_EQ(delivery.nexthop(), "example.test");
  EXPECT_EQ(delivery.recipients_size(), 2);
  EXPECT_NE(passed_on_[id]->contents, nullptr);
  EXPECT_FALSE(results_[id].destination_failed());
}

TEST_F(BestMxTest, TheTransportMayHaveANexthop) {
  options_.best_mx_transport = "smtp:[inside.test]";
  const uint64_t id = Start({});
  Wait(id);
  ASSERT_NE(passed_on_[id], nullptr);
  EXPECT_EQ(passed_on_[id]->delivery.transport(), "smtp");
  EXPECT_EQ(passed_on_[id]->delivery.nexthop(), "[inside.test]");
}

TEST_F(BestMxTest, OtherFailuresAreNot) {
  EXPECT_THAT(Texts(Deliver({.nexthop = "nowhere.test"})),
              ElementsAre(StartsWith("bounced 5.4.4")));
}

TEST_F(BestMxTest, NorIsARelayhostThatIsUs) {
  options_.relayhost = "example.test";
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("deferred 4.3.5 mail for example.test")));
}

TEST_F(BestMxTest, WhoWasPutOffByAnotherHostWaitsForThat) {
  // The list's first is another host, which refuses one and puts the other off.
  other_.behaviours[0].replies = {{"RCPT TO:<one@example.test>", "550 5.1.1 no"},
                                  {"RCPT TO:<two@example.test>", "450 4.2.0 later"}};
  const uint64_t id = Start({.nexthop = "[other.test], example.test",
                             .recipients = {"one@example.test", "two@example.test"}});
  const auto result = Wait(id);
  EXPECT_THAT(Texts(result), SizeIs(2));
  EXPECT_EQ(passed_on_[id], nullptr);
}

// ---- SRV ----

class ServiceTest : public DestinationsTest {
 protected:
  ServiceTest() {
    options_.srv_services = {"smtp"};
    resolver_.AddAddress("plain.test", "127.0.0.1");
  }
};

TEST_F(ServiceTest, LeadsToTheRecordsHostAndPort) {
  ScriptedServer elsewhere(loop_.io(), asio::ip::make_address("127.0.0.3"));
  resolver_.AddAddress("srv.test", "127.0.0.3");
  resolver_.AddSrv("_smtp._tcp.plain.test",
                   {.priority = 5, .weight = 1, .port = elsewhere.port(), .target = "srv.test"});
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})), ElementsAre(StartsWith("sent")));
  EXPECT_THAT(elsewhere.bodies, SizeIs(1));
}

TEST_F(ServiceTest, TheLeastPriorityComesFirst) {
  resolver_.AddSrv("_smtp._tcp.plain.test",
                   {.priority = 9, .port = options_.port, .target = "mx.test"});
  resolver_.AddSrv("_smtp._tcp.plain.test",
                   {.priority = 1, .port = options_.port, .target = "other.test"});
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})), ElementsAre(StartsWith("sent")));
  EXPECT_THAT(other_.bodies, SizeIs(1));
}

TEST_F(ServiceTest, WithoutARecordItBounces) {
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})),
              ElementsAre("bounced 5.4.4 Host or domain name not found. Name service error for "
                          "name=_smtp._tcp.plain.test type=SRV: Host not found"));
}

TEST_F(ServiceTest, MayFallBackToMx) {
  options_.allow_srv_fallback = true;
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})), ElementsAre(StartsWith("sent")));
}

TEST_F(ServiceTest, AFailedLookupDefersUnlessItIsIgnored) {
  resolver_.Fail(dns::Type::kSrv, "_smtp._tcp.plain.test", dns::Result::kTemporary);
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})), ElementsAre(StartsWith("deferred 4.4.3")));
  options_.ignore_srv_lookup_error = true;
  agent_.reset();
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})), ElementsAre(StartsWith("sent")));
}

TEST_F(ServiceTest, TargetsWithoutAnAddressBounceOrFallBack) {
  resolver_.AddSrv("_smtp._tcp.plain.test", {.port = options_.port, .target = "nowhere.test"});
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})),
              ElementsAre("bounced 5.4.4 Host or domain name not found. Name service error for "
                          "name=nowhere.test type=AAAA: Host not found"));
  // That is no failed lookup of the service.
  options_.ignore_srv_lookup_error = true;
  agent_.reset();
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})), ElementsAre(StartsWith("bounced 5.4.4")));
  options_.allow_srv_fallback = true;
  agent_.reset();
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})), ElementsAre(StartsWith("sent")));
  EXPECT_THAT(server_.bodies, SizeIs(1));
}

TEST_F(ServiceTest, TargetsThatAreOurselvesLoopOrFallBack) {
  options_.own_addresses = {asio::ip::make_address("127.0.0.9")};
  resolver_.AddAddress("self.test", "127.0.0.9");
  resolver_.AddSrv("_smtp._tcp.plain.test", {.port = options_.port, .target = "self.test"});
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})),
              ElementsAre("bounced 5.4.6 mail for _smtp._tcp.plain.test loops back to myself"));
  options_.allow_srv_fallback = true;
  options_.fallback_relays = {"[other.test]"};
  server_.behaviours[0].greeting = "421 busy";
  agent_.reset();
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})), ElementsAre(StartsWith("sent")));
  // What was found without SRV does not make us one of its hosts.
  EXPECT_EQ(server_.connections, 1);
  EXPECT_THAT(other_.bodies, SizeIs(1));
}

TEST_F(ServiceTest, TargetsBehindUsOfOurPriorityAreNotTried) {
  options_.own_addresses = {asio::ip::make_address("127.0.0.9")};
  resolver_.AddAddress("self.test", "127.0.0.9");
  for (const char* target : {"mx.test", "self.test"}) {
    resolver_.AddSrv("_smtp._tcp.plain.test", {.port = options_.port, .target = target});
  }
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})),
              ElementsAre(StartsWith("bounced 5.4.6 mail for _smtp._tcp.plain.test")));
  EXPECT_EQ(server_.connections, 0);
}

TEST_F(ServiceTest, LoopsAreLookedForByTheNexthopsPortNotTheRecords) {
  options_.own_addresses = {asio::ip::make_address("127.0.0.3")};
  ScriptedServer elsewhere(loop_.io(), asio::ip::make_address("127.0.0.3"));
  elsewhere.behaviours[0].ehlo = "250 client.test";
  resolver_.AddAddress("srv.test", "127.0.0.3");
  resolver_.AddSrv("_smtp._tcp.plain.test", {.port = elsewhere.port(), .target = "srv.test"});
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})), ElementsAre(StartsWith("bounced 5.4.6")));
  options_.loop_port = 1;
  agent_.reset();
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})), ElementsAre(StartsWith("sent")));
}

TEST_F(ServiceTest, AServerOnARecordsPortThatHasOurNameIsOurselves) {
  ScriptedServer elsewhere(loop_.io(), asio::ip::make_address("127.0.0.3"));
  elsewhere.behaviours[0].ehlo = "250 client.test";
  resolver_.AddAddress("srv.test", "127.0.0.3");
  resolver_.AddSrv("_smtp._tcp.plain.test", {.port = elsewhere.port(), .target = "srv.test"});
  EXPECT_THAT(Texts(Deliver({.nexthop = "plain.test"})),
              ElementsAre("bounced 5.4.6 mail for plain.test loops back to myself"));
}

TEST_F(SmtpAgentTest, OverLmtpWeMayTalkToOurselves) {
  options_.protocol = ClientProtocol::kLmtp;
  options_.look_up_mx = false;
  options_.own_addresses = {asio::ip::make_address("127.0.0.1")};
  server_.behaviours[0].ehlo = "250 client.test";
  EXPECT_THAT(Texts(Deliver({.nexthop = "inet:mx.test"})), ElementsAre(StartsWith("sent")));
}

TEST_F(ServiceTest, IsAskedForNeitherInBracketsNorAtAnotherPort) {
  Deliver({.nexthop = "[plain.test]"});
  Deliver({.nexthop = Concat("plain.test:", options_.port)});
  for (const std::string& asked : resolver_.asked())
    EXPECT_THAT(asked, ::testing::Not(StartsWith("SRV")));
}

// ---- Names ----

TEST_F(SmtpAgentTest, TheMachinesNamesAreAskedForHostsThatTheDnsDoesNotHave) {
  options_.look_up_native = true;
  native_resolver_.AddAddress("inside.test", "127.0.0.1");
  EXPECT_THAT(Texts(Deliver({.nexthop = "[inside.test]"})), ElementsAre(StartsWith("sent")));
  EXPECT_THAT(native_resolver_.asked(), ElementsAre("A inside.test", "AAAA inside.test"));
}

TEST_F(SmtpAgentTest, WithoutDnsNothingIsAskedThere) {
  options_.look_up_dns = options_.look_up_mx = false;
  options_.look_up_native = true;
  native_resolver_.AddAddress("inside.test", "127.0.0.1");
  EXPECT_THAT(Texts(Deliver({.nexthop = "inside.test"})), ElementsAre(StartsWith("sent")));
  EXPECT_THAT(Texts(Deliver({.nexthop = "nowhere.test"})),
              ElementsAre("bounced 5.4.4 unable to look up host nowhere.test: Name or service not "
                          "known"));
  EXPECT_THAT(resolver_.asked(), IsEmpty());
}

TEST_F(SmtpAgentTest, AServerIsCalledByTheNameBehindItsCnameWhenAskedTo) {
  options_.cname_names_server = true;
  resolver_.AddAddress("alias.test", "127.0.0.1");
  resolver_.SetCanonical("alias.test", "real.test");
  server_.behaviours[0].replies = {{"RCPT", "550 5.1.1 no"}};
  EXPECT_THAT(Texts(Deliver({.nexthop = "[alias.test]"})),
              ElementsAre(StartsWith("bounced 5.1.1 host real.test[127.0.0.1] said")));
}

TEST_F(SmtpAgentTest, AnExchangeThatIsAnAddressIsNotLookedUp) {
  resolver_.AddMx("words.test", 10, "127.0.0.1");
  EXPECT_THAT(Texts(Deliver({.nexthop = "words.test"})), ElementsAre(StartsWith("sent")));
  EXPECT_THAT(resolver_.asked(), ElementsAre("MX words.test"));
}

TEST_F(SmtpAgentTest, ANullMxBesideOthersIsBelieved) {
  resolver_.AddMx("example.test", 0, "");
  EXPECT_THAT(Texts(Deliver({})),
              ElementsAre("bounced 5.1.0 Domain example.test does not accept mail (nullMX)"));
}

TEST_F(SmtpAgentTest, WithoutMxAnAddressNeedsNoBrackets) {
  options_.protocol = ClientProtocol::kLmtp;
  options_.look_up_mx = false;
  EXPECT_THAT(Texts(Deliver({.nexthop = Concat("inet:127.0.0.1:", server_.port())})),
              ElementsAre(StartsWith("sent")));
}

TEST_F(SmtpAgentTest, SoftBounceDefersWhatIsRefused) {
  options_.soft_bounce = true;
  server_.behaviours[0].replies = {{"RCPT", "550 5.1.1 no"}};
  EXPECT_THAT(Texts(Deliver({})), ElementsAre(StartsWith("deferred 4.1.1 host mx.test")));
}

}  // namespace
}  // namespace postfleet::delivery::smtp
