// What of a message's header and envelope depends on the client that sent it.
#include <gtest/gtest.h>

#include "services/ingress/core/header_rewrite_clients.h"
#include "services/ingress/core/scripted_session.h"

namespace postfleet::ingress {
namespace {

constexpr char kBase[] =
    "compatibility_level = 3.6\nmyhostname = mx.example.com\nmydomain = example.com\nmyorigin = "
    "example.com\n"
    "smtpd_relay_restrictions = permit_mynetworks, defer_unauth_destination\n";

SessionConfig ConfigOf(const std::string& main_cf) {
  config::Diagnostics diagnostics;
  const config::HostFacts facts = {"mx", {{*config::IpAddress::Parse("127.0.0.1"), 8}}};
  absl::StatusOr<config::Config> config =
      config::Config::FromText(kBase + main_cf, "", facts, diagnostics);
  EXPECT_TRUE(config.ok()) << config.status();
  absl::StatusOr<SessionConfig> session = SessionConfig::From(*config);
  EXPECT_TRUE(session.ok()) << session.status();
  return *std::move(session);
}

// Content below our Received field, and the envelope's sender.
struct Accepted {
  std::string content;
  std::string sender;
  std::string recipient;
};

Accepted Send(const std::string& main_cf, const std::string& client, const std::string& content,
              const std::string& sender = "<snd>",
              const std::string& recipient = "<bob@localhost>") {
  ScriptedSession session(ConfigOf(main_cf), {.name = "unknown", .address = client});
  session.clock = FakeClock(1'795'381'572'000);
  session.Connect();
  for (const std::string& line : {std::string("EHLO a"), "MAIL FROM:" + sender,
                                  "RCPT TO:" + recipient, std::string("DATA")}) {
    const std::string reply = session.SayLine(line);
    if (reply.front() > '3') return {reply, "", ""};
  }
  session.Say(content + "\r\n.\r\n");
  if (session.submits.empty()) return {};
  const queue::v1::NewMessage& message = session.submits.back().submission.message();
  std::string text = session.LastContent();
  size_t end = text.find('\n');
  while (end + 1 < text.size() && text[end + 1] == '\t') end = text.find('\n', end + 1);
  return {text.substr(end + 1), message.envelope().sender(), message.recipients(0).address()};
}

constexpr char kAdded[] =
    "Message-Id: <4jXQUEUEID1@mx.example.com>\n"
    "Date: Sun, 22 Nov 2026 21:06:12 +0000 (UTC)\n";

TEST(LocalHeaderRewriteClients, MailOfThisMachineIsCompleted) {
  EXPECT_EQ(Send("", "127.0.0.1", "To: bob\r\n\r\nx").content,
            std::string("To: bob@example.com\n") + kAdded + "From: snd@example.com\n\nx\n");
}

TEST(LocalHeaderRewriteClients, MailOfOthersIsNot) {
  const Accepted accepted = Send("", "127.0.0.3", "To: bob\r\n\r\nx");
  EXPECT_EQ(accepted.content, "To: bob\n\nx\n");
  EXPECT_EQ(accepted.sender, "snd@example.com") << "envelopes are completed always";
}

TEST(AlwaysAddMissingHeaders, AddsAndRewritesNothing) {
  EXPECT_EQ(Send("always_add_missing_headers = yes\n", "127.0.0.3", "To: bob\r\n\r\nx").content,
            std::string("To: bob\n") + kAdded + "From: snd@example.com\n\nx\n");
}

TEST(RemoteHeaderRewriteDomain, CompletesOthersMail) {
  const std::string main_cf = "remote_header_rewrite_domain = domain.invalid\n";
  EXPECT_EQ(Send(main_cf, "127.0.0.3", "To: bob\r\n\r\nx").content,
            std::string("To: bob@domain.invalid\n") + kAdded + "From: snd@example.com\n\nx\n");
  EXPECT_EQ(Send(main_cf, "127.0.0.1", "From: bob\r\nDate: x\r\nMessage-Id: y\r\n\r\nx").content,
            "From: bob@example.com\nDate: x\nMessage-Id: y\n\nx\n");
}

TEST(UndisclosedRecipientsHeader, MustBeAField) {
  EXPECT_EQ(Send("undisclosed_recipients_header = To: nobody:;\n", "127.0.0.1",
                 "Date: x\r\nMessage-Id: y\r\nFrom: a@b\r\n\r\nx")
                .content,
            "Date: x\nMessage-Id: y\nFrom: a@b\nTo: nobody:;\n\nx\n");
  config::Diagnostics diagnostics;
  const auto config = config::Config::FromText(
      std::string(kBase) + "undisclosed_recipients_header = nobody\n", "", {"mx", {}}, diagnostics);
  ASSERT_TRUE(config.ok());
  EXPECT_FALSE(SessionConfig::From(*config).ok());
}

TEST(Envelope, IsCompletedAsPostfixDoes) {
  const std::string main_cf = "append_dot_mydomain = yes\n";
  const auto envelope = [&main_cf](const std::string& sender, const std::string& recipient) {
    const Accepted accepted = Send(main_cf, "127.0.0.3", "", sender, recipient);
    return accepted.sender + " " + accepted.recipient;
  };
  EXPECT_EQ(envelope("<u@h>", "<carl@relay.example>"), "u@h.example.com carl@relay.example");
  EXPECT_EQ(envelope("<a!b>", "<carl@relay.example>"), "b@a.example.com carl@relay.example");
  EXPECT_EQ(envelope("<\"a%b\">", "<carl%relay.example>"), "a@b.example.com carl@relay.example");
  EXPECT_EQ(envelope("<MAILER-DAEMON>", "<relay.example!carl>"), " carl@relay.example");
}

TEST(LocalHeaderRewriteClients, TableThatCannotBeReadDefersMail) {
  EXPECT_EQ(
      Send("local_header_rewrite_clients = texthash:/does/not/exist\n", "127.0.0.1", "x", "<a@b>")
          .content,
      "451 4.3.0 <a@b>: Temporary lookup failure\r\n");
}

TEST(MissingFields, AreLogged) {
  ScriptedSession session(ConfigOf(""), {.name = "unknown", .address = "127.0.0.1"});
  session.clock = FakeClock(1'795'381'572'000);
  session.Connect();
  session.Say("EHLO a\r\n");
  session.Say("MAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\n");
  session.Say("A: b\r\n.\r\n");
  EXPECT_EQ(session.log.back().substr(0, 8), "cleanup:");
  EXPECT_NE(session.log.back().find("message-id=<4jXQUEUEID1@mx.example.com>"), std::string::npos)
      << session.log.back();
}

}  // namespace
}  // namespace postfleet::ingress
