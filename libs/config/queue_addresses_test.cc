#include "libs/config/queue_addresses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"

namespace postfleet::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

absl::StatusOr<Config> Load(std::string_view main_cf) {
  Diagnostics diagnostics;
  return Config::FromText(main_cf, "", {"mail.example.com", {}}, diagnostics);
}

std::vector<std::string> AddressesIn(std::string_view main_cf) {
  const absl::StatusOr<Config> config = Load(main_cf);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? QueueAddressesOf(*config) : std::vector<std::string>();
}

TEST(QueueAddresses, AreSeparatedByCommasOrWhiteSpace) {
  EXPECT_THAT(AddressesIn("postfleet_queue_address = q1:7001, [2001:db8::2]:7001\n  unix:/run/q\n"),
              ElementsAre("q1:7001", "[2001:db8::2]:7001", "unix:/run/q"));
}

TEST(QueueAddresses, AreTheMembersUnlessTheyAreSet) {
  EXPECT_THAT(AddressesIn(""), IsEmpty());
  constexpr std::string_view kMembers = "postfleet_cluster_members = mail=h:1, q2=h:2\n";
  EXPECT_THAT(AddressesIn(kMembers), ElementsAre("h:1", "h:2"));
  EXPECT_THAT(AddressesIn(Concat(kMembers, "postfleet_queue_address = h:3\n")), ElementsAre("h:3"));
}

TEST(QueueAddresses, AMistakeIsNamedWithItsParameter) {
  const struct {
    const char* text;
    const char* why;
  } kCases[] = {
      {"host", "parameter postfleet_queue_address: bad address \"host\": no port; want HOST:PORT"},
      {":7001", "no host"},
      {"a:1, b:0", "\"b:0\": want a port of 1 to 65535"},
      {"a:1 2001:db8::1:7001", "in brackets"},
      {"unix:run", "want unix:/path"},
      {"a:1, b:1, a:1", "\"a:1\": it is listed twice"},
  };
  for (const auto& one : kCases) {
    const auto config = Load(Concat("postfleet_queue_address = ", one.text, "\n"));
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(one.why)) << one.text;
  }
}

TEST(QueueAddresses, AreBounded) {
  std::string text;
  for (size_t i = 0; i < kQueueAddressesMax; ++i) ConcatTo(&text, "h:", i + 1, " ");
  EXPECT_TRUE(ParseQueueAddresses(text).ok());
  EXPECT_THAT(std::string(ParseQueueAddresses(text + "h:99").status().message()),
              HasSubstr("19 addresses; there may be 18"));
}

}  // namespace
}  // namespace postfleet::config
