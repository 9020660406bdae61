#include "libs/maildrop/submission.h"

#include <gtest/gtest.h>

#include "libs/base/concat.h"

namespace postfleet::maildrop {
namespace {

using Records = std::vector<std::pair<RecordType, std::string>>;

std::string Bytes(const Records& records) {
  std::string bytes;
  for (const auto& [type, data] : records) AppendRecord(type, data, &bytes);
  return bytes;
}

struct Result {
  absl::Status status;
  Envelope envelope;
  std::string contents;
};

Result Read(std::string_view bytes, size_t piece = 1 << 20) {
  Result result;
  SubmissionReader reader;
  for (; result.status.ok() && !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) {
    result.status = reader.Take(bytes.substr(0, piece), &result.contents);
  }
  if (result.status.ok()) result.status = reader.Finish();
  result.envelope = reader.envelope();
  return result;
}

const Records kWhole = {{kTime, "1 2"},
                        {kAttribute, "rewrite_context=local"},
                        {kFullName, "Full Name"},
                        {kSender, "me"},
                        {kAttribute, "notify_flags=10"},
                        {kRecipient, "a"},
                        {kRecipient, "b@c"},
                        {kContents, ""},
                        {kText, "Subject: x"},
                        {kTextPart, "long "},
                        {kText, "line"},
                        {kExtracted, ""},
                        {kRecipient, "d"},
                        {kEnd, ""}};

TEST(Submission, SaysEnvelopeAndContents) {
  const Result mail = Read(Bytes(kWhole));
  ASSERT_TRUE(mail.status.ok()) << mail.status;
  EXPECT_EQ(mail.envelope.sender, "me");
  EXPECT_EQ(mail.envelope.full_name, "Full Name");
  ASSERT_EQ(mail.envelope.recipients.size(), 3u);
  EXPECT_EQ(mail.envelope.recipients[0].notify, 10u);
  EXPECT_EQ(mail.envelope.recipients[1].address, "b@c");
  EXPECT_EQ(mail.envelope.recipients[1].notify, 0u);
  EXPECT_EQ(mail.envelope.recipients[2].address, "d");
  EXPECT_EQ(mail.contents, "Subject: x\nlong line\n");
}

TEST(Submission, IsTheSameInAnyPieces) {
  const std::string bytes = Bytes(kWhole);
  for (size_t piece = 1; piece < bytes.size(); ++piece) {
    const Result mail = Read(bytes, piece);
    EXPECT_TRUE(mail.status.ok()) << piece << ": " << mail.status;
    EXPECT_EQ(mail.contents, "Subject: x\nlong line\n") << piece;
  }
}

TEST(Submission, TornAnywhereIsNoMail) {
  const std::string bytes = Bytes(kWhole);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(Read(std::string_view(bytes).substr(0, size)).status.ok()) << size;
  }
}

TEST(Submission, NothingMayFollowItsEnd) {
  EXPECT_FALSE(Read(Bytes(kWhole) + "x").status.ok());
  EXPECT_FALSE(Read(Bytes(kWhole) + Bytes(kWhole)).status.ok());
}

TEST(Submission, EachRecordTakenOutThatMustBeThereIsMissed) {
  for (size_t gone : {3, 7, 11, 13}) {
    Records records = kWhole;
    records.erase(records.begin() + static_cast<ptrdiff_t>(gone));
    EXPECT_FALSE(Read(Bytes(records)).status.ok()) << gone;
  }
}

TEST(Submission, WithoutRecipientIsNoMail) {
  EXPECT_FALSE(
      Read(Bytes({{kSender, "a"}, {kContents, ""}, {kExtracted, ""}, {kEnd, ""}})).status.ok());
}

TEST(Submission, RecordsOutOfPlaceAreRefusedInPostfixsWords) {
  EXPECT_EQ(Read(Bytes({{kSender, "a"}, {kRecipient, "b"}, {kContents, ""}, {kSender, "x"}}))
                .status.message(),
            "unexpected record type: 83");
}

TEST(Submission, LongRecordIsRefusedBeforeItIsKept) {
  EXPECT_FALSE(Read(std::string_view("S\xff\xff\xff\x7f", 5)).status.ok());
  EXPECT_FALSE(Read(std::string_view("S\x80\x80\x80\x80\x80\x80", 7)).status.ok());
  std::string most;
  AppendRecord(kSender, std::string(kRecordBytesMax, 'x'), &most);
  SubmissionReader reader;
  std::string contents;
  EXPECT_TRUE(reader.Take(most, &contents).ok());
  EXPECT_EQ(reader.envelope().sender.size(), kRecordBytesMax);
}

TEST(Submission, EnvelopeIsBounded) {
  std::string record;
  AppendRecord(kRecipient, std::string(kRecordBytesMax, 'x'), &record);
  SubmissionReader reader;
  std::string contents;
  absl::Status status;
  size_t taken = 0;
  for (; status.ok() && taken < 2 * kEnvelopeBytesMax; taken += record.size()) {
    status = reader.Take(record, &contents);
  }
  EXPECT_FALSE(status.ok());
  EXPECT_LE(taken, kEnvelopeBytesMax + 2 * kRecordBytesMax);
}

TEST(Submission, UnknownAttributesSayNothing) {
  EXPECT_FALSE(IsKnownAttribute("log_client_name=evil"));
  EXPECT_FALSE(IsKnownAttribute("encoding"));
  EXPECT_TRUE(IsKnownAttribute("encoding=8bit"));
}

TEST(Submission, NumbersOutOfRangeAreRefused) {
  for (const char* text : {"notify_flags=16", "notify_flags=-1", "notify_flags=", "ret_flags=3"}) {
    EXPECT_FALSE(
        Read(Bytes({{kSender, "a"}, {kAttribute, text}})).status.message().find("bad value") ==
        std::string::npos)
        << text;
  }
}

}  // namespace
}  // namespace postfleet::maildrop
