#include "services/delivery/core/mbox_contents.h"

#include <gtest/gtest.h>

#include <vector>

namespace postfleet::delivery {
namespace {

// Answers at once: what reads it here needs no loop.
class Pieces : public ContentReader {
 public:
  explicit Pieces(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}
  void Next(Done done) override {
    rpc::Payload piece;
    if (next_ < pieces_.size()) piece = {rpc::OwningSlice(pieces_[next_++])};
    done(absl::OkStatus(), std::move(piece));
  }
  bool Restart() override {
    next_ = 0;
    return true;
  }

 private:
  const std::vector<std::string> pieces_;
  size_t next_ = 0;
};

std::string ReadAll(ContentReader& reader) {
  std::string all;
  for (bool over = false; !over;) {
    reader.Next([&](const absl::Status& status, const rpc::Payload& piece) {
      EXPECT_TRUE(status.ok());
      over = piece.empty();
      for (const grpc::Slice& slice : piece) all += rpc::AsView(slice);
    });
  }
  return all;
}

std::string Changed(std::vector<std::string> pieces, LineChanges changes) {
  return ReadAll(*ChangeLines(std::make_unique<Pieces>(std::move(pieces)), std::move(changes)));
}

// Each cut of `text` into two pieces, and into single bytes, gives the same.
std::string ChangedHoweverCut(const std::string& text, const LineChanges& changes) {
  const std::string whole = Changed({text}, changes);
  std::vector<std::string> bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    bytes.push_back(text.substr(i, 1));
    if (i == 0) continue;
    EXPECT_EQ(Changed({text.substr(0, i), text.substr(i)}, changes), whole) << "cut at " << i;
  }
  EXPECT_EQ(Changed(bytes, changes), whole);
  return whole;
}

std::string Mbox(const std::string& text) {
  return ChangedHoweverCut(text, {.quote_from = true, .blank_line = true});
}

TEST(MboxContentsTest, FromAtALineStartIsQuotedInHeaderAndBody) {
  EXPECT_EQ(Mbox("From x\nA: b\n\nFrom y\nno From z\n"), ">From x\nA: b\n\n>From y\nno From z\n\n");
}

TEST(MboxContentsTest, WhatOnlyBeginsLikeFromStays) {
  EXPECT_EQ(Mbox("Fro\nFrom\nFrom:\nfrom x\n>From x\nFrom"),
            "Fro\nFrom\nFrom:\nfrom x\n>From x\nFrom\n\n");
}

TEST(MboxContentsTest, AMissingLastNewlineIsAdded) {
  EXPECT_EQ(Mbox("a\nb"), "a\nb\n\n");
  EXPECT_EQ(Mbox("From "), ">From \n\n");
  EXPECT_EQ(Changed({}, {}), "\n");
}

TEST(MboxContentsTest, NothingIsChangedThatIsNotAskedFor) {
  EXPECT_EQ(ChangedHoweverCut("From x\n.\n..\r\n", {}), "From x\n.\n..\r\n");
}

TEST(MboxContentsTest, DotsAreDoubledAndLinesEndAsTold) {
  EXPECT_EQ(ChangedHoweverCut("a\n.\n..x\n.From \nb",
                              {.quote_dot = true, .eol = "\r\n", .blank_line = true}),
            "a\r\n..\r\n...x\r\n..From \r\nb\r\n\r\n");
}

TEST(MboxContentsTest, ARestartedReadingIsTheSame) {
  const auto reader =
      MboxContents(std::make_unique<Pieces>(std::vector<std::string>{"a\nFr", "o"}));
  const std::string first = ReadAll(*reader);
  ASSERT_TRUE(reader->Restart());
  EXPECT_EQ(ReadAll(*reader), first);
  EXPECT_EQ(first, "a\nFro\n\n");
}

}  // namespace
}  // namespace postfleet::delivery
