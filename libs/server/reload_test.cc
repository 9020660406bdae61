#include "libs/server/reload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/config/diagnostics.h"

namespace postfleet::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

config::Config Configuration(const std::string& main_cf, const std::string& master_cf) {
  config::Diagnostics diagnostics;
  return config::Config::FromText(
             "compatibility_level = 3.6\nmyhostname = mx.example.com\n" + main_cf, master_cf,
             {.hostname = "mx.example.com"}, diagnostics)
      .value();
}

constexpr char kMasterCf[] =
    "smtp inet n - n - - smtpd\n"
    "smtp unix - - n - - smtp\n";

TEST(Reload, WhatTheLauncherDidKeepsItsValueAndIsNamed) {
  const config::Config started = Configuration("queue_directory = /var/a$$b\n", kMasterCf);
  std::vector<std::string> ignored;
  const auto next = KeepWhatOnlyAStartChanges(
      started, Configuration("queue_directory = /var/c\nmessage_size_limit = 7\n", kMasterCf),
      &ignored);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->GetString("queue_directory"), "/var/a$b");
  EXPECT_EQ(next->GetSize("message_size_limit"), 7);
  EXPECT_THAT(ignored, ElementsAre("ignoring queue_directory parameter value change",
                                   "old value: \"/var/a$b\", new value: \"/var/c\"",
                                   "to change queue_directory, stop and start Postfix"));
  EXPECT_EQ(next->GetString("postfleet_control_socket"), "/var/a$b/postfleet/control.sock");
  // A service's own values are above them as ever.
  config::MasterService service;
  service.overrides = {{"message_size_limit", "9"}};
  const auto own = next->WithOverrides(service);
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_EQ(own->GetSize("message_size_limit"), 9);
  EXPECT_EQ(own->GetString("queue_directory"), "/var/a$b");
}

TEST(Reload, ANewPortTakesAStartAndALostOneDoesNot) {
  const config::Config one = Configuration("", kMasterCf);
  const config::Config two =
      Configuration("", std::string(kMasterCf) + "587 inet n - n - - smtpd\n");
  std::vector<std::string> ignored;
  ASSERT_TRUE(KeepWhatOnlyAStartChanges(two, one, &ignored).ok());
  EXPECT_THAT(ignored, IsEmpty());
  ASSERT_TRUE(KeepWhatOnlyAStartChanges(one, two, &ignored).ok());
  EXPECT_THAT(ignored, ElementsAre("ignoring the new service 587 inet of master.cf: to open its "
                                   "port, stop and start Postfix"));
}

TEST(Reload, ASmallerActiveQueueTakesAStart) {
  const config::Config started = Configuration("", kMasterCf);
  std::vector<std::string> ignored;
  const config::Config smaller = Configuration("qmgr_message_active_limit = 10\n", kMasterCf);
  ASSERT_TRUE(KeepWhatOnlyAStartChanges(started, smaller, &ignored).ok());
  EXPECT_EQ(ignored.size(), 1u);
  ignored.clear();
  const config::Config larger = Configuration("qmgr_message_active_limit = 30000\n", kMasterCf);
  ASSERT_TRUE(KeepWhatOnlyAStartChanges(started, larger, &ignored).ok());
  EXPECT_THAT(ignored, IsEmpty());
}

}  // namespace
}  // namespace postfleet::server
