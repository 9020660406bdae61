#include "services/scheduler/core/window.h"

#include <gtest/gtest.h>

namespace postfleet::scheduler {
namespace {

int FailuresUntilDead(TransportLimits limits, int window) {
  limits.initial_destination_concurrency = window;
  limits.destination_concurrency_limit = window;
  Window w(limits);
  int failures = 1;
  while (!w.Failed(limits)) ++failures;
  return failures;
}

// As measured with Postfix 3.7.11.
TEST(Window, DiesAsSoonAsPostfixDoes) {
  EXPECT_EQ(FailuresUntilDead({}, 1), 1);
  EXPECT_EQ(FailuresUntilDead({}, 2), 2);
  EXPECT_EQ(FailuresUntilDead({}, 5), 3);
  EXPECT_EQ(FailuresUntilDead({}, 20), 13);
}

TEST(Window, NeverDiesWithoutACohortLimit) {
  TransportLimits limits;
  limits.failed_cohort_limit = 0;
  Window window(limits);
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(window.Failed(limits));
  EXPECT_EQ(window.size(), 1);
}

TEST(Window, DoesNotGrowFarAboveWhatIsInUse) {
  TransportLimits limits;
  Window window(limits);
  for (int i = 0; i < 100; ++i) window.Succeeded(limits, /*busy=*/1);
  EXPECT_EQ(window.size(), 6);
}

TEST(Window, GrowsWithoutBoundWhereTheLimitIsZero) {
  TransportLimits limits;
  limits.destination_concurrency_limit = 0;
  Window window(limits);
  for (int i = 0; i < 100; ++i) window.Succeeded(limits, window.size());
  EXPECT_EQ(window.size(), 105);
}

TEST(Window, RevivesWithWhatIsBusy) {
  TransportLimits limits;
  Window window(limits);
  while (!window.Failed(limits)) {
  }
  EXPECT_FALSE(window.HasRoom(0));
  window.Revive(limits, /*busy=*/2);
  EXPECT_EQ(window.size(), 2);
  // Two failed cohorts of one must pass again until it dies.
  EXPECT_FALSE(window.Failed(limits));
}

TEST(Feedback, IsReadInPostfixsForms) {
  EXPECT_EQ(Feedback::Parse("1")->For(5), 1);
  EXPECT_EQ(Feedback::Parse("1/2")->For(5), 0.5);
  EXPECT_EQ(Feedback::Parse("1 / concurrency")->For(5), 0.2);
  EXPECT_EQ(Feedback::Parse("0.5/sqrt_concurrency")->For(4), 0.25);
  for (const char* bad : {"", "x", "2", "-1", "1/0", "1/", "1/n", "3/2", "nan"}) {
    EXPECT_FALSE(Feedback::Parse(bad)) << bad;
  }
}

TEST(Config, InitialConcurrencyIsLoweredToTheLimit) {
  const Config config;
  EXPECT_EQ(config.LimitsOf("local").initial_destination_concurrency, 2);
  EXPECT_EQ(config.LimitsOf("smtp").initial_destination_concurrency, 5);
}

}  // namespace
}  // namespace postfleet::scheduler
