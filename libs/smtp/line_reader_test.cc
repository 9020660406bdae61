#include "libs/smtp/line_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace postfleet::smtp {
namespace {

// Each line as "text" plus " bare" and " cut"; "flood"; "pending" at the end.
std::vector<std::string> Lines(LineReader& reader, const std::vector<std::string>& pieces) {
  std::vector<std::string> lines;
  for (std::string_view piece : pieces) {
    while (!piece.empty()) {
      Line line;
      const auto result = reader.Next(&piece, &line);
      if (result == LineReader::kFlood) return lines.push_back("flood"), lines;
      if (result == LineReader::kLine)
        lines.push_back(std::string(line.text) + (line.bare_lf ? " bare" : "") +
                        (line.cut ? " cut" : ""));
    }
  }
  if (reader.pending()) lines.push_back("pending");
  return lines;
}

using List = std::vector<std::string>;

TEST(LineReader, WholeLinesAreCut) {
  LineReader reader;
  EXPECT_EQ(Lines(reader, {"EHLO a\r\nMAIL\nX"}), (List{"EHLO a", "MAIL bare", "pending"}));
}

TEST(LineReader, SplitLinesAreJoined) {
  LineReader reader;
  EXPECT_EQ(Lines(reader, {"EH", "LO a\r", "\nQ", "UIT", "\r\n"}), (List{"EHLO a", "QUIT"}));
}

TEST(LineReader, EmptyLinesCount) {
  LineReader reader;
  EXPECT_EQ(Lines(reader, {"\r\n", "\r", "\n", "\n"}), (List{"", "", " bare"}));
}

TEST(LineReader, NormalizeTakesOneCrOff) {
  LineReader normal, old(2048, false);
  EXPECT_EQ(Lines(normal, {"a\r\r\n"}), (List{"a\r"}));
  EXPECT_EQ(Lines(old, {"a\r\r\n", "b\r", "\r\n"}), (List{"a", "b"}));
}

TEST(LineReader, LongestLinePassesAndALongerOneIsCut) {
  for (bool split : {false, true}) {
    LineReader reader(8);
    const List fits = split ? List{"1234", "5678\r", "\n"} : List{"12345678\r\n"};
    EXPECT_EQ(Lines(reader, fits), (List{"12345678"}));
    const List longer = split ? List{"1234", "56789\r", "\nA\r\n"} : List{"123456789\r\nA\r\n"};
    EXPECT_EQ(Lines(reader, longer), (List{"12345678 cut", "A"}));
  }
}

TEST(LineReader, EndlessLineIsAFloodNotMemory) {
  LineReader reader(8);
  EXPECT_EQ(Lines(reader, {std::string(16, 'x'), "\r\nA\r\n"}), (List{"xxxxxxxx cut", "A"}));
  LineReader flooded(8);
  EXPECT_EQ(Lines(flooded, {std::string(40, 'x')}), (List{"flood"}));
  EXPECT_EQ(Lines(flooded, {"\nA\r\n"}), (List{"flood"})) << "it stays so";
}

TEST(Rfc3207_4_2, ResetForgetsWhatCameBefore) {
  LineReader reader;
  EXPECT_EQ(Lines(reader, {"INJECT"}), (List{"pending"}));
  reader.Reset();
  EXPECT_EQ(Lines(reader, {"EHLO a\r\n"}), (List{"EHLO a"}));
}

}  // namespace
}  // namespace postfleet::smtp
