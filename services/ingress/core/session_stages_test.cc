// Lists that take time, at each stage (SMTPD_ACCESS_README; `sleep` of postconf(5)).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"
#include "services/ingress/core/scripted_session.h"

namespace postfleet::ingress {
namespace {

using config::Restriction;
using testing::Contains;
using testing::HasSubstr;

const Restrictions kNap = {{Restriction::kSleep, 3}};
const Restrictions kNapThenNo = {{Restriction::kSleep, 3}, Restriction::kReject};

SessionConfig Undelayed() {
  SessionConfig config = ScriptedSession::Config();
  config.delay_reject = false;
  return config;
}

struct Client : ScriptedSession {
  explicit Client(SessionConfig config) : ScriptedSession(std::move(config)) { auto_delay = false; }
};

TEST(AListThatTakesTime, HoldsTheBannerBack) {
  SessionConfig config = Undelayed();
  config.client_restrictions = kNap;
  Client client(config);
  EXPECT_EQ(client.Connect(), "");
  EXPECT_EQ(client.delayed_ms, 3'000);
  EXPECT_EQ(client.EndDelay(), "220 mx.example.com ESMTP Postfleet\r\n");
  EXPECT_EQ(client.SayLine("HELO a"), "250 mx.example.com\r\n");
}

TEST(AListThatTakesTime, RefusesAClientLater) {
  SessionConfig config = Undelayed();
  config.client_restrictions = kNapThenNo;
  Client client(config);
  client.Connect();
  EXPECT_EQ(client.EndDelay(),
            "554 5.7.1 <unknown[127.0.0.3]>: Client host rejected: Access denied\r\n");
}

TEST(AListThatTakesTime, KeepsWhatWasSentAheadForAfterwards) {
  SessionConfig config = ScriptedSession::Config();
  config.recipient_restrictions = kNap;
  Client client(config);
  client.Connect();
  client.SayLine("EHLO a");
  EXPECT_EQ(client.Say("MAIL FROM:<a@b>\r\nRCPT TO:<bob@localhost>\r\nRSET\r\n"),
            "250 2.1.0 Ok\r\n");
  EXPECT_FALSE(client.session().WantsInput());
  EXPECT_EQ(client.EndDelay(), "250 2.1.5 Ok\r\n250 2.0.0 Ok\r\n");
  client.SayLine("QUIT");
  EXPECT_THAT(client.log, Contains(HasSubstr(" ehlo=1 mail=1 rcpt=1 rset=1 quit=1 commands=5")));
}

TEST(AListThatTakesTime, GoesOnWithTheNextItemAndTheNextList) {
  SessionConfig config = ScriptedSession::Config();
  config.client_restrictions = {{Restriction::kSleep, 1},
                                {Restriction::kSleep, 2},
                                Restriction::kPermit,
                                {Restriction::kSleep, 4}};
  config.recipient_restrictions = {{Restriction::kSleep, 8}};
  Client client(config);
  client.Connect();
  client.SayLine("MAIL FROM:<a@b>");
  client.SayLine("RCPT TO:<someone@elsewhere.example>");
  EXPECT_EQ(client.EndDelay(), "");
  EXPECT_EQ(client.EndDelay(), "454 4.7.1 <someone@elsewhere.example>: Relay access denied\r\n");
  client.SayLine("RCPT TO:<bob@localhost>");
  client.EndDelay();
  client.EndDelay();
  EXPECT_EQ(client.EndDelay(), "250 2.1.5 Ok\r\n");
  EXPECT_EQ(client.delayed_ms, 3'000 + 11'000);
}

struct StageCase {
  Restrictions SessionConfig::*list;
  std::vector<const char*> before;
  const char* command;
  const char* good;
  const char* refused;
};

class EachStage : public testing::TestWithParam<StageCase> {
 protected:
  // The reply to the command, once the time has passed.
  std::string After(const Restrictions& list) {
    SessionConfig config = Undelayed();
    config.*GetParam().list = list;
    Client client(config);
    client.Connect();
    for (const char* line : GetParam().before) {
      client.SayLine(line);
      if (client.session().WantsInput()) continue;
      client.EndDelay();
    }
    const int64_t before_ms = client.delayed_ms;
    EXPECT_EQ(client.SayLine(GetParam().command), "");
    EXPECT_EQ(client.delayed_ms - before_ms, 3'000);
    return client.EndDelay();
  }
};

TEST_P(EachStage, AnswersOnceItsListHasDecided) {
  EXPECT_THAT(After(kNap), testing::StartsWith(GetParam().good));
  EXPECT_THAT(After(kNapThenNo), testing::StartsWith(GetParam().refused));
}

INSTANTIATE_TEST_SUITE_P(
    Stages, EachStage,
    testing::Values(StageCase{&SessionConfig::helo_restrictions,
                              {},
                              "HELO a",
                              "250 mx.example.com",
                              "554 5.7.1 <a>: Helo command rejected"},
                    StageCase{&SessionConfig::helo_restrictions,
                              {},
                              "EHLO a",
                              "250-mx.example.com",
                              "554 5.7.1 <a>: Helo command rejected"},
                    StageCase{&SessionConfig::sender_restrictions,
                              {},
                              "MAIL FROM:<a@b>",
                              "250 2.1.0 Ok",
                              "554 5.7.1 <a@b>: Sender address rejected"},
                    StageCase{&SessionConfig::recipient_restrictions,
                              {},
                              "VRFY bob@localhost",
                              "252 2.0.0 bob@localhost",
                              "554 5.7.1 <bob@localhost>: Recipient address rejected"},
                    StageCase{&SessionConfig::etrn_restrictions,
                              {},
                              "ETRN a.example",
                              "459 <a.example>",
                              "554 5.7.1 <a.example>: Etrn command rejected"},
                    StageCase{&SessionConfig::data_restrictions,
                              {"MAIL FROM:<a@b>", "RCPT TO:<bob@localhost>"},
                              "DATA",
                              "354 ",
                              "554 5.7.1 <DATA>: Data command rejected"},
                    StageCase{&SessionConfig::data_restrictions,
                              {"EHLO a", "MAIL FROM:<a@b>", "RCPT TO:<bob@localhost>"},
                              "BDAT 4 LAST\r\nab",
                              "250 2.0.0 Ok: 4 bytes queued as ",
                              "554 5.7.1 <DATA>: Data command rejected"},
                    StageCase{&SessionConfig::end_of_data_restrictions,
                              {"MAIL FROM:<a@b>", "RCPT TO:<bob@localhost>", "DATA"},
                              "x\r\n.",
                              "250 2.0.0 Ok: queued as ",
                              "554 5.7.1 <END-OF-MESSAGE>: End-of-data rejected"}));

TEST(AListThatTakesTime, AtTheEndOfDataForgetsNoChunkThatWasRefused) {
  SessionConfig config = ScriptedSession::Config();
  config.end_of_data_restrictions = kNap;
  config.chunk_bytes = 200;
  Client client(config);
  client.auto_answer = false;
  client.Connect();
  client.SayLine("MAIL FROM:<a@b>");
  client.SayLine("RCPT TO:<bob@localhost>");
  client.AnswerLookup();
  client.SayLine("DATA");
  client.Say("a: b\r\n\r\n");
  client.Say(std::string(150, 'x') + "\r\n.\r\n");
  ASSERT_EQ(client.submits.size(), 1);
  EXPECT_EQ(client.AnswerQueue(queue::v1::EnqueueResult::DISK_FULL), "");
  EXPECT_EQ(client.EndDelay(), "452 4.3.1 Insufficient system storage\r\n");
  ASSERT_EQ(client.submits.size(), 2);
  EXPECT_TRUE(client.submits.back().submission.abandon());
  EXPECT_EQ(client.SayLine("NOOP"), "250 2.0.0 Ok\r\n");
}

TEST(AListThatTakesTime, OfAClientThatLeftDoesNothing) {
  SessionConfig config = ScriptedSession::Config();
  config.recipient_restrictions = kNap;
  Client client(config);
  client.Connect();
  client.SayLine("MAIL FROM:<a@b>");
  client.SayLine("RCPT TO:<bob@localhost>");
  client.Disconnect();
  EXPECT_EQ(client.EndDelay(), "");
  EXPECT_TRUE(client.submits.empty());
}

}  // namespace
}  // namespace postfleet::ingress
