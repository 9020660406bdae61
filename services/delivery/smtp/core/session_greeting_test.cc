// From the greeting to what is offered.
#include <gmock/gmock.h>

#include "services/delivery/smtp/core/session_under_test.h"

namespace postfleet::delivery::smtp {
namespace {

using mail::v1::Outcome;
using ::testing::HasSubstr;
using State = Session::State;

TEST_F(SessionTest, NothingIsSaidBeforeTheGreeting) {
  session_.Opened();
  EXPECT_EQ(Client(), "");
  EXPECT_EQ(session_.step(), Session::Step::kGreeting);
}

TEST_F(SessionTest, GreetingIsAnsweredWithEhlo) {
  session_.Opened();
  Server({"220-mx.example.net", "220 ESMTP"});
  EXPECT_EQ(Client(), "EHLO client.example.com\r\n");
}

TEST_F(SessionTest, HeloIsSaidWhenEhloIsRefused) {
  session_.Opened();
  Server({"220 mx.example.net"});
  Client();
  Server({"502 5.5.1 what?"});
  EXPECT_EQ(Client(), "HELO client.example.com\r\n");
  Server({"250 mx.example.net"});
  EXPECT_EQ(session_.state(), State::kReady);
}

TEST_F(SessionTest, KeywordsInAHeloReplyAreNotBelieved) {
  session_.Opened();
  Server({"220 mx", "500 no"});
  Server({"250-mx.example.net", "250 PIPELINING"});
  Client();
  Begin();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com>\r\n");
}

TEST_F(SessionTest, GreetingOf4xxDefersEverybody) {
  session_.Opened();
  Server({"421 4.3.2 too busy"});
  ASSERT_EQ(session_.state(), State::kFailed);
  EXPECT_EQ(Describe(*session_.failure()),
            "deferred 4.3.2 host mx.example.net[192.0.2.1] refused to talk to me: "
            "421 4.3.2 too busy");
  EXPECT_EQ(session_.failure()->remote_mta(), "mx.example.net");
  EXPECT_EQ(session_.failure()->diagnostic(), "421 4.3.2 too busy");
}

TEST_F(SessionTest, GreetingOf5xxIsTakenAs4xx) {
  session_.Opened();
  Server({"554 5.7.1 not you"});
  EXPECT_EQ(Describe(*session_.failure()),
            "deferred 4.7.1 host mx.example.net[192.0.2.1] refused to talk to me: "
            "554 5.7.1 not you");
}

TEST_F(SessionTest, GreetingOf5xxBouncesWhenItIsNotSkipped) {
  Session session({.host = "mx.example.net", .address = "192.0.2.1"}, "example.net",
                  {.helo_name = "c", .skip_5xx_greeting = false});
  session.Opened();
  session.Received("554 go away\r\n");
  EXPECT_EQ(Describe(*session.failure()),
            "bounced 5.0.0 host mx.example.net[192.0.2.1] refused to talk to me: 554 go away");
}

TEST_F(SessionTest, HeloOf5xxBounces) {
  session_.Opened();
  Server({"220 mx", "502 no", "550 5.7.0 no HELO either"});
  EXPECT_EQ(Describe(*session_.failure()),
            "bounced 5.7.0 host mx.example.net[192.0.2.1] refused to talk to me: "
            "550 5.7.0 no HELO either");
}

TEST_F(SessionTest, EhloOf421IsFinal) {
  session_.Opened();
  Server({"220 mx", "421 bye"});
  EXPECT_EQ(Describe(*session_.failure()),
            "deferred 4.0.0 host mx.example.net[192.0.2.1] refused to talk to me: 421 bye");
}

TEST_F(SessionTest, OwnNameInTheEhloReplyIsALoop) {
  session_.Opened();
  Server({"220 client.example.com ESMTP"});
  EXPECT_EQ(Notes(),
            "warning: host mx.example.net[192.0.2.1]:25 greeted me with my own hostname "
            "client.example.com\n");
  Server({"250 Client.Example.COM"});
  EXPECT_EQ(Describe(*session_.failure()),
            "bounced 5.4.6 mail for example.net loops back to myself");
}

TEST_F(SessionTest, LossBeforeTheGreeting) {
  session_.Opened();
  session_.Lost();
  EXPECT_EQ(Describe(*session_.failure()),
            "deferred 4.4.2 lost connection with mx.example.net[192.0.2.1] while receiving the "
            "initial server greeting");
}

TEST_F(SessionTest, SilenceAfterEhlo) {
  session_.Opened();
  Server({"220 mx"});
  session_.TimedOut();
  EXPECT_EQ(Describe(*session_.failure()),
            "deferred 4.4.2 conversation with mx.example.net[192.0.2.1] timed out while performing "
            "the EHLO handshake");
}

TEST_F(SessionTest, LossDuringHelo) {
  session_.Opened();
  Server({"220 mx", "500 no"});
  session_.Lost();
  EXPECT_THAT(session_.failure()->text(), HasSubstr("while performing the HELO handshake"));
}

TEST_F(SessionTest, AServerThatNeverEndsItsReplyIsGivenUp) {
  session_.Opened();
  for (int i = 0; i < 2000 && session_.state() == State::kReplies; ++i) Server({"220-more"});
  ASSERT_EQ(session_.state(), State::kFailed);
  EXPECT_EQ(session_.failure()->action(), Outcome::ACTION_DEFERRED);
}

TEST_F(SessionTest, RepliesInSingleBytesAreTheSame) {
  session_.Opened();
  for (char c : std::string("220 mx\r\n250-mx\r\n250 PIPELINING\r\n")) {
    session_.Received({&c, 1});
  }
  Client();
  Begin();
  EXPECT_THAT(Client(), HasSubstr("DATA\r\n"));
}

TEST_F(SessionTest, EhloIsSaidToWhoNamesEsmtpAlone) {
  Use({.always_send_ehlo = false});
  session_.Opened();
  Server({"220 mx.example.net Sendmail"});
  EXPECT_EQ(Client(), "HELO client.example.com\r\n");
  Use({.always_send_ehlo = false});
  session_.Opened();
  Server({"220-mx.example.net", "220 esmtp"});
  EXPECT_EQ(Client(), "EHLO client.example.com\r\n");
}

TEST_F(SessionTest, EhloIsNeverSaidWhereThatIsAskedFor) {
  Use({.never_send_ehlo = true});
  session_.Opened();
  Server({"220 mx.example.net ESMTP"});
  EXPECT_EQ(Client(), "HELO client.example.com\r\n");
}

TEST_F(SessionTest, LhloIsSaidWhateverTheBannerSays) {
  Use({.lmtp = true, .never_send_ehlo = true});
  session_.Opened();
  Server({"220 mx.example.net"});
  EXPECT_EQ(Client(), "LHLO client.example.com\r\n");
}

TEST_F(SessionTest, DiscardedKeywordsAreNotBelieved) {
  Use({.discarded_keywords = EhloKeywords("pipelining, Size what")});
  session_.Opened();
  Server({"220 mx", "250-mx", "250-PIPELINING", "250-SIZE 10", "250 8BITMIME"});
  Client();
  EXPECT_EQ(Notes(), "discarding EHLO keywords: PIPELINING SIZE\n");
  envelope_.set_body_8bitmime(true);
  Begin();
  EXPECT_EQ(Client(), "MAIL FROM:<from@example.com> BODY=8BITMIME\r\n");
}

TEST_F(SessionTest, KeywordsAreDiscardedSilently) {
  Use({.discarded_keywords = EhloKeywords("silent-discard dsn")});
  Greet({"250-mx", "250 DSN"});
  EXPECT_EQ(Notes(), "");
}

TEST_F(SessionTest, Smtputf8WithoutEightBitMimeIsNoted) {
  Greet({"250-mx", "250 SMTPUTF8"});
  EXPECT_EQ(Notes(), "host mx.example.net[192.0.2.1] offers SMTPUTF8 support, but not 8BITMIME\n");
}

TEST_F(SessionTest, AFirewallsBannerGetsHeloAndAPauseBeforeTheDot) {
  for (const char* banner : {"220", "220 ****************************0**2"}) {
    Use({.pix_workarounds = PixWorkarounds::Parse("disable_esmtp,delay_dotcrlf")});
    session_.Opened();
    Server({banner});
    EXPECT_EQ(Client(), "HELO client.example.com\r\n");
    EXPECT_EQ(Notes(),
              "enabling PIX workarounds: disable_esmtp delay_dotcrlf for "
              "mx.example.net[192.0.2.1]:25\n");
    EXPECT_TRUE(session_.delays_dot());
  }
  Use({.pix_workarounds = PixWorkarounds::Parse("disable_esmtp,delay_dotcrlf")});
  Greet({"250 mx"});
  EXPECT_FALSE(session_.delays_dot());
}

TEST_F(SessionTest, OurOwnNameAtAHostThatIsNotTheBestDefers) {
  Use({.myhostname = "mx", .is_best_host = false});
  session_.Opened();
  Server({"220 x", "250 mx"});
  EXPECT_EQ(Describe(*session_.failure()),
            "deferred 4.4.6 mail for example.net loops back to myself");
}

}  // namespace
}  // namespace postfleet::delivery::smtp
