#include "services/ingress/pickup/pickup_mail.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"

namespace postfleet::ingress {
namespace {

using maildrop::AppendRecord;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

using Part = PickupMail::Part;

constexpr message::MailTime kTime = {.seconds = 1'795'435'670};

struct Taken {
  absl::Status status;
  std::vector<Part> parts;
  std::vector<std::string> notes;

  const queue::v1::NewMessage& message() const { return parts.back().submission.message(); }
  std::string content() const {
    std::string all;
    for (const Part& part : parts) all += part.content;
    return all;
  }
  std::vector<std::string> recipients() const {
    std::vector<std::string> addresses;
    for (const auto& recipient : message().recipients()) addresses.push_back(recipient.address());
    return addresses;
  }
};

class PickupMailTest : public testing::Test {
 protected:
  PickupMailTest() {
    config_.myhostname = "mta.example";
    config_.local_rewriting = {.origin = "example.org", .domain = "example"};
  }

  Taken Take(std::string_view file, size_t piece = 1 << 20) {
    PickupMail mail(config_, "ID", 1000, 5'000, kTime);
    Taken taken;
    for (; taken.status.ok() && !file.empty(); file.remove_prefix(std::min(piece, file.size()))) {
      taken.status = mail.Take(file.substr(0, piece), &taken.parts);
    }
    if (taken.status.ok()) taken.status = mail.Finish(&taken.parts);
    for (const maillog::Line& note : mail.TakeNotes()) taken.notes.push_back(note.text());
    return taken;
  }

  // From `me`, to `to`.
  static std::string File(const std::vector<std::string>& to, const std::vector<std::string>& lines,
                          const std::vector<std::string>& attributes = {},
                          const std::string& name = "") {
    std::string file;
    for (const std::string& text : attributes) AppendRecord(maildrop::kAttribute, text, &file);
    if (!name.empty()) AppendRecord(maildrop::kFullName, name, &file);
    AppendRecord(maildrop::kSender, "me", &file);
    for (const std::string& address : to) AppendRecord(maildrop::kRecipient, address, &file);
    AppendRecord(maildrop::kContents, "", &file);
    for (const std::string& line : lines) AppendRecord(maildrop::kText, line, &file);
    AppendRecord(maildrop::kExtracted, "", &file);
    AppendRecord(maildrop::kEnd, "", &file);
    return file;
  }

  PickupConfig config_;
};

TEST_F(PickupMailTest, SaysWhoseMailItIsAndCompletesHeaderAndEnvelope) {
  const Taken mail =
      Take(File({"a", "b@x.test"}, {"To: a", "Bcc: b@x.test", "", "hi"}, {}, "My Name"));
  ASSERT_TRUE(mail.status.ok()) << mail.status;
  EXPECT_EQ(mail.content(),
            "Received: by mta.example (Postfix, from userid 1000)\n"
            "\tid ID; Mon, 23 Nov 2026 12:07:50 +0000 (UTC)\n"
            "To: a@example.org\n"
            "Message-Id: <ID@mta.example>\n"
            "Date: Mon, 23 Nov 2026 12:07:50 +0000 (UTC)\n"
            "From: My Name <me@example.org>\n"
            "\n"
            "hi\n");
  EXPECT_EQ(mail.message().envelope().sender(), "me@example.org");
  EXPECT_EQ(mail.message().envelope().arrival_ms(), 5'000);
  EXPECT_EQ(mail.message().content_bytes(), mail.content().size());
  EXPECT_THAT(mail.recipients(), ElementsAre("a@example.org", "b@x.test"));
  EXPECT_EQ(mail.message().recipients(0).original_address(), "a");
  EXPECT_EQ(mail.message().recipients(1).original_address(), "");
  EXPECT_THAT(mail.notes, ElementsAre("ID: message-id=<ID@mta.example>"));
}

TEST_F(PickupMailTest, IsTheSameInAnyPieces) {
  const std::string file = File({"a"}, {"Subject: x", "", "hi"});
  const std::string whole = Take(file).content();
  for (size_t piece = 1; piece < file.size(); ++piece) {
    EXPECT_EQ(Take(file, piece).content(), whole) << piece;
  }
}

TEST_F(PickupMailTest, RecipientsThatAreSaidTwiceAreMeantOnce) {
  EXPECT_THAT(Take(File({"a", "A", "b", "a"}, {})).recipients(),
              ElementsAre("a@example.org", "b@example.org"));
  EXPECT_THAT(Take(File({""}, {})).recipients(), ElementsAre("MAILER-DAEMON@example.org"));
}

TEST_F(PickupMailTest, GatewaySubmissionKeepsItsHeader) {
  const Taken mail = Take(File({"a"}, {"To: a", "", "hi"}, {"rewrite_context=remote"}));
  EXPECT_THAT(mail.content(), HasSubstr("\nTo: a\n\nhi\n"));
  EXPECT_THAT(mail.content(), Not(HasSubstr("Message-Id")));
  EXPECT_THAT(mail.recipients(), ElementsAre("a@example.org"));
}

TEST_F(PickupMailTest, WhatTheSenderWantsToBeToldGoesAlong) {
  const Taken mail = Take(File({"a"}, {},
                               {"envelope_id=E1", "ret_flags=2", "encoding=8bit", "notify_flags=10",
                                "dsn_orig_rcpt=rfc822;b@c"}));
  EXPECT_EQ(mail.message().envelope().dsn_envid(), "E1");
  EXPECT_EQ(mail.message().envelope().dsn_return(), mail::v1::Envelope::RETURN_HDRS);
  EXPECT_TRUE(mail.message().envelope().body_8bitmime());
  EXPECT_EQ(mail.message().recipients(0).dsn_notify(), 10u);
  EXPECT_EQ(mail.message().recipients(0).dsn_orcpt(), "rfc822;b@c");
}

TEST_F(PickupMailTest, LongMailGoesInChunks) {
  config_.chunk_bytes = 100;
  const std::vector<std::string> lines(50, "twenty bytes of a line");
  std::vector<std::string> all = {"Subject: x", ""};
  all.insert(all.end(), lines.begin(), lines.end());
  const Taken mail = Take(File({"a"}, all), 50);
  ASSERT_TRUE(mail.status.ok());
  EXPECT_GT(mail.parts.size(), 5u);
  for (size_t i = 0; i < mail.parts.size(); ++i) {
    EXPECT_EQ(mail.parts[i].submission.chunk(), i);
    EXPECT_EQ(mail.parts[i].submission.has_message(), i + 1 == mail.parts.size());
    EXPECT_EQ(mail.parts[i].submission.payload_bytes(), mail.parts[i].content.size());
  }
  EXPECT_EQ(mail.message().content_bytes(), mail.content().size());
}

TEST_F(PickupMailTest, TornFileIsNoMail) {
  const std::string file = File({"a"}, {"Subject: x", "", "hi"});
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_FALSE(Take(file.substr(0, size)).status.ok()) << size;
  }
}

TEST_F(PickupMailTest, ProbesAndReportsAreWhatTheySay) {
  for (const auto& [flags, probe, trace] :
       {std::tuple{"trace_flags=512", true, false}, {"trace_flags=1024", false, true}}) {
    const Taken mail = Take(File({"a"}, {}, {flags}));
    EXPECT_EQ(mail.message().envelope().probe(), probe) << flags;
    EXPECT_EQ(mail.message().envelope().trace(), trace) << flags;
  }
  EXPECT_FALSE(Take(File({"a"}, {}, {"trace_flags=4096"})).status.ok());
}

TEST_F(PickupMailTest, NoticesNameWhatALocalUserMeant) {
  const Taken mail = Take(File({"a", "b@example.net"}, {}));
  EXPECT_EQ(mail.message().recipients(0).dsn_orcpt(), "rfc822;a@example.org");
  EXPECT_EQ(mail.message().recipients(1).dsn_orcpt(), "");
}

TEST_F(PickupMailTest, LoopIsCut) {
  config_.hopcount_limit = 5;
  const Taken mail = Take(File({"a"}, std::vector<std::string>(10, "Received: x")));
  EXPECT_THAT(std::string(mail.status.message()), HasSubstr("hopcount exceeded"));
}

TEST_F(PickupMailTest, AddressesBeyondAsciiAskForSmtputf8) {
  EXPECT_TRUE(Take(File({"\xc3\xa4@x.test"}, {})).message().envelope().smtputf8());
  EXPECT_FALSE(Take(File({"a@x.test"}, {})).message().envelope().smtputf8());
  config_.detect_smtputf8 = false;
  EXPECT_FALSE(Take(File({"\xc3\xa4@x.test"}, {})).message().envelope().smtputf8());
}

TEST_F(PickupMailTest, NameThatIsNoPhraseIsQuotedAndMakesNoField) {
  EXPECT_THAT(Take(File({"a"}, {}, {}, "A, \"B\"")).content(),
              HasSubstr("\nFrom: \"A, \\\"B\\\"\" <me@example.org>\n"));
  EXPECT_THAT(Take(File({"a"}, {}, {}, "A\nEvil: x")).content(), Not(HasSubstr("\nEvil")));
  config_.full_name_as_comment = true;
  EXPECT_THAT(Take(File({"a"}, {}, {}, "A B")).content(),
              HasSubstr("\nFrom: me@example.org (A B)\n"));
}

}  // namespace
}  // namespace postfleet::ingress
