// The expected notices are what Postfix 3.7 sent for the same mail, with the two-digit days of 3.9.
#include "services/delivery/bounce/notice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postfleet::delivery {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kNowMs = 1795371599000;  // Sun, 22 Nov 2026 18:19:59 UTC
const NoticeNames kNames = {.myhostname = "mx.oracle.test", .myorigin = "mx.oracle.test"};

queue::v1::BouncedRecipient Bounced(const std::string& address, const std::string& status,
                                    const std::string& text, const std::string& remote_mta = "",
                                    const std::string& diagnostic = "") {
  queue::v1::BouncedRecipient bounced;
  bounced.mutable_recipient()->set_address(address);
  bounced.mutable_outcome()->set_status(status);
  bounced.mutable_outcome()->set_text(text);
  bounced.mutable_outcome()->set_remote_mta(remote_mta);
  bounced.mutable_outcome()->set_diagnostic(diagnostic);
  return bounced;
}

scheduler::v1::Delivery Delivery() {
  scheduler::v1::Delivery delivery;
  delivery.set_queue_id("4jXckZ5tKjz1bgVq");
  delivery.set_notice_queue_id("4jXckZ66YFz1bgW9");
  delivery.mutable_envelope()->set_sender("alice@v.test");
  delivery.mutable_envelope()->set_arrival_ms(kNowMs - 1000);
  return delivery;
}

std::string Lines(const std::string& text, const std::string& first, const std::string& last) {
  const size_t start = text.find(first);
  const size_t end = text.find(last, start);
  if (start == std::string::npos || end == std::string::npos) return "";
  return text.substr(start, end + last.size() - start);
}

// But for the time in Message-Id, which Postfix writes before its short queue ids only.
TEST(Notice, IsPostfixsByteForByte) {
  scheduler::v1::Delivery delivery = Delivery();
  *delivery.add_bounced() =
      Bounced("No.Such+e@v.test", "5.1.1", "unknown user: \"no.such+e@v.test\"");
  *delivery.add_bounced() = Bounced("nobody@r.test", "5.1.1",
                                    "host 127.0.0.1[127.0.0.1] said: 550 5.1.1 <x> no such user "
                                    "here (in reply to RCPT TO command)",
                                    "127.0.0.1", "550 5.1.1 <x> no such user here");
  EXPECT_EQ(ComposeNotice(delivery, {.contents = "From: a@b.test\nSubject: hello\n\nbody line\n"},
                          kNames, kNowMs),
            R"(Received: by mx.oracle.test (Postfix)
	id 4jXckZ66YFz1bgW9; Sun, 22 Nov 2026 18:19:59 +0000 (UTC)
Date: Sun, 22 Nov 2026 18:19:59 +0000 (UTC)
From: Mail Delivery System <MAILER-DAEMON@mx.oracle.test>
Subject: Undelivered Mail Returned to Sender
To: alice@v.test
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="4jXckZ5tKjz1bgVq.1795371599/mx.oracle.test"
Content-Transfer-Encoding: 8bit
Message-Id: <4jXckZ66YFz1bgW9@mx.oracle.test>

This is a MIME-encapsulated message.

--4jXckZ5tKjz1bgVq.1795371599/mx.oracle.test
Content-Description: Notification
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

This is the mail system at host mx.oracle.test.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

For further assistance, please send mail to postmaster.

If you do so, please include this problem report. You can
delete your own text from the attached returned message.

                   The mail system

<No.Such+e@v.test>: unknown user: "no.such+e@v.test"

<nobody@r.test>: host 127.0.0.1[127.0.0.1] said: 550 5.1.1 <x> no such user
    here (in reply to RCPT TO command)

--4jXckZ5tKjz1bgVq.1795371599/mx.oracle.test
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.oracle.test
X-Postfix-Queue-ID: 4jXckZ5tKjz1bgVq
X-Postfix-Sender: rfc822; alice@v.test
Arrival-Date: Sun, 22 Nov 2026 18:19:58 +0000 (UTC)

Final-Recipient: rfc822; No.Such+e@v.test
Original-Recipient: rfc822;No.Such+e@v.test
Action: failed
Status: 5.1.1
Diagnostic-Code: X-Postfix; unknown user: "no.such+e@v.test"

Final-Recipient: rfc822; nobody@r.test
Original-Recipient: rfc822;nobody@r.test
Action: failed
Status: 5.1.1
Remote-MTA: dns; 127.0.0.1
Diagnostic-Code: smtp; 550 5.1.1 <x> no such user here

--4jXckZ5tKjz1bgVq.1795371599/mx.oracle.test
Content-Description: Undelivered Message
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Return-Path: <alice@v.test>
From: a@b.test
Subject: hello

body line

--4jXckZ5tKjz1bgVq.1795371599/mx.oracle.test--
)");
}

TEST(Notice, AWarningOfDelayIsPostfixsByteForByte) {
  scheduler::v1::Delivery delivery = Delivery();
  delivery.set_notice_kind(scheduler::v1::Delivery::NOTICE_KIND_DELAY);
  delivery.set_retry_until_ms(kNowMs + 5 * 86'400'000LL);
  NoticeNames names = kNames;
  names.delay_warning_ms = 7'199'000;  // an hour, and not yet two
  names.maximal_queue_lifetime_ms = 5 * 86'400'000LL;
  for (const char* address : {"x@r.test", "No.Such+e@r2.test"}) {
    *delivery.add_bounced() =
        Bounced(address, "4.4.1", "connect to 127.0.0.1[127.0.0.1]:1: Connection refused");
  }
  EXPECT_EQ(ComposeNotice(delivery,
                          {.contents = "From: a@v.test\nSubject: hello\n",
                           .part = ReturnedMessage::Part::kHeaders},
                          names, kNowMs),
            R"(Received: by mx.oracle.test (Postfix)
	id 4jXckZ66YFz1bgW9; Sun, 22 Nov 2026 18:19:59 +0000 (UTC)
Date: Sun, 22 Nov 2026 18:19:59 +0000 (UTC)
From: Mail Delivery System <MAILER-DAEMON@mx.oracle.test>
Subject: Delayed Mail (still being retried)
To: alice@v.test
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="4jXckZ5tKjz1bgVq.1795371599/mx.oracle.test"
Content-Transfer-Encoding: 8bit
Message-Id: <4jXckZ66YFz1bgW9@mx.oracle.test>

This is a MIME-encapsulated message.

--4jXckZ5tKjz1bgVq.1795371599/mx.oracle.test
Content-Description: Notification
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

This is the mail system at host mx.oracle.test.

####################################################################
# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #
####################################################################

Your message could not be delivered for more than 1 hour(s).
It will be retried until it is 5 day(s) old.

For further assistance, please send mail to postmaster.

If you do so, please include this problem report. You can
delete your own text from the attached returned message.

                   The mail system

<x@r.test>: connect to 127.0.0.1[127.0.0.1]:1: Connection refused

<No.Such+e@r2.test>: connect to 127.0.0.1[127.0.0.1]:1: Connection refused

--4jXckZ5tKjz1bgVq.1795371599/mx.oracle.test
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.oracle.test
X-Postfix-Queue-ID: 4jXckZ5tKjz1bgVq
X-Postfix-Sender: rfc822; alice@v.test
Arrival-Date: Sun, 22 Nov 2026 18:19:58 +0000 (UTC)

Final-Recipient: rfc822; x@r.test
Original-Recipient: rfc822;x@r.test
Action: delayed
Status: 4.4.1
Diagnostic-Code: X-Postfix; connect to 127.0.0.1[127.0.0.1]:1: Connection
    refused
Will-Retry-Until: Fri, 27 Nov 2026 18:19:59 +0000 (UTC)

Final-Recipient: rfc822; No.Such+e@r2.test
Original-Recipient: rfc822;No.Such+e@r2.test
Action: delayed
Status: 4.4.1
Diagnostic-Code: X-Postfix; connect to 127.0.0.1[127.0.0.1]:1: Connection
    refused
Will-Retry-Until: Fri, 27 Nov 2026 18:19:59 +0000 (UTC)

--4jXckZ5tKjz1bgVq.1795371599/mx.oracle.test
Content-Description: Undelivered Message Headers
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: 8bit

Return-Path: <alice@v.test>
From: a@v.test
Subject: hello

--4jXckZ5tKjz1bgVq.1795371599/mx.oracle.test--
)");
}

TEST(Notice, LongRepliesFoldAndAddressesAreQuotedAsPostfixDoes) {
  scheduler::v1::Delivery delivery = Delivery();
  delivery.mutable_envelope()->set_sender("a b@v.test");
  const std::string reply =
      "550-5.1.1 first line  with  blanks\ttab and "
      "a_very_long_word_that_does_not_fit_in_any_line_of_seventy_nine_columns_at_all_because_it_is_"
      "long and more words that go on 550-second line caf\xc3\xa9 \xff \x01 done 550 5.1.1 third";
  *delivery.add_bounced() =
      Bounced("x y@r.test", "5.1.1",
              "host 127.0.0.1[127.0.0.1] said: " + reply + " (in reply to RCPT TO command)",
              "127.0.0.1", reply);
  const std::string notice = ComposeNotice(delivery, {.contents = "A: b\n"}, kNames, kNowMs);
  EXPECT_EQ(Lines(notice, "<\"x y\"@r.test>", "command)\n"),
            R"(<"x y"@r.test>: host 127.0.0.1[127.0.0.1] said: 550-5.1.1 first line  with
    blanks?tab and
    a_very_long_word_that_does_not_fit_in_any_line_of_seventy_nine_columns_at_all_because_it_is_long
    and more words that go on 550-second line café ? ? done 550 5.1.1 third
    (in reply to RCPT TO command)
)");
  EXPECT_EQ(Lines(notice, "Final-Recipient", "third\n"), R"(Final-Recipient: rfc822; "x y"@r.test
Original-Recipient: rfc822;"x y"@r.test
Action: failed
Status: 5.1.1
Remote-MTA: dns; 127.0.0.1
Diagnostic-Code: smtp; 550-5.1.1 first line  with  blanks?tab and
    a_very_long_word_that_does_not_fit_in_any_line_of_seventy_nine_columns_at_all_because_it_is_long
    and more words that go on 550-second line café ? ? done 550 5.1.1 third
)");
  EXPECT_THAT(notice, HasSubstr("\nTo: \"a b\"@v.test\n"));
  EXPECT_THAT(notice, HasSubstr("\nX-Postfix-Sender: rfc822; \"a b\"@v.test\n"));
  EXPECT_THAT(notice, HasSubstr("\nReturn-Path: <\"a b\"@v.test>\nA: b\n\n--"));
}

TEST(Notice, TheAddressBeforeAliasingIsNamed) {
  scheduler::v1::Delivery delivery = Delivery();
  auto* bounced = delivery.add_bounced();
  *bounced = Bounced("Target.User@r.test", "5.1.1",
                     "host 127.0.0.1[127.0.0.1] said: 550-5.1.1 first line  with  blanks?tab and");
  bounced->mutable_recipient()->set_original_address("al@r.test");
  const std::string notice = ComposeNotice(delivery, {}, kNames, kNowMs);
  EXPECT_THAT(notice, HasSubstr(R"(
<Target.User@r.test> (expanded from <al@r.test>): host 127.0.0.1[127.0.0.1]
    said: 550-5.1.1 first line  with  blanks?tab and
)"));
  EXPECT_THAT(notice, HasSubstr("Final-Recipient: rfc822; Target.User@r.test\n"
                                "Original-Recipient: rfc822;al@r.test\n"));
}

TEST(Notice, TheHeaderAloneIsAnotherType) {
  const std::string notice = ComposeNotice(
      Delivery(), {.contents = "Subject: big\nX-a: b\n", .part = ReturnedMessage::Part::kHeaders},
      kNames, kNowMs);
  EXPECT_THAT(notice, HasSubstr(R"(
Content-Description: Undelivered Message Headers
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: 8bit

Return-Path: <alice@v.test>
Subject: big
X-a: b

--4jXckZ5tKjz1bgVq.1795371599/mx.oracle.test--
)"));
}

TEST(Notice, ForeignTextCannotBreakTheLayout) {
  scheduler::v1::Delivery delivery = Delivery();
  auto* bounced = delivery.add_bounced();
  *bounced = Bounced("x@r.test\nBcc: evil@x", "5.1.1\nX: 1", "a\r\n\r\n--boundary\nX: 2",
                     "mx\nX: 3", "550 no\n\nFinal-Recipient: rfc822; other@x");
  const std::string notice = ComposeNotice(delivery, {}, kNames, kNowMs);
  for (const char* forged : {"\nBcc:", "\nX: 1", "\nX: 2", "\nX: 3", "other@x\n\nFinal", "\r"}) {
    EXPECT_THAT(notice, Not(HasSubstr(forged)));
  }
  EXPECT_EQ(notice.find("\nFinal-Recipient:"), notice.rfind("\nFinal-Recipient:"));
}

TEST(Notice, DetailsAreCutAtAThousandBytes) {
  scheduler::v1::Delivery delivery = Delivery();
  *delivery.add_bounced() =
      Bounced("x@r.test", "5.1.1", std::string(5000, 'T'), "mx", std::string(5000, 'D'));
  const std::string notice = ComposeNotice(delivery, {}, kNames, kNowMs);
  EXPECT_THAT(notice, HasSubstr(std::string(kDetailBytesMax, 'T')));
  EXPECT_THAT(notice, Not(HasSubstr(std::string(kDetailBytesMax + 1, 'T'))));
  EXPECT_THAT(notice, HasSubstr(std::string(kDetailBytesMax, 'D')));
  EXPECT_THAT(notice, Not(HasSubstr(std::string(kDetailBytesMax + 1, 'D'))));
}

TEST(Notice, IsBoundedWhateverItIsAbout) {
  const std::string header = "Subject: s\n\n";
  for (int recipients : {1, 400, 1000}) {
    for (size_t address : {20, 2000}) {
      for (size_t detail : {10, 5000}) {
        for (size_t contents : {100, 880 << 10, 5 << 20}) {
          scheduler::v1::Delivery delivery = Delivery();
          for (int i = 0; i < recipients; ++i) {
            *delivery.add_bounced() =
                Bounced(std::string(address, 'a') + std::to_string(i) + "@r.test", "5.1.1",
                        std::string(detail, 't'), "mx", std::string(detail, 'd'));
          }
          const std::string notice = ComposeNotice(
              delivery, {.contents = header + std::string(contents, 'x')}, kNames, kNowMs);
          EXPECT_LE(notice.size(), kNoticeBytesMax)
              << recipients << " " << address << " " << detail;
          // Complete to its end.
          EXPECT_TRUE(notice.ends_with("mx.oracle.test--\n"));
          EXPECT_THAT(notice, HasSubstr("\nSubject: s\n"));
        }
      }
    }
  }
}

TEST(Notice, ManyRecipientsShortenDetailsBeforeAnyIsLeftOut) {
  scheduler::v1::Delivery delivery = Delivery();
  for (int i = 0; i < 1000; ++i) {
    *delivery.add_bounced() = Bounced("user" + std::to_string(i) + "@r.test", "5.1.1",
                                      std::string(1000, 't'), "mx", std::string(1000, 'd'));
  }
  const std::string notice = ComposeNotice(delivery, {}, kNames, kNowMs);
  EXPECT_THAT(notice, HasSubstr("Final-Recipient: rfc822; user999@r.test\n"));
  EXPECT_THAT(notice, Not(HasSubstr("too many to be listed")));
  EXPECT_THAT(notice, Not(HasSubstr(std::string(301, 't'))));
  for (auto& bounced : *delivery.mutable_bounced()) {
    bounced.mutable_recipient()->set_address(std::string(2000, 'a') + "@r.test");
  }
  EXPECT_THAT(ComposeNotice(delivery, {}, kNames, kNowMs),
              HasSubstr(" more recipients, too many to be listed here.\n"));
}

TEST(Notice, AMessageThatDoesNotFitReturnsAsItsHeader) {
  const std::string notice =
      ComposeNotice(Delivery(), {.contents = "Subject: s\n\n" + std::string(kNoticeBytesMax, 'x')},
                    kNames, kNowMs);
  EXPECT_THAT(notice, HasSubstr("text/rfc822-headers"));
  EXPECT_THAT(notice, HasSubstr("\nSubject: s\n\n--"));
}

TEST(PrintableText, KeepsUtf8AndCutsBetweenCharacters) {
  EXPECT_EQ(PrintableText("a\xc3\xa9z", 100), "a\xc3\xa9z");
  EXPECT_EQ(PrintableText("a\xc3\xa9z", 2), "a");
  EXPECT_EQ(PrintableText("\xf0\x9f\x98\x80", 100), "\xf0\x9f\x98\x80");
  EXPECT_EQ(PrintableText("\xc0\x80 \xed\xa0\x80 \xe9\n\t\x7f", 100), "?? ??? ????");
}

TEST(AppendWrapped, ALineOfExactlySeventyNineStays) {
  std::string out;
  AppendWrapped(std::string(70, 'a') + " " + std::string(8, 'b'), &out);
  EXPECT_EQ(out, std::string(70, 'a') + " " + std::string(8, 'b') + "\n");
  out.clear();
  AppendWrapped(std::string(70, 'a') + " " + std::string(9, 'b') + " c", &out);
  EXPECT_EQ(out, std::string(70, 'a') + "\n    " + std::string(9, 'b') + " c\n");
}

}  // namespace
}  // namespace postfleet::delivery
