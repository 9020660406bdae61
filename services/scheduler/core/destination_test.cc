#include "services/scheduler/core/destination.h"

#include <gtest/gtest.h>

namespace postfleet::scheduler {
namespace {

TEST(DestinationName, IsTheNexthopInLowerCase) {
  EXPECT_EQ(DestinationName("[MX.Example.COM]:25", "u@d", false, "+"), "[mx.example.com]:25");
}

TEST(DestinationName, IsTheRecipientWithoutExtensionWhereOneIsDeliveredAtATime) {
  EXPECT_EQ(DestinationName("D.example", "User+list@other.example", true, "+"), "user@d.example");
  EXPECT_EQ(DestinationName("d", "user-list@d", true, "+-"), "user@d");
  EXPECT_EQ(DestinationName("d", "user+list@d", true, ""), "user+list@d");
  EXPECT_EQ(DestinationName("d", "+list@d", true, "+"), "+list@d");
  EXPECT_EQ(DestinationName("d", "Postmaster", true, "m"), "postmaster@d");
  EXPECT_EQ(DestinationName("d", "owner-list@d", true, "-"), "owner-list@d");
  EXPECT_EQ(DestinationName("d", "list-request@d", true, "-"), "list-request@d");
  EXPECT_EQ(DestinationName("d", "a-request+x@d", true, "+"), "a-request@d");
}

TEST(RecipientBefore, OrdersByDomainThenLocalpartWithoutCase) {
  EXPECT_TRUE(RecipientBefore("z@a", "a@B"));
  EXPECT_TRUE(RecipientBefore("Amy@d", "bob@D"));
  EXPECT_FALSE(RecipientBefore("bob@d", "Bob@D"));
  EXPECT_TRUE(RecipientBefore("z", "a@d"));
}

TEST(SplitStatus, TakesAStatusOfItsClassFromTheFront) {
  EXPECT_EQ(SplitStatus("5.1.1 User unknown", '5').status, "5.1.1");
  EXPECT_EQ(SplitStatus("5.1.1 User unknown", '5').text, "User unknown");
  EXPECT_EQ(SplitStatus("User unknown", '5').status, "5.0.0");
  EXPECT_EQ(SplitStatus("User unknown", '5').text, "User unknown");
  EXPECT_EQ(SplitStatus("4.1.1 later", '5').status, "5.0.0");
  EXPECT_EQ(SplitStatus("4.1.1 later", '5').text, "later");
  EXPECT_EQ(SplitStatus("5.1.1234 x", '5').text, "5.1.1234 x");
  EXPECT_EQ(SplitStatus("5.1.1x", '5').text, "5.1.1x");
  EXPECT_EQ(SplitStatus("", '4').status, "4.0.0");
  EXPECT_EQ(SplitStatus("", '4').text, "");
}

TEST(StatusOfClass, RefusesOtherClassesAndOtherText) {
  EXPECT_EQ(StatusOfClass("4.4.1", '4'), "4.4.1");
  EXPECT_EQ(StatusOfClass("5.4.1", '4'), "4.0.0");
  EXPECT_EQ(StatusOfClass("4.4.1 x", '4'), "4.0.0");
  EXPECT_EQ(StatusOfClass("", '4'), "4.0.0");
}

}  // namespace
}  // namespace postfleet::scheduler
