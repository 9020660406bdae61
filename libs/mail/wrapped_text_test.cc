#include "libs/mail/wrapped_text.h"

#include <gtest/gtest.h>

namespace postfleet::mail {
namespace {

TEST(PrintableText, KeepsUtf8AndCutsBetweenCharacters) {
  EXPECT_EQ(PrintableText("a\xc3\xa9z", 100), "a\xc3\xa9z");
  EXPECT_EQ(PrintableText("a\xc3\xa9z", 2), "a");
  EXPECT_EQ(PrintableText("\xf0\x9f\x98\x80", 100), "\xf0\x9f\x98\x80");
  EXPECT_EQ(PrintableText("\xc0\x80 \xed\xa0\x80 \xe9\n\t\x7f", 100), "?? ??? ????");
}

TEST(AppendWrapped, ALineOfExactlySeventyNineStays) {
  std::string out;
  AppendWrapped(std::string(70, 'a') + " " + std::string(8, 'b'), 79, "", &out);
  EXPECT_EQ(out, std::string(70, 'a') + " " + std::string(8, 'b') + "\n");
  out.clear();
  AppendWrapped(std::string(70, 'a') + " " + std::string(9, 'b') + " c", 79, "", &out);
  EXPECT_EQ(out, std::string(70, 'a') + "\n    " + std::string(9, 'b') + " c\n");
}

TEST(AppendWrapped, APrefixStandsBeforeEachLineAndDoesNotCount) {
  std::string out;
  AppendWrapped("In:  aaaa bbb  ", 9, "> ", &out);
  EXPECT_EQ(out, "> In:  aaaa\n>     bbb\n");
}

}  // namespace
}  // namespace postfleet::mail
