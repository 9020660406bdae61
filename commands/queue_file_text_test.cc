// Expected texts are Postfix 3.7.11's for the same records: those that this queue does not keep
// were taken out, and offsets made up for it.
#include "commands/queue_file_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kId[] = "4jXhF636Xcz1hVqw";

v1::InspectResponse Message() {
  v1::InspectResponse message;
  message.set_found(true);
  message.set_queue(v1::QUEUE_NAME_DEFERRED);
  message.mutable_envelope()->set_sender("s@example.org");
  message.mutable_envelope()->set_arrival_ms(1'795'380'970'439);
  message.set_create_ms(1'795'380'971'000);
  message.set_content_bytes(352);
  message.set_recipients_total(3);
  auto* origin = message.mutable_envelope()->mutable_origin();
  origin->set_client_name("localhost");
  origin->set_client_address("127.0.0.1");
  origin->set_helo("client.example.org");
  origin->set_protocol("ESMTP");
  return message;
}

std::vector<v1::InspectedRecipient> Recipients() {
  std::vector<v1::InspectedRecipient> recipients(3);
  recipients[0].mutable_recipient()->set_address("r1@a.example");
  recipients[1].mutable_recipient()->set_address("r2@a.example");
  recipients[1].mutable_recipient()->set_original_address("alias@b.example");
  recipients[1].set_state(v1::InspectedRecipient::BOUNCED);
  recipients[2].mutable_recipient()->set_address("q q@b.example");
  recipients[2].set_state(v1::InspectedRecipient::DEFERRED);
  return recipients;
}

// As Postfix shows what a client said with ENVID, RET, NOTIFY and ORCPT.
TEST(QueueFileText, ParametersOfNoticesAreShown) {
  v1::InspectResponse message = Message();
  message.mutable_envelope()->set_dsn_envid("id 1");
  message.mutable_envelope()->set_dsn_return(mail::v1::Envelope::RETURN_HDRS);
  std::vector<v1::InspectedRecipient> recipients = Recipients();
  recipients[0].mutable_recipient()->set_dsn_notify(10);
  recipients[0].mutable_recipient()->set_dsn_orcpt("rfc822;first@b.example");
  QueueFileText text({.envelope = true}, absl::UTCTimeZone(), kId);
  const std::string shown = text.Envelope(message, recipients);
  EXPECT_THAT(shown, HasSubstr("named_attribute: log_ident=4jXhF636Xcz1hVqw\n"
                               "named_attribute: envelope_id=id 1\n"
                               "named_attribute: ret_flags=2\n"
                               "sender: s@example.org\n"));
  EXPECT_THAT(shown, HasSubstr("named_attribute: notify_flags=10\n"
                               "named_attribute: dsn_orig_rcpt=rfc822;first@b.example\n"
                               "original_recipient: r1@a.example\n"
                               "recipient: r1@a.example\n"
                               "named_attribute: dsn_orig_rcpt=rfc822;alias@b.example\n"
                               "original_recipient: alias@b.example\n"));
}

constexpr char kContents[] =
    "Received: from client.example.org\n\tby mail.example.com\nSubject: hello\n  folded\n\nline "
    "one\nNot: a field\n";

std::string Shown(const QueueFileOptions& options, const v1::InspectResponse& message,
                  std::string_view contents, size_t piece_bytes = 1'000'000) {
  QueueFileText text(options, absl::UTCTimeZone(), kId);
  std::string shown = text.Envelope(message, Recipients());
  for (size_t at = 0; at < contents.size(); at += piece_bytes) {
    shown += text.Contents(contents.substr(at, piece_bytes));
  }
  return shown + text.End();
}

TEST(QueueFileText, EnvelopeHeaderAndBodyAreShownInPostfixsForm) {
  EXPECT_EQ(Shown({.envelope = true, .header = true, .body = true}, Message(), kContents),
            R"(*** ENVELOPE RECORDS deferred/6/4jXhF636Xcz1hVqw ***
message_size:             352             665               3               0             352               0
message_arrival_time: Sun Nov 22 20:56:10 2026
create_time: Sun Nov 22 20:56:11 2026
named_attribute: log_ident=4jXhF636Xcz1hVqw
sender: s@example.org
named_attribute: log_client_name=localhost
named_attribute: log_client_address=127.0.0.1
named_attribute: log_message_origin=localhost[127.0.0.1]
named_attribute: log_helo_name=client.example.org
named_attribute: log_protocol_name=ESMTP
named_attribute: client_name=localhost
named_attribute: client_address=127.0.0.1
named_attribute: helo_name=client.example.org
named_attribute: protocol_name=ESMTP
named_attribute: client_address_type=2
named_attribute: dsn_orig_rcpt=rfc822;r1@a.example
original_recipient: r1@a.example
recipient: r1@a.example
named_attribute: dsn_orig_rcpt=rfc822;alias@b.example
original_recipient: alias@b.example
done_recipient: r2@a.example
named_attribute: dsn_orig_rcpt=rfc822;"q q"@b.example
original_recipient: q q@b.example
recipient: q q@b.example
*** MESSAGE CONTENTS deferred/6/4jXhF636Xcz1hVqw ***
Received: from client.example.org
	by mail.example.com
Subject: hello
  folded

line one
Not: a field
*** HEADER EXTRACTED deferred/6/4jXhF636Xcz1hVqw ***
*** MESSAGE FILE END deferred/6/4jXhF636Xcz1hVqw ***
)");
}

// As Postfix shows it, without what is not kept.
TEST(QueueFileText, ClientsHaveTheirPortsAndTheContextOfTheirHeaders) {
  v1::InspectResponse message = Message();
  message.mutable_envelope()->mutable_origin()->set_client_port("52523");
  message.mutable_envelope()->mutable_origin()->set_source("REMOTE");
  const std::string shown = Shown({.envelope = true}, message, "");
  EXPECT_THAT(shown, HasSubstr("log_ident=4jXhF636Xcz1hVqw\n"
                               "named_attribute: rewrite_context=remote\n"
                               "sender: s@example.org\n"));
  EXPECT_THAT(shown, HasSubstr("log_client_address=127.0.0.1\n"
                               "named_attribute: log_client_port=52523\n"));
  EXPECT_THAT(shown, HasSubstr("named_attribute: client_port=52523\n"
                               "named_attribute: helo_name=client.example.org\n"));
}

// XFORWARD NAME=foo.example IDENT=1
TEST(QueueFileText, WhatXforwardNamesIsTheClientOfTheLogAlone) {
  v1::InspectResponse message = Message();
  auto* origin = message.mutable_envelope()->mutable_origin();
  origin->set_client_name("foo.example");
  origin->set_client_address("unknown");
  origin->set_client_port("unknown");
  origin->clear_helo();
  origin->set_protocol("unknown");
  origin->set_ident("1");
  origin->set_source("LOCAL");
  EXPECT_THAT(Shown({.envelope = true}, message, ""),
              HasSubstr("named_attribute: log_ident=1\n"
                        "named_attribute: rewrite_context=local\n"
                        "sender: s@example.org\n"
                        "named_attribute: log_client_name=foo.example\n"
                        "named_attribute: log_client_address=unknown\n"
                        "named_attribute: log_client_port=unknown\n"
                        "named_attribute: log_message_origin=foo.example\n"
                        "named_attribute: log_protocol_name=unknown\n"
                        "named_attribute: dsn_orig_rcpt="));
}

TEST(QueueFileText, NoticeHasTheNullSenderAndTheLocalContext) {
  v1::InspectResponse message = Message();
  message.mutable_envelope()->clear_sender();
  message.mutable_envelope()->clear_origin();
  message.set_queue(v1::QUEUE_NAME_HOLD);
  const std::string shown = Shown({.envelope = true}, message, "");
  EXPECT_THAT(shown, StartsWith("*** ENVELOPE RECORDS hold/4jXhF636Xcz1hVqw ***\n"));
  EXPECT_THAT(shown, HasSubstr("\nnamed_attribute: rewrite_context=local\nsender: \noriginal_"));
}

TEST(QueueFileText, EightBitMailSaysSoTwice) {
  v1::InspectResponse message = Message();
  message.mutable_envelope()->set_body_8bitmime(true);
  const std::string shown = Shown({.envelope = true}, message, "A: b\n\n\xe9\n");
  EXPECT_THAT(shown, HasSubstr("\nsender: s@example.org\nnamed_attribute: encoding=8bit\n"));
  EXPECT_THAT(shown, EndsWith("*** HEADER EXTRACTED deferred/6/4jXhF636Xcz1hVqw ***\n"
                              "named_attribute: encoding=8bit\n"
                              "*** MESSAGE FILE END deferred/6/4jXhF636Xcz1hVqw ***\n"));
}

TEST(QueueFileText, HeaderEndsBeforeTheFirstLineThatIsNoField) {
  EXPECT_EQ(Shown({.header = true}, Message(), kContents),
            "Received: from client.example.org\n\tby mail.example.com\nSubject: hello\n  folded\n");
  EXPECT_EQ(Shown({.body = true}, Message(), kContents), "\nline one\nNot: a field\n");
  EXPECT_EQ(Shown({.header = true, .body = true}, Message(), kContents), kContents);
  EXPECT_EQ(Shown({.body = true}, Message(), " starts with a blank\nA: b\n"),
            " starts with a blank\nA: b\n");
}

TEST(QueueFileText, PiecesMayBeCutAnywhere) {
  std::string contents(kContents);
  contents += std::string(5'000, 'z') + "\nlast line without its end";
  const QueueFileOptions all = {
      .envelope = true, .header = true, .body = true, .offsets = true, .types = true};
  const std::string whole = Shown(all, Message(), contents);
  for (const size_t piece_bytes : {1u, 2u, 7u, 2047u, 2048u, 2049u}) {
    EXPECT_EQ(Shown(all, Message(), contents, piece_bytes), whole) << piece_bytes;
  }
}

TEST(QueueFileText, OffsetsAndTypesAreThoseOfAQueueFile) {
  const std::string shown =
      Shown({.envelope = true, .header = true, .body = true, .offsets = true, .types = true},
            Message(), "A: b\n\nc\n");
  EXPECT_THAT(shown, HasSubstr("\n        0  67 message_size:"));
  EXPECT_THAT(shown, HasSubstr("\n       97  84 message_arrival_time: "));
  EXPECT_THAT(shown, HasSubstr("\n      116  65 create_time: "));
  EXPECT_THAT(shown, HasSubstr("\n      140  65 named_attribute: log_ident="));
  EXPECT_THAT(shown, HasSubstr("\n      168  83 sender: s@example.org\n      183  65 named"));
  // The offset that message_size names is that of the first line.
  EXPECT_THAT(shown, HasSubstr("\n      663  77 *** MESSAGE CONTENTS"));
  EXPECT_THAT(shown, HasSubstr("\n      665  78 A: b\n      671  78 \n      673  78 c\n"
                               "      676  88 *** HEADER EXTRACTED"));
}

TEST(QueueFileText, LongLinesAreRecordsOf2048BytesAndShownAsOneLine) {
  const std::string line = std::string(2'048, 'q');
  EXPECT_EQ(Shown({.body = true}, Message(), "\n" + line + "\n"), "\n" + line + "\n");
  // A full record ends before it is known that the line does too.
  EXPECT_EQ(Shown({.body = true, .types = true}, Message(), line + "\n"), " 76 " + line + " 78 \n");
  EXPECT_EQ(Shown({.body = true, .names = true}, Message(), line + "r\n"),
            "unterminated_text: " + line + "\nregular_text: r\n");
}

TEST(QueueFilePath, DeferredMailLiesInAFolderOfItsMicroseconds) {
  EXPECT_EQ(QueueFilePath(v1::QUEUE_NAME_DEFERRED, "4jXhF636Xcz1hVqw"),
            "deferred/6/4jXhF636Xcz1hVqw");
  EXPECT_EQ(QueueFilePath(v1::QUEUE_NAME_DEFERRED, "4jXhM64R8xz1hVNw"),
            "deferred/9/4jXhM64R8xz1hVNw");
  EXPECT_EQ(QueueFilePath(v1::QUEUE_NAME_ACTIVE, "4jXhF636Xcz1hVqw"), "active/4jXhF636Xcz1hVqw");
  EXPECT_EQ(QueueFilePath(v1::QUEUE_NAME_CORRUPT, "4jXhF636Xcz1hVqw"), "corrupt/4jXhF636Xcz1hVqw");
  EXPECT_EQ(QueueFilePath(v1::QUEUE_NAME_DEFERRED, "Q1"), "deferred/Q/Q1");
}

}  // namespace
}  // namespace postfleet::commands
