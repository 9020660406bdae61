#include "services/scheduler/core/pace.h"

#include <gtest/gtest.h>

namespace postfleet::scheduler {
namespace {

constexpr int64_t kNow = 1'800'000'000'000;

TEST(Pace, IsNotKnownAtFirst) {
  Pace pace;
  pace.Begin(kNow);
  EXPECT_FALSE(pace.known(kNow + 9'999));
  EXPECT_TRUE(pace.known(kNow + 10'000));
}

TEST(Pace, OfLessThanAMinuteIsProjected) {
  Pace pace;
  pace.Begin(kNow);
  for (int i = 0; i < 100; ++i) pace.Count(kNow + i * 100);
  EXPECT_NEAR(pace.PerMinute(kNow + 10'000), 600, 1);
}

TEST(Pace, StaysWhereDeliveriesEndEvenly) {
  Pace pace;
  pace.Begin(kNow);
  for (int second = 0; second < 600; ++second) {
    pace.Count(kNow + second * 1'000);
    if (second < 60) continue;
    EXPECT_NEAR(pace.PerMinute(kNow + second * 1'000), 60, 2) << second;
  }
}

TEST(Pace, IsOneWhenNothingEndedForAMinute) {
  Pace pace;
  pace.Begin(kNow);
  for (int i = 0; i < 500; ++i) pace.Count(kNow);
  EXPECT_GT(pace.PerMinute(kNow + 60'000), 400);
  EXPECT_EQ(pace.PerMinute(kNow + 120'000), 1);
  EXPECT_EQ(pace.PerMinute(kNow + 1'000'000), 1);
}

}  // namespace
}  // namespace postfleet::scheduler
