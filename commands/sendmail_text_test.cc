// What sendmail makes of its input; what is expected is what Postfix 3.7 writes into maildrop.
#include "commands/sendmail_text.h"

#include <gtest/gtest.h>

#include "libs/base/concat.h"
#include "libs/maildrop/record.h"

namespace postfleet::commands {
namespace {

using LineEnds = SendmailTextOptions::LineEnds;
using Words = std::vector<std::string>;

// "N:Subject: x|N:|L:part": records and their data.
std::string Shown(const std::string& records) {
  maildrop::RecordReader reader;
  reader.Feed(records);
  std::string shown;
  while (reader.Next() == maildrop::RecordReader::kRecord) {
    ConcatTo(&shown, shown.empty() ? "" : "|", reader.type(), ":", reader.data());
  }
  return shown;
}

struct Result {
  std::string records;
  Words recipients;
};

Result Read(const SendmailTextOptions& options, std::string_view input, size_t piece) {
  SendmailText text(options);
  std::string records;
  for (; !input.empty(); input.remove_prefix(std::min(piece, input.size()))) {
    text.Take(input.substr(0, piece), &records);
  }
  text.Finish(&records);
  return {Shown(records), text.recipients()};
}

Result Read(const SendmailTextOptions& options, std::string_view input) {
  const Result whole = Read(options, input, input.size() + 1);
  for (const size_t piece : {1, 2, 3, 7}) {
    EXPECT_EQ(Read(options, input, piece).records, whole.records) << piece;
  }
  return whole;
}

std::string Records(std::string_view input, SendmailTextOptions options = {}) {
  return Read(options, input).records;
}

Words Recipients(std::string_view input) {
  return Read({.recipients_in_header = true}, input).recipients;
}

TEST(SendmailText, IsLines) {
  EXPECT_EQ(Records("Subject: x\n\nhi\n"), "N:Subject: x|N:|N:hi");
  EXPECT_EQ(Records(""), "");
}

TEST(SendmailText, FromLinesInFrontGo) {
  EXPECT_EQ(Records("From foo\n>From bar\n>>From baz\nfrom x\nS: x\n\nFrom b\n"),
            "N:from x|N:S: x|N:|N:From b");
  EXPECT_EQ(Records("From: x@y\nFrom foo\n"), "N:From: x@y|N:From foo");
}

TEST(SendmailText, DotEndsIt) {
  EXPECT_EQ(Records("S: x\n\nl1\n.\nl2\n"), "N:S: x|N:|N:l1");
  EXPECT_EQ(Records("S: y\n\na\n.\r\nb\n"), "N:S: y|N:|N:a");
  EXPECT_EQ(Records("S: x\n\nl1\n.\nl2", {.dot_ends = false}), "N:S: x|N:|N:l1|N:.|L:l2");
}

TEST(SendmailText, CrBeforeLfGoes) {
  EXPECT_EQ(Records("S: x\n\nab\r\ncd\r\r\ne\rf\n"), "N:S: x|N:|N:ab|N:cd|N:e\rf");
  EXPECT_EQ(Records("S: x\n\nab\r\n", {.line_ends = LineEnds::kStrict}), "N:S: x|N:|N:ab\r");
  EXPECT_EQ(Records("S: x\r\n\nab\r\n", {.line_ends = LineEnds::kStrict}), "N:S: x|N:|N:ab");
  EXPECT_EQ(Records("S: x\r\n", {.line_ends = LineEnds::kNever}), "N:S: x\r");
}

TEST(SendmailText, LongLinesAreInParts) {
  EXPECT_EQ(Records("abcdefghij\n", {.line_bytes_max = 4}), "L:abcd|L:efgh|N:ij");
  EXPECT_EQ(Records("abcd\nx\n", {.line_bytes_max = 4}), "L:abcd|N:|N:x");
  // The rest of a long line is no line of its own.
  EXPECT_EQ(Records("abcd.\nx\n", {.line_bytes_max = 4}), "L:abcd|N:.|N:x");
}

TEST(SendmailText, HeaderNamesRecipients) {
  EXPECT_EQ(Recipients("To: (c) a@x.test, Foo Bar <b@x.test>\nBcc: c@x.test\n\nTo: no@no\n"),
            (Words{"a@x.test", "b@x.test", "c@x.test"}));
  EXPECT_EQ(Recipients("To: grp: a@b, c@d;\nCc: \"q r\"@x, <s@t> (x)\n"),
            (Words{"a@b", "c@d", "q r@x", "s@t"}));
  EXPECT_EQ(Recipients("To:\n a@b,\n\tc@d\nnot a header\nCc: e@f\n"), (Words{"a@b", "c@d"}));
  EXPECT_EQ(Recipients("To : a@b"), (Words{"a@b"}));
  EXPECT_EQ(Recipients("Apparently-To: a@b\nBcc: z@z\nReply-To: rr@x\n"), (Words{"z@z"}));
  EXPECT_EQ(Recipients(" leading\nTo: a@b\n"), Words());
  EXPECT_EQ(Recipients("To: undisclosed:;\n"), Words());
}

TEST(SendmailText, ResentRecipientsAreTheOnlyOnes) {
  EXPECT_EQ(Recipients("To: a@x\nResent-To: r@x\nResent-Bcc: rb@x\n"), (Words{"r@x", "rb@x"}));
  EXPECT_EQ(Recipients("To: a@b\nResent-From: q\n"), (Words{"a@b"}));
}

TEST(SendmailText, HeaderThatIsTooLongIsAnError) {
  SendmailText text({.recipients_in_header = true, .header_bytes_max = 100});
  std::string records;
  text.Take("X: " + std::string(200, 'x') + "\n", &records);
  text.Take("To: " + std::string(200, 'a') + "\n\n", &records);
  text.Finish(&records);
  EXPECT_FALSE(text.header_status().ok());
  SendmailText other({.recipients_in_header = true, .header_bytes_max = 100});
  other.Take("X: " + std::string(200, 'x') + "\nTo: a\n\n", &records);
  other.Finish(&records);
  EXPECT_TRUE(other.header_status().ok());
}

}  // namespace
}  // namespace postfleet::commands
