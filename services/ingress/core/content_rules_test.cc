// What parameters say of content (postconf(5)), with replies and lines of the log as real Postfix
// gave them (tests/scenarios/cleanup_cases.txt).
#include "services/ingress/core/content_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"
#include "services/ingress/core/scripted_session.h"

namespace postfleet::ingress {
namespace {

using testing::Contains;
using testing::EndsWith;
using testing::Not;

ContentRules Rules(std::string_view main_cf) {
  config::Diagnostics ignored;
  return *ContentRules::From(
      *config::Config::FromText(main_cf, "", {.hostname = "mx.example.com"}, ignored));
}

absl::Status ErrorOf(std::string_view main_cf) {
  config::Diagnostics ignored;
  return ContentRules::From(
             *config::Config::FromText(main_cf, "", {.hostname = "mx.example.com"}, ignored))
      .status();
}

SessionConfig With(std::string_view main_cf) {
  SessionConfig config = ScriptedSession::Config();
  config.content_rules = Rules(main_cf);
  return config;
}

struct Client : ScriptedSession {
  explicit Client(SessionConfig config) : ScriptedSession(std::move(config)) {
    Connect();
    SayLine("EHLO a");
  }
  // The last reply.
  std::string Send(std::string_view content, std::string_view mail = "MAIL FROM:<a@b>") {
    SayLine(mail);
    SayLine("RCPT TO:<bob@localhost>");
    SayLine("DATA");
    return Say(Concat(content, ".\r\n"));
  }
  const mail::v1::Envelope& envelope() const {
    return submits.back().submission.message().envelope();
  }
};

constexpr const char* kQueued = "250 2.0.0 Ok: queued as 4jXQUEUEID1\r\n";

TEST(Strict8BitMime, IsBothOfItsParts) {
  const ContentRules rules = Rules("strict_8bitmime = yes\n");
  EXPECT_TRUE(rules.cleanup.refuse_header_8bit && rules.cleanup.refuse_body_8bit);
  const ContentRules stock = Rules("");
  EXPECT_FALSE(stock.cleanup.refuse_header_8bit || stock.cleanup.refuse_body_8bit ||
               stock.cleanup.refuse_encoding_domain);
}

TEST(Strict7BitHeaders, RefusesWithPostfixsWords) {
  Client client(With("strict_7bit_headers = yes\n"));
  EXPECT_EQ(client.Send("Subject: \xe4\x01\xc3\xa4\r\n"),
            "550 5.6.0 improper use of 8-bit data in message header\r\n");
  EXPECT_TRUE(client.submits.empty());
  EXPECT_THAT(client.log, Contains("cleanup: 4jXQUEUEID1: reject: mime-error improper use of 8-bit "
                                   "data in message header: Subject: ??\xc3\xa4 from "
                                   "unknown[127.0.0.3]; from=<a@b> to=<bob@localhost>"));
  EXPECT_EQ(client.Send("Subject: x\r\n\r\n\xe4\r\n"), "250 2.0.0 Ok: queued as 4jXQUEUEID2\r\n");
}

TEST(MessageRejectCharacters, RefusesWithPostfixsWords) {
  Client client(With("message_reject_characters = \\001\n"));
  EXPECT_EQ(client.Send("Subject: x\r\n\r\na\x01z\r\nb\r\n"), "550 5.7.1 disallowed character\r\n");
  EXPECT_THAT(client.log,
              Contains("cleanup: 4jXQUEUEID1: reject: content a?z from unknown[127.0.0.3]; "
                       "from=<a@b> to=<bob@localhost> proto=ESMTP helo=<a>: 5.7.1 disallowed "
                       "character"));
}

TEST(MessageStripCharacters, AreNotStored) {
  Client client(With("message_strip_characters = \\001\n"));
  EXPECT_EQ(client.Send("Subject: x\x01y\r\n\r\na\x01z\r\n"), kQueued);
  EXPECT_THAT(client.LastContent(), EndsWith("\nSubject: xy\n\naz\n"));
}

TEST(ContentRules, WrongOnesAreErrors) {
  EXPECT_EQ(ErrorOf("message_strip_characters = \\q\n").message(),
            "bad escape in message_strip_characters");
  EXPECT_EQ(ErrorOf("message_reject_characters = \\400\n").message(),
            "bad escape in message_reject_characters");
  EXPECT_EQ(ErrorOf("smtputf8_autodetect_classes = sendmail, foo\n").message(),
            "bad class \"foo\" in smtputf8_autodetect_classes");
}

TEST(Detect8BitEncodingHeader, DeclaresWhatTheHeaderSays) {
  constexpr const char* kMail = "Content-Transfer-Encoding: 8bit\r\n";
  Client client(With(""));
  client.Send(kMail);
  EXPECT_TRUE(client.envelope().body_8bitmime());
  Client without(With("detect_8bit_encoding_header = no\n"));
  without.Send(kMail);
  EXPECT_FALSE(without.envelope().body_8bitmime());
}

TEST(Smtputf8AutodetectClasses, NeedItWhereContentDoes) {
  const auto needs = [](std::string_view classes, std::string_view content) {
    Client client(With(Concat("smtputf8_autodetect_classes = ", classes, "\n")));
    EXPECT_EQ(client.Send(content), kQueued);
    EXPECT_EQ(client.envelope().smtputf8(), client.envelope().smtputf8_requested());
    return client.envelope().smtputf8();
  };
  constexpr const char* kHeader = "Subject: \xc3\xa4\r\n";
  EXPECT_TRUE(needs("smtpd", kHeader));
  EXPECT_TRUE(needs("all", kHeader));
  EXPECT_FALSE(needs("sendmail, verify", kHeader));
  EXPECT_FALSE(needs("all", "Subject: x\r\n\r\n\xc3\xa4\r\n"));
  EXPECT_TRUE(needs("all", "Content-Type: message/rfc822\r\n\r\nSubject: \xc3\xa4\r\n"));
}

TEST(MessageSizeLimit, CountsWhatCame) {
  SessionConfig config = ScriptedSession::Config();
  config.message_size_limit = 1000;
  Client client(config);
  std::string dropped = "Bcc: ";
  for (int i = 0; i < 20; ++i) dropped += "a@b.example,\r\n " + std::string(40, ' ');
  EXPECT_EQ(client.Send(dropped + "\r\n"), "552 5.3.4 Error: message file too big\r\n");
}

TEST(MessageSizeLimit, IsTheAnswerBeforeHops) {
  SessionConfig config = ScriptedSession::Config();
  config.message_size_limit = 1000;
  config.hopcount_limit = 2;
  Client client(config);
  EXPECT_EQ(client.Send("Received: x\r\n\r\n" + std::string(2000, 'x') + "\r\n"),
            "552 5.3.4 Error: message file too big\r\n");
  EXPECT_THAT(client.log,
              Contains("cleanup: warning: 4jXQUEUEID1: message rejected: hopcount exceeded"));
}

TEST(MessageIds, AreLoggedAsTheyCome) {
  Client client(ScriptedSession::Config());
  client.Send("Message-Id: <\xff@b> \r\nMessage-Id:\r\n\r\n");
  EXPECT_THAT(client.log, Contains("cleanup: 4jXQUEUEID1: message-id=<?@b> "));
  EXPECT_THAT(client.log, Contains("cleanup: 4jXQUEUEID1: message-id="));
  EXPECT_THAT(client.log, Not(Contains("cleanup: 4jXQUEUEID1: message-id=<>")));
}

TEST(SmtpdForbidBareNewlineRejectCode, OfClosingClosesTheConnection) {
  for (const auto& [code, closes] : {std::pair{550, false}, {521, true}, {421, true}}) {
    SessionConfig config = ScriptedSession::Config();
    config.bare_newline = smtp::BareNewline::kReject;
    config.bare_newline_reject_code = code;
    Client client(config);
    EXPECT_EQ(client.Send("a\nb\r\n"),
              Concat(code, " 5.5.2 mx.example.com Error: bare <LF> received\r\n"));
    EXPECT_EQ(client.closed, closes) << code;
  }
}

}  // namespace
}  // namespace postfleet::ingress
