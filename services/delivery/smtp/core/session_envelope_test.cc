// MAIL, RCPT and DATA, and what is said to them.
#include <gmock/gmock.h>

#include "services/delivery/smtp/core/session_under_test.h"

namespace postfleet::delivery::smtp {
namespace {

using mail::v1::Outcome;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using State = Session::State;

TEST_F(SessionTest, WithPipeliningTheEnvelopeIsOneGroup) {
  AddRecipient("two@example.net");
  BeginPipelined();
  EXPECT_EQ(Client(),
            "MAIL FROM:<from@example.com>\r\nRCPT TO:<one@example.net>\r\n"
            "RCPT TO:<two@example.net>\r\nDATA\r\n");
}

TEST_F(SessionTest, WithoutPipeliningEachCommandWaitsForItsTurn) {
  BeginPlain();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com>\r\n");
  Server({"250 ok"});
  EXPECT_EQ(Client(), "RCPT TO:<one@example.net>\r\n");
  Server({"250 ok"});
  EXPECT_EQ(Client(), "DATA\r\n");
  Server({"354 go"});
  EXPECT_EQ(session_.state(), State::kBody);
}

TEST_F(SessionTest, SizeAndBodyAreSaidWhenOffered) {
  envelope_.set_body_8bitmime(true);
  Greet({"250-mx", "250-size 2000", "250 8bitmime"});
  Begin();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com> SIZE=1000 BODY=8BITMIME\r\n");
  EXPECT_FALSE(session_.converts());
}

TEST_F(SessionTest, BodyIsNotSaidToAServerThatDoesNotOfferIt) {
  envelope_.set_body_8bitmime(true);
  BeginPlain();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com>\r\n");
}

TEST_F(SessionTest, AMessageOverTheServersLimitIsNotSent) {
  Greet({"250-mx", "250 SIZE 999"});
  Begin();
  EXPECT_EQ(Client(), "");
  EXPECT_THAT(Outcomes(), ElementsAre("bounced 5.3.4 message size 1000 exceeds size limit 999 of "
                                      "server mx.example.net[192.0.2.1]"));
  EXPECT_TRUE(session_.reusable());
}

TEST_F(SessionTest, GreetingOfAnUnexpectedClassBounces) {
  session_.Opened();
  Server({"354 go ahead"});
  EXPECT_EQ(session_.state(), State::kFailed);
  EXPECT_EQ(Describe(*session_.failure()),
            "bounced 5.5.0 host mx.example.net[192.0.2.1] refused to talk to me: 354 go ahead");
}

TEST_F(SessionTest, SizeWithAnEqualsSignIsSize) {
  content_bytes_ = 1001;
  Greet({"250-mx", "250 SIZE=1000"});
  Begin();
  EXPECT_EQ(Describe(session_.outcomes()[0]),
            "bounced 5.3.4 message size 1001 exceeds size limit 1000 of server "
            "mx.example.net[192.0.2.1]");
}

TEST_F(SessionTest, WhatWasAskedOfNoticesIsPassedOn) {
  envelope_.set_dsn_envid("QQ 314+1");
  envelope_.set_dsn_return(mail::v1::Envelope::RETURN_HDRS);
  recipients_[0]->set_dsn_orcpt("rfc822;First+Last@example.net");
  recipients_[0]->set_dsn_notify(mail::v1::NOTIFY_FLAG_DELAY | mail::v1::NOTIFY_FLAG_SUCCESS);
  Greet({"250-mx", "250 DSN"});
  Begin();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com> ENVID=QQ+20314+2B1 RET=HDRS\r\n");
  Server({"250 ok"});
  EXPECT_EQ(Client(),
            "RCPT TO:<one@example.net> ORCPT=rfc822;First+2BLast@example.net "
            "NOTIFY=SUCCESS,DELAY\r\n");
  Server({"250 ok"});
  Server({"354 go"});
  session_.BodySent();
  Server({"250 ok"});
  EXPECT_EQ(session_.outcomes()[0].success(), Outcome::SUCCESS_PASSED_ON);
}

TEST_F(SessionTest, OrcptIsTheOriginalAddressWhereNobodySaidOne) {
  recipients_[0]->set_original_address("alias+x@example.org");
  AddRecipient("two@example.net");
  Greet({"250-mx", "250-PIPELINING", "250 DSN"});
  Begin();
  EXPECT_EQ(Client(),
            "MAIL FROM:<from@example.com>\r\n"
            "RCPT TO:<one@example.net> ORCPT=rfc822;alias+2Bx@example.org\r\n"
            "RCPT TO:<two@example.net> ORCPT=rfc822;two@example.net\r\nDATA\r\n");
}

TEST_F(SessionTest, NothingIsAskedOfAServerWithoutDsn) {
  envelope_.set_dsn_envid("QQ314");
  envelope_.set_dsn_return(mail::v1::Envelope::RETURN_FULL);
  recipients_[0]->set_dsn_notify(mail::v1::NOTIFY_FLAG_NEVER);
  Greet({"250 mx"});
  Begin();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com>\r\n");
  Server({"250 ok"});
  EXPECT_EQ(Client(), "RCPT TO:<one@example.net>\r\n");
  Server({"250 ok"});
  Server({"354 go"});
  session_.BodySent();
  Server({"250 ok"});
  EXPECT_EQ(session_.outcomes()[0].success(), Outcome::SUCCESS_RELAYED);
}

TEST_F(SessionTest, MailThatNeedsSmtputf8BouncesWhereItIsNotOffered) {
  envelope_.set_smtputf8(true);
  Greet({"250-mx", "250 8BITMIME"});
  Begin();
  EXPECT_EQ(session_.state(), State::kDone);
  EXPECT_EQ(Client(), "");
  EXPECT_EQ(
      Describe(session_.outcomes()[0]),
      "bounced 5.6.7 SMTPUTF8 is required, but was not offered by host mx.example.net[192.0.2.1]");
}

TEST_F(SessionTest, Smtputf8IsSaidWhereTheSenderAskedForIt) {
  Greet({"250-mx", "250-SMTPUTF8", "250 8BITMIME"});
  Begin();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com>\r\n");
  session_.Received("554 no\r\n");
  session_.Reset();
  Server({"250 ok"});
  Client();
  envelope_.set_smtputf8_requested(true);
  Begin();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com> SMTPUTF8\r\n");
}

TEST_F(SessionTest, Smtputf8IsRequiredByTheHeaderTheSenderOrARecipientOfThisTransaction) {
  envelope_.set_smtputf8_requested(true);
  // Some other recipient of the message has an address in UTF-8.
  envelope_.set_smtputf8(true);
  Greet({"250-mx", "250 8BITMIME"});
  Begin();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com>\r\n");

  const auto bounces = [&] {
    Session session(kPeer, "example.net", {});
    session.Opened();
    session.Received("220 mx\r\n250-mx\r\n250 8BITMIME\r\n");
    session.Begin({.envelope = &envelope_, .recipients = {recipients_[0].get()}});
    return session.state() == State::kDone && session.outcomes()[0].status() == "5.6.7";
  };
  EXPECT_FALSE(bounces());
  envelope_.set_smtputf8_header(true);
  EXPECT_TRUE(bounces());
  envelope_.set_smtputf8_header(false);
  envelope_.set_sender("\xc3\xa4@example.com");
  EXPECT_TRUE(bounces());
  envelope_.set_sender("from@example.com");
  recipients_[0]->set_address("\xc3\xa4@example.net");
  EXPECT_TRUE(bounces());
}

TEST_F(SessionTest, WhoOffersSmtputf8TakesEightBits) {
  envelope_.set_body_8bitmime(true);
  Greet({"250-mx", "250 SMTPUTF8"});
  Begin();
  EXPECT_FALSE(session_.converts());
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com> BODY=8BITMIME\r\n");
}

TEST_F(SessionTest, ABodyDeclaredAsSevenBitsIsPassedOnAndNeverConverted) {
  envelope_.set_body_7bit(true);
  Greet({"250-mx", "250-SIZE", "250 8BITMIME"});
  Begin();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com> SIZE=1000 BODY=7BIT\r\n");

  Use({});
  Greet({"250-mx", "250 SIZE"});
  Begin();
  EXPECT_FALSE(session_.converts());
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com> SIZE=1000\r\n");
}

TEST_F(SessionTest, OrcptOfAUtf8AddressIsUnitext) {
  envelope_.set_smtputf8(true);
  recipients_[0]->set_address("j\xc3\xb8+rn@example.net");
  Greet({"250-mx", "250-PIPELINING", "250-DSN", "250 SMTPUTF8"});
  Begin();
  EXPECT_EQ(Client(),
            "MAIL FROM:<from@example.com> SMTPUTF8\r\n"
            "RCPT TO:<j\xc3\xb8+rn@example.net> "
            "ORCPT=utf-8;j\\x{F8}\\x{2B}rn@example.net\r\nDATA\r\n");
}

TEST_F(SessionTest, SizeIsSaidThoughNoLimitIsNamed) {
  for (const char* size : {"250-SIZE 0", "250-SIZE", "250-SIZE many", "250-SIZE 10x",
                           "250-SIZE 99999999999999999999999999"}) {
    Session session({.host = "mx", .address = "192.0.2.1"}, "mx", {.helo_name = "client"});
    session.Opened();
    session.Received("220 mx\r\n");
    session.Received(Concat("250-mx\r\n", size, "\r\n250 8BITMIME\r\n"));
    session.output().clear();
    ASSERT_EQ(session.state(), State::kReady) << size;
    session.Begin(
        {.envelope = &envelope_, .recipients = {recipients_[0].get()}, .content_bytes = 1000});
    EXPECT_EQ(session.output(), "MAIL FROM:<from@example.com> SIZE=1000\r\n") << size;
  }
}

TEST_F(SessionTest, ALimitThatIsNoNumberIsNoted) {
  Greet({"250-mx", "250 SIZE 10x"});
  EXPECT_EQ(Notes(), "warning: bad EHLO SIZE limit \"10x\" from mx.example.net[192.0.2.1]:25\n");
}

// RFC 1870, 5: with CRLF.
TEST_F(SessionTest, TheSizeIsThatOnTheWire) {
  envelope_.set_content_lines(30);
  Greet({"250-mx", "250-SIZE 1030", "250 8BITMIME"});
  Begin();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com> SIZE=1030\r\n");
  envelope_.set_content_lines(31);
  Use({});
  Greet({"250-mx", "250-SIZE 1030", "250 8BITMIME"});
  Begin();
  EXPECT_THAT(Outcomes(), ElementsAre(HasSubstr("5.3.4 message size 1031 exceeds")));
}

TEST_F(SessionTest, NullSenderAndQuotedLocalParts) {
  envelope_.set_sender("");
  recipients_[0]->set_address("a b@example.net");
  BeginPipelined();
  EXPECT_EQ(Client(), "MAIL FROM:<>\r\nRCPT TO:<\"a b\"@example.net>\r\nDATA\r\n");
}

TEST_F(SessionTest, ALineEndInARecipientIsNeverSent) {
  recipients_[0]->set_address("x@example.net>\r\nRCPT TO:<y@example.net");
  AddRecipient("two@example.net");
  BeginPipelined();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com>\r\nRCPT TO:<two@example.net>\r\nDATA\r\n");
  Server({"250 ok", "250 ok", "354 go"});
  session_.BodySent();
  Server({"250 ok"});
  EXPECT_THAT(Outcomes(),
              ElementsAre("bounced 5.1.3 bad recipient address syntax", "sent 2.0.0 250 ok"));
}

TEST_F(SessionTest, ALineEndInTheSenderIsNeverSent) {
  envelope_.set_sender("x\r\nRSET@example.com");
  BeginPipelined();
  EXPECT_EQ(Client(), "");
  EXPECT_THAT(Outcomes(), ElementsAre("bounced 5.1.7 bad sender address syntax"));
}

TEST_F(SessionTest, RefusedMailDecidesEverybody) {
  AddRecipient("two@example.net");
  BeginPlain();
  Server({"452 4.3.1 full"});
  const char* text =
      "deferred 4.3.1 host mx.example.net[192.0.2.1] said: 452 4.3.1 full (in reply to MAIL FROM "
      "command)";
  EXPECT_THAT(Outcomes(), ElementsAre(text, text));
  EXPECT_FALSE(session_.failure().has_value());
  EXPECT_TRUE(session_.reusable());
}

TEST_F(SessionTest, RefusedMailInAGroupIsDrained) {
  BeginPipelined();
  Client();
  Server({"550 5.7.1 no"});
  EXPECT_EQ(session_.state(), State::kReplies);
  Server({"503 need MAIL", "503 need RCPT"});
  EXPECT_EQ(session_.state(), State::kDone);
  EXPECT_THAT(Outcomes(),
              ElementsAre("bounced 5.7.1 host mx.example.net[192.0.2.1] said: 550 5.7.1 no (in "
                          "reply to MAIL FROM command)"));
  session_.Reset();
  EXPECT_EQ(Client(), "RSET\r\n");
}

TEST_F(SessionTest, EachRecipientHasItsOwnOutcome) {
  AddRecipient("two@example.net");
  AddRecipient("three@example.net");
  BeginPipelined();
  Server({"250 ok", "250 ok", "550 5.1.1 no such user", "450 4.2.0 greylisted", "354 go"});
  ASSERT_EQ(session_.state(), State::kBody);
  session_.BodySent();
  Server({"250 2.0.0 Ok: queued as 4jXV"});
  EXPECT_THAT(
      Outcomes(),
      ElementsAre("sent 2.0.0 250 2.0.0 Ok: queued as 4jXV",
                  "bounced 5.1.1 host mx.example.net[192.0.2.1] said: 550 5.1.1 no such user "
                  "(in reply to RCPT TO command)",
                  "deferred 4.2.0 host mx.example.net[192.0.2.1] said: 450 4.2.0 greylisted "
                  "(in reply to RCPT TO command)"));
  EXPECT_EQ(session_.outcomes()[1].recipient_number(), 6u);
  EXPECT_EQ(session_.outcomes()[1].diagnostic(), "550 5.1.1 no such user");
  EXPECT_EQ(session_.outcomes()[1].remote_mta(), "mx.example.net");
  EXPECT_TRUE(session_.reusable());
}

TEST_F(SessionTest, WithoutAnyRecipientDataIsNotSaid) {
  BeginPlain();
  Server({"250 ok"});
  Client();
  Server({"550 no"});
  EXPECT_EQ(session_.state(), State::kDone);
  EXPECT_EQ(Client(), "");
  EXPECT_THAT(Outcomes(),
              ElementsAre("bounced 5.0.0 host mx.example.net[192.0.2.1] said: 550 no (in reply "
                          "to RCPT TO command)"));
}

TEST_F(SessionTest, AServerThatWantsAMessageForNobodyGetsAnEmptyOne) {
  BeginPipelined();
  Client();
  Server({"250 ok", "550 5.1.1 no", "354 go"});
  EXPECT_EQ(Client(), ".\r\n");
  Server({"554 no valid recipients"});
  EXPECT_EQ(session_.state(), State::kDone);
  EXPECT_THAT(Outcomes(), ElementsAre(HasSubstr("550 5.1.1 no (in reply to RCPT TO command)")));
}

TEST_F(SessionTest, MultilineRefusalIsOneText) {
  BeginPlain();
  Server({"250 ok"});
  Server({"550-5.1.1 No such", "550 5.1.1 user"});
  EXPECT_THAT(Outcomes(),
              ElementsAre("bounced 5.1.1 host mx.example.net[192.0.2.1] said: 550-5.1.1 No such "
                          "550 5.1.1 user (in reply to RCPT TO command)"));
}

TEST_F(SessionTest, AReplyOfAnotherClassBounces) {
  BeginPlain();
  Server({"354 what?"});
  EXPECT_THAT(Outcomes(),
              ElementsAre("bounced 5.5.0 host mx.example.net[192.0.2.1] said: 354 what? (in reply "
                          "to MAIL FROM command)"));
}

TEST_F(SessionTest, ACodeThatDoesNotExistBounces) {
  BeginPlain();
  Server({"999 what"});
  EXPECT_THAT(Outcomes(),
              ElementsAre("bounced 5.5.0 host mx.example.net[192.0.2.1] said: 999 what (in reply "
                          "to MAIL FROM command)"));
}

TEST_F(SessionTest, RefusedDataDecidesTheAcceptedOnly) {
  AddRecipient("two@example.net");
  BeginPipelined();
  Server({"250 ok", "550 5.1.1 no", "250 ok", "451 4.3.0 later"});
  EXPECT_THAT(Outcomes(),
              ElementsAre(HasSubstr("bounced 5.1.1"),
                          "deferred 4.3.0 host mx.example.net[192.0.2.1] said: 451 4.3.0 "
                          "later (in reply to DATA command)"));
}

TEST_F(SessionTest, Reply250ToDataIsAProtocolError) {
  BeginPipelined();
  Server({"250 ok", "250 ok", "250 ok?"});
  EXPECT_THAT(Outcomes(), ElementsAre(HasSubstr("bounced 5.5.0 Protocol error: ")));
}

TEST_F(SessionTest, LossWhileSendingMail) {
  BeginPipelined();
  session_.Lost();
  EXPECT_EQ(session_.state(), State::kDone);
  EXPECT_THAT(Outcomes(),
              ElementsAre("deferred 4.4.2 lost connection with mx.example.net[192.0.2.1] "
                          "while sending MAIL FROM"));
  EXPECT_TRUE(session_.failure().has_value());
  EXPECT_TRUE(session_.unanswered());
  EXPECT_FALSE(session_.reusable());
}

TEST_F(SessionTest, LossWhileSendingRcptKeepsWhatWasSaid) {
  AddRecipient("two@example.net");
  BeginPipelined();
  Server({"250 ok", "550 5.1.1 no"});
  session_.Lost();
  EXPECT_THAT(Outcomes(),
              ElementsAre(HasSubstr("bounced 5.1.1"),
                          "deferred 4.4.2 lost connection with mx.example.net[192.0.2.1] "
                          "while sending RCPT TO"));
  EXPECT_TRUE(session_.failure().has_value());
  EXPECT_FALSE(session_.unanswered());
}

TEST_F(SessionTest, SilenceAfterData) {
  BeginPipelined();
  Server({"250 ok", "250 ok"});
  EXPECT_EQ(session_.step(), Session::Step::kData);
  session_.TimedOut();
  EXPECT_THAT(Outcomes(),
              ElementsAre("deferred 4.4.2 conversation with mx.example.net[192.0.2.1] timed "
                          "out while sending DATA command"));
}

TEST_F(SessionTest, LossWhenAllWereRefusedIsNoFailureOfTheSession) {
  BeginPipelined();
  Server({"250 ok", "550 no"});
  session_.Lost();
  EXPECT_THAT(Outcomes(), ElementsAre(HasSubstr("bounced 5.0.0")));
  EXPECT_FALSE(session_.failure().has_value());
  EXPECT_FALSE(session_.reusable());
}

TEST_F(SessionTest, Reply421ToRcptThenTheEnd) {
  AddRecipient("two@example.net");
  BeginPlain();
  Server({"250 ok"});
  Server({"421 4.7.0 slow down"});
  session_.Lost();
  EXPECT_THAT(Outcomes(),
              ElementsAre("deferred 4.7.0 host mx.example.net[192.0.2.1] said: 421 4.7.0 slow "
                          "down (in reply to RCPT TO command)",
                          "deferred 4.4.2 lost connection with mx.example.net[192.0.2.1] "
                          "while sending RCPT TO"));
}

TEST_F(SessionTest, Reply421ToMailOfAKeptConnectionIsUnanswered) {
  BeginPlain();
  Server({"421 4.4.2 idle too long"});
  EXPECT_EQ(session_.state(), State::kDone);
  EXPECT_TRUE(session_.unanswered());
  EXPECT_FALSE(session_.reusable());
}

TEST_F(SessionTest, ALineWithoutACodeIsNoReplyAndSaidWhereItMayShiftTheOthers) {
  BeginPipelined();
  Server({"250 ok", "hello there", "250 ok", "354 go"});
  EXPECT_EQ(session_.state(), State::kBody);
  EXPECT_EQ(Notes(),
            "warning: QX: non-ESMTP response from mx.example.net[192.0.2.1]:25: hello there\n"
            "warning: to prevent loss of mail, turn off command pipelining for 192.0.2.1 with the "
            "smtp_discard_ehlo_keyword_address_maps parameter\n");
}

TEST_F(SessionTest, WithoutPipeliningALineWithoutACodeIsNothing) {
  BeginPlain();
  Server({"hello there", "250 ok"});
  EXPECT_EQ(session_.step(), Session::Step::kRcpt);
  EXPECT_EQ(Notes(), "");
}

TEST_F(SessionTest, WithoutEightBitMimeContentsAreConvertedAndTheirSizeIsNotSaid) {
  Greet({"250-mx", "250 SIZE 2000"});
  Begin();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com>\r\n");
  Server({"250 ok", "250 ok", "354 go"});
  EXPECT_TRUE(session_.converts());

  Use({.convert_content = false});
  Greet({"250-mx", "250 SIZE 2000"});
  Begin();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com> SIZE=1000\r\n");
  Server({"250 ok", "250 ok", "354 go"});
  EXPECT_FALSE(session_.converts());
}

TEST_F(SessionTest, WithEightBitMimeContentsGoAsTheyAre) {
  Greet({"250-mx", "250-PIPELINING", "250 8BITMIME"});
  Begin();
  Server({"250 ok", "250 ok", "354 go"});
  EXPECT_EQ(session_.state(), State::kBody);
  EXPECT_FALSE(session_.converts());
}

TEST_F(SessionTest, AddressesGoWithoutQuotesWhereThatIsAskedFor) {
  Use({.quote_addresses = false});
  recipients_[0]->set_address("a b@example.net");
  BeginPipelined();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com>\r\nRCPT TO:<a b@example.net>\r\nDATA\r\n");
}

TEST_F(SessionTest, XforwardSaysWhatIsKnownAndWanted) {
  Use({.send_xforward = true});
  envelope_.mutable_origin()->set_client_name("a+b.example.org");
  envelope_.mutable_origin()->set_client_address("2001:db8::1");
  envelope_.mutable_origin()->set_client_port("25041");
  envelope_.mutable_origin()->set_protocol("ESMTP");
  envelope_.mutable_origin()->set_source("REMOTE");
  Greet({"250-mx", "250-PIPELINING", "250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"});
  Begin();
  EXPECT_EQ(Client(),
            "XFORWARD NAME=a+2Bb.example.org ADDR=IPv6:2001:db8::1 PORT=25041\r\n"
            "XFORWARD PROTO=ESMTP IDENT=QX SOURCE=REMOTE\r\n"
            "MAIL FROM:<from@example.com>\r\nRCPT TO:<one@example.net>\r\nDATA\r\n");
  Server({"250 ok", "501 no", "250 ok", "250 ok", "354 go"});
  EXPECT_EQ(session_.state(), State::kBody);
  EXPECT_EQ(Notes(),
            "warning: host mx.example.net[192.0.2.1]:25 said: 501 no (in reply to XFORWARD "
            "helo/protocol command)\n");
}

TEST_F(SessionTest, XforwardWithoutPipeliningWaitsForItsTurn) {
  Use({.send_xforward = true});
  envelope_.mutable_origin()->set_client_address("192.0.2.7");
  Greet({"250-mx", "250 XFORWARD ADDR HELO"});
  Begin();
  EXPECT_EQ(Client(), "XFORWARD ADDR=192.0.2.7\r\n");
  Server({"250 ok"});
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com>\r\n");
}

TEST_F(SessionTest, XforwardSaysTheQueueIdOfWhereTheMailCameInFirst) {
  Use({.send_xforward = true});
  envelope_.mutable_origin()->set_ident("FIRST");
  Greet({"250-mx", "250-PIPELINING", "250 XFORWARD IDENT SOURCE"});
  Begin();
  EXPECT_THAT(Client(), ::testing::StartsWith("XFORWARD IDENT=FIRST\r\nMAIL"));
}

TEST_F(SessionTest, XforwardDoesNotSayThatSomethingIsUnknown) {
  Use({.send_xforward = true});
  envelope_.mutable_origin()->set_client_name("unknown");
  envelope_.mutable_origin()->set_client_address("192.0.2.7");
  envelope_.mutable_origin()->set_helo("unknown");
  Greet({"250-mx", "250-PIPELINING", "250 XFORWARD NAME ADDR HELO"});
  Begin();
  EXPECT_THAT(Client(),
              ::testing::StartsWith("XFORWARD ADDR=192.0.2.7\r\nXFORWARD HELO=unknown\r\nMAIL"));
}

TEST_F(SessionTest, XforwardIsNotSaidUnlessThatIsAskedFor) {
  envelope_.mutable_origin()->set_client_address("192.0.2.7");
  Greet({"250-mx", "250 XFORWARD ADDR HELO IDENT"});
  Begin();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com>\r\n");
}

TEST_F(SessionTest, LossWhileSendingXforwardDefers) {
  Use({.send_xforward = true});
  Greet({"250-mx", "250 XFORWARD IDENT"});
  Begin();
  session_.Lost();
  EXPECT_THAT(Outcomes(),
              ElementsAre("deferred 4.4.2 lost connection with mx.example.net[192.0.2.1] while "
                          "sending XFORWARD protocol/helo_name"));
}

TEST_F(SessionTest, AFilterReplacesReplies) {
  Use({.reply_filter = [](std::string* line) {
    if (line->starts_with("550")) *line = "250 2.1.5 fine";
    return true;
  }});
  BeginPipelined();
  Server({"250 ok", "550 5.1.1 no", "354 go"});
  EXPECT_EQ(session_.state(), State::kBody);
}

TEST_F(SessionTest, AFilterThatFailsDefers) {
  Use({.reply_filter = [](std::string* line) { return *line != "250 odd"; }});
  BeginPipelined();
  Server({"250 odd"});
  EXPECT_THAT(Outcomes(), ElementsAre("deferred 4.3.0 local data error while talking to "
                                      "mx.example.net[192.0.2.1]"));
}

}  // namespace
}  // namespace postfleet::delivery::smtp
