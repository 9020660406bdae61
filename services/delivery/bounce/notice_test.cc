// The expected notices are what Postfix 3.7 sent for the same mail, with the two-digit days of 3.9.
#include "services/delivery/bounce/notice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"

namespace postfleet::delivery {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kNowMs = 1795371599000;  // Sun, 22 Nov 2026 18:19:59 UTC
// The built-in templates of a site with these parameters, or what they mean there in seconds.
NoticeTemplates Expanded(int64_t delay_warning_s, int64_t lifetime_s) {
  NoticeTemplates templates = NoticeTemplates::BuiltIn();
  std::vector<std::string> problems;
  for (NoticeTemplate* read :
       {&templates.failure, &templates.delay, &templates.success, &templates.verify}) {
    read->body = ExpandTemplate(
        read->body,
        [&](std::string_view name) -> std::optional<std::string> {
          if (name == "myhostname") return "mx.oracle.test";
          return std::to_string(name == "delay_warning_time" ? delay_warning_s : lifetime_s);
        },
        &problems);
  }
  EXPECT_TRUE(problems.empty());
  return templates;
}

const NoticeNames kNames = {.myhostname = "mx.oracle.test",
                            .myorigin = "mx.oracle.test",
                            .templates = Expanded(7'199, 5 * 86'400)};

// The sender's.
std::string Compose(const scheduler::v1::Delivery& delivery, const ReturnedMessage& returned,
                    const NoticeNames& names = kNames) {
  return ComposeNotice(delivery,
                       {.kind = KindOf(delivery),
                        .queue_id = delivery.notice_queue_id(),
                        .recipient = delivery.envelope().sender()},
                       returned, names, kNowMs);
}

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
  EXPECT_EQ(Compose(delivery, {.contents = "From: a@b.test\nSubject: hello\n\nbody line\n"}),
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
  for (const char* address : {"x@r.test", "No.Such+e@r2.test"}) {
    *delivery.add_bounced() =
        Bounced(address, "4.4.1", "connect to 127.0.0.1[127.0.0.1]:1: Connection refused");
  }
  EXPECT_EQ(Compose(delivery, {.contents = "From: a@v.test\nSubject: hello\n",
                               .part = ReturnedMessage::Part::kHeaders}),
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
  const std::string notice = Compose(delivery, {.contents = "A: b\n"});
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

TEST(Notice, ACommandsWordsAreSaidToBeSo) {
  scheduler::v1::Delivery delivery = Delivery();
  *delivery.add_bounced() =
      Bounced("r@v.test", "5.1.1", "user unknown. Command output: who?", "", "who?");
  *delivery.add_bounced() = Bounced("q@v.test", "5.7.1", "");
  const std::string notice = Compose(delivery, {});
  EXPECT_THAT(notice, HasSubstr("<r@v.test>: user unknown. Command output: who?\n"));
  EXPECT_THAT(notice, HasSubstr("Status: 5.1.1\nDiagnostic-Code: x-unix; who?\n"));
  EXPECT_THAT(notice, HasSubstr("<q@v.test>: (description unavailable)\n"));
  EXPECT_THAT(notice, HasSubstr("Diagnostic-Code: X-Postfix; (description unavailable)\n"));
}

TEST(Notice, TheAddressBeforeAliasingIsNamed) {
  scheduler::v1::Delivery delivery = Delivery();
  auto* bounced = delivery.add_bounced();
  *bounced = Bounced("Target.User@r.test", "5.1.1",
                     "host 127.0.0.1[127.0.0.1] said: 550-5.1.1 first line  with  blanks?tab and");
  bounced->mutable_recipient()->set_original_address("al@r.test");
  const std::string notice = Compose(delivery, {});
  EXPECT_THAT(notice, HasSubstr(R"(
<Target.User@r.test> (expanded from <al@r.test>): host 127.0.0.1[127.0.0.1]
    said: 550-5.1.1 first line  with  blanks?tab and
)"));
  EXPECT_THAT(notice, HasSubstr("Final-Recipient: rfc822; Target.User@r.test\n"
                                "Original-Recipient: rfc822;al@r.test\n"));
}

// An alias of whose parts one failed, one waits, and more than are named failed.
scheduler::v1::Delivery DeliveryOfParts() {
  scheduler::v1::Delivery delivery = Delivery();
  auto* bounced = delivery.add_bounced();
  *bounced = Bounced("team@v.test", "4.2.2", "full");
  bounced->mutable_recipient()->set_dsn_orcpt("rfc822;orig@v.test");
  bounced->mutable_outcome()->set_action(mail::v1::Outcome::ACTION_BOUNCED);
  bounced->mutable_outcome()->set_parts_more(2);
  for (const auto action :
       {mail::v1::Outcome::ACTION_BOUNCED, mail::v1::Outcome::ACTION_DEFERRED}) {
    auto* part = bounced->mutable_outcome()->add_parts();
    const bool late = action == mail::v1::Outcome::ACTION_DEFERRED;
    part->set_action(action);
    part->set_address(late ? "late@v.test" : "bad@v.test");
    part->set_original_address("team@v.test");
    part->set_status(late ? "4.2.2" : "5.1.1");
    part->set_text(late ? "full" : "user unknown");
    if (!late) part->set_diagnostic("user unknown");
  }
  return delivery;
}

TEST(Notice, PartsAreNamedInTheAliasPlace) {
  const std::string text = Compose(DeliveryOfParts(), {.contents = "Subject: x\n\n"});
  EXPECT_THAT(text, HasSubstr("<bad@v.test> (expanded from <team@v.test>): user unknown\n\n"
                              "<late@v.test> (expanded from <team@v.test>): full\n\n"
                              "There are 2 more recipients, too many to be listed here.\n"));
  EXPECT_THAT(text, HasSubstr("Final-Recipient: rfc822; bad@v.test\n"
                              "Original-Recipient: rfc822;orig@v.test\nAction: failed\n"
                              "Status: 5.1.1\nDiagnostic-Code: x-unix; user unknown\n\n"
                              "Final-Recipient: rfc822; late@v.test\n"
                              "Original-Recipient: rfc822;orig@v.test\nAction: failed\n"
                              "Status: 4.2.2\nDiagnostic-Code: X-Postfix; full\n\n"));
  EXPECT_THAT(text, Not(HasSubstr("; team@v.test")));
}

TEST(Notice, OfDelayNamesOnlyPartsThatWait) {
  scheduler::v1::Delivery delivery = DeliveryOfParts();
  delivery.set_notice_kind(scheduler::v1::Delivery::NOTICE_KIND_DELAY);
  const std::string text = Compose(delivery, {.contents = "Subject: x\n\n"});
  EXPECT_THAT(text, HasSubstr("Final-Recipient: rfc822; late@v.test\n"));
  EXPECT_THAT(text, Not(HasSubstr("bad@v.test")));
}

TEST(Notice, TheHeaderAloneIsAnotherType) {
  const std::string notice = Compose(
      Delivery(), {.contents = "Subject: big\nX-a: b\n", .part = ReturnedMessage::Part::kHeaders});
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
  const std::string notice = Compose(delivery, {});
  for (const char* forged : {"\nBcc:", "\nX: 1", "\nX: 2", "\nX: 3", "other@x\n\nFinal", "\r"}) {
    EXPECT_THAT(notice, Not(HasSubstr(forged)));
  }
  EXPECT_EQ(notice.find("\nFinal-Recipient:"), notice.rfind("\nFinal-Recipient:"));
}

TEST(Notice, DetailsAreCutAtAThousandBytes) {
  scheduler::v1::Delivery delivery = Delivery();
  *delivery.add_bounced() =
      Bounced("x@r.test", "5.1.1", std::string(5000, 'T'), "mx", std::string(5000, 'D'));
  const std::string notice = Compose(delivery, {});
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
          const std::string notice =
              Compose(delivery, {.contents = header + std::string(contents, 'x')});
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
  const std::string notice = Compose(delivery, {});
  EXPECT_THAT(notice, HasSubstr("Final-Recipient: rfc822; user999@r.test\n"));
  EXPECT_THAT(notice, Not(HasSubstr("too many to be listed")));
  EXPECT_THAT(notice, Not(HasSubstr(std::string(301, 't'))));
  for (auto& bounced : *delivery.mutable_bounced()) {
    bounced.mutable_recipient()->set_address(std::string(2000, 'a') + "@r.test");
  }
  EXPECT_THAT(Compose(delivery, {}), HasSubstr(" more recipients, too many to be listed here.\n"));
}

TEST(Notice, AMessageThatDoesNotFitReturnsAsItsHeader) {
  const std::string notice =
      Compose(Delivery(), {.contents = "Subject: s\n\n" + std::string(kNoticeBytesMax, 'x')});
  EXPECT_THAT(notice, HasSubstr("text/rfc822-headers"));
  EXPECT_THAT(notice, HasSubstr("\nSubject: s\n\n--"));
}

TEST(Notice, OfSuccessIsPostfixsByteForByte) {
  scheduler::v1::Delivery delivery = Delivery();
  delivery.set_notice_kind(scheduler::v1::Delivery::NOTICE_KIND_SUCCESS);
  delivery.mutable_envelope()->set_dsn_envid("e+v");
  struct Row {
    const char* address;
    mail::v1::Outcome::Success success;
  };
  for (const Row& row : {Row{"bob@v.test", mail::v1::Outcome::SUCCESS_DELIVERED},
                         Row{"carl@r.test", mail::v1::Outcome::SUCCESS_RELAYED}}) {
    auto* sent = delivery.add_bounced();
    *sent = Bounced(row.address, "2.0.0", "delivery via virtual: delivered to maildir");
    sent->mutable_outcome()->set_action(mail::v1::Outcome::ACTION_SENT);
    sent->mutable_outcome()->set_success(row.success);
    sent->mutable_recipient()->set_dsn_notify(mail::v1::NOTIFY_FLAG_SUCCESS);
    sent->mutable_recipient()->set_dsn_orcpt("rfc822;orig@z");
  }
  const std::string notice =
      Compose(delivery, {.contents = "Subject: x\n", .part = ReturnedMessage::Part::kHeaders});
  EXPECT_THAT(notice, HasSubstr("\nSubject: Successful Mail Delivery Report\n"));
  EXPECT_THAT(notice, HasSubstr(R"(
This is the mail system at host mx.oracle.test.

Your message was successfully delivered to the destination(s)
listed below. If the message was delivered to mailbox you will
receive no further notifications. Otherwise you may still receive
notifications of mail delivery errors from other systems.

                   The mail system

<bob@v.test>: delivery via virtual: delivered to maildir

<carl@r.test>: delivery via virtual: delivered to maildir

--)"));
  EXPECT_THAT(notice, HasSubstr(R"(
Reporting-MTA: dns; mx.oracle.test
Original-Envelope-Id: e+v
X-Postfix-Queue-ID: 4jXckZ5tKjz1bgVq
)"));
  EXPECT_THAT(notice, HasSubstr(R"(
Final-Recipient: rfc822; bob@v.test
Original-Recipient: rfc822;orig@z
Action: delivered
Status: 2.0.0
Diagnostic-Code: X-Postfix; delivery via virtual: delivered to maildir
)"));
  EXPECT_THAT(notice, HasSubstr("\nAction: relayed\n"));
  EXPECT_THAT(notice, HasSubstr("\nContent-Description: Message Headers\n"));
}

TEST(Rfc6533, MailInUtf8HasItsOwnTypes) {
  scheduler::v1::Delivery delivery = Delivery();
  delivery.mutable_envelope()->set_smtputf8(true);
  *delivery.add_bounced() = Bounced("\xc3\xa4@bad.example", "5.1.6", "no longer here");
  *delivery.add_bounced() = Bounced("a@bad.example", "5.1.6", "no longer here");
  const std::string whole = Compose(delivery, {.contents = "Subject: \xc3\xa4\n\nb\n"});
  EXPECT_THAT(whole, HasSubstr("\nContent-Type: message/global-delivery-status\n"
                               "Content-Transfer-Encoding: 8bit\n\nReporting-MTA"));
  EXPECT_THAT(whole, HasSubstr("\nFinal-Recipient: utf-8; \xc3\xa4@bad.example\n"
                               "Original-Recipient: rfc822;\xc3\xa4@bad.example\n"));
  EXPECT_THAT(whole, HasSubstr("\nFinal-Recipient: rfc822; a@bad.example\n"));
  EXPECT_THAT(whole, HasSubstr("\nContent-Type: message/global\n"));
  EXPECT_THAT(Compose(delivery, {.contents = "S: x\n", .part = ReturnedMessage::Part::kHeaders}),
              HasSubstr("\nContent-Type: message/global-headers\n"));
}

TEST(Notice, ForThePostmasterHasNoTextAndNamesAll) {
  scheduler::v1::Delivery delivery = Delivery();
  *delivery.add_bounced() = Bounced("a@bad.example", "5.1.6", "no longer here");
  delivery.mutable_bounced(0)->mutable_recipient()->set_dsn_notify(mail::v1::NOTIFY_FLAG_NEVER);
  const auto copy = [&](NoticeKind kind) {
    return ComposeNotice(delivery,
                         {.kind = kind,
                          .audience = Audience::kPostmaster,
                          .queue_id = "4jXcopy",
                          .recipient = "postmaster@mx.oracle.test"},
                         {.contents = "S: x\n", .part = ReturnedMessage::Part::kHeaders}, kNames,
                         kNowMs);
  };
  const std::string notice = copy(NoticeKind::kFailure);
  EXPECT_THAT(notice, HasSubstr(R"(
From: Mail Delivery System <MAILER-DAEMON@mx.oracle.test>
Subject: Postmaster Copy: Undelivered Mail
To: postmaster@mx.oracle.test
Auto-Submitted: auto-generated
)"));
  EXPECT_THAT(notice, HasSubstr("\nMessage-Id: <4jXcopy@mx.oracle.test>\n"));
  EXPECT_THAT(notice, HasSubstr(R"(
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit


<a@bad.example>: no longer here

--)"));
  EXPECT_THAT(copy(NoticeKind::kDelay), HasSubstr("\nSubject: Postmaster Warning: Delayed Mail\n"));
}

TEST(Notice, OfTheNullSenderNamesMailerDaemon) {
  scheduler::v1::Delivery delivery = Delivery();
  delivery.mutable_envelope()->set_sender("");
  *delivery.add_bounced() = Bounced("a@bad.example", "5.1.6", "no longer here");
  const std::string notice = Compose(delivery, {.contents = "S: x\n\nb\n"});
  EXPECT_THAT(notice, HasSubstr("\nX-Postfix-Sender: rfc822; MAILER-DAEMON@mx.oracle.test\n"));
  EXPECT_THAT(notice, HasSubstr("\nReturn-Path: <MAILER-DAEMON@mx.oracle.test>\n"));
}

TEST(Rfc3461, WhoDidNotAskIsNotInTheNotice) {
  scheduler::v1::Delivery delivery = Delivery();
  const uint32_t asked[] = {0, mail::v1::NOTIFY_FLAG_NEVER, mail::v1::NOTIFY_FLAG_SUCCESS,
                            mail::v1::NOTIFY_FLAG_FAILURE, mail::v1::NOTIFY_FLAG_DELAY};
  for (size_t i = 0; i < std::size(asked); ++i) {
    *delivery.add_bounced() = Bounced("r" + std::to_string(i) + "@r.test", "5.1.1", "no");
    delivery.mutable_bounced(static_cast<int>(i))->mutable_recipient()->set_dsn_notify(asked[i]);
  }
  const auto told = [&] {
    const std::string notice = Compose(delivery, {});
    std::string found;
    for (size_t i = 0; i < std::size(asked); ++i) {
      const std::string address = "r" + std::to_string(i) + "@r.test";
      const bool named = notice.find("\n<" + address) != std::string::npos;
      EXPECT_EQ(named, notice.find("rfc822; " + address) != std::string::npos);
      if (named) found += std::to_string(i);
    }
    return found;
  };
  EXPECT_EQ(told(), "03");
  delivery.set_notice_kind(scheduler::v1::Delivery::NOTICE_KIND_DELAY);
  EXPECT_EQ(told(), "04");
  delivery.set_notice_kind(scheduler::v1::Delivery::NOTICE_KIND_SUCCESS);
  EXPECT_EQ(told(), "2");
}

TEST(Notice, WithoutSmtputf8TheTemplatesCharsetHolds) {
  NoticeNames names = kNames;
  names.smtputf8 = false;
  scheduler::v1::Delivery delivery = Delivery();
  *delivery.add_bounced() = Bounced("a@bad.example", "5.1.6", "no longer here");
  const std::string plain = Compose(delivery, {.contents = "S: x\n\nb\n"}, names);
  EXPECT_THAT(plain, HasSubstr("\nContent-Type: text/plain; charset=us-ascii\n\n"));
  EXPECT_THAT(plain, Not(HasSubstr("Content-Transfer-Encoding")));
  delivery.mutable_envelope()->set_body_8bitmime(true);
  EXPECT_THAT(Compose(delivery, {.contents = "S: x\n\nb\n"}, names),
              HasSubstr("charset=utf-8\nContent-Transfer-Encoding: 8bit\n"));
}

TEST(Notice, ATemplatesOwnCharsetHoldsWhereUsAsciiBecomesUtf8) {
  NoticeNames names = kNames;
  scheduler::v1::Delivery delivery = Delivery();
  *delivery.add_bounced() = Bounced("a@bad.example", "5.1.6", "no longer here");
  for (const auto& [charset, said] : std::vector<std::pair<std::string, std::string>>{
           {"us-ascii", "utf-8"}, {"US-ASCII", "utf-8"}, {"iso-8859-1", "iso-8859-1"}}) {
    names.templates.failure.charset = charset;
    EXPECT_THAT(Compose(delivery, {.contents = "S: x\n\nb\n"}, names),
                HasSubstr(Concat("; charset=", said, "\nContent-Transfer-Encoding: 8bit\n")));
  }
}

TEST(Notice, OfACheckWhatWasPutOffIsUndeliverable) {
  scheduler::v1::Delivery delivery = Delivery();
  for (const auto action : {mail::v1::Outcome::ACTION_SENT, mail::v1::Outcome::ACTION_BOUNCED,
                            mail::v1::Outcome::ACTION_DEFERRED}) {
    auto* told = delivery.add_bounced();
    *told = Bounced("a@x.example", "4.2.0", "word");
    told->mutable_outcome()->set_action(action);
  }
  const std::string notice = ComposeNotice(
      delivery,
      {.kind = NoticeKind::kVerify, .queue_id = "4jX", .recipient = delivery.envelope().sender()},
      {.contents = "S: x\n", .part = ReturnedMessage::Part::kHeaders}, kNames, kNowMs);
  std::string actions;
  for (size_t at = 0; (at = notice.find("\nAction: ", at)) != std::string::npos; ++at) {
    actions += notice.substr(at, notice.find('\n', at + 1) - at);
  }
  EXPECT_EQ(actions, "\nAction: deliverable\nAction: undeliverable\nAction: undeliverable");
  EXPECT_THAT(notice, HasSubstr("\nSubject: Mail Delivery Status Report\n"));
  EXPECT_THAT(notice, HasSubstr("\nContent-Description: Message Headers\n"));
}

}  // namespace
}  // namespace postfleet::delivery
