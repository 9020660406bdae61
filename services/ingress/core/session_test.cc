#include "services/ingress/core/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "services/ingress/core/scripted_session.h"

namespace postfleet::ingress {
namespace {

using queue::v1::EnqueueResult;
using testing::Contains;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// A session that said EHLO.
struct Client : ScriptedSession {
  explicit Client(SessionConfig config = Config(), ConnectionFacts facts = Facts())
      : ScriptedSession(std::move(config), std::move(facts)) {
    Connect();
    SayLine("EHLO client.example");
  }
  void Envelope() {
    SayLine("MAIL FROM:<a@b.example>");
    SayLine("RCPT TO:<bob@localhost>");
  }
  std::string Message(std::string_view content) {
    Envelope();
    SayLine("DATA");
    return Say(content);
  }
};

ConnectionFacts Friend() {
  ConnectionFacts facts = ScriptedSession::Facts();
  facts.mynetworks = Membership::kYes;
  return facts;
}

// ---- RFC 5321: order of commands ----

TEST(Rfc5321_4_3_1, TheServerSpeaksFirst) {
  ScriptedSession client;
  EXPECT_EQ(client.Connect(), "220 mx.example.com ESMTP Postfleet\r\n");
}

TEST(Rfc5321_4_1_1_1, EhloNamesOnlyWhatThereIs) {
  ScriptedSession client;
  client.Connect();
  EXPECT_EQ(client.SayLine("EHLO a"),
            "250-mx.example.com\r\n250-PIPELINING\r\n250-SIZE 100000\r\n250-VRFY\r\n250-ETRN\r\n"
            "250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n"
            "250 CHUNKING\r\n");
}

TEST(Rfc3461, WhatTheSenderAsksForIsInTheEnvelope) {
  ScriptedSession client;
  client.Connect();
  client.SayLine("EHLO a");
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b> RET=HDRS ENVID=x+2By"), "250 2.1.0 Ok\r\n");
  EXPECT_EQ(client.SayLine("RCPT TO:<bob@localhost> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2Br@h"),
            "250 2.1.5 Ok\r\n");
  EXPECT_EQ(client.SayLine("RCPT TO:<root@localhost> NOTIFY=NEVER"), "250 2.1.5 Ok\r\n");
  client.SayLine("DATA");
  client.Say("x\r\n.\r\n");
  ASSERT_FALSE(client.submits.empty());
  const queue::v1::NewMessage& message = client.submits.back().submission.message();
  EXPECT_EQ(message.envelope().dsn_return(), mail::v1::Envelope::RETURN_HDRS);
  EXPECT_EQ(message.envelope().dsn_envid(), "x+y");
  ASSERT_EQ(message.recipients_size(), 2);
  EXPECT_EQ(message.recipients(0).dsn_notify(),
            mail::v1::NOTIFY_FLAG_SUCCESS | mail::v1::NOTIFY_FLAG_DELAY);
  EXPECT_EQ(message.recipients(0).dsn_orcpt(), "rfc822;o+r@h");
  EXPECT_EQ(message.recipients(1).dsn_notify(), mail::v1::NOTIFY_FLAG_NEVER);
}

TEST(Rfc3461, WithoutTheKeywordItsParametersAreRefused) {
  SessionConfig config = ScriptedSession::Config();
  config.discarded_keywords = smtp::EhloKeywords("dsn");
  ScriptedSession client(config);
  client.Connect();
  EXPECT_THAT(client.SayLine("EHLO a"), Not(HasSubstr("DSN")));
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b> RET=HDRS"), "501 5.7.1 DSN support is disabled\r\n");
}

// The envelope of a message to `recipient` with `header`.
mail::v1::Envelope EnvelopeOf(std::string_view parameters, std::string_view recipient,
                              std::string_view header) {
  ScriptedSession client;
  client.Connect();
  client.SayLine("EHLO a");
  client.SayLine(Concat("MAIL FROM:<a@b>", parameters));
  client.SayLine(Concat("RCPT TO:<", recipient, ">"));
  client.SayLine("DATA");
  client.Say(Concat(header, "\r\n\r\nx\r\n.\r\n"));
  return client.submits.empty() ? mail::v1::Envelope()
                                : client.submits.back().submission.message().envelope();
}

TEST(Rfc6531, TheEnvelopeNeedsSmtpUtf8WhereItWasAskedForAndIsUsed) {
  constexpr std::string_view kAsked = " SMTPUTF8";
  EXPECT_FALSE(EnvelopeOf(kAsked, "carl@relay.example", "Subject: x").smtputf8());
  EXPECT_TRUE(EnvelopeOf(kAsked, "carl@relay.example", "Subject: \xc3\xa4").smtputf8());
  EXPECT_FALSE(EnvelopeOf("", "carl@relay.example", "Subject: \xc3\xa4").smtputf8());
}

TEST(Rfc6531, TheEnvelopeSaysWhetherTheHeaderIsWhatNeedsSmtpUtf8) {
  const mail::v1::Envelope plain = EnvelopeOf(" SMTPUTF8", "carl@relay.example", "Subject: x");
  EXPECT_TRUE(plain.smtputf8_requested());
  EXPECT_FALSE(plain.smtputf8_header());
  const mail::v1::Envelope header =
      EnvelopeOf(" SMTPUTF8", "carl@relay.example", "Subject: \xc3\xa4");
  EXPECT_TRUE(header.smtputf8_header());
  EXPECT_FALSE(EnvelopeOf("", "carl@relay.example", "Subject: \xc3\xa4").smtputf8_requested());
}

TEST(Rfc6152, TheEnvelopeHasTheBodyThatWasDeclared) {
  EXPECT_TRUE(EnvelopeOf(" BODY=7BIT", "carl@relay.example", "Subject: x").body_7bit());
  EXPECT_FALSE(EnvelopeOf(" BODY=8BITMIME", "carl@relay.example", "Subject: x").body_7bit());
  EXPECT_FALSE(EnvelopeOf("", "carl@relay.example", "Subject: x").body_7bit());
}

TEST(Rfc6152, AHeaderThatSaysEightBitsGoesBeforeWhatWasDeclared) {
  const mail::v1::Envelope eight =
      EnvelopeOf(" BODY=7BIT", "carl@relay.example", "Content-Transfer-Encoding: 8bit");
  EXPECT_TRUE(eight.body_8bitmime());
  EXPECT_FALSE(eight.body_7bit());
}

TEST(Smtpd, TheEnvelopeCountsTheLinesOfWhatIsStored) {
  const mail::v1::Envelope one = EnvelopeOf("", "carl@relay.example", "Subject: x");
  const mail::v1::Envelope three =
      EnvelopeOf("", "carl@relay.example", "Subject: x\r\nA: b\r\nC: d");
  EXPECT_EQ(three.content_lines(), one.content_lines() + 2);
  EXPECT_GT(one.content_lines(), 3u);
}

TEST(Rfc6531, ADomainInUtf8NeedsTheParameter) {
  ScriptedSession client;
  client.Connect();
  client.SayLine("EHLO a");
  client.SayLine("MAIL FROM:<a@b>");
  EXPECT_THAT(client.SayLine("RCPT TO:<a@\xc3\xa4.example>"), StartsWith("501 5.1.3"));
  client.SayLine("RSET");
  client.SayLine("MAIL FROM:<a@b> SMTPUTF8");
  EXPECT_THAT(client.SayLine("RCPT TO:<\xc3\xa4@relay.example>"), Not(StartsWith("501")));
}

TEST(Rfc6531, AStrictServerTakesNoLocalPartInUtf8WithoutTheParameter) {
  SessionConfig config = ScriptedSession::Config();
  config.strict_smtputf8 = true;
  ScriptedSession client(config);
  client.Connect();
  client.SayLine("EHLO a");
  EXPECT_THAT(client.SayLine("MAIL FROM:<\xc3\xa4@b>"), StartsWith("553 5.6.7"));
}

TEST(Rfc6531, ACommandThatIsNotUtf8IsAnErrorOfNoVerb) {
  ScriptedSession client;
  client.Connect();
  EXPECT_EQ(client.SayLine("NOOP \xff"), "500 5.5.2 Error: bad UTF-8 syntax\r\n");
  client.SayLine("QUIT");
  EXPECT_THAT(client.log, Contains(HasSubstr(" quit=1 commands=1")));

  SessionConfig config = ScriptedSession::Config();
  config.smtputf8 = false;
  ScriptedSession other(config);
  other.Connect();
  EXPECT_EQ(other.SayLine("NOOP \xff"), "250 2.0.0 Ok\r\n");
}

TEST(Rfc5321_4_1_1_1, DiscardedKeywordsAreNotNamed) {
  SessionConfig config = ScriptedSession::Config();
  config.disable_vrfy = true;
  config.discarded_keywords = smtp::EhloKeywords("8bitmime, Size DSN smtputf8 CHUNKING etrn");
  ScriptedSession client(config);
  client.Connect();
  EXPECT_EQ(client.SayLine("EHLO a"),
            "250-mx.example.com\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES\r\n");
}

TEST(Rfc5321_4_1_4, RcptBeforeMailIsRejected) {
  Client client;
  EXPECT_EQ(client.SayLine("RCPT TO:<bob@localhost>"), "503 5.5.1 Error: need MAIL command\r\n");
}

TEST(Rfc5321_4_1_4, DataBeforeRcptIsRejected) {
  Client client;
  EXPECT_EQ(client.SayLine("DATA"), "503 5.5.1 Error: need RCPT command\r\n");
  client.SayLine("MAIL FROM:<a@b>");
  EXPECT_EQ(client.SayLine("DATA"), "554 5.5.1 Error: no valid recipients\r\n");
}

TEST(Rfc5321_4_1_4, MailTwiceIsRejected) {
  Client client;
  client.SayLine("MAIL FROM:<a@b>");
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "503 5.5.1 Error: nested MAIL command\r\n");
}

TEST(Rfc5321_4_1_4, EhloEndsATransaction) {
  Client client;
  client.Envelope();
  client.SayLine("EHLO again");
  EXPECT_EQ(client.SayLine("DATA"), "503 5.5.1 Error: need RCPT command\r\n");
}

TEST(Rfc5321_4_1_1_5, RsetEndsATransaction) {
  Client client;
  client.Envelope();
  EXPECT_EQ(client.SayLine("RSET"), "250 2.0.0 Ok\r\n");
  EXPECT_EQ(client.SayLine("DATA"), "503 5.5.1 Error: need RCPT command\r\n");
}

TEST(Rfc5321_4_1_1_10, QuitIsAnsweredAndCloses) {
  Client client;
  EXPECT_EQ(client.SayLine("QUIT"), "221 2.0.0 Bye\r\n");
  EXPECT_TRUE(client.closed);
}

TEST(Rfc5321_4_2_4, UnknownCommandsAre500) {
  Client client;
  EXPECT_EQ(client.SayLine("FOO bar"), "500 5.5.2 Error: command not recognized\r\n");
  EXPECT_EQ(client.SayLine(""), "500 5.5.2 Error: bad syntax\r\n");
}

TEST(Smtpd, ForeignProtocolsAreSentAway) {
  for (const char* line : {"GET / HTTP/1.1", "Subject: x", ".", "CONNECT a:25"}) {
    Client client;
    EXPECT_EQ(client.SayLine(line), "221 2.7.0 Error: I can break rules, too. Goodbye.\r\n");
    EXPECT_TRUE(client.closed);
  }
}

TEST(Smtpd, HeloMayBeRequired) {
  SessionConfig config = ScriptedSession::Config();
  config.helo_required = true;
  ScriptedSession client(config);
  client.Connect();
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "503 5.5.1 Error: send HELO/EHLO first\r\n");
  client.SayLine("HELO x");
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "250 2.1.0 Ok\r\n");
}

TEST(Smtpd, VrfyAsksForTheRecipient) {
  Client client;
  EXPECT_EQ(client.SayLine("VRFY <bob@localhost>"), "252 2.0.0 <bob@localhost>\r\n");
  EXPECT_THAT(client.SayLine("VRFY x@localhost"), StartsWith("550 5.1.1 <x@localhost>:"));
  SessionConfig config = ScriptedSession::Config();
  config.disable_vrfy = true;
  Client other(config);
  EXPECT_EQ(other.SayLine("VRFY bob"), "502 5.5.1 VRFY command is disabled\r\n");
}

// ---- A message ----

TEST(Message, IsQueuedWithReceivedFirstAndLinesEndedByLf) {
  Client client;
  EXPECT_EQ(client.Message("Subject: x\r\n\r\nhello\r\n..dot\r\n.\r\n"),
            "250 2.0.0 Ok: queued as 4jXQUEUEID1\r\n");
  ASSERT_EQ(client.submits.size(), 1u);
  const queue::v1::Submission& submission = client.submits[0].submission;
  EXPECT_THAT(client.LastContent(),
              StartsWith("Received: from client.example (unknown [127.0.0.3])\n"
                         "\tby mx.example.com (Postfleet) with ESMTP id 4jXQUEUEID1\n"
                         "\tfor <bob@localhost>; "));
  EXPECT_THAT(client.LastContent(), EndsWith("\nSubject: x\n\nhello\n.dot\n"));
  EXPECT_EQ(submission.queue_id(), "4jXQUEUEID1");
  EXPECT_EQ(submission.chunk(), 0u);
  EXPECT_EQ(submission.payload_bytes(), client.LastContent().size());
  EXPECT_EQ(submission.payload_crc32c(), Crc32c(client.LastContent()));
  const queue::v1::NewMessage& message = submission.message();
  EXPECT_EQ(message.content_bytes(), client.LastContent().size());
  EXPECT_EQ(message.envelope().sender(), "a@b.example");
  EXPECT_EQ(message.envelope().origin().helo(), "client.example");
  EXPECT_EQ(message.envelope().origin().protocol(), "ESMTP");
  ASSERT_EQ(message.recipients_size(), 1);
  EXPECT_EQ(message.recipients(0).address(), "bob@localhost");
}

TEST(Message, LogsAsSmtpdAndCleanupDo) {
  Client client;
  client.Message("Message-Id: <1@x>\r\n\r\nhello\r\n.\r\n");
  client.SayLine("QUIT");
  EXPECT_THAT(client.log,
              ElementsAre("smtpd: connect from unknown[127.0.0.3]",
                          "smtpd: 4jXQUEUEID1: client=unknown[127.0.0.3]",
                          "cleanup: 4jXQUEUEID1: message-id=<1@x>",
                          "smtpd: disconnect from unknown[127.0.0.3] ehlo=1 mail=1 rcpt=1 data=1 "
                          "quit=1 commands=5"));
}

TEST(Message, NamesWithoutDomainAreCompleted) {
  Client client(ScriptedSession::Config(), Friend());
  client.SayLine("MAIL FROM:<user>");
  client.SayLine("RCPT TO:<someone>");
  client.SayLine("DATA");
  client.Say("x\r\n.\r\n");
  const queue::v1::NewMessage& message = client.submits.at(0).submission.message();
  EXPECT_EQ(message.envelope().sender(), "user@example.com");
  EXPECT_EQ(message.recipients(0).address(), "someone@example.com");
  EXPECT_EQ(message.recipients(0).original_address(), "someone");
}

TEST(Message, MailerDaemonIsTheNullSender) {
  Client client;
  client.SayLine("MAIL FROM:<MAILER-DAEMON>");
  client.SayLine("RCPT TO:<bob@localhost>");
  client.SayLine("DATA");
  client.Say("x\r\n.\r\n");
  EXPECT_EQ(client.submits.at(0).submission.message().envelope().sender(), "");
}

TEST(Message, ARecipientSaidTwiceGetsItOnce) {
  Client client;
  client.SayLine("MAIL FROM:<a@b>");
  client.SayLine("RCPT TO:<bob@localhost>");
  client.SayLine("RCPT TO:<bob@LOCALHOST>");
  client.SayLine("RCPT TO:<root@localhost>");
  client.SayLine("DATA");
  client.Say("x\r\n.\r\n");
  EXPECT_EQ(client.submits.at(0).submission.message().recipients_size(), 2);
}

TEST(Message, NoAcceptanceBeforeTheQueueCommitted) {
  Client client;
  client.auto_answer = false;
  client.SayLine("MAIL FROM:<a@b>");
  client.SayLine("RCPT TO:<bob@localhost>");
  client.AnswerLookup();
  client.SayLine("DATA");
  EXPECT_EQ(client.Say("x\r\n.\r\n"), "");
  EXPECT_FALSE(client.session().WantsInput());
  EXPECT_EQ(client.AnswerQueue(EnqueueResult::COMMITTED),
            "250 2.0.0 Ok: queued as 4jXQUEUEID1\r\n");
  EXPECT_TRUE(client.accepted);
  EXPECT_TRUE(client.session().WantsInput());
}

TEST(Message, EveryOtherAnswerOfTheQueueIsTemporary) {
  const struct {
    EnqueueResult::Code code;
    const char* reply;
  } rows[] = {
      {EnqueueResult::OVERLOADED, "451 4.3.0 Error: queue file write error\r\n"},
      {EnqueueResult::EXPIRED, "451 4.3.0 Error: queue file write error\r\n"},
      {EnqueueResult::FAILED, "451 4.3.0 Error: queue file write error\r\n"},
      {EnqueueResult::REFUSED, "451 4.3.0 Error: queue file write error\r\n"},
      {EnqueueResult::CODE_UNSPECIFIED, "451 4.3.0 Error: queue file write error\r\n"},
      {EnqueueResult::DISK_FULL, "452 4.3.1 Insufficient system storage\r\n"},
  };
  for (const auto& row : rows) {
    Client client;
    client.queue_code = row.code;
    EXPECT_EQ(client.Message("x\r\n.\r\n"), row.reply);
    EXPECT_FALSE(client.accepted);
    EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "250 2.1.0 Ok\r\n");
  }
}

TEST(Message, WithoutAQueueRecipientsAreDeferred) {
  Client client;
  client.queue_reached = false;
  client.SayLine("MAIL FROM:<a@b>");
  EXPECT_EQ(client.SayLine("RCPT TO:<bob@localhost>"),
            "451 4.3.0 Error: queue file write error\r\n");
}

TEST(Message, IsNotBegunWhileTheQueueIsAway) {
  constexpr char kRefusal[] = "451 4.3.0 Error: queue file write error\r\n";
  Client client;
  client.queue_is_there = false;
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), kRefusal);
  client.queue_is_there = true;
  client.Envelope();
  client.queue_is_there = false;
  EXPECT_EQ(client.SayLine("DATA"), kRefusal);
  EXPECT_TRUE(client.submits.empty());
  ASSERT_EQ(client.rejects.size(), 2u);
  EXPECT_EQ(client.rejects[0].stage, "MAIL");
  EXPECT_EQ(client.rejects[1].stage, "DATA");
  // The envelope holds: the client may try again.
  client.queue_is_there = true;
  EXPECT_THAT(client.SayLine("DATA"), StartsWith("354 "));
  EXPECT_THAT(client.Say("x\r\n.\r\n"), StartsWith("250 "));
}

TEST(Message, BegunBeforeTheQueueWentIsAnsweredByTheQueueAlone) {
  Client client;
  client.auto_answer = false;
  client.SayLine("MAIL FROM:<a@b>");
  client.SayLine("RCPT TO:<bob@localhost>");
  client.AnswerLookup();
  client.SayLine("DATA");
  client.queue_is_there = false;
  EXPECT_EQ(client.Say("x\r\n.\r\n"), "");
  EXPECT_EQ(client.AnswerQueue(EnqueueResult::FAILED),
            "451 4.3.0 Error: queue file write error\r\n");
  EXPECT_FALSE(client.accepted);
}

TEST(Message, AnswersAboutAnEarlierMessageAreIgnored) {
  Client client;
  client.Message("x\r\n.\r\n");
  client.auto_answer = false;
  client.SayLine("MAIL FROM:<a@b>");
  client.SayLine("RCPT TO:<bob@localhost>");
  client.AnswerLookup();
  client.SayLine("DATA");
  client.Say("x\r\n.\r\n");
  Actions actions;
  client.session().OnEnqueued("4jXQUEUEID1", true, EnqueueResult::COMMITTED, &actions);
  EXPECT_EQ(actions.reply, "");
  EXPECT_FALSE(actions.accepted);
}

// ---- Limits of one client (anvil) ----

// The facts of a connection of a client with these limits.
ConnectionFacts Limited(const std::shared_ptr<ClientRates>& rates) {
  ConnectionFacts facts = ScriptedSession::Facts();
  facts.visit = std::make_shared<ClientVisit>(rates, "a", 0);
  return facts;
}

TEST(Anvil, TooManyConnectionsAtOnceOrInAUnitAreTurnedAway) {
  for (const bool at_once : {true, false}) {
    ClientLimits limits{.connection_count = 0};
    (at_once ? limits.connection_count : limits.connection_rate) = 1;
    const auto rates = std::make_shared<ClientRates>(limits);
    ScriptedSession first(ScriptedSession::Config(), Limited(rates));
    EXPECT_THAT(first.Connect(), StartsWith("220 "));
    ScriptedSession second(ScriptedSession::Config(), Limited(rates));
    EXPECT_EQ(second.Connect(),
              "421 4.7.0 mx.example.com Error: too many connections from 127.0.0.3\r\n");
    EXPECT_TRUE(second.closed);
    EXPECT_THAT(second.log,
                Contains(Concat("smtpd: warning: Connection ", at_once ? "concurrency" : "rate",
                                " limit exceeded: 2 from unknown[127.0.0.3] for service smtp")));
  }
}

TEST(Anvil, MessagesInAUnitAreLimited) {
  const auto rates = std::make_shared<ClientRates>(ClientLimits{.message_rate = 1});
  ScriptedSession client(ScriptedSession::Config(), Limited(rates));
  client.Connect();
  client.SayLine("EHLO a");
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "250 2.1.0 Ok\r\n");
  client.SayLine("RSET");
  EXPECT_THAT(client.SayLine("MAIL FROM"), StartsWith("501 5.5.4 Syntax"));
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "450 4.7.1 Error: too much mail from 127.0.0.3\r\n");
  EXPECT_THAT(client.log,
              Contains("smtpd: warning: Message delivery request rate limit exceeded: 2 from "
                       "unknown[127.0.0.3] for service smtp"));
  client.clock.AdvanceMillis(60'000);
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "250 2.1.0 Ok\r\n");
}

TEST(Anvil, RecipientsOfRcptAndVrfyInAUnitAreLimited) {
  const auto rates = std::make_shared<ClientRates>(ClientLimits{.recipient_rate = 2});
  ScriptedSession client(ScriptedSession::Config(), Limited(rates));
  client.Connect();
  client.SayLine("EHLO a");
  client.SayLine("MAIL FROM:<a@b>");
  EXPECT_EQ(client.SayLine("RCPT TO:<bob@localhost>"), "250 2.1.5 Ok\r\n");
  EXPECT_THAT(client.SayLine("VRFY bob@localhost"), StartsWith("25"));
  for (const char* line : {"RCPT TO:<bob@localhost>", "RCPT TO:<@>", "VRFY bob"}) {
    EXPECT_EQ(client.SayLine(line), "450 4.7.1 Error: too many recipients from 127.0.0.3\r\n");
  }
  EXPECT_THAT(client.log, Contains("smtpd: warning: Recipient address rate limit exceeded: 3 from "
                                   "unknown[127.0.0.3] for service smtp"));
}

// ---- Smuggling: only CRLF.CRLF ends DATA ----

TEST(Smuggling, LfDotLfDoesNotEndData) {
  for (const char* end :
       {"\n.\n", "\r\n.\n", "\n.\r\n", "\r.\r", "\r\n.\r\r\n", "\r\n.\r", "\r.\r\n"}) {
    Client client;
    EXPECT_EQ(client.Message(std::string("x") + end), "") << testing::PrintToString(end);
    EXPECT_TRUE(client.session().InData());
    EXPECT_TRUE(client.submits.empty());
  }
}

TEST(Smuggling, CommandsBehindAFalseEndAreContent) {
  Client client;
  const std::string reply = client.Message(
      "a\r\n\n.\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\nevil\r\n.\r\n");
  EXPECT_EQ(reply, "250 2.0.0 Ok: queued as 4jXQUEUEID1\r\n");
  EXPECT_EQ(client.submits.size(), 1u);
  EXPECT_THAT(client.LastContent(), HasSubstr("MAIL FROM:<evil@x>\n"));
}

TEST(Smuggling, ExcludedClientsHaveTheOldBehaviour) {
  ConnectionFacts facts = Friend();
  facts.bare_newline_excluded = true;
  Client client(ScriptedSession::Config(), facts);
  EXPECT_EQ(client.Message("x\n.\n"), "250 2.0.0 Ok: queued as 4jXQUEUEID1\r\n");
}

TEST(Smuggling, RejectModeRefusesAtTheEndAndClosesAtACommand) {
  SessionConfig config = ScriptedSession::Config();
  config.bare_newline = smtp::BareNewline::kReject;
  Client client(config);
  EXPECT_EQ(client.Message("x\n\r\n.\r\n"),
            "550 5.5.2 mx.example.com Error: bare <LF> received\r\n");
  EXPECT_TRUE(client.submits.empty());
  EXPECT_FALSE(client.closed);
  EXPECT_EQ(client.Say("NOOP\n"), "550 5.5.2 mx.example.com Error: bare <LF> received\r\n");
  EXPECT_TRUE(client.closed);
}

TEST(Smuggling, NoteModeSaysSoAtTheEnd) {
  SessionConfig config = ScriptedSession::Config();
  config.bare_newline = smtp::BareNewline::kNote;
  Client client(config);
  client.Message("x\n\r\n.\r\n");
  client.SayLine("QUIT");
  EXPECT_THAT(client.log.back(), EndsWith("commands=5 notes=bare_lf"));
}

// ---- RFC 2920: pipelining ----

TEST(Rfc2920, HeloBehindEhloTakesNothingBack) {
  Client client;
  client.SayLine("EHLO a");
  client.SayLine("HELO a");
  EXPECT_EQ(client.Say("MAIL FROM:<a@b>\r\nRCPT TO:<bob@localhost>\r\n"),
            "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n");
}

TEST(Rfc2920, AGroupIsAnsweredInOrder) {
  Client client;
  EXPECT_EQ(client.Say("MAIL FROM:<a@b>\r\nRCPT TO:<bob@localhost>\r\nRCPT TO:<x@localhost>\r\n"
                       "DATA\r\n"),
            "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n"
            "550 5.1.1 <x@localhost>: Recipient address rejected: User unknown in local recipient "
            "table\r\n354 End data with <CR><LF>.<CR><LF>\r\n");
}

TEST(Rfc2920, NothingIsExecutedWhileLookupIsAsked) {
  Client client;
  client.auto_answer = false;
  EXPECT_EQ(client.Say("MAIL FROM:<a@b>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\n"),
            "250 2.1.0 Ok\r\n");
  EXPECT_FALSE(client.session().WantsInput());
  EXPECT_EQ(client.AnswerLookup(), "250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n");
}

TEST(Rfc2920, ContentSentAheadOf354EndsTheSession) {
  Client client;
  client.Envelope();
  EXPECT_EQ(client.Say("DATA\r\nSubject: x\r\n"),
            "554 5.5.0 Error: SMTP protocol synchronization\r\n");
  EXPECT_TRUE(client.closed);
  EXPECT_THAT(client.log, Contains("smtpd: improper command pipelining after DATA from "
                                   "unknown[127.0.0.3]: Subject: x\\r\\n"));
}

TEST(Rfc2920, PipeliningNeedsEhlo) {
  ScriptedSession client;
  client.Connect();
  client.SayLine("HELO x");
  EXPECT_EQ(client.Say("MAIL FROM:<a@b>\r\nNOOP\r\n"),
            "554 5.5.0 Error: SMTP protocol synchronization\r\n");
}

TEST(Rfc2920, ItMayBeAllowed) {
  SessionConfig config = ScriptedSession::Config();
  config.forbid_unauth_pipelining = false;
  Client client(config);
  EXPECT_EQ(client.Say("NOOP\r\nNOOP\r\n"), "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n");
}

TEST(Rfc2920, BytesBeforeTheBannerEndTheSession) {
  ConnectionFacts facts = ScriptedSession::Facts();
  facts.early_bytes = "EHLO x\r\n";
  ScriptedSession client(ScriptedSession::Config(), facts);
  EXPECT_EQ(client.Connect(), "554 5.5.0 Error: SMTP protocol synchronization\r\n");
  EXPECT_TRUE(client.closed);
}

TEST(Rfc2920, NextTransactionMayFollowTheEndOfData) {
  Client client;
  EXPECT_EQ(client.Message("x\r\n.\r\nMAIL FROM:<a@b>\r\nRCPT TO:<bob@localhost>\r\n"),
            "250 2.0.0 Ok: queued as 4jXQUEUEID1\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n");
}

TEST(Input, AnySplitGivesTheSameRepliesAndContent) {
  const std::string dialogue =
      "EHLO client.example\r\nNOOP\r\nMAIL FROM:<a@b> SIZE=100\r\nRCPT TO:<bob@localhost>\r\n"
      "RCPT TO:<x@localhost>\r\nDATA\r\nSubject: a\r\n b\r\n\r\nhello\r\n..\r\n.\nx\r\r\n.\r\n"
      "FOO\r\nQUIT\r\n";
  SessionConfig config = ScriptedSession::Config();
  config.forbid_unauth_pipelining = false;
  const auto run = [&](size_t split, size_t step) {
    ScriptedSession client(config);
    std::string replies = client.Connect();
    size_t at = 0;
    if (split > 0) {
      replies += client.Say(std::string_view(dialogue).substr(0, split));
      at = split;
    }
    for (; at < dialogue.size(); at += step) {
      replies += client.Say(std::string_view(dialogue).substr(at, step));
    }
    return replies + client.LastContent();
  };
  const std::string expected = run(0, dialogue.size());
  EXPECT_THAT(expected, HasSubstr("queued as"));
  for (size_t split = 1; split < dialogue.size(); ++split) {
    ASSERT_EQ(run(split, dialogue.size()), expected) << "split at " << split;
  }
  EXPECT_EQ(run(0, 1), expected);
}

// ---- Access ----

TEST(Relay, StrangersReachOnlyOurDestinations) {
  Client client;
  client.SayLine("MAIL FROM:<a@b>");
  EXPECT_EQ(client.SayLine("RCPT TO:<x@foreign.example>"),
            "454 4.7.1 <x@foreign.example>: Relay access denied\r\n");
  EXPECT_EQ(client.SayLine("RCPT TO:<carl@relay.example>"), "250 2.1.5 Ok\r\n");
  EXPECT_THAT(client.log,
              Contains("smtpd: NOQUEUE: reject: RCPT from unknown[127.0.0.3]: 454 4.7.1 "
                       "<x@foreign.example>: Relay access denied; from=<a@b> "
                       "to=<x@foreign.example> proto=ESMTP helo=<client.example>"));
}

TEST(Relay, MynetworksMayRelay) {
  Client client(ScriptedSession::Config(), Friend());
  client.SayLine("MAIL FROM:<a@b>");
  EXPECT_EQ(client.SayLine("RCPT TO:<x@foreign.example>"), "250 2.1.5 Ok\r\n");
}

TEST(Relay, AnUnreadableListIsNeitherYesNorNo) {
  ConnectionFacts facts = ScriptedSession::Facts();
  facts.mynetworks = Membership::kUnknown;
  Client client(ScriptedSession::Config(), facts);
  client.SayLine("MAIL FROM:<a@b>");
  EXPECT_EQ(client.SayLine("RCPT TO:<x@foreign.example>"),
            "451 4.3.0 <x@foreign.example>: Temporary lookup failure\r\n");
}

TEST(Relay, SourceRoutesAndPercentHacksDoNotRelay) {
  Client client;
  client.SayLine("MAIL FROM:<a@b>");
  EXPECT_EQ(client.SayLine("RCPT TO:<@localhost:x@foreign.example>"),
            "454 4.7.1 <x@foreign.example>: Relay access denied\r\n");
  EXPECT_EQ(client.SayLine("RCPT TO:<x%foreign.example@localhost>"),
            "454 4.7.1 <x%foreign.example@localhost>: Relay access denied\r\n");
}

TEST(Recipients, UnlistedAreRefusedWithTheirTablesName) {
  Client client(ScriptedSession::Config(), Friend());
  client.SayLine("MAIL FROM:<a@b>");
  EXPECT_EQ(client.SayLine("RCPT TO:<x@virt.example>"),
            "550 5.1.1 <x@virt.example>: Recipient address rejected: User unknown in virtual "
            "mailbox table\r\n");
  EXPECT_EQ(client.SayLine("RCPT TO:<x@relay.example>"),
            "550 5.1.1 <x@relay.example>: Recipient address rejected: User unknown in relay "
            "recipient table\r\n");
  EXPECT_EQ(client.SayLine("RCPT TO:<x@err.example>"),
            "550 5.7.9 <x@err.example>: Recipient address rejected: go away\r\n");
}

TEST(Recipients, ErrorIsForGoodAndRetryIsNotWhateverTheStatusSays) {
  struct Row {
    std::string transport, nexthop, refused;
  };
  for (const Row& row : {Row{"error", "4.2.2 Full",
                             "550 5.2.2 <a@relay.example>: Recipient address "
                             "rejected: Full\r\n"},
                         Row{"retry", "5.2.2 Full",
                             "450 4.2.2 <a@relay.example>: Recipient address "
                             "rejected: Full\r\n"},
                         Row{"retry", "Later",
                             "450 4.1.1 <a@relay.example>: Recipient address "
                             "rejected: Later\r\n"}}) {
    Client client(ScriptedSession::Config(), Friend());
    client.SayLine("MAIL FROM:<a@b>");
    client.auto_answer = false;
    client.SayLine("RCPT TO:<a@relay.example>");
    lookup::v1::Answer answer = ScriptedSession::Answer("a@relay.example", false);
    answer.set_transport(row.transport);
    answer.set_nexthop(row.nexthop);
    Actions actions;
    client.session().OnResolved(answer, &actions);
    EXPECT_EQ(actions.reply, row.refused);
  }
}

TEST(Recipients, AFailedLookupIsTemporary) {
  Client client(ScriptedSession::Config(), Friend());
  client.SayLine("MAIL FROM:<a@b>");
  EXPECT_EQ(client.SayLine("RCPT TO:<x@fail.example>"),
            "451 4.3.0 <x@fail.example>: Temporary lookup failure\r\n");
}

TEST(Recipients, PastTheLimitTheyAreDeferredAndTheRestGoes) {
  Client client(ScriptedSession::Config(), Friend());
  client.SayLine("MAIL FROM:<a@b>");
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(client.SayLine("RCPT TO:<x" + std::to_string(i) + "@y.example>"), "250 2.1.5 Ok\r\n");
  }
  EXPECT_EQ(client.SayLine("RCPT TO:<bob@localhost>"), "452 4.5.3 Error: too many recipients\r\n");
  client.SayLine("DATA");
  EXPECT_THAT(client.Say("x\r\n.\r\n"), StartsWith("250 "));
  EXPECT_EQ(client.submits.at(0).submission.message().recipients_size(), 5);
  EXPECT_THAT(client.LastContent(), Not(HasSubstr("\tfor <")));
}

TEST(DelayReject, ClientRefusalsWaitForRcpt) {
  SessionConfig config = ScriptedSession::Config();
  config.client_restrictions = {config::Restriction::kReject};
  ScriptedSession client(config);
  EXPECT_THAT(client.Connect(), StartsWith("220 "));
  client.SayLine("EHLO a");
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "250 2.1.0 Ok\r\n");
  EXPECT_EQ(client.SayLine("RCPT TO:<bob@localhost>"),
            "554 5.7.1 <unknown[127.0.0.3]>: Client host rejected: Access denied\r\n");
}

TEST(DelayReject, OffRefusesAtOnceAndLeavesOnlyQuit) {
  SessionConfig config = ScriptedSession::Config();
  config.client_restrictions = {config::Restriction::kReject};
  config.delay_reject = false;
  ScriptedSession client(config);
  EXPECT_EQ(client.Connect(),
            "554 5.7.1 <unknown[127.0.0.3]>: Client host rejected: Access denied\r\n");
  EXPECT_EQ(client.SayLine("EHLO a"), "503 5.7.0 Error: access denied for unknown[127.0.0.3]\r\n");
  EXPECT_EQ(client.SayLine("QUIT"), "221 2.0.0 Bye\r\n");
}

TEST(SoftBounce, MakesPermanentRepliesTemporary) {
  SessionConfig config = ScriptedSession::Config();
  config.soft_bounce = true;
  Client client(config);
  EXPECT_EQ(client.SayLine("FOO"), "400 4.5.2 Error: command not recognized\r\n");
}

// ---- Limits ----

TEST(Limits, SizeIsCheckedAtMailAndAtTheEnd) {
  Client client;
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b> SIZE=100001"),
            "552 5.3.4 Message size exceeds fixed limit\r\n");
  std::string big;
  while (big.size() < 110'000) big += std::string(98, 'x') + "\r\n";
  EXPECT_EQ(client.Message(big + ".\r\n"), "552 5.3.4 Error: message file too big\r\n");
  EXPECT_TRUE(client.submits.empty());
}

TEST(Limits, TooBigTakesBackWhatTheQueueHasAndKeepsNothing) {
  SessionConfig config = ScriptedSession::Config();
  config.chunk_bytes = 10'000;
  Client client(config);
  client.Envelope();
  client.SayLine("DATA");
  const std::string line = std::string(998, 'x') + "\r\n";
  const size_t of_envelope = client.session().buffered_bytes();
  for (int i = 0; i < 150; ++i) client.Say(line);
  EXPECT_LE(client.session().buffered_bytes(), of_envelope);
  EXPECT_EQ(client.Say(".\r\n"), "552 5.3.4 Error: message file too big\r\n");
  EXPECT_TRUE(client.submits.back().submission.abandon());
}

TEST(Limits, HopsAreCountedWithOurOwn) {
  const auto with_hops = [](int hops) {
    std::string content;
    for (int i = 0; i < hops; ++i) content += "Received: x\r\n";
    return content + "\r\n.\r\n";
  };
  Client client;
  EXPECT_EQ(client.Message(with_hops(49)), "554 5.4.0 Error: too many hops\r\n");
  EXPECT_THAT(client.Message(with_hops(48)), StartsWith("250 "));
}

TEST(Limits, ErrorsAreSlowedDownThenEnded) {
  Client client;
  for (int i = 0; i < 10; ++i) client.SayLine("FOO");
  EXPECT_EQ(client.delayed_ms, 0);
  for (int i = 0; i < 9; ++i) client.SayLine("FOO");
  EXPECT_EQ(client.delayed_ms, 9000);
  EXPECT_EQ(client.SayLine("FOO"),
            "500 5.5.2 Error: command not recognized\r\n"
            "421 4.7.0 mx.example.com Error: too many errors\r\n");
  EXPECT_TRUE(client.closed);
  EXPECT_THAT(client.log, Contains("smtpd: too many errors after UNKNOWN from unknown[127.0.0.3]"));
}

TEST(Limits, ADelayedReplyHoldsBackTheNextCommands) {
  SessionConfig config = ScriptedSession::Config();
  config.soft_error_limit = 1;
  Client client(config);
  client.SayLine("FOO");
  client.auto_delay = false;
  EXPECT_EQ(client.Say("MAIL FROM:<a@b>\r\nRSET\r\n"), "");
  EXPECT_FALSE(client.session().WantsInput());
  EXPECT_EQ(client.EndDelay(), "250 2.1.0 Ok\r\n");
  EXPECT_EQ(client.EndDelay(), "250 2.0.0 Ok\r\n");
}

TEST(Limits, JunkCommandsBecomeErrors) {
  SessionConfig config = ScriptedSession::Config();
  config.junk_command_limit = 3;
  config.hard_error_limit = 1;
  Client client(config);  // EHLO is the first
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.SayLine("NOOP"), "250 2.0.0 Ok\r\n");
  EXPECT_EQ(client.SayLine("NOOP"),
            "250 2.0.0 Ok\r\n421 4.7.0 mx.example.com Error: too many errors\r\n");
}

TEST(Limits, AnAcceptedMessageForgivesErrors) {
  Client client;
  for (int i = 0; i < 9; ++i) client.SayLine("FOO");
  EXPECT_THAT(client.Message("x\r\n.\r\n"), StartsWith("250 "));
  for (int i = 0; i < 10; ++i) client.SayLine("FOO");
  EXPECT_EQ(client.delayed_ms, 0);
}

TEST(Limits, EndlessCommandLinesEndTheSession) {
  Client client;
  std::string replies;
  for (int i = 0; i < 10 && !client.closed; ++i) replies += client.Say(std::string(1000, 'x'));
  EXPECT_TRUE(client.closed);
  EXPECT_LE(client.buffered_bytes_peak, 4096u);
}

TEST(Limits, AFullDiskRefusesAtMail) {
  Client client;
  client.disk_nearly_full = true;
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "452 4.3.1 Insufficient system storage\r\n");
}

TEST(Limits, AQueueThatIsBehindSlowsEachMessageDownOnceAndRefusesNothing) {
  Client client;
  client.queue_is_behind = true;
  client.auto_delay = false;
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b>"), "250 2.1.0 Ok\r\n");
  EXPECT_EQ(client.SayLine("RCPT TO:<bob@localhost>"), "");
  EXPECT_FALSE(client.session().WantsInput());
  EXPECT_EQ(client.EndDelay(), "250 2.1.5 Ok\r\n");
  EXPECT_EQ(client.SayLine("RCPT TO:<bob@localhost>"), "250 2.1.5 Ok\r\n");
  EXPECT_EQ(client.delayed_ms, 1000);
}

TEST(Limits, AnInFlowDelayOfNothingIsNone) {
  SessionConfig config = ScriptedSession::Config();
  config.in_flow_delay_ms = 0;
  Client client(config);
  client.queue_is_behind = true;
  client.Envelope();
  EXPECT_EQ(client.delayed_ms, 0);
}

TEST(Limits, FullBuffersRefuseAtDataAndSendChunksEarly) {
  Client client;
  client.Envelope();
  client.SayLine("DATA");
  client.buffers_full = true;
  client.Say("a: b\r\n\r\n");
  for (int i = 0; i < 20; ++i) client.Say(std::string(998, 'x') + "\r\n");
  EXPECT_EQ(client.submits.size(), 1u);
  EXPECT_FALSE(client.submits[0].submission.has_message());
  client.Say(".\r\n");
  client.Envelope();
  EXPECT_EQ(client.SayLine("DATA"), "452 4.3.1 Insufficient system storage\r\n");
}

TEST(Limits, RecipientsAreBoundedWhereAllSessionsBufferAsMuchAsTheyMay) {
  SessionConfig config = ScriptedSession::Config();
  config.recipient_limit = 1000;
  Client client(config);
  client.SayLine("EHLO a");
  client.SayLine("MAIL FROM:<a@b.example>");
  const std::string one = "RCPT TO:<bob@localhost> ORCPT=rfc822;" + std::string(400, 'x');
  for (int i = 0; i < 100; ++i) EXPECT_EQ(client.SayLine(one), "250 2.1.5 Ok\r\n");
  EXPECT_GT(client.session().buffered_bytes(), 40'000u);
  client.buffers_full = true;
  EXPECT_EQ(client.SayLine(one), "452 4.3.1 Insufficient system storage\r\n");
  client.SayLine("RSET");
  EXPECT_EQ(client.session().buffered_bytes(), 0u);
  client.SayLine("MAIL FROM:<a@b.example>");
  EXPECT_EQ(client.SayLine(one), "250 2.1.5 Ok\r\n") << "others have their turn";
}

// ---- Chunks ----

TEST(Chunks, ABigMessageGoesInPiecesInOrder) {
  SessionConfig config = ScriptedSession::Config();
  config.chunk_bytes = 8192;
  config.message_size_limit = 0;
  Client client(config);
  client.Envelope();
  client.SayLine("DATA");
  std::string body;
  for (int i = 0; i < 1000; ++i) body += "line " + std::to_string(i) + "\n";
  client.Say("Subject: x\r\n\r\n");
  std::string wire;
  for (char c : body) {
    if (c == '\n') wire += '\r';
    wire += c;
  }
  client.Say(wire);
  EXPECT_THAT(client.Say(".\r\n"), StartsWith("250 "));
  EXPECT_THAT(client.LastContent(), EndsWith("\n\n" + body));
  ASSERT_GE(client.submits.size(), 2u);
  for (size_t i = 0; i < client.submits.size(); ++i) {
    const queue::v1::Submission& submission = client.submits[i].submission;
    EXPECT_EQ(submission.chunk(), i);
    EXPECT_EQ(submission.has_message(), i + 1 == client.submits.size());
    EXPECT_EQ(submission.payload_crc32c(), Crc32c(client.submits[i].content));
  }
  EXPECT_EQ(client.submits.back().submission.message().content_bytes(),
            client.LastContent().size());
}

// A client in DATA whose chunks wait for the queue.
struct ChunkClient : Client {
  ChunkClient() : Client(SmallChunks()) {
    Envelope();
    SayLine("DATA");
    auto_answer = false;
  }
  static SessionConfig SmallChunks() {
    SessionConfig config = Config();
    config.chunk_bytes = 4096;
    return config;
  }
  void Fill() {
    Say("Subject: x\r\n\r\n");
    for (int i = 0; i < 100 && session().WantsInput(); ++i) Say(std::string(998, 'x') + "\r\n");
  }
};

TEST(Chunks, TwoUnansweredStopReading) {
  ChunkClient client;
  client.Fill();
  EXPECT_EQ(client.submits.size(), 2u);
  EXPECT_FALSE(client.session().WantsInput());
  client.AnswerQueue(EnqueueResult::COMMITTED);
  EXPECT_TRUE(client.session().WantsInput());
}

TEST(Chunks, AFailedOneEndsInATemporaryErrorAndIsTakenBack) {
  ChunkClient client;
  client.Fill();
  client.AnswerQueue(EnqueueResult::DISK_FULL);
  EXPECT_TRUE(client.submits.back().submission.abandon());
  EXPECT_EQ(client.Say(".\r\n"), "452 4.3.1 Insufficient system storage\r\n");
  EXPECT_FALSE(client.accepted);
}

TEST(Chunks, ALostClientsChunksAreTakenBack) {
  ChunkClient client;
  client.Fill();
  client.Disconnect();
  EXPECT_TRUE(client.submits.back().submission.abandon());
  EXPECT_THAT(client.log, Contains(StartsWith("smtpd: lost connection after DATA (")));
}

TEST(Chunks, AMessageThatTheQueueHasStaysWhenTheClientGoes) {
  ChunkClient client;
  client.Say("x\r\n.\r\n");
  const size_t before = client.submits.size();
  client.Disconnect();
  EXPECT_EQ(client.submits.size(), before);
  EXPECT_TRUE(client.submits.back().submission.has_message());
}

// ---- Ends ----

TEST(Ends, TimeoutIsSaidAndLogged) {
  Client client;
  client.SayLine("MAIL FROM:<a@b>");
  EXPECT_EQ(client.Timeout(), "421 4.4.2 mx.example.com Error: timeout exceeded\r\n");
  EXPECT_TRUE(client.closed);
  EXPECT_THAT(client.log, Contains("smtpd: timeout after MAIL from unknown[127.0.0.3]"));
}

TEST(Ends, LostConnectionNamesTheLastCommand) {
  ScriptedSession client;
  client.Connect();
  client.Disconnect();
  EXPECT_THAT(client.log,
              ElementsAre("smtpd: connect from unknown[127.0.0.3]",
                          "smtpd: lost connection after CONNECT from unknown[127.0.0.3]",
                          "smtpd: disconnect from unknown[127.0.0.3] commands=0/0"));
}

TEST(Ends, ShutdownWaitsForTheMessage) {
  Client client;
  client.auto_answer = false;
  client.SayLine("MAIL FROM:<a@b>");
  EXPECT_EQ(client.Shutdown(), "");
  client.SayLine("RCPT TO:<bob@localhost>");
  client.AnswerLookup();
  client.SayLine("DATA");
  client.Say("x\r\n.\r\n");
  EXPECT_EQ(client.AnswerQueue(EnqueueResult::COMMITTED),
            "250 2.0.0 Ok: queued as 4jXQUEUEID1\r\n"
            "421 4.3.2 mx.example.com Service currently unavailable\r\n");
  EXPECT_TRUE(client.closed);
}

TEST(Ends, ShutdownBetweenMessagesIsAtOnce) {
  Client client;
  EXPECT_EQ(client.Shutdown(), "421 4.3.2 mx.example.com Service currently unavailable\r\n");
  EXPECT_TRUE(client.closed);
}

TEST(Replies, ControlBytesOfAClientDoNotSplitThem) {
  Client client;
  client.SayLine("MAIL FROM:<a@b>");
  const std::string reply = client.SayLine("RCPT TO:<\"x\r250 y\"@localhost>");
  EXPECT_EQ(reply.find('\r'), reply.size() - 2);
}

}  // namespace
}  // namespace postfleet::ingress
