// What tables say of commands and replies (postconf(5)).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"
#include "services/ingress/core/scripted_session.h"

namespace postfleet::ingress {
namespace {

using testing::Contains;
using testing::HasSubstr;

SessionConfig With(std::string_view main_cf) {
  SessionConfig config = ScriptedSession::Config();
  config.command_rules = ScriptedSession::Rules(main_cf);
  return config;
}

struct Client : ScriptedSession {
  explicit Client(SessionConfig config) : ScriptedSession(std::move(config)) { Connect(); }
};

TEST(NoopCommands, AreAnsweredWhateverTheyWouldDo) {
  Client client(With("smtpd_noop_commands = expn, FOO MAIL\n"));
  for (const char* line : {"EXPN x", "foo a b", "MAIL FROM:<a@b>"}) {
    EXPECT_EQ(client.SayLine(line), "250 2.0.0 Ok\r\n");
  }
  EXPECT_EQ(client.SayLine("RCPT TO:<bob@localhost>"), "503 5.5.1 Error: need MAIL command\r\n");
  client.SayLine("QUIT");
  EXPECT_THAT(client.log, Contains(HasSubstr(" rcpt=0/1 quit=1 commands=1/2")));
}

TEST(NoopCommands, AreJunkPastTheLimit) {
  SessionConfig config = With("smtpd_noop_commands = foo\n");
  config.junk_command_limit = 3;
  config.hard_error_limit = 2;
  Client client(config);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(client.SayLine("FOO"), "250 2.0.0 Ok\r\n") << i;
  EXPECT_THAT(client.SayLine("FOO"), HasSubstr("Error: too many errors"));
}

TEST(ForbiddenCommands, EndTheSessionButOfVerbsThatWeKnow) {
  constexpr std::string_view kRules = "smtpd_forbidden_commands = FOO NOOP regexp:{{/^x/ y}}\n";
  constexpr std::string_view kGoodbye = "221 2.7.0 Error: I can break rules, too. Goodbye.\r\n";
  for (const char* line : {"foo x", "Xyz", "Subject: x"}) {
    Client client(With(kRules));
    EXPECT_EQ(client.SayLine(line), kGoodbye);
    EXPECT_TRUE(client.closed);
    EXPECT_THAT(client.log, Contains(Concat("smtpd: warning: non-SMTP command from "
                                            "unknown[127.0.0.3]: ",
                                            line)));
  }
  Client client(With(kRules));
  EXPECT_EQ(client.SayLine("NOOP"), "250 2.0.0 Ok\r\n");
  EXPECT_EQ(client.SayLine("GET /"), "500 5.5.2 Error: command not recognized\r\n");
}

TEST(ForbiddenCommands, OfATableThatCannotBeAskedAreOnlyUnknown) {
  Client client(With("smtpd_forbidden_commands = texthash:/no/such/file\n"));
  EXPECT_EQ(client.SayLine("FOO"), "500 5.5.2 Error: command not recognized\r\n");
  EXPECT_THAT(client.log, Contains(HasSubstr("warning: smtpd_forbidden_commands: ")));
}

TEST(CommandFilter, ExecutesWhatItGives) {
  Client client(
      With("smtpd_command_filter = pcre:{{/^(RCPT TO:<.*>) .*/ $$1},"
           " {/^FOO (.*)/ MAIL FROM:<$$1>}}\n"));
  EXPECT_EQ(client.SayLine("  FOO a@b"), "250 2.1.0 Ok\r\n");
  EXPECT_EQ(client.SayLine("RCPT TO:<bob@localhost> X=1"), "250 2.1.5 Ok\r\n");
  EXPECT_THAT(client.log,
              Contains("smtpd: unknown[127.0.0.3]: replacing command \"  FOO a@b\" with "
                       "\"MAIL FROM:<a@b>\""));
}

TEST(CommandFilter, ThatCannotBeAskedEndsTheSession) {
  Client client(With("smtpd_command_filter = texthash:/no/such/file\n"));
  EXPECT_EQ(client.SayLine("NOOP"), "421 4.3.0 mx.example.com Server local data error\r\n");
  EXPECT_TRUE(client.closed);
  EXPECT_THAT(client.log,
              Contains("smtpd: NOQUEUE: reject: CONNECT from unknown[127.0.0.3]: 421 4.3.0 "
                       "mx.example.com Server local data error; proto=SMTP"));
}

TEST(EhloKeywords, AreDiscardedByAddressInPlaceOfTheListForAll) {
  SessionConfig config =
      With("smtpd_discard_ehlo_keyword_address_maps = inline:{{127.0.0.3=dsn, etrn foo}}\n");
  config.discarded_keywords = smtp::EhloKeywords("chunking");
  Client client(config);
  EXPECT_EQ(client.SayLine("MAIL FROM:<a@b> RET=HDRS"), "501 5.7.1 DSN support is disabled\r\n");
  const std::string reply = client.SayLine("EHLO a");
  EXPECT_THAT(reply, HasSubstr("CHUNKING"));
  EXPECT_THAT(reply, Not(HasSubstr("DSN")));
  EXPECT_THAT(client.log, Contains("smtpd: discarding EHLO keywords: ETRN DSN"));
}

TEST(EhloKeywords, OfATableThatCannotBeAskedEndTheSessionAtEhlo) {
  Client client(With("smtpd_discard_ehlo_keyword_address_maps = texthash:/no/such/file\n"));
  EXPECT_EQ(client.SayLine("HELO a"), "250 mx.example.com\r\n");
  EXPECT_EQ(client.SayLine("EHLO a"), "421 4.3.0 mx.example.com Server local data error\r\n");
  EXPECT_THAT(client.log, Contains(HasSubstr("don't know what EHLO features to announce to")));
  EXPECT_THAT(client.log, Contains(HasSubstr(" helo=1 ehlo=0/1 commands=1/2")));
}

std::string Refused(std::string_view main_cf) {
  SessionConfig config = ScriptedSession::Config();
  config.reject_footer = ScriptedSession::Footer(main_cf);
  ScriptedSession client(config);
  client.Connect();
  EXPECT_EQ(client.SayLine("NOOP"), "250 2.0.0 Ok\r\n");
  return client.SayLine("RCPT TO:<x>");
}

TEST(RejectFooter, StandsOnALineOfItsOwnOrGoesOn) {
  EXPECT_EQ(Refused("smtpd_reject_footer = call $client_address, $server_name\n"),
            "503-5.5.1 Error: need MAIL command\r\n"
            "503 5.5.1 call 127.0.0.3, mx.example.com\r\n");
  EXPECT_EQ(Refused("smtpd_reject_footer = \\c. Call $(client_name)\\nor ${client_port}$$\n"),
            "503-5.5.1 Error: need MAIL command. Call unknown\r\n503 5.5.1 or unknown$\r\n");
}

TEST(RejectFooter, IsFoundByTheReply) {
  EXPECT_EQ(Refused("smtpd_reject_footer_maps = regexp:{{/need MAIL/ say $$$$client_address}}\n"),
            "503-5.5.1 Error: need MAIL command\r\n503 5.5.1 say 127.0.0.3\r\n");
  EXPECT_EQ(Refused("smtpd_reject_footer_maps = inline:{{a=b}}\n"),
            "503 5.5.1 Error: need MAIL command\r\n");
}

// RFC 5321, 4.5.3.1.5.
TEST(RejectFooter, IsCutWhereALineIsFull) {
  const std::string longer(600, 'x');
  EXPECT_EQ(Refused("smtpd_reject_footer = " + longer + "\\nshort\n"),
            "503-5.5.1 Error: need MAIL command\r\n503-5.5.1 " + longer.substr(0, 500) +
                "\r\n503 5.5.1 short\r\n");
}

TEST(RejectFooter, ThatCannotBeMadeIsLeftOut) {
  EXPECT_EQ(Refused("smtpd_reject_footer = $nonsense\n"), "503 5.5.1 Error: need MAIL command\r\n");
  EXPECT_EQ(Refused("smtpd_reject_footer_maps = texthash:/no/such/file\n"),
            "503 5.5.1 Error: need MAIL command\r\n");
}

TEST(RejectFooter, HasNothingOfAClientThatIsNotAllowed) {
  EXPECT_EQ(Refused("smtpd_expansion_filter = 0127\\56x\nsmtpd_reject_footer = $client_address "
                    "$client_name\n"),
            "503-5.5.1 Error: need MAIL command\r\n503 5.5.1 127.0.0._ _______\r\n");
}

TEST(Ports, AreLoggedOnRequest) {
  SessionConfig config = ScriptedSession::Config();
  config.client_port_logging = true;
  ConnectionFacts facts = ScriptedSession::Facts();
  facts.port = "25041";
  ScriptedSession client(config, facts);
  client.Connect();
  EXPECT_THAT(client.log, Contains("smtpd: connect from unknown[127.0.0.3]:25041"));
}

TEST(QueueIds, MayBeginAtMail) {
  SessionConfig config = ScriptedSession::Config();
  config.delay_open_until_valid_rcpt = false;
  Client client(config);
  client.SayLine("MAIL FROM:<a@b>");
  EXPECT_THAT(client.log, Contains("smtpd: 4jXQUEUEID1: client=unknown[127.0.0.3]"));
}

}  // namespace
}  // namespace postfleet::ingress
