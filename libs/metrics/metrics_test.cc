#include "libs/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postfleet::metrics {
namespace {

using testing::HasSubstr;

TEST(Metrics, ASeriesExistsBeforeAnythingHappened) {
  Registry registry;
  registry.AddCounter("smtpd_messages_accepted_total", "Final 250 sent.", {{"listener", "smtpd"}});
  EXPECT_THAT(registry.Expose(),
              HasSubstr("postfleet_smtpd_messages_accepted_total{listener=\"smtpd\"} 0"));
}

TEST(Metrics, TheSameNameAndLabelsAreOneSeries) {
  Registry registry;
  registry.AddCounter("x_total", "X.").Increment();
  registry.AddCounter("x_total", "X.").Increment();
  EXPECT_THAT(registry.Expose(), HasSubstr("postfleet_x_total 2"));
}

TEST(Metrics, GaugesAreRefreshedWhenCollected) {
  Registry registry;
  Gauge& gauge = registry.AddGauge("queue_messages", "Messages.", {{"queue", "active"}});
  registry.OnCollect([&gauge] { gauge.Set(7); });
  EXPECT_THAT(registry.Expose(), HasSubstr("postfleet_queue_messages{queue=\"active\"} 7"));
}

}  // namespace
}  // namespace postfleet::metrics
