#include "libs/config/pipe_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postfleet::config {
namespace {

using testing::ElementsAre;

std::string Error(const std::vector<std::string>& arguments) {
  const auto service = ParsePipeService(arguments);
  return service.ok() ? "" : std::string(service.status().message());
}

TEST(PipeServiceTest, EveryAttributeIsTaken) {
  const auto service = ParsePipeService(
      {"flags=DRX>.", "User=vmail:mail", "directory=/srv", "chroot=/jail", "eol=\\r\\n\\041\\q\\",
       "null_sender=", "size=100", "argv=/bin/x", "-o", "user=y", "a  b"});
  ASSERT_TRUE(service.ok()) << service.status();
  EXPECT_TRUE(service->delivered_to && service->return_path && service->final_delivery &&
              service->quote_from && service->double_dots);
  EXPECT_FALSE(service->blank_line || service->from_line || service->original_to ||
               service->fold_host || service->fold_user || service->quote_local_part);
  EXPECT_EQ(service->user, "vmail");
  EXPECT_EQ(service->group, "mail");
  EXPECT_EQ(service->directory, "/srv");
  EXPECT_EQ(service->chroot, "/jail");
  EXPECT_EQ(service->eol, "\r\n!q\\");
  EXPECT_EQ(service->null_sender, "");
  EXPECT_EQ(service->message_bytes_max, 100u);
  EXPECT_THAT(service->argv, ElementsAre("/bin/x", "-o", "user=y", "a  b"));
}

TEST(PipeServiceTest, WhatIsWrongIsSaidInPostfixsWords) {
  EXPECT_EQ(Error({"flags=Zq", "user=a", "argv=/x"}), "unknown flag: Z");
  EXPECT_EQ(Error({"users=a", "argv=/x"}), "unknown attribute name: users=a");
  EXPECT_EQ(Error({"flags", "argv=/x"}), "unknown attribute name: flags");
  EXPECT_EQ(Error({"argv=/x"}), "missing user= command-line attribute");
  EXPECT_EQ(Error({"user=a"}), "missing argv= command-line attribute");
  EXPECT_EQ(Error({"user=a", "argv=", "/x"}), "missing argv= command-line attribute");
  EXPECT_EQ(Error({"user=a", "size=big", "argv=/x"}), "bad size= value: big");
}

}  // namespace
}  // namespace postfleet::config
