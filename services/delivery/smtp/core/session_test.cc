#include "services/delivery/smtp/core/session.h"

#include <gmock/gmock.h>

#include "services/delivery/smtp/core/session_under_test.h"

namespace postfleet::delivery::smtp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using State = Session::State;

// ---- Probes ----

TEST_F(SessionTest, AProbeEndsBehindTheRepliesToRcpt) {
  envelope_.set_probe(true);
  AddRecipient("two@example.net");
  BeginPipelined();
  EXPECT_THAT(Client(), testing::Not(HasSubstr("DATA")));
  Server({"250 ok", "250 2.1.5 fine", "550 5.1.1 no"});
  EXPECT_EQ(session_.state(), State::kDone);
  EXPECT_THAT(Outcomes(), ElementsAre("sent 2.1.5 250 2.1.5 fine", HasSubstr("bounced 5.1.1 ")));
  EXPECT_EQ(session_.outcomes()[1].recipient_number(), 6);
  EXPECT_TRUE(session_.reusable());
  session_.Reset();
  EXPECT_EQ(Client(), "RSET\r\n");
}

TEST_F(SessionTest, AProbeWithoutPipeliningSaysNoData) {
  envelope_.set_probe(true);
  BeginPlain();
  Client();
  Server({"250 ok"});
  EXPECT_THAT(Client(), HasSubstr("RCPT TO:<one@example.net>"));
  Server({"250 2.1.5 fine"});
  EXPECT_EQ(Client(), "");
  EXPECT_THAT(Outcomes(), ElementsAre("sent 2.1.5 250 2.1.5 fine"));
}

TEST_F(SessionTest, AProbeWhoseSenderIsRefusedIsUndeliverable) {
  envelope_.set_probe(true);
  BeginPipelined();
  Server({"550 5.1.8 not you", "503 5.5.1 no MAIL"});
  EXPECT_EQ(session_.state(), State::kDone);
  EXPECT_THAT(Outcomes(), ElementsAre(HasSubstr("bounced 5.1.8 ")));
}

// ---- The body ----

TEST_F(SessionTest, Reply2xxToTheDotIsSent) {
  ToBody();
  session_.BodySent();
  EXPECT_EQ(session_.step(), Session::Step::kDot);
  Server({"250 2.0.0 Ok: queued as X"});
  EXPECT_THAT(Outcomes(), ElementsAre("sent 2.0.0 250 2.0.0 Ok: queued as X"));
}

TEST_F(SessionTest, Reply5xxToTheDotBounces) {
  ToBody();
  session_.BodySent();
  Server({"552 5.3.4 too big"});
  EXPECT_THAT(Outcomes(),
              ElementsAre("bounced 5.3.4 host mx.example.net[192.0.2.1] said: 552 5.3.4 too "
                          "big (in reply to end of DATA command)"));
}

TEST_F(SessionTest, Reply4xxToTheDotDefers) {
  ToBody();
  session_.BodySent();
  Server({"451 try later"});
  EXPECT_THAT(Outcomes(), ElementsAre(HasSubstr("deferred 4.0.0 host ")));
  EXPECT_FALSE(session_.failure().has_value());
}

TEST_F(SessionTest, LossAfterTheDotDefers) {
  ToBody();
  session_.BodySent();
  session_.Lost();
  EXPECT_THAT(Outcomes(),
              ElementsAre("deferred 4.4.2 lost connection with mx.example.net[192.0.2.1] "
                          "while sending end of data -- message may be sent more than once"));
}

TEST_F(SessionTest, SilenceAfterTheDotDefers) {
  ToBody();
  session_.BodySent();
  session_.TimedOut();
  EXPECT_THAT(Outcomes(),
              ElementsAre(HasSubstr("timed out while sending end of data -- message may "
                                    "be sent more than once")));
}

TEST_F(SessionTest, LossInTheBodyDefers) {
  ToBody();
  session_.Lost();
  EXPECT_THAT(Outcomes(),
              ElementsAre("deferred 4.4.2 lost connection with mx.example.net[192.0.2.1] "
                          "while sending message body"));
}

TEST_F(SessionTest, ARefusalBeforeTheLossInTheBodyIsTheAnswer) {
  ToBody();
  Server({"552 5.3.4 that is too much"});
  EXPECT_EQ(session_.state(), State::kBody);
  session_.Lost();
  EXPECT_THAT(Outcomes(),
              ElementsAre("bounced 5.3.4 host mx.example.net[192.0.2.1] said: 552 5.3.4 that "
                          "is too much (in reply to end of DATA command)"));
}

TEST_F(SessionTest, AnAcceptanceBeforeTheDotIsNotBelievedWhenTheConnectionIsLost) {
  ToBody();
  Server({"250 thanks already"});
  session_.Lost();
  EXPECT_THAT(Outcomes(), ElementsAre(HasSubstr("deferred 4.4.2 lost connection")));
}

TEST_F(SessionTest, AReplyInTheBodyWaitsForItsEnd) {
  ToBody();
  Server({"451 4.3.0 no"});
  session_.BodySent();
  EXPECT_THAT(Outcomes(), ElementsAre(HasSubstr("451 4.3.0 no (in reply to end of DATA command)")));
}

TEST_F(SessionTest, ContentsThatFailDeferWithoutBlamingTheServer) {
  ToBody();
  session_.ContentFailed();
  EXPECT_THAT(Outcomes(), ElementsAre("deferred 4.3.0 local data error while talking to "
                                      "mx.example.net[192.0.2.1]"));
  EXPECT_FALSE(session_.failure().has_value());
  EXPECT_FALSE(session_.reusable());
  EXPECT_TRUE(session_.given_up());
}

TEST_F(SessionTest, ContentsThatCannotBeConvertedBounce) {
  ToBody();
  session_.ContentUnfit("5.6.0", "MIME nesting exceeds safety limit");
  EXPECT_THAT(Outcomes(), ElementsAre("bounced 5.6.0 MIME nesting exceeds safety limit"));
  EXPECT_FALSE(session_.failure().has_value());
  EXPECT_FALSE(session_.reusable());
  EXPECT_TRUE(session_.given_up());
}

TEST_F(SessionTest, CancelDefersWhoIsNotServed) {
  ToBody();
  session_.Cancel();
  EXPECT_THAT(Outcomes(), ElementsAre(HasSubstr("deferred 4.3.2 ")));
  EXPECT_FALSE(session_.reusable());
}

// ---- Reuse ----

TEST_F(SessionTest, AfterADotTheNextTransactionNeedsNoRset) {
  ToBody();
  session_.BodySent();
  Server({"250 ok"});
  session_.Reset();
  EXPECT_EQ(session_.state(), State::kReady);
  Begin();
  EXPECT_THAT(Client(), HasSubstr("MAIL FROM:<from@example.com>\r\n"));
  Server({"250 ok", "250 ok", "354 go"});
  session_.BodySent();
  Server({"250 again"});
  EXPECT_THAT(Outcomes(), ElementsAre("sent 2.0.0 250 again"));
}

TEST_F(SessionTest, AnOpenTransactionIsResetFirst) {
  BeginPlain();
  Server({"250 ok"});
  Server({"450 later"});
  Client();
  session_.Reset();
  EXPECT_EQ(Client(), "RSET\r\n");
  EXPECT_EQ(session_.state(), State::kReplies);
  Server({"250 flushed"});
  EXPECT_EQ(session_.state(), State::kReady);
}

TEST_F(SessionTest, ARefusedRsetEndsTheSession) {
  BeginPlain();
  Server({"550 no"});
  session_.Reset();
  Server({"500 what?"});
  EXPECT_EQ(session_.state(), State::kFailed);
}

TEST_F(SessionTest, WhatIsSaidWhileNothingIsAskedEndsTheSession) {
  Greet({"250 mx"});
  Server({"421 4.4.2 idle"});
  EXPECT_EQ(session_.state(), State::kFailed);
}

TEST_F(SessionTest, AReplyTooManyEndsTheReuse) {
  ToBody();
  session_.BodySent();
  Server({"250 ok", "250 and this"});
  EXPECT_THAT(Outcomes(), ElementsAre("sent 2.0.0 250 ok"));
  EXPECT_FALSE(session_.reusable());
}

TEST_F(SessionTest, QuitIsSaid) {
  Greet({"250 mx"});
  session_.Quit();
  EXPECT_EQ(Client(), "QUIT\r\n");
}

TEST_F(SessionTest, WhoRefusesToTalkOrCloses421IsToldQuit) {
  session_.Opened();
  Server({"554 no"});
  EXPECT_TRUE(session_.can_quit());

  Use({});
  BeginPipelined();
  Server({"421 4.3.2 closing", "503 no", "503 no"});
  EXPECT_FALSE(session_.reusable());
  EXPECT_TRUE(session_.can_quit());
}

TEST_F(SessionTest, WhoWasLostOrIsInTheMiddleOfAMessageIsNotToldQuit) {
  ToBody();
  session_.ContentFailed();
  EXPECT_FALSE(session_.can_quit());

  Use({});
  BeginPipelined();
  session_.TimedOut();
  EXPECT_FALSE(session_.can_quit());
}

// It may be the one that the dot will get, or one more of them comes.
TEST_F(SessionTest, AServerThatAnswersBeforeTheDotIsNotSpokenToAgain) {
  ToBody();
  Server({"250 2.0.0 taken"});
  EXPECT_EQ(session_.state(), State::kBody);
  session_.BodySent();
  EXPECT_THAT(Outcomes(), ElementsAre("sent 2.0.0 250 2.0.0 taken"));
  EXPECT_FALSE(session_.reusable());
}

TEST_F(SessionTest, AServerThatBeginsToAnswerBeforeTheDotIsNotSpokenToAgain) {
  ToBody();
  session_.Received("250 2.0");
  session_.BodySent();
  EXPECT_EQ(session_.state(), State::kReplies);
  Server({".0 taken"});
  EXPECT_THAT(Outcomes(), ElementsAre("sent 2.0.0 250 2.0.0 taken"));
  EXPECT_FALSE(session_.reusable());
}

TEST_F(SessionTest, ContentsThatFailAreNotTheServersFault) {
  ToBody();
  session_.ContentFailed("no queue");
  EXPECT_TRUE(session_.our_failure());
}

TEST_F(SessionTest, AReplyFilterThatFailsIsNotTheServersFault) {
  Use({.reply_filter = [](std::string*) { return false; }});
  session_.Opened();
  Server({"220 mx"});
  EXPECT_EQ(session_.state(), State::kFailed);
  EXPECT_TRUE(session_.our_failure());
}

}  // namespace
}  // namespace postfleet::delivery::smtp
