// The addresses of MAIL and RCPT: which are taken, what is asked of lookup, what is stored.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/ingress/core/scripted_session.h"

namespace postfleet::ingress {
namespace {

using testing::Contains;
using testing::StartsWith;

constexpr std::string_view kBadSender = "501 5.1.7 Bad sender address syntax\r\n";
constexpr std::string_view kBadRecipient = "501 5.1.3 Bad recipient address syntax\r\n";

class Addresses : public testing::Test {
 protected:
  void Begin() {
    client_ = std::make_unique<ScriptedSession>(config_);
    client_->Connect();
    client_->SayLine("EHLO a");
  }
  std::string Mail(const std::string& path) {
    Begin();
    return client_->SayLine("MAIL FROM:" + path);
  }
  std::string Rcpt(const std::string& path) {
    Begin();
    client_->SayLine("MAIL FROM:<a@b>");
    return client_->SayLine("RCPT TO:" + path);
  }
  // The stored recipient, and as it was given where that is another.
  std::pair<std::string, std::string> Stored(const std::string& path) {
    EXPECT_THAT(Rcpt(path), StartsWith("250 ")) << path;
    client_->SayLine("DATA");
    client_->Say("x\r\n.\r\n");
    const auto& recipient = client_->submits.at(0).submission.message().recipients(0);
    return {recipient.address(), recipient.original_address()};
  }

  SessionConfig config_ = ScriptedSession::Config();
  std::unique_ptr<ScriptedSession> client_;
};

TEST_F(Addresses, PostmasterIsForEverybodyInAnyLetters) {
  config_.client_restrictions = {config::Restriction::kReject};
  for (const char* path : {"<postmaster>", "<POSTMASTER>", "Postmaster"}) {
    EXPECT_EQ(Rcpt(path), "250 2.1.5 Ok\r\n") << path;
  }
  EXPECT_THAT(Rcpt("<postmaster@localhost>"), StartsWith("554 5.7.1 "));
}

TEST_F(Addresses, RefusalsNameTheDomainInTheLettersOfTheClient) {
  EXPECT_EQ(Rcpt("<X@Foreign.Example>"), "454 4.7.1 <X@Foreign.Example>: Relay access denied\r\n");
}

TEST_F(Addresses, StoredIsTheCompletedAddressNotWhereItLeads) {
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(Stored("<bob@LocalHost>"), Pair("bob@LocalHost", ""));
  EXPECT_EQ(Stored("<bob@localhost.>"), Pair("bob@localhost", "bob@localhost."));
  EXPECT_EQ(Stored("<localhost!bob>"), Pair("bob@localhost", "localhost!bob"));
  EXPECT_EQ(Stored("<@x:(to) bob @ localhost>"), Pair("bob@localhost", ""));
  EXPECT_EQ(Stored("bob@localhost>"), Pair("bob@localhost", ""));
}

TEST_F(Addresses, WhatHasARouteLeftIsNoStrangersEvenIfTheDomainIsOurs) {
  EXPECT_EQ(Rcpt("<x%y@relay.example>"), "454 4.7.1 <x%y@relay.example>: Relay access denied\r\n");
  EXPECT_EQ(Rcpt("<x@y@relay.example>"), "454 4.7.1 <x@y@relay.example>: Relay access denied\r\n");
  config_.allow_untrusted_routing = true;
  EXPECT_THAT(Rcpt("<x%y@relay.example>"), StartsWith("550 5.1.1 "));
}

TEST_F(Addresses, ARecipientThatLeadsToNoAddressIsASyntaxError) {
  Begin();
  client_->auto_answer = false;
  client_->SayLine("MAIL FROM:<a@b>");
  EXPECT_EQ(client_->SayLine("RCPT TO:<x%-y@localhost>"), "");
  lookup::v1::Answer answer;
  answer.set_recipient("x@-y");
  answer.set_transport("error");
  answer.set_nexthop("5.1.3 bad recipient address syntax");
  Actions actions;
  client_->session().OnResolved(answer, &actions);
  EXPECT_EQ(actions.reply, kBadRecipient);
  ASSERT_EQ(actions.log.size(), 1u);
  EXPECT_EQ(actions.log[0].text,
            "warning: Illegal address syntax from unknown[127.0.0.3] in RCPT command: "
            "<x%-y@localhost>");
}

TEST_F(Addresses, ASenderThatLeadsToNoAddressIsASyntaxError) {
  for (const char* path : {"<-y!x>", "<x%a_-.b>", "<b!-x>", "<1!x>"}) {
    EXPECT_EQ(Mail(path), kBadSender) << path;
  }
  EXPECT_EQ(Mail("<b!x>"), "250 2.1.0 Ok\r\n");
}

// RFC 5321, 4.5.3.1.5.
TEST_F(Addresses, ALongOneIsCutInAReply) {
  const std::string reply = Rcpt("<" + std::string(1'000, 'x') + "@localhost>");
  EXPECT_EQ(reply, "550 5.1.1 <" + std::string(499, 'x') + "\r\n");
  EXPECT_EQ(reply.size(), 512);
}

TEST_F(Addresses, ACharacterOfUtf8IsNotCutInAReply) {
  std::string umlauts;
  for (int i = 0; i < 500; ++i) umlauts += "\xc3\xa4";
  EXPECT_EQ(Rcpt("<" + umlauts + "@localhost>"), "550 5.1.1 <" + umlauts.substr(0, 498) + "\r\n");
}

TEST_F(Addresses, StrictEnvelopesTakeBracketsOnly) {
  config_.strict_envelopes = true;
  EXPECT_EQ(Mail("a@b"), kBadSender);
  EXPECT_EQ(Mail("<(x)a@b>"), kBadSender);
  EXPECT_EQ(Mail("<a@b>"), "250 2.1.0 Ok\r\n");
  EXPECT_EQ(Rcpt("bob@localhost>"), kBadRecipient);
}

TEST_F(Addresses, DomainsMayBeNumbersOrNothingIfAskedFor) {
  EXPECT_EQ(Mail("<a@>"), kBadSender);
  EXPECT_EQ(Mail("<a@192.0.2.1>"), kBadSender);
  config_.resolve_null_domain = config_.resolve_numeric_domain = true;
  EXPECT_EQ(Mail("<a@>"), "250 2.1.0 Ok\r\n");
  EXPECT_EQ(Mail("<a@192.0.2.1>"), "250 2.1.0 Ok\r\n");
}

}  // namespace
}  // namespace postfleet::ingress
