#include "commands/config_edit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postfleet::commands {
namespace {

using testing::ElementsAre;

constexpr char kFile[] = "# first\n\na = 1,\n  2\n  # within\n\t3\nb=x\n#c = y\na = 4\nlast = z";

std::string Edited(ConfigEdit edit, const std::map<std::string, std::string>& values) {
  std::vector<std::string> repeated;
  return EditMainCf(kFile, edit, values, &repeated);
}

TEST(MainCfEdit, SetsWhereItStandsAndAddsAtTheEnd) {
  EXPECT_EQ(
      Edited(ConfigEdit::kSet, {{"b", "new"}, {"c", "added"}}),
      "# first\n\na = 1,\n  2\n  # within\n\t3\nb = new\n#c = y\na = 4\nlast = z\nc = added\n");
}

TEST(MainCfEdit, ReplacesAllLinesOfAnEntryAndKeepsTheCommentAmongThem) {
  std::vector<std::string> repeated;
  EXPECT_EQ(EditMainCf(kFile, ConfigEdit::kSet, {{"a", "5"}}, &repeated),
            "# first\n\na = 5\n  # within\nb=x\n#c = y\na = 5\nlast = z\n");
  EXPECT_THAT(repeated, ElementsAre("a"));
}

TEST(MainCfEdit, RemovesAndCommentsOut) {
  EXPECT_EQ(Edited(ConfigEdit::kRemove, {{"a", ""}, {"nosuch", ""}}),
            "# first\n\n  # within\nb=x\n#c = y\nlast = z\n");
  EXPECT_EQ(Edited(ConfigEdit::kComment, {{"a", ""}}),
            "# first\n\n#a = 1,\n#  2\n  # within\n#\t3\nb=x\n#c = y\n#a = 4\nlast = z\n");
}

TEST(MainCfEdit, OfAnEmptyFileMakesOne) {
  std::vector<std::string> repeated;
  EXPECT_EQ(EditMainCf("", ConfigEdit::kSet, {{"a", ""}}, &repeated), "a = \n");
  EXPECT_EQ(EditMainCf("", ConfigEdit::kRemove, {{"a", ""}}, &repeated), "");
}

TEST(EditEntries, GivesTheLogicalTextOfEach) {
  std::vector<std::string> entries;
  EXPECT_EQ(EditEntries(kFile,
                        [&](std::string_view entry) -> EntryChange {
                          entries.emplace_back(entry);
                          return {};
                        }),
            std::string(kFile) + "\n");
  EXPECT_THAT(entries, ElementsAre("a = 1, 2 3", "b=x", "a = 4", "last = z"));
}

}  // namespace
}  // namespace postfleet::commands
