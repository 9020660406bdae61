#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"
#include "services/ingress/core/scripted_session.h"

namespace postfleet::ingress {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

SessionConfig WithSites(const std::string& sites) {
  config::Diagnostics diagnostics;
  const auto config =
      config::Config::FromText(Concat("fast_flush_domains = ", sites, "\n"), "", {}, diagnostics);
  EXPECT_TRUE(config.ok()) << config.status();
  SessionConfig session = ScriptedSession::Config();
  session.flush_domains =
      std::make_shared<tables::FastFlushDomains>(tables::FastFlushDomains::Open(*config).value());
  return session;
}

struct Client : ScriptedSession {
  explicit Client(SessionConfig config = WithSites("relay.example"))
      : ScriptedSession(std::move(config)) {
    Connect();
    SayLine("EHLO a");
  }
};

TEST(Rfc1985, MailOfASiteIsTriedNow) {
  Client client;
  EXPECT_EQ(client.SayLine("ETRN relay.example"), "250 Queuing started\r\n");
  EXPECT_EQ(client.SayLine("ETRN @Relay.Example"), "250 Queuing started\r\n");
  EXPECT_EQ(client.SayLine("ETRN #sub.relay.example"), "250 Queuing started\r\n");
  EXPECT_THAT(client.flushes, ElementsAre("relay.example", "relay.example", "sub.relay.example"));
  client.SayLine("QUIT");
  EXPECT_THAT(client.log.back(), EndsWith(" etrn=3 quit=1 commands=5"));
}

TEST(Rfc1985, OtherSitesAreRefused) {
  Client client;
  EXPECT_EQ(client.SayLine("ETRN other.example"), "459 <other.example>: service unavailable\r\n");
  EXPECT_THAT(client.log,
              Contains("smtpd: warning: reject: ETRN other.example... from unknown[127.0.0.3]"));
  EXPECT_THAT(client.flushes, ElementsAre());
  Client closed(ScriptedSession::Config());
  EXPECT_EQ(closed.SayLine("ETRN a.example"), "459 <a.example>: service unavailable\r\n");
}

TEST(Rfc1985, WhatIsNoSiteIsASyntaxError) {
  Client client;
  EXPECT_EQ(client.SayLine("ETRN"), "500 Syntax: ETRN domain\r\n");
  EXPECT_EQ(client.SayLine("ETRN a b"), "500 Syntax: ETRN domain\r\n");
  for (const char* site : {"1.2.3.4", "a..b", "<relay.example>", "relay.example.", "@"}) {
    EXPECT_EQ(client.SayLine(Concat("ETRN ", site)), "501 Error: invalid parameter syntax\r\n")
        << site;
  }
}

TEST(Rfc1985, NotWithinATransaction) {
  Client client;
  client.SayLine("MAIL FROM:<a@b.example>");
  EXPECT_EQ(client.SayLine("ETRN relay.example"), "503 Error: MAIL transaction in progress\r\n");
}

TEST(Rfc1985, RestrictionsDecide) {
  SessionConfig config = WithSites("relay.example");
  config.etrn_restrictions = {config::Restriction::kReject};
  Client client(config);
  EXPECT_EQ(client.SayLine("ETRN relay.example"),
            "554 5.7.1 <relay.example>: Etrn command rejected: Access denied\r\n");
  EXPECT_THAT(client.log, Contains(HasSubstr("reject: ETRN from unknown[127.0.0.3]: 554 5.7.1")));
  config = WithSites("relay.example");
  config.client_restrictions = {config::Restriction::kReject};
  Client other(config);
  EXPECT_THAT(other.SayLine("ETRN relay.example"), HasSubstr("Client host rejected"));
}

TEST(Rfc1985, AQueueThatDoesNotAnswerIsSaid) {
  Client client;
  client.flush_starts = false;
  EXPECT_EQ(client.SayLine("ETRN relay.example"), "458 Unable to queue messages\r\n");
}

TEST(Rfc2920, WhatComesBehindWaitsForTheAnswer) {
  Client client;
  client.auto_answer = false;
  EXPECT_EQ(client.Say("ETRN relay.example\r\nNOOP\r\n"), "");
  EXPECT_FALSE(client.session().WantsInput());
  Actions actions;
  client.session().OnFlushed(true, &actions);
  EXPECT_EQ(actions.reply, "250 Queuing started\r\n250 2.0.0 Ok\r\n");
}

}  // namespace
}  // namespace postfleet::ingress
