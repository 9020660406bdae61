#include "libs/config/cluster_members.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"

namespace postfleet::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string Refusal(std::string_view text) {
  return std::string(ParseClusterMembers(text).status().message());
}

absl::StatusOr<Config> Load(std::string_view main_cf) {
  Diagnostics diagnostics;
  HostFacts facts;
  facts.hostname = "q2.example.com";
  return Config::FromText(Concat("compatibility_level = 3.6\n", main_cf), "", facts, diagnostics);
}

TEST(ClusterMembers, AListOfNamesAndAddressesInItsOrder) {
  const auto members =
      ParseClusterMembers("q1=q1.example.com:7001, q-2=[2001:db8::2]:7001\n  q_3.b=unix:/run/q3");
  ASSERT_TRUE(members.ok()) << members.status();
  EXPECT_THAT(*members, ElementsAre(ClusterMember{"q1", "q1.example.com:7001"},
                                    ClusterMember{"q-2", "[2001:db8::2]:7001"},
                                    ClusterMember{"q_3.b", "unix:/run/q3"}));
  EXPECT_EQ(FindClusterMember(*members, "q-2")->address, "[2001:db8::2]:7001");
  EXPECT_EQ(FindClusterMember(*members, "q"), nullptr);
}

TEST(ClusterMembers, NothingIsNoCluster) { EXPECT_THAT(*ParseClusterMembers("  "), IsEmpty()); }

TEST(ClusterMembers, AMistakeIsNamedWithItsEntry) {
  const struct {
    const char* text;
    const char* why;
  } kCases[] = {
      {"q1", "\"q1\": want NAME=HOST:PORT"},
      {"q1=host", "no port"},
      {"q1=:7001", "no host"},
      {"q1=host:0", "port of 1 to 65535"},
      {"q1=host:70000", "port of 1 to 65535"},
      {"q1=host:", "port of 1 to 65535"},
      {"q1=2001:db8::1:7001", "in brackets"},
      {"q1=unix:run", "want unix:/path"},
      {"=host:1", "a name is"},
      {"q/1=host:1", "a name is"},
      {"q1=a:1, q1=b:1", "name is listed twice"},
      {"q1=a:1, q2=a:1", "address is listed twice"},
  };
  for (const auto& one : kCases) EXPECT_THAT(Refusal(one.text), HasSubstr(one.why)) << one.text;
}

TEST(ClusterMembers, NamesAndMembersAreBounded) {
  EXPECT_TRUE(IsClusterName(std::string(kClusterNameBytesMax, 'q')));
  EXPECT_FALSE(IsClusterName(std::string(kClusterNameBytesMax + 1, 'q')));
  std::string text;
  for (size_t i = 0; i < kClusterMembersMax; ++i) ConcatTo(&text, "q", i, "=h:", i + 1, " ");
  EXPECT_TRUE(ParseClusterMembers(text).ok());
  EXPECT_THAT(Refusal(text + "last=h:99"), HasSubstr("10 members; there may be 9"));
}

TEST(ClusterMembers, AMistakeKeepsTheConfigurationFromBeingLoaded) {
  EXPECT_THAT(std::string(Load("postfleet_cluster_members = q1\n").status().message()),
              HasSubstr("parameter postfleet_cluster_members: bad member \"q1\""));
}

TEST(ClusterMembers, ANameThatIsNoMemberKeepsTheConfigurationFromBeingLoaded) {
  EXPECT_THAT(std::string(Load("postfleet_cluster_members = q1=h:1\npostfleet_cluster_name = q2\n")
                              .status()
                              .message()),
              HasSubstr("parameter postfleet_cluster_name: q2 is no member"));
}

TEST(ClusterMembers, TheOwnOneIsNamedByTheHostOrByMainCf) {
  constexpr std::string_view kMembers = "postfleet_cluster_members = q1=h:1, q2=h:2\n";
  const auto by_host = Load(kMembers);
  ASSERT_TRUE(by_host.ok()) << by_host.status();
  EXPECT_EQ(OwnClusterMember(*by_host)->address, "h:2");
  const auto by_name = Load(Concat(kMembers, "postfleet_cluster_name = q1\n"));
  ASSERT_TRUE(by_name.ok()) << by_name.status();
  EXPECT_EQ(OwnClusterMember(*by_name)->address, "h:1");
}

TEST(ClusterMembers, AHostThatIsNoMemberIsToldWhatToSet) {
  const auto config = Load("postfleet_cluster_members = a=h:1\n");
  ASSERT_TRUE(config.ok()) << config.status();
  const absl::Status status = OwnClusterMember(*config).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("postfleet_cluster_name"));
}

}  // namespace
}  // namespace postfleet::config
