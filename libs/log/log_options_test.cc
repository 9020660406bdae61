#include "libs/log/log_options.h"

#include <gtest/gtest.h>
#include <syslog.h>

namespace postfleet::log {
namespace {

maillog::Options OptionsOf(std::string_view main_cf) {
  config::Diagnostics diagnostics;
  absl::StatusOr<config::Config> config =
      config::Config::FromText(main_cf, "", {.hostname = "vm.example"}, diagnostics);
  EXPECT_TRUE(config.ok()) << config.status();
  return LogOptionsOf(*config);
}

TEST(LogOptions, DefaultsArePostfixs) {
  const maillog::Options options = OptionsOf("compatibility_level = 3.6\n");
  EXPECT_EQ(options.path, "");
  EXPECT_EQ(options.mode, 0600);
  EXPECT_EQ(options.syslog_name, "postfix");
  EXPECT_EQ(options.hostname, "vm");
  EXPECT_EQ(options.format, maillog::Format::kPostfix);
  EXPECT_EQ(options.facility, LOG_MAIL);
  EXPECT_TRUE(options.utf8);
}

TEST(LogOptions, EachParameterActs) {
  const maillog::Options options = OptionsOf(
      "maillog_file = /var/log/mail.log\nmaillog_file_permissions = 0644\nmyhostname = "
      "mx1.example\n"
      "syslog_facility = local3\nsyslog_name = in\nsmtputf8_enable = no\n"
      "postfleet_log_format = json\n");
  EXPECT_EQ(options.path, "/var/log/mail.log");
  EXPECT_EQ(options.mode, 0644);
  EXPECT_EQ(options.hostname, "mx1");
  EXPECT_EQ(options.facility, LOG_LOCAL3);
  EXPECT_EQ(options.syslog_name, "in");
  EXPECT_FALSE(options.utf8);
  EXPECT_EQ(options.format, maillog::Format::kJson);
}

}  // namespace
}  // namespace postfleet::log
