#include "libs/smtp/data_reader.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace postfleet::smtp {
namespace {

struct Outcome {
  std::string content;
  bool done = false;
  bool bare_lf = false;
  size_t consumed = 0;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

std::ostream& operator<<(std::ostream& out, const Outcome& o) {
  return out << '"' << testing::PrintToString(o.content) << "\" done=" << o.done
             << " bare=" << o.bare_lf << " consumed=" << o.consumed;
}

// The rules in their slowest form: all the input at once, line by line.
Outcome Reference(std::string_view in, BareNewline mode) {
  Outcome o;
  const bool old = mode == BareNewline::kNo;
  bool previous_bare = false;
  while (true) {
    const size_t lf = in.find('\n', o.consumed);
    if (lf == std::string_view::npos) break;
    std::string line(in.substr(o.consumed, lf - o.consumed));
    o.consumed = lf + 1;
    bool bare = true;
    while (!line.empty() && line.back() == '\r' && (old || bare)) {
      line.pop_back();
      bare = false;
    }
    bare = bare && !old;
    o.bare_lf |= bare;
    if (line == ".") {
      if (!bare && !previous_bare) {
        o.done = true;
        return o;
      }
    } else {
      if (line[0] == '.') line.erase(0, 1);
      o.content += line + "\n";
    }
    previous_bare = bare;
  }
  return o;
}

// Feeds `pieces` with room for `out_size` bytes a call.
Outcome Feed(const std::vector<std::string>& pieces, BareNewline mode, size_t out_size = 4096) {
  DataReader reader(mode);
  Outcome o;
  std::vector<char> out(out_size);
  for (std::string_view piece : pieces) {
    // Room can be too small for held CRs alone: an empty piece still drains them.
    while (!piece.empty() && !reader.done()) {
      const auto progress = reader.Read(piece, out.data(), out.size());
      o.content.append(out.data(), progress.produced);
      piece.remove_prefix(progress.consumed);
      o.consumed += progress.consumed;
      EXPECT_LE(progress.produced, out_size);
      EXPECT_TRUE(progress.consumed + progress.produced > 0) << "no progress";
      if (progress.consumed + progress.produced == 0) return o;
    }
  }
  EXPECT_EQ(reader.content_bytes(), o.content.size());
  o.done = reader.done();
  o.bare_lf = reader.saw_bare_lf();
  return o;
}

std::string Content(std::string_view in, BareNewline mode = BareNewline::kNormalize) {
  const Outcome o = Feed({std::string(in)}, mode);
  return o.content + (o.done ? "|end" : "|more");
}

TEST(Rfc5321_4_5_2, StuffedDotsAreRemoved) {
  EXPECT_EQ(Content("..a\r\n.b\r\n...\r\nc.\r\n.\r\n"), ".a\nb\n..\nc.\n|end");
}

TEST(Rfc5321_4_1_1_4, EmptyMessageEndsAtOnce) { EXPECT_EQ(Content(".\r\n"), "|end"); }

TEST(DataReader, StopsBehindTheEnd) {
  const Outcome o = Feed({"a\r\n.\r\nQUIT\r\n"}, BareNewline::kNormalize);
  EXPECT_EQ(o.consumed, 6u);
  EXPECT_TRUE(o.done);
}

TEST(DataReader, ByteByByteIsTheSame) {
  std::vector<std::string> bytes;
  for (char c : std::string_view("..a\r\n\r\nb\rc\r\r\n.\r\r\n.\n.\r\nd\r\n.\r\n"))
    bytes.emplace_back(1, c);
  std::string all;
  for (const auto& b : bytes) all += b;
  EXPECT_EQ(Feed(bytes, BareNewline::kNormalize), Feed({all}, BareNewline::kNormalize));
}

TEST(ForbidBareNewline, NormalizeTakesLfAsALineEnd) {
  EXPECT_EQ(Content("a\nb\r\n.\r\n"), "a\nb\n|end");
}

// What SMTP smuggling tries (SEC Consult, 2023): each must not end DATA.
TEST(ForbidBareNewline, NoSmugglingVectorEndsData) {
  const std::string mail = "\r\nMAIL FROM:<x@y>\r\n";
  for (const char* end : {"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r.\r", "\r\n.\r", "\n\n.\r\n",
                          "\r\n.\r\r\n", "\r\r\n.\r\r\n", "\n.\r"}) {
    for (BareNewline mode : {BareNewline::kNormalize, BareNewline::kReject, BareNewline::kNote})
      EXPECT_FALSE(Feed({"a" + std::string(end) + mail}, mode).done) << testing::PrintToString(end);
  }
  EXPECT_FALSE(Feed({std::string("a\r\n\0.\r\n", 7)}, BareNewline::kNormalize).done);
}

TEST(ForbidBareNewline, LoneDotNextToABareLfIsDropped) {
  EXPECT_EQ(Content("a\n.\r\nb\r\n.\r\n"), "a\nb\n|end") << "the line before ended in a bare LF";
  EXPECT_EQ(Content("a\r\n.\nb\r\n.\r\n"), "a\nb\n|end") << "its own line ended in a bare LF";
  EXPECT_EQ(Content("a\n.\r\n.\r\n"), "a\n|end") << "the dropped dot ended in CRLF";
  EXPECT_EQ(Content("a\r\n.\n.\r\n.\r\n"), "a\n|end") << "the second dot follows a bare LF";
}

TEST(ForbidBareNewline, ClientThatSendsOnlyLfNeverEnds) {
  EXPECT_EQ(Content("a\n.\n.\n.\n"), "a\n|more");
}

TEST(ForbidBareNewline, CrCrLfIsNoLineEnd) {
  EXPECT_EQ(Content("a\r\n.\r\r\nb\r\r\n.\r\n"), "a\n\r\nb\r\n|end");
  EXPECT_FALSE(Feed({"a\r\n.\r\r\n"}, BareNewline::kNormalize).bare_lf);
}

TEST(ForbidBareNewline, NoIsTheOldBehaviour) {
  for (const char* end : {"\n.\n", "\n.\r\n", "\r\n.\n", "\r\n.\r\r\r\r\r\r\r\r\n"})
    EXPECT_EQ(Content("a" + std::string(end), BareNewline::kNo), "a\n|end")
        << testing::PrintToString(end);
  EXPECT_EQ(Content("a\r\r\r\n.\r\n", BareNewline::kNo), "a\n|end");
  EXPECT_FALSE(Feed({"a\n.\n"}, BareNewline::kNo).bare_lf);
}

TEST(ForbidBareNewline, BareLfIsReported) {
  EXPECT_TRUE(Feed({"a\nb\r\n.\r\n"}, BareNewline::kReject).bare_lf);
  EXPECT_TRUE(Feed({"a\nb\r\n.\r\n"}, BareNewline::kNote).bare_lf);
  EXPECT_FALSE(Feed({"a\r\nb\r\n.\r\n"}, BareNewline::kReject).bare_lf);
}

TEST(ForbidBareNewline, ParameterValues) {
  BareNewline mode;
  EXPECT_TRUE(ParseBareNewline("yes", &mode));
  EXPECT_EQ(mode, BareNewline::kNormalize);
  EXPECT_TRUE(ParseBareNewline("Reject", &mode));
  EXPECT_EQ(mode, BareNewline::kReject);
  EXPECT_FALSE(ParseBareNewline("maybe", &mode));
}

TEST(DataReader, RandomSplitsEqualTheReference) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  constexpr std::string_view kTokens[] = {"\r", "\n",  ".",     "\r\n", "\r\n.\r\n",
                                          "a",  "bcd", "\r\n.", "\r\r"};
  constexpr BareNewline kModes[] = {BareNewline::kNormalize, BareNewline::kNo, BareNewline::kReject,
                                    BareNewline::kNote};
  int ended = 0;
  for (int round = 0; round < 60000; ++round) {
    std::string all;
    for (size_t n = random() % 14; n > 0; --n) all += kTokens[random() % std::size(kTokens)];
    std::vector<std::string> pieces;
    for (size_t at = 0; at < all.size();) {
      const size_t length = 1 + random() % 5;
      pieces.push_back(all.substr(at, length));
      at += length;
    }
    const BareNewline mode = kModes[random() % 4];
    Outcome got = Feed(pieces, mode, DataReader::kHeldBytesMax + 1 + random() % 8);
    const Outcome want = Reference(all, mode);
    ended += want.done;
    ASSERT_EQ(got.done, want.done) << testing::PrintToString(all);
    if (want.done) {
      ASSERT_EQ(got, want) << testing::PrintToString(all);
    } else {
      // The reference sees whole lines only; ours has given out the start of the last.
      ASSERT_EQ(got.bare_lf, want.bare_lf) << testing::PrintToString(all);
      ASSERT_EQ(got.content.substr(0, want.content.size()), want.content)
          << testing::PrintToString(all);
    }
  }
  EXPECT_GT(ended, 1000);
}

std::string Chunks(const std::vector<std::string>& pieces) {
  DataReader reader(BareNewline::kNormalize, DataReader::Framing::kChunk);
  std::string content;
  char out[64];
  for (const std::string& piece : pieces) {
    const auto progress = reader.Read(piece, out, sizeof out);
    EXPECT_EQ(progress.consumed, piece.size());
    content.append(out, progress.produced);
  }
  content.append(out, reader.FinishChunks(out));
  return content;
}

TEST(Rfc3030_2, ChunksHaveNoDotsAndNoEnd) {
  EXPECT_EQ(Chunks({"a\r\n.\r\n..b\r", "\n"}), "a\n.\n..b\n");
}

TEST(Rfc3030_2, UnfinishedLastLineIsEnded) {
  EXPECT_EQ(Chunks({"a\r\nb"}), "a\nb\n");
  EXPECT_EQ(Chunks({"a\r"}), "a\r\n");
  EXPECT_EQ(Chunks({}), "");
}

// What Postfix answers to BDAT with such lines.
TEST(WireBytes, EachFullPieceOfALongerLineCountsAsALine) {
  const struct {
    std::string line;
    size_t more;
  } rows[] = {
      {std::string(2047, 'x'), 2},        {std::string(2048, 'x'), 4},
      {std::string(4095, 'x'), 4},        {std::string(4096, 'x'), 6},
      {std::string(6144, 'x'), 8},        {".." + std::string(2045, 'x'), 1},
      {".." + std::string(2046, 'x'), 3},
  };
  for (const auto& row : rows) {
    for (const size_t piece_bytes : {row.line.size() + 2, size_t{7}}) {
      DataReader reader;
      std::string out(8192, 0);
      const std::string in = row.line + "\r\n";
      for (size_t at = 0; at < in.size(); at += piece_bytes) {
        reader.Read(std::string_view(in).substr(at, piece_bytes), out.data(), out.size());
      }
      EXPECT_EQ(reader.wire_bytes(), row.line.size() + row.more) << row.line.size();
    }
  }
}

TEST(WireBytes, ALineOfChunksIsCutWhereItsBytesAre) {
  DataReader reader(BareNewline::kNormalize, DataReader::Framing::kChunk);
  std::string out(8192, 0);
  reader.Read(std::string(2000, 'x'), out.data(), out.size());
  EXPECT_EQ(reader.wire_bytes(), 2000u);
  reader.Read(std::string(2000, 'x'), out.data(), out.size());
  reader.Read(std::string(100, 'y') + "\r\n", out.data(), out.size());
  EXPECT_EQ(reader.wire_bytes(), 4106u);
}

TEST(WireBytes, ALineOfChunksWithoutItsEndCountsForTheRestOfItsPieces) {
  for (const auto& [bytes, counted] : {std::pair<size_t, size_t>{2047, 2049}, {2048, 2050}}) {
    DataReader reader(BareNewline::kNormalize, DataReader::Framing::kChunk);
    std::string out(4096, 0);
    reader.Read(std::string(bytes, 'x'), out.data(), out.size());
    reader.FinishChunks(out.data());
    EXPECT_EQ(reader.wire_bytes(), counted);
  }
}

}  // namespace
}  // namespace postfleet::smtp
