#include "libs/message/header.h"

#include <gtest/gtest.h>

namespace postfleet::message {
namespace {

TEST(HeaderReader, FieldsWithTheirContinuations) {
  const std::string content = "From: a@b\nSubject:  one\n two\n\tthree \nX : y\n\nBody: no\n";
  HeaderReader reader(content);
  ASSERT_TRUE(reader.Next());
  EXPECT_EQ(reader.field().name, "From");
  EXPECT_EQ(reader.field().value, "a@b");
  ASSERT_TRUE(reader.Next());
  EXPECT_EQ(reader.field().value, "one\n two\n\tthree");
  EXPECT_EQ(reader.field().raw, "Subject:  one\n two\n\tthree \n");
  ASSERT_TRUE(reader.Next());
  EXPECT_EQ(reader.field().name, "X");
  EXPECT_EQ(reader.field().value, "y");
  EXPECT_FALSE(reader.Next());
  EXPECT_EQ(content.substr(reader.body_offset()), "Body: no\n");
}

TEST(HeaderReader, EndsAtTheFirstLineThatIsNoField) {
  const std::string content = "A: b\nno field\nC: d\n";
  HeaderReader reader(content);
  EXPECT_TRUE(reader.Next());
  EXPECT_FALSE(reader.Next());
  EXPECT_EQ(content.substr(reader.body_offset()), "no field\nC: d\n");
}

TEST(HeaderReader, EmptyAndUnfinishedContent) {
  HeaderReader empty("");
  EXPECT_FALSE(empty.Next());
  HeaderReader unfinished("A: b");
  ASSERT_TRUE(unfinished.Next());
  EXPECT_EQ(unfinished.field().raw, "A: b");
  EXPECT_FALSE(unfinished.Next());
}

TEST(FieldNameLength, AsPostfixReadsIt) {
  EXPECT_EQ(FieldNameLength("Name: v"), 4u);
  EXPECT_EQ(FieldNameLength("Name \t: v"), 4u);
  EXPECT_EQ(FieldNameLength("a!b/c:"), 5u);
  for (const char* line :
       {"", ":", " Name: v", "Na me: v", "Name", "N\x01: v", "N\xc3\xa4: v", "Name\r: v"})
    EXPECT_EQ(FieldNameLength(line), 0u) << line;
}

TEST(Unfold, LinesAndTheirBlanksBecomeOneBlank) {
  EXPECT_EQ(Unfold("a\n  b\n\tc"), "a b c");
  EXPECT_EQ(Unfold("a \r\n b"), "a b");
  EXPECT_EQ(Unfold("a  b"), "a  b");
}

TEST(HasHeaderValue, DeliveredToComparesWithoutCase) {
  const std::string content =
      "Delivered-To: a@x\nDELIVERED-TO:  User@Example.org \n\nDelivered-To: body@x\n";
  EXPECT_TRUE(HasHeaderValue(content, "Delivered-To", "user@example.ORG"));
  EXPECT_TRUE(HasHeaderValue(content, "delivered-to", "a@x"));
  EXPECT_FALSE(HasHeaderValue(content, "Delivered-To", "body@x"));
  EXPECT_EQ(FindHeader(content, "delivered-to").value, "a@x");
  EXPECT_EQ(FindHeader(content, "To").raw, "");
}

}  // namespace
}  // namespace postfleet::message
