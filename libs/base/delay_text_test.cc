#include "libs/base/delay_text.h"

#include <gtest/gtest.h>

namespace postfleet {
namespace {

TEST(DelayText, HasTwoSignificantDigitsAndAtMostTwoBehindThePoint) {
  EXPECT_EQ(DelayText(0), "0");
  EXPECT_EQ(DelayText(4), "0");
  EXPECT_EQ(DelayText(5), "0.01");
  EXPECT_EQ(DelayText(23), "0.02");
  EXPECT_EQ(DelayText(123), "0.12");
  EXPECT_EQ(DelayText(200), "0.2");
  EXPECT_EQ(DelayText(999), "1");
  EXPECT_EQ(DelayText(1'234), "1.2");
  EXPECT_EQ(DelayText(9'960), "10");
  EXPECT_EQ(DelayText(12'600), "13");
  EXPECT_EQ(DelayText(432'000'000), "432000");
}

TEST(DelayText, AClockThatWentBackIsNoDelay) { EXPECT_EQ(DelayText(-5'000), "0"); }

}  // namespace
}  // namespace postfleet
