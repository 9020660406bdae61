#include "libs/message/received.h"

#include <gtest/gtest.h>

#include <ctime>
#include <random>

namespace postfleet::message {
namespace {

constexpr int64_t kSaturday = 1796465472;  // 5 December 2026, 10:11:12 UTC

SmtpReceived Example() {
  return {.helo_name = "client.example",
          .client_name = "mail.client.example",
          .client_address = "192.0.2.1",
          .extra_lines = "",
          .myhostname = "mx.example.org",
          .protocol = "ESMTP",
          .queue_id = "4jXVqC48Jhz1cXNP",
          .recipient = "user@example.org",
          .time = {.seconds = kSaturday}};
}

TEST(MailDate, DayHasTwoDigits) {
  EXPECT_EQ(FormatMailDate({.seconds = kSaturday}), "Sat, 05 Dec 2026 10:11:12 +0000 (UTC)");
}

TEST(MailDate, OffsetAndZone) {
  EXPECT_EQ(FormatMailDate({kSaturday, 3600, "CET"}), "Sat, 05 Dec 2026 11:11:12 +0100 (CET)");
  EXPECT_EQ(FormatMailDate({kSaturday, -12600, "NST"}), "Sat, 05 Dec 2026 06:41:12 -0330 (NST)");
  EXPECT_EQ(FormatMailDate({kSaturday, 50400, ""}), "Sun, 06 Dec 2026 00:11:12 +1400");
}

TEST(MailDate, EveryDayIsTheCalendarsDay) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20000; ++round) {
    const time_t seconds = static_cast<int64_t>(random() % 16'000'000'000ull) - 4'000'000'000ll;
    tm parts;
    gmtime_r(&seconds, &parts);
    char want[64];
    strftime(want, sizeof want, "%a, %d %b %Y %H:%M:%S +0000", &parts);
    ASSERT_EQ(FormatMailDate({seconds, 0, ""}), want) << seconds;
  }
}

TEST(Received, OneRecipientIsNamed) {
  EXPECT_EQ(FormatSmtpReceived(Example()),
            "Received: from client.example (mail.client.example [192.0.2.1])\n"
            "\tby mx.example.org (Postfix) with ESMTP id 4jXVqC48Jhz1cXNP\n"
            "\tfor <user@example.org>; Sat, 05 Dec 2026 10:11:12 +0000 (UTC)\n");
}

TEST(Received, SeveralRecipientsAreNot) {
  SmtpReceived received = Example();
  received.recipient = "";
  EXPECT_EQ(FormatSmtpReceived(received),
            "Received: from client.example (mail.client.example [192.0.2.1])\n"
            "\tby mx.example.org (Postfix) with ESMTP id 4jXVqC48Jhz1cXNP;\n"
            "\tSat, 05 Dec 2026 10:11:12 +0000 (UTC)\n");
}

TEST(Received, ExtraLinesStandBelowTheFirst) {
  SmtpReceived received = Example();
  received.extra_lines =
      "(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\n key-exchange X25519)";
  EXPECT_NE(FormatSmtpReceived(received).find(
                "[192.0.2.1])\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\n"
                "\t key-exchange X25519)\n\tby mx"),
            std::string::npos);
}

TEST(Rfc5321_4_4, Ipv6AddressesAreTagged) {
  SmtpReceived received = Example();
  for (const char* address : {"2001:db8::1", "IPv6:2001:db8::1"}) {
    received.client_address = address;
    EXPECT_NE(FormatSmtpReceived(received).find("[IPv6:2001:db8::1])"), std::string::npos);
  }
}

TEST(Received, ClientDataCannotStartAHeader) {
  SmtpReceived received = Example();
  received.helo_name = "a\nX: y\r(z)";
  received.client_name = "n\nm";
  received.recipient = "u\n@x";
  const std::string text = FormatSmtpReceived(received);
  EXPECT_NE(text.find("from a?X:?y??z? (n?m ["), std::string::npos) << text;
  EXPECT_NE(text.find("for <u?@x>;"), std::string::npos) << text;
}

TEST(Received, NoticesAndLocalMail) {
  EXPECT_EQ(
      FormatLocalReceived("mx.example.org", "Postfix", "ID", -1, {.seconds = kSaturday}),
      "Received: by mx.example.org (Postfix)\n\tid ID; Sat, 05 Dec 2026 10:11:12 +0000 (UTC)\n");
  EXPECT_EQ(FormatLocalReceived("mx.example.org", "Postfix", "ID", 0, {.seconds = kSaturday}),
            "Received: by mx.example.org (Postfix, from userid 0)\n\tid ID; Sat, 05 Dec 2026 "
            "10:11:12 +0000 (UTC)\n");
}

TEST(Rfc3848, ProtocolNames) {
  EXPECT_EQ(ProtocolName(false, false, false, false), "SMTP");
  EXPECT_EQ(ProtocolName(true, false, false, false), "ESMTP");
  EXPECT_EQ(ProtocolName(true, true, true, false), "ESMTPSA");
  EXPECT_EQ(ProtocolName(true, true, false, true), "UTF8SMTPS");
}

}  // namespace
}  // namespace postfleet::message
