#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/ingress/core/scripted_session.h"

namespace postfleet::ingress {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

constexpr std::string_view kNotAllowed = "550 5.7.0 Error: insufficient authorization\r\n";

class Forwarding : public testing::Test {
 protected:
  Forwarding() {
    facts_.may_xclient = facts_.may_xforward = true;
    facts_.recognize = [this](ConnectionFacts* client) {
      ++asked_;
      client->mynetworks = client->address == "192.0.2.1" ? Membership::kYes : Membership::kNo;
      client->may_xclient = false;
    };
  }
  std::string Say(std::string_view line) {
    if (client_ == nullptr) {
      client_ = std::make_unique<ScriptedSession>(config_, facts_);
      client_->Connect();
    }
    return client_->SayLine(line);
  }
  const mail::v1::Origin& Origin(size_t message) {
    return client_->submits.at(message).submission.message().envelope().origin();
  }
  void SendMessage() {
    Say("MAIL FROM:<a@b>");
    Say("RCPT TO:<bob@localhost>");
    Say("DATA");
    client_->Say("x\r\n.\r\n");
  }

  SessionConfig config_ = ScriptedSession::Config();
  ConnectionFacts facts_ = ScriptedSession::Facts();
  std::unique_ptr<ScriptedSession> client_;
  int asked_ = 0;
};

TEST_F(Forwarding, IsOfferedToWhoMay) {
  EXPECT_THAT(Say("EHLO a"),
              HasSubstr("250-ETRN\r\n250-XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN "
                        "DESTADDR DESTPORT\r\n250-XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT"
                        "\r\n250-ENHANCEDSTATUSCODES"));
}

TEST_F(Forwarding, NobodyElsesWordChangesAnything) {
  facts_.may_xclient = facts_.may_xforward = false;
  EXPECT_THAT(Say("EHLO a"), Not(HasSubstr("XCLIENT")));
  EXPECT_EQ(Say("XCLIENT NAME=x.example ADDR=192.0.2.1"), kNotAllowed);
  EXPECT_EQ(Say("XFORWARD NAME=x.example"), kNotAllowed);
  EXPECT_EQ(Say("XCLIENT"), "501 5.5.4 Syntax: XCLIENT attribute=value...\r\n");
  EXPECT_EQ(Say("XFORWARD"), "501 5.5.4 Syntax: XFORWARD attribute=value...\r\n");
  SendMessage();
  EXPECT_EQ(asked_, 0);
  EXPECT_EQ(Origin(0).client_address(), "127.0.0.3");
}

TEST_F(Forwarding, XclientPutsAnotherClientInPlace) {
  Say("EHLO a");
  EXPECT_EQ(Say("XCLIENT NAME=far.example ADDR=192.0.2.1 PORT=2525"),
            "220 " + config_.banner + "\r\n");
  EXPECT_EQ(asked_, 1);
  EXPECT_THAT(Say("EHLO b"), Not(HasSubstr("XCLIENT")));
  Say("MAIL FROM:<a@b>");
  EXPECT_EQ(Say("RCPT TO:<x@foreign.example>"), "250 2.1.5 Ok\r\n") << "it is in mynetworks";
  EXPECT_THAT(client_->log, Contains(HasSubstr("client=far.example[192.0.2.1]")));
}

TEST_F(Forwarding, XclientBeginsAnew) {
  config_.helo_required = true;
  Say("EHLO a");
  Say("XCLIENT NAME=far.example");
  EXPECT_EQ(Say("MAIL FROM:<a@b>"), "503 5.5.1 Error: send HELO/EHLO first\r\n");
}

TEST_F(Forwarding, XclientMayBringAGreeting) {
  config_.helo_required = true;
  Say("XCLIENT HELO=b.example PROTO=ESMTP");
  SendMessage();
  EXPECT_EQ(Origin(0).helo(), "b.example");
  EXPECT_EQ(Origin(0).protocol(), "ESMTP");
}

TEST_F(Forwarding, WhoTakesAnothersPlaceIsJudgedAtOnceUnlessThatIsDelayed) {
  config_.delay_reject = false;
  config_.client_restrictions = {config::Restriction::kPermitMynetworks,
                                 config::Restriction::kReject};
  facts_.mynetworks = Membership::kYes;
  Say("EHLO a");
  EXPECT_EQ(Say("XCLIENT NAME=far.example"),
            "554 5.7.1 <far.example[127.0.0.3]>: Client host rejected: Access denied\r\n");
}

TEST_F(Forwarding, XforwardIsOfOneMessage) {
  Say("EHLO a");
  EXPECT_EQ(Say("XFORWARD NAME=far.example ADDR=IPV6:2001:db8::1"), "250 2.0.0 Ok\r\n");
  EXPECT_EQ(Say("XFORWARD IDENT=ABC PROTO=UUCP SOURCE=LOCAL"), "250 2.0.0 Ok\r\n");
  SendMessage();
  EXPECT_THAT(client_->log, Contains(HasSubstr("client=unknown[127.0.0.3], orig_queue_id=ABC, "
                                               "orig_client=far.example[2001:db8::1]")));
  EXPECT_EQ(Origin(0).client_name(), "far.example");
  EXPECT_EQ(Origin(0).client_address(), "2001:db8::1");
  EXPECT_EQ(Origin(0).client_port(), "unknown");
  EXPECT_EQ(Origin(0).protocol(), "UUCP");
  EXPECT_EQ(Origin(0).ident(), "ABC");
  EXPECT_EQ(Origin(0).source(), "LOCAL");
  SendMessage();
  EXPECT_EQ(Origin(1).client_address(), "127.0.0.3");
  EXPECT_EQ(Origin(1).source(), "REMOTE");
  EXPECT_EQ(Origin(1).ident(), "");
}

TEST_F(Forwarding, AQueueIdAndASourceAloneNameNoClient) {
  Say("XFORWARD IDENT=ABC SOURCE=LOCAL");
  SendMessage();
  EXPECT_THAT(client_->log, Contains(testing::EndsWith("[127.0.0.3], orig_queue_id=ABC")));
  EXPECT_EQ(Origin(0).client_address(), "127.0.0.3");
  EXPECT_EQ(Origin(0).ident(), "ABC");
  EXPECT_EQ(Origin(0).source(), "LOCAL");
}

TEST_F(Forwarding, WhatIsNotSaidOfAClientIsUnknown) {
  Say("XFORWARD PORT=25");
  SendMessage();
  EXPECT_THAT(client_->log, Contains(testing::EndsWith("[127.0.0.3], orig_client=unknown")));
  EXPECT_EQ(Origin(0).client_address(), "unknown");
  EXPECT_EQ(Origin(0).protocol(), "unknown");
}

TEST_F(Forwarding, RsetEndsIt) {
  Say("XFORWARD NAME=far.example");
  Say("RSET");
  SendMessage();
  EXPECT_EQ(Origin(0).client_name(), "unknown");
  EXPECT_EQ(Origin(0).client_address(), "127.0.0.3");
}

TEST_F(Forwarding, NotInATransaction) {
  Say("MAIL FROM:<a@b>");
  for (const char* line : {"XCLIENT NAME=x", "XFORWARD NAME=x"}) {
    EXPECT_EQ(Say(line), "503 5.5.1 Error: MAIL transaction in progress\r\n") << line;
  }
}

TEST_F(Forwarding, WhoSpeaksForAnotherMayNameItsLogin) {
  Say("XCLIENT ADDR=192.0.2.1 LOGIN=bob+20x");
  Say("EHLO a");
  SendMessage();
  EXPECT_THAT(client_->log, Contains(HasSubstr("client=unknown[192.0.2.1], sasl_method=XCLIENT, "
                                               "sasl_username=bob x")));
  EXPECT_THAT(client_->submits.at(0).content, HasSubstr(" with ESMTPA id "));
}

TEST_F(Forwarding, ALoginEndsWithTheNextClient) {
  facts_.recognize = nullptr;
  Say("XCLIENT LOGIN=bob");
  Say("XCLIENT NAME=far.example");
  Say("EHLO a");
  SendMessage();
  EXPECT_THAT(client_->log, Not(Contains(HasSubstr("sasl_"))));
  EXPECT_THAT(client_->submits.at(0).content, HasSubstr(" with ESMTP id "));
}

TEST_F(Forwarding, AddressesOfAProtocolThatIsNotInUseAreRefused) {
  config_.ipv6 = false;
  for (const char* command : {"XCLIENT", "XFORWARD"}) {
    EXPECT_EQ(Say(Concat(command, " ADDR=IPV6:2001:db8::1")),
              "501 5.5.4 Bad ADDR syntax: IPV6:2001:db8::1\r\n");
  }
}

TEST_F(Forwarding, AnotherClientHasItsOwnPlaceInTheCounts) {
  const auto rates = std::make_shared<ClientRates>(
      ClientLimits{.connection_rate = 1, .message_rate = 1, .unit_ms = INT64_MAX});
  facts_.recognize = [rates](ConnectionFacts* client) {
    client->visit = std::make_shared<ClientVisit>(rates, client->address, 0);
  };
  Say("XCLIENT ADDR=192.0.2.1");
  Say("EHLO a");
  EXPECT_EQ(Say("MAIL FROM:<a@b>"), "250 2.1.0 Ok\r\n");
  Say("RSET");
  EXPECT_EQ(Say("MAIL FROM:<a@b>"), "450 4.7.1 Error: too much mail from 192.0.2.1\r\n");
  EXPECT_EQ(Say("XCLIENT ADDR=192.0.2.2"), "220 " + config_.banner + "\r\n");
  Say("EHLO a");
  EXPECT_EQ(Say("MAIL FROM:<a@b>"), "250 2.1.0 Ok\r\n");
  Say("RSET");
  EXPECT_EQ(Say("XCLIENT ADDR=192.0.2.1"),
            "421 4.7.0 mx.example.com Error: too many connections from 192.0.2.1\r\n");
  EXPECT_TRUE(client_->session().ended());
}

TEST_F(Forwarding, BareNewlinesAreJudgedByTheNewClient) {
  config_.bare_newline = smtp::BareNewline::kReject;
  facts_.recognize = [](ConnectionFacts* client) {
    client->bare_newline_excluded = client->address == "192.0.2.1";
  };
  Say("XCLIENT ADDR=192.0.2.1");
  EXPECT_EQ(client_->Say("NOOP\n"), "250 2.0.0 Ok\r\n");
  Say("XCLIENT ADDR=192.0.2.2");
  EXPECT_THAT(client_->Say("NOOP\n"), HasSubstr("bare <LF> received"));
}

// As the log, the queue and the Received line have it.
TEST_F(Forwarding, WhatIsSpecialInAGreetingIsReplacedBeforeAnybodySeesIt) {
  config_.reject_unlisted_recipient = true;
  Say("EHLO a \t b<c  d>\\\";@\xc3\xbc");
  Say("MAIL FROM:<a@b>");
  Say("RCPT TO:<x@foreign.example>");
  EXPECT_THAT(client_->log, Contains(HasSubstr("helo=<a?b?c??d?????\xc3\xbc>")));
  Say("RSET");
  SendMessage();
  EXPECT_EQ(Origin(0).helo(), "a?b?c??d?????\xc3\xbc");
}

}  // namespace
}  // namespace postfleet::ingress
