#include "services/delivery/smtp/contents.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "libs/message/cleanup.h"

namespace postfleet::delivery::smtp {
namespace {

// Gives a piece when it is told to.
class Reader : public ContentReader {
 public:
  explicit Reader(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}
  void Next(Done done) override { done_ = std::move(done); }
  bool asked() const { return done_ != nullptr; }
  void Rewind() {
    next_ = 0;
    done_ = nullptr;
  }
  void Give(const absl::Status& status = absl::OkStatus()) {
    rpc::Payload payload;
    if (status.ok() && next_ < pieces_.size()) {
      payload.push_back(rpc::OwningSlice(pieces_[next_++]));
    }
    std::exchange(done_, nullptr)(status, std::move(payload));
  }

 private:
  const std::vector<std::string> pieces_;
  size_t next_ = 0;
  Done done_;
};

size_t BytesOf(const std::vector<std::string>& pieces) {
  size_t bytes = 0;
  for (const std::string& piece : pieces) bytes += piece.size();
  return bytes;
}

// Everything, taken `bytes_max` at a time; what failed is at the end, in brackets.
std::string ReadAll(Contents* contents, Reader* reader, size_t bytes_max) {
  std::string all;
  while (true) {
    std::string_view piece;
    switch (contents->Peek(&piece, [] {})) {
      case Contents::State::kBytes:
        piece = piece.substr(0, bytes_max);
        all += piece;
        contents->Consume(piece.size());
        break;
      case Contents::State::kWait:
        EXPECT_TRUE(reader->asked());
        reader->Give();
        break;
      case Contents::State::kEnd:
        return all;
      case Contents::State::kFailed:
        return all + "[" + (contents->unfit() ? Contents::kUnfitStatus : "4.3.0") + " " +
               std::string(contents->failure()) + "]";
    }
  }
}

const std::vector<std::string> kPieces = {"Content-Transfer-En", "coding: 8bit\nSubject: x\n\n\xc3",
                                          "\xa4\n"};
constexpr char kStored[] = "Content-Transfer-Encoding: 8bit\nSubject: x\n\n\xc3\xa4\n";
constexpr char kConverted[] = "Subject: x\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A4\n";

TEST(Contents, GoAsTheyAreStored) {
  Reader reader(kPieces);
  Contents contents(&reader, BytesOf(kPieces));
  EXPECT_EQ(ReadAll(&contents, &reader, 5), kStored);
}

TEST(Contents, AreConvertedUntilTheyAreRewound) {
  Reader reader(kPieces);
  Contents contents(&reader, BytesOf(kPieces));
  contents.Convert();
  EXPECT_EQ(ReadAll(&contents, &reader, 5), kConverted);
  ASSERT_TRUE(contents.Rewind());
  EXPECT_EQ(ReadAll(&contents, &reader, 7), kStored);
  ASSERT_TRUE(contents.Rewind());
  contents.Convert();
  EXPECT_EQ(ReadAll(&contents, &reader, 1000), kConverted);
}

TEST(Contents, RewoundInTheMiddleStartAnew) {
  Reader reader(kPieces);
  Contents contents(&reader, BytesOf(kPieces));
  contents.Convert();
  std::string_view piece;
  ASSERT_EQ(contents.Peek(&piece, [] {}), Contents::State::kWait);
  for (size_t i = 0; i < kPieces.size(); ++i) {
    if (reader.asked()) reader.Give();
    if (contents.Peek(&piece, [] {}) == Contents::State::kBytes) contents.Consume(1);
  }
  ASSERT_TRUE(contents.Rewind());
  contents.Convert();
  EXPECT_EQ(ReadAll(&contents, &reader, 1000), kConverted);
}

TEST(Contents, NestedTooDeepFailForGood) {
  std::string mail;
  for (int i = 0; i < 3; ++i) {
    const std::string boundary(1, static_cast<char>('a' + i));
    mail += "Content-Type: multipart/mixed; boundary=" + boundary + "\n\n--" + boundary + "\n";
  }
  Reader reader({mail});
  Contents contents(&reader, mail.size(), {.nesting_max = 0});
  contents.Convert();
  EXPECT_EQ(ReadAll(&contents, &reader, 1000), "[5.6.0 MIME nesting exceeds safety limit]");
}

TEST(Contents, CutShortFailForNow) {
  Reader reader(kPieces);
  Contents contents(&reader, BytesOf(kPieces) + 1);
  contents.Convert();
  EXPECT_EQ(ReadAll(&contents, &reader, 1000).substr(sizeof(kConverted) - 1),
            "[4.3.0 message contents are not as long as they should be]");
}

// A reader that can begin again.
class RestartingReader : public Reader {
 public:
  using Reader::Reader;
  bool Restart() override {
    Rewind();
    return true;
  }
};

TEST(Contents, LargeOnesAreReadAgainForASecondHost) {
  const std::vector<std::string> pieces(10, std::string(Contents::kKeptBytesMax / 4, 'x'));
  RestartingReader reader(pieces);
  Contents contents(&reader, BytesOf(pieces));
  for (int host = 0; host < 3; ++host) {
    EXPECT_EQ(ReadAll(&contents, &reader, 100'000).size(), BytesOf(pieces));
    EXPECT_TRUE(contents.Rewind());
  }
  Reader once(pieces);
  Contents gone(&once, BytesOf(pieces));
  ReadAll(&gone, &once, 100'000);
  EXPECT_FALSE(gone.Rewind());
}

TEST(Contents, APieceOnItsWayIsForgottenWhenTheyBeginAgain) {
  const std::vector<std::string> pieces(10, std::string(Contents::kKeptBytesMax / 4, 'x'));
  RestartingReader reader(pieces);
  Contents contents(&reader, BytesOf(pieces));
  std::string_view piece;
  size_t read = 0;
  while (contents.Peek(&piece, [] {}) == Contents::State::kBytes || read < BytesOf(pieces) / 2) {
    read += piece.size();
    contents.Consume(std::exchange(piece, {}).size());
    if (reader.asked() && read < BytesOf(pieces) / 2) reader.Give();
  }
  ASSERT_TRUE(reader.asked());
  EXPECT_TRUE(contents.Rewind());
  EXPECT_FALSE(reader.asked());
  EXPECT_EQ(ReadAll(&contents, &reader, 100'000).size(), BytesOf(pieces));
}

class DropSubject : public ContentsEditor {
 public:
  void OnField(std::string_view name, std::string* field) override {
    if (name == "subject") field->clear();
    if (name == "x-fail") failure_ = "broken";
  }
  void OnHeaderEnd(std::string*) override {}
  std::string_view failure() const override { return failure_; }

 private:
  std::string_view failure_;
};

TEST(Contents, AreEditedWithoutBeingConverted) {
  DropSubject editor;
  Reader reader(kPieces);
  Contents contents(&reader, BytesOf(kPieces), {}, &editor);
  EXPECT_EQ(ReadAll(&contents, &reader, 5), "Content-Transfer-Encoding: 8bit\n\n\xc3\xa4\n");
}

TEST(Contents, AreNotSentWhereTheirEditorFails) {
  DropSubject editor;
  const std::vector<std::string> pieces = {"X-Fail: x\n", "\nbody\n"};
  Reader reader(pieces);
  Contents contents(&reader, BytesOf(pieces), {}, &editor);
  EXPECT_EQ(ReadAll(&contents, &reader, 5), "[4.3.0 broken]");
}

}  // namespace
}  // namespace postfleet::delivery::smtp
