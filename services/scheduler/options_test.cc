#include "services/scheduler/options.h"

#include <gtest/gtest.h>

#include "libs/base/concat.h"

namespace postfleet::scheduler {
namespace {

constexpr int64_t kHourMs = 3'600'000;

Config Read(const std::string& main_cf) {
  config::Diagnostics diagnostics;
  const absl::StatusOr<config::Config> config = config::Config::FromText(
      Concat("compatibility_level = 3.6\n", main_cf), "", {"mx.test", {}}, diagnostics);
  EXPECT_TRUE(config.ok()) << config.status();
  absl::StatusOr<Config> read = ConfigFrom(*config);
  EXPECT_TRUE(read.ok()) << read.status();
  return *std::move(read);
}

TEST(Options, TimesAreReadWithTheirUnits) {
  const Config config = Read(
      "delay_warning_time = 4\nmaximal_queue_lifetime = 3\n"
      "bounce_queue_lifetime = 36h\nminimal_backoff_time = 2m\n");
  EXPECT_EQ(config.delay_warning_ms, 4 * kHourMs);
  EXPECT_EQ(config.maximal_queue_lifetime_ms, 72 * kHourMs);
  EXPECT_EQ(config.bounce_queue_lifetime_ms, 36 * kHourMs);
  EXPECT_EQ(config.minimal_backoff_ms, 120'000);
  EXPECT_EQ(Read("").delay_warning_ms, 0);
}

TEST(Options, NoticesDoNotOutliveMail) {
  EXPECT_EQ(Read("maximal_queue_lifetime = 1d\n").bounce_queue_lifetime_ms, 24 * kHourMs);
}

}  // namespace
}  // namespace postfleet::scheduler
