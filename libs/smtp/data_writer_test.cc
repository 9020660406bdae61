#include "libs/smtp/data_writer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "libs/smtp/data_reader.h"

namespace postfleet::smtp {
namespace {

std::string Reference(std::string_view content, size_t limit) {
  std::string wire;
  while (!content.empty()) {
    std::string_view line = content.substr(0, content.find('\n'));
    content.remove_prefix(std::min(line.size() + 1, content.size()));
    if (line.substr(0, 1) == ".") wire += '.';
    size_t column = 0;
    for (char c : line) {
      if (limit != 0 && column == limit) {
        wire += "\r\n ";
        column = 1;
      }
      wire += c;
      ++column;
    }
    wire += "\r\n";
  }
  return wire + ".\r\n";
}

std::string Write(const std::vector<std::string>& pieces, size_t limit = kSmtpLineBytesMaxDefault,
                  size_t out_size = 4096) {
  DataWriter writer(limit);
  std::string wire;
  std::vector<char> out(out_size);
  for (std::string_view piece : pieces) {
    while (!piece.empty()) {
      const auto progress = writer.Write(piece, out.data(), out.size());
      EXPECT_GT(progress.consumed + progress.produced, 0u) << "no progress";
      EXPECT_LE(progress.produced, out_size);
      wire.append(out.data(), progress.produced);
      piece.remove_prefix(progress.consumed);
    }
  }
  return wire.append(out.data(), writer.Finish(out.data()));
}

TEST(Rfc5321_4_5_2, LinesThatStartWithADotGetAnother) {
  EXPECT_EQ(Write({".a\n..\n.\nb.\n"}), "..a\r\n...\r\n..\r\nb.\r\n.\r\n");
}

TEST(Rfc5321_4_1_1_4, EmptyContentIsOnlyTheDot) { EXPECT_EQ(Write({}), ".\r\n"); }

TEST(DataWriter, MissingLastLineEndIsAdded) {
  EXPECT_EQ(Write({"a"}), "a\r\n.\r\n");
  EXPECT_EQ(Write({"."}), "..\r\n.\r\n");
}

TEST(DataWriter, EmptyLinesStay) { EXPECT_EQ(Write({"\n\na\n\n"}), "\r\n\r\na\r\n\r\n.\r\n"); }

TEST(SmtpLineLengthLimit, LinesOf2500BytesAreFoldedAsPostfixDoes) {
  const std::string x(2500, 'x');
  EXPECT_EQ(Write({x + "\n"}), x.substr(0, 998) + "\r\n " + x.substr(0, 997) + "\r\n " +
                                   x.substr(0, 505) + "\r\n.\r\n");
}

TEST(SmtpLineLengthLimit, ExactlyTheLimitStays) {
  const std::string x(998, 'x');
  EXPECT_EQ(Write({x, "\n"}), x + "\r\n.\r\n");
  EXPECT_EQ(Write({x}), x + "\r\n.\r\n");
  EXPECT_EQ(Write({x, "y"}), x + "\r\n y\r\n.\r\n");
}

TEST(SmtpLineLengthLimit, DotOfStuffingIsNotCounted) {
  const std::string x = "." + std::string(997, 'x');
  EXPECT_EQ(Write({x + "\n"}), "." + x + "\r\n.\r\n");
}

TEST(SmtpLineLengthLimit, FoldedDotIsNotStuffed) {
  const std::string x(998, 'x');
  EXPECT_EQ(Write({x + ".y\n"}), x + "\r\n .y\r\n.\r\n");
}

TEST(SmtpLineLengthLimit, ZeroNeverFolds) {
  const std::string x(100000, 'x');
  EXPECT_EQ(Write({x + "\n"}, 0), x + "\r\n.\r\n");
}

TEST(Rfc3030_2, WithoutDotStuffingDotsStay) {
  DataWriter writer;
  writer.set_dot_stuffing(false);
  char out[64];
  const auto progress = writer.Write(".a\n.\nb", out, sizeof out);
  std::string wire(out, progress.produced);
  EXPECT_EQ(wire.append(out, writer.FinishWithoutDot(out)), ".a\r\n.\r\nb\r\n");
}

TEST(DataWriter, RandomSplitsEqualTheReferenceAndReadBack) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  constexpr std::string_view kTokens[] = {"\n", ".", "a", "\n.", "bcdefgh", "\n.\n", "\r"};
  for (int round = 0; round < 40000; ++round) {
    std::string all;
    for (size_t n = random() % 20; n > 0; --n) all += kTokens[random() % std::size(kTokens)];
    std::vector<std::string> pieces;
    for (size_t at = 0; at < all.size();) {
      const size_t length = 1 + random() % 9;
      pieces.push_back(all.substr(at, length));
      at += length;
    }
    const size_t limit = random() % 3 == 0 ? 0 : 2 + random() % 10;
    const std::string wire = Write(pieces, limit, DataWriter::kOutBytesMin + random() % 10);
    ASSERT_EQ(wire, Reference(all, limit)) << testing::PrintToString(all) << " limit " << limit;
    if (limit != 0) continue;
    DataReader reader;
    std::vector<char> out(wire.size() + 8);
    const auto progress = reader.Read(wire, out.data(), out.size());
    ASSERT_TRUE(reader.done());
    ASSERT_EQ(progress.consumed, wire.size());
    if (!all.empty() && all.back() != '\n') all += '\n';
    ASSERT_EQ(std::string(out.data(), progress.produced), all);
  }
}

}  // namespace
}  // namespace postfleet::smtp
