// Expected texts were printed by Postfix 3.7.11 with enable_long_queue_ids = yes for the same mail.
#include "commands/queue_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace postfleet::commands {
namespace {

using queue::v1::ListedMessage;

ListedMessage Message(const std::string& queue_id, queue::v1::QueueName queue, uint64_t bytes,
                      const std::string& sender) {
  ListedMessage message;
  message.set_queue_id(queue_id);
  message.set_queue(queue);
  message.set_arrival_ms(1'795'371'825'999);
  message.set_message_bytes(bytes);
  message.set_sender(sender);
  return message;
}

void AddRecipient(ListedMessage* message, const std::string& address, const std::string& reason) {
  queue::v1::ListedRecipient* recipient = message->add_recipients();
  recipient->set_address(address);
  recipient->set_reason(reason);
}

ListedMessage Notice() {
  ListedMessage message = Message("4jXcsF1QVJz1bnrT", queue::v1::QUEUE_NAME_DEFERRED, 238, "");
  AddRecipient(
      &message, "x@long.example",
      "this is a rather long reason for which the mail was deferred: connect to "
      "mx1.long.example[192.0.2.1]:25: Connection timed out (in reply to RCPT TO command)");
  AddRecipient(&message, "one@a.example", "connect to a.example[127.0.0.1]:25: Connection refused");
  AddRecipient(&message, "two@a.example", "connect to a.example[127.0.0.1]:25: Connection refused");
  return message;
}

ListedMessage PartlyTried(queue::v1::QueueName queue) {
  ListedMessage message = Message("4jXctF4Tvhz1bnZd", queue, 247, "act2@example.org");
  AddRecipient(&message, "a2@a.example", "connect to a.example[127.0.0.1]:25: Connection refused");
  AddRecipient(&message, "a1@hole.example", "");
  AddRecipient(&message, "a3@hole.example", "");
  return message;
}

ListedMessage NeverTried() {
  ListedMessage message =
      Message("4jXctF4PZHz1bnZY", queue::v1::QUEUE_NAME_ACTIVE, 1489137, "act@example.org");
  AddRecipient(&message, "a1@hole.example", "");
  AddRecipient(&message, "a2@hole.example", "");
  return message;
}

QueueTable UtcTable() { return QueueTable(absl::UTCTimeZone()); }

TEST(QueueTable, EmptyQueueIsOneLine) { EXPECT_EQ(UtcTable().End(), "Mail queue is empty\n"); }

TEST(QueueTable, ReasonIsShownOnceForRecipientsThatShareIt) {
  EXPECT_EQ(UtcTable().Add(Notice()),
            R"(----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------
4jXcsF1QVJz1bnrT       238 Sun Nov 22 18:23:45 MAILER-DAEMON
(this is a rather long reason for which the mail was deferred: connect to mx1.long.example[192.0.2.1]:25: Connection timed out (in reply to RCPT TO command))
                                               x@long.example
                      (connect to a.example[127.0.0.1]:25: Connection refused)
                                               one@a.example
                                               two@a.example

)");
}

TEST(QueueTable, HeadingIsOnlyBeforeTheFirstMessage) {
  QueueTable table = UtcTable();
  table.Add(Notice());
  EXPECT_EQ(table.Add(NeverTried()),
            R"(4jXctF4PZHz1bnZY*  1489137 Sun Nov 22 18:23:45 act@example.org
                                               a1@hole.example
                                               a2@hole.example

)");
}

TEST(QueueTable, RecipientsWithoutReasonBehindOthersSaySo) {
  QueueTable table = UtcTable();
  table.Add(Notice());
  EXPECT_EQ(table.Add(PartlyTried(queue::v1::QUEUE_NAME_HOLD)),
            R"(4jXctF4Tvhz1bnZd!      247 Sun Nov 22 18:23:45 act2@example.org
                      (connect to a.example[127.0.0.1]:25: Connection refused)
                                               a2@a.example
                                                          (reason unavailable)
                                               a1@hole.example
                                               a3@hole.example

)");
}

TEST(QueueTable, MailThatMustExpireIsMarkedBehindItsQueue) {
  QueueTable table = UtcTable();
  table.Add(Notice());
  for (const auto& [queue, marks] : {std::pair(queue::v1::QUEUE_NAME_DEFERRED, "#"),
                                     std::pair(queue::v1::QUEUE_NAME_ACTIVE, "*#"),
                                     std::pair(queue::v1::QUEUE_NAME_HOLD, "!#")}) {
    ListedMessage message = Message("4jXhF63Bp0z1hVqx", queue, 3331, "x@y.example");
    message.set_forced_expire(true);
    EXPECT_EQ(table.Add(message), absl::StrCat("4jXhF63Bp0z1hVqx", marks,
                                               "     3331 Sun Nov 22 18:23:45 x@y.example\n\n"));
  }
}

TEST(QueueTable, CorruptMailSaysWhatIsWrong) {
  QueueTable table = UtcTable();
  table.Add(Notice());
  ListedMessage message = NeverTried();
  message.set_queue(queue::v1::QUEUE_NAME_CORRUPT);
  message.set_corrupt_reason("chunk 0 does not match its checksum");
  message.mutable_recipients()->RemoveLast();
  EXPECT_EQ(table.Add(message),
            "4jXctF4PZHz1bnZY   1489137 Sun Nov 22 18:23:45 act@example.org\n"
            "                                         (chunk 0 does not match its checksum)\n"
            "                                               a1@hole.example\n\n");
}

TEST(QueueTable, RecipientsWithAReasonComeFirst) {
  QueueTable table = UtcTable();
  table.Add(Notice());
  ListedMessage message =
      Message("4jXhz25824z1hTwZ", queue::v1::QUEUE_NAME_HOLD, 301, "s@example.org");
  AddRecipient(&message, "n1@hole.example", "");
  AddRecipient(&message, "<angle@a.example",
               "connect to 127.0.0.1[127.0.0.1]:9: Connection refused");
  AddRecipient(&message, "n2@hole.example", "");
  AddRecipient(&message, "z@a.example", "connect to 127.0.0.1[127.0.0.1]:9: Connection refused");
  EXPECT_EQ(table.Add(message), R"(4jXhz25824z1hTwZ!      301 Sun Nov 22 18:23:45 s@example.org
                       (connect to 127.0.0.1[127.0.0.1]:9: Connection refused)
                                               "<angle"@a.example
                                               z@a.example
                                                          (reason unavailable)
                                               n1@hole.example
                                               n2@hole.example

)");
}

TEST(QueueTable, TotalsCountWholeKbytes) {
  QueueTable table = UtcTable();
  table.Add(Notice());
  EXPECT_EQ(table.End(), "-- 0 Kbytes in 1 Request.\n");
  table.Add(NeverTried());
  EXPECT_EQ(table.End(), "-- 1454 Kbytes in 2 Requests.\n");
}

TEST(QueueTable, DayOfMonthIsPaddedWithASpaceAndTimeIsOfTheZone) {
  ListedMessage message = NeverTried();
  message.clear_recipients();
  message.set_arrival_ms(1'793'575'825'000);  // 2026-11-01 23:30:25 UTC
  QueueTable table(absl::FixedTimeZone(3600));
  table.Add(Notice());
  EXPECT_EQ(table.Add(message),
            "4jXctF4PZHz1bnZY*  1489137 Mon Nov  2 00:30:25 act@example.org\n\n");
}

TEST(QueueTable, LongQueueIdsPushTheColumns) {
  QueueTable table = UtcTable();
  table.Add(Notice());
  ListedMessage message = NeverTried();
  message.clear_recipients();
  message.set_queue_id("4jXctF4PZHz1bnZYbnZYb");
  message.set_queue(queue::v1::QUEUE_NAME_INCOMING);
  EXPECT_EQ(table.Add(message),
            "4jXctF4PZHz1bnZYbnZYb  1489137 Sun Nov 22 18:23:45 act@example.org\n\n");
}

TEST(QueueJsonLine, IsPostfixsForDeferredMail) {
  EXPECT_EQ(
      QueueJsonLine(Notice()),
      R"json({"queue_name": "deferred", "queue_id": "4jXcsF1QVJz1bnrT", "arrival_time": 1795371825, "message_size": 238, "forced_expire": false, "sender": "MAILER-DAEMON", "recipients": [{"address": "x@long.example", "delay_reason": "this is a rather long reason for which the mail was deferred: connect to mx1.long.example[192.0.2.1]:25: Connection timed out (in reply to RCPT TO command)"}, {"address": "one@a.example", "delay_reason": "connect to a.example[127.0.0.1]:25: Connection refused"}, {"address": "two@a.example", "delay_reason": "connect to a.example[127.0.0.1]:25: Connection refused"}]})json"
      "\n");
}

TEST(QueueJsonLine, RecipientsThatWereNotTriedHaveNoReason) {
  EXPECT_EQ(
      QueueJsonLine(PartlyTried(queue::v1::QUEUE_NAME_ACTIVE)),
      R"json({"queue_name": "active", "queue_id": "4jXctF4Tvhz1bnZd", "arrival_time": 1795371825, "message_size": 247, "forced_expire": false, "sender": "act2@example.org", "recipients": [{"address": "a2@a.example", "delay_reason": "connect to a.example[127.0.0.1]:25: Connection refused"}, {"address": "a1@hole.example"}, {"address": "a3@hole.example"}]})json"
      "\n");
}

TEST(QueueJsonLine, SaysThatMailMustExpire) {
  ListedMessage message =
      Message("4jXhF63Bp0z1hVqx", queue::v1::QUEUE_NAME_HOLD, 3331, "x@y.example");
  message.set_forced_expire(true);
  AddRecipient(&message, "r9@b.example", "connect to 127.0.0.1[127.0.0.1]:9: Connection refused");
  EXPECT_EQ(
      QueueJsonLine(message),
      R"json({"queue_name": "hold", "queue_id": "4jXhF63Bp0z1hVqx", "arrival_time": 1795371825, "message_size": 3331, "forced_expire": true, "sender": "x@y.example", "recipients": [{"address": "r9@b.example", "delay_reason": "connect to 127.0.0.1[127.0.0.1]:9: Connection refused"}]})json"
      "\n");
}

TEST(QueueJsonLine, CorruptMailHasItsReasonBehind) {
  ListedMessage message =
      Message("4jXhF63Bp0z1hVqx", queue::v1::QUEUE_NAME_CORRUPT, 1, "x@y.example");
  message.set_corrupt_reason("chunk \"0\"");
  EXPECT_THAT(QueueJsonLine(message),
              testing::EndsWith(R"("recipients": [], "corrupt_reason": "chunk \"0\""})"
                                "\n"));
}

TEST(QueueJsonLine, QuotesBackslashesAndUtf8) {
  ListedMessage message =
      Message("4jXcsF1gyjz1bnv8", queue::v1::QUEUE_NAME_HOLD, 250, "q@mail.example.com");
  AddRecipient(&message, "<angle@mail.example.com", "");
  AddRecipient(&message, "q\"uoted \\ string@a.example", "odd \"quotes\" and \\\\ and \u00e9");
  AddRecipient(&message, "rcp\u00e9t@a.example", "");
  EXPECT_EQ(
      QueueJsonLine(message),
      R"json({"queue_name": "hold", "queue_id": "4jXcsF1gyjz1bnv8", "arrival_time": 1795371825, "message_size": 250, "forced_expire": false, "sender": "q@mail.example.com", "recipients": [{"address": "\"q\\\"uoted \\\\ string\"@a.example", "delay_reason": "odd \"quotes\" and \\\\ and )json"
      "\u00e9\"}, {\"address\": \"\\\"<angle\\\"@mail.example.com\"}, {\"address\": "
      "\"rcp\u00e9t@a.example\"}]}\n");
}

TEST(QueueJsonLine, ControlCharactersAndWhatIsNotUtf8AreQuestionMarks) {
  ListedMessage message =
      Message("4jXctF4bp4z1bnZg", queue::v1::QUEUE_NAME_INCOMING, 252, "s\xe9nd\x01x@example.org");
  AddRecipient(&message, "a\bb@a.example", "line\r\nline \x80\xff\xc3");
  EXPECT_EQ(
      QueueJsonLine(message),
      R"json({"queue_name": "incoming", "queue_id": "4jXctF4bp4z1bnZg", "arrival_time": 1795371825, "message_size": 252, "forced_expire": false, "sender": "\"s?nd?x\"@example.org", "recipients": [{"address": "\"a?b\"@a.example", "delay_reason": "line??line ???"}]})json"
      "\n");
}

TEST(Showable, LetsNoControlCharacterThrough) {
  EXPECT_EQ(Showable("a\x1b[2Jb\x7f\n"), "a?[2Jb??");
  EXPECT_EQ(Showable("a\u009b2Jb\u0080"), "a?2Jb?");
  EXPECT_EQ(Showable("\u00a0"), "\u00a0");
}

TEST(Showable, KeepsValidUtf8Only) {
  EXPECT_EQ(Showable("a\u00e9\u20ac\U0001f4e7z"), "a\u00e9\u20ac\U0001f4e7z");
  EXPECT_EQ(Showable("\xc0\xaf"), "??");            // overlong
  EXPECT_EQ(Showable("\xe0\x80\xaf"), "???");       // overlong
  EXPECT_EQ(Showable("\xed\xa0\x80"), "???");       // surrogate
  EXPECT_EQ(Showable("\xf4\x90\x80\x80"), "????");  // past U+10FFFF
  EXPECT_EQ(Showable("\xe2\x82"), "??");            // cut off
  EXPECT_EQ(Showable("\xe2\x82x"), "??x");
  EXPECT_EQ(Showable(std::string_view("\0\x1f\x7f\t", 4)), "????");
}

}  // namespace
}  // namespace postfleet::commands
