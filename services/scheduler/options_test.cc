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

TEST(Options, VerpBouncesAreSentUnlessDisabled) {
  EXPECT_TRUE(Read("").verp_bounces);
  EXPECT_FALSE(Read("disable_verp_bounces = yes\n").verp_bounces);
}

config::Config Parsed(const std::string& main_cf, const std::string& master_cf) {
  config::Diagnostics diagnostics;
  absl::StatusOr<config::Config> config = config::Config::FromText(
      Concat("compatibility_level = 3.6\n", main_cf), master_cf, {"mx.test", {}}, diagnostics);
  EXPECT_TRUE(config.ok()) << config.status();
  return *std::move(config);
}

TEST(Options, SlotsOfATransportAreThoseOfAllUnlessItHasItsOwn) {
  const Config config = Read(
      "default_delivery_slot_cost = 4\ndefault_delivery_slot_loan = 1\n"
      "default_delivery_slot_discount = 25\ndefault_minimum_delivery_slots = 6\n"
      "smtp_delivery_slot_cost = 0\nsmtp_minimum_delivery_slots = 9\n");
  EXPECT_EQ(config.LimitsOf("smtp").slot_cost, 0);
  EXPECT_EQ(config.LimitsOf("smtp").slots_min, 9);
  EXPECT_EQ(config.LimitsOf("smtp").slot_loan, 1);
  for (const char* transport : {"relay", "not-in-master-cf"}) {
    EXPECT_EQ(config.LimitsOf(transport).slot_cost, 4) << transport;
    EXPECT_EQ(config.LimitsOf(transport).slot_discount_percent, 25) << transport;
    EXPECT_EQ(config.LimitsOf(transport).slots_min, 6) << transport;
  }
  EXPECT_EQ(Read("").LimitsOf("smtp").slot_cost, 5);
  EXPECT_EQ(Read("").LimitsOf("smtp").slot_loan, 3);
  EXPECT_EQ(Read("").LimitsOf("smtp").slot_discount_percent, 50);
  EXPECT_EQ(Read("").LimitsOf("smtp").slots_min, 3);
}

TEST(Options, AttemptsAreGivenUpAfterAgentsEndThemThemselves) {
  EXPECT_GT(Read("daemon_timeout = 1h\n").attempt_max_ms, kHourMs);
  EXPECT_LT(Read("daemon_timeout = 1h\n").attempt_max_ms, 2 * kHourMs);
}

TEST(Options, OfNotices) {
  EXPECT_TRUE(Read("confirm_delay_cleared = yes\n").confirm_delay_cleared);
  EXPECT_FALSE(Read("").confirm_delay_cleared);
  EXPECT_EQ(Read("double_bounce_sender = nobody\n").double_bounce_sender, "nobody");
}

TEST(Options, ARateDelayMakesTheConcurrencyOne) {
  const Config config = Read("smtp_destination_rate_delay = 2\nrelay_transport_rate_delay = 3m\n");
  EXPECT_EQ(config.LimitsOf("smtp").destination_rate_delay_ms, 2'000);
  EXPECT_EQ(config.LimitsOf("smtp").destination_concurrency_limit, 1);
  EXPECT_EQ(config.LimitsOf("smtp").initial_destination_concurrency, 1);
  EXPECT_EQ(config.LimitsOf("relay").transport_rate_delay_ms, 180'000);
  EXPECT_EQ(config.LimitsOf("relay").destination_concurrency_limit, 20);
}

TEST(Options, MaxprocIsTheCeilingOfATransport) {
  const absl::StatusOr<Config> config =
      ConfigFrom(Parsed("default_process_limit = 7\n",
                        "smtp unix - - n - 3 smtp\nrelay unix - - n - - smtp\n"
                        "slow unix - - n - 0 smtp\nbounce unix - - n - 1 bounce\n"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->LimitsOf("smtp").deliveries_max, 3);
  EXPECT_EQ(config->LimitsOf("relay").deliveries_max, 7);
  EXPECT_EQ(config->LimitsOf("slow").deliveries_max, 0);
  EXPECT_EQ(config->LimitsOf("bounce").deliveries_max, 0);
}

TEST(Options, BoundsAndSoftBouncesAreRead) {
  const Config config = Read("qmgr_message_recipient_limit = 123\nsoft_bounce = yes\n");
  EXPECT_EQ(config.recipients_max, 123);
  EXPECT_TRUE(config.soft_bounce);
  EXPECT_FALSE(Read("").soft_bounce);
  EXPECT_TRUE(Read("notify_classes = delay, Bounce\n").postmaster_gets_bounces);
  EXPECT_TRUE(Read("notify_classes = delay, Bounce\n").postmaster_gets_delays);
  EXPECT_FALSE(Read("notify_classes = 2bounce\n").postmaster_gets_bounces);
  EXPECT_FALSE(Read("notify_classes = 2bounce\n").postmaster_gets_delays);
}

TEST(Options, NoticesDoNotOutliveMail) {
  EXPECT_EQ(Read("maximal_queue_lifetime = 1d\n").bounce_queue_lifetime_ms, 24 * kHourMs);
}

}  // namespace
}  // namespace postfleet::scheduler
