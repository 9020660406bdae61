#include "services/delivery/smtp/core/hosts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postfleet::delivery::smtp {
namespace {

using ::testing::ElementsAre;

Candidate Host(const char* address, uint16_t preference) {
  return {.host = "mx", .address = asio::ip::make_address(address), .preference = preference};
}
std::vector<std::string> Addresses(const std::vector<Candidate>& candidates) {
  std::vector<std::string> texts;
  for (const Candidate& candidate : candidates) texts.push_back(candidate.address.to_string());
  return texts;
}
uint32_t First(uint32_t) { return 0; }
uint32_t Last(uint32_t bound) { return bound - 1; }

TEST(Nexthop, DomainHasTheDefaultPortAndIsLookedUpByMx) {
  const auto nexthop = ParseNexthop("example.com", 25);
  ASSERT_TRUE(nexthop.ok());
  EXPECT_EQ(nexthop->host, "example.com");
  EXPECT_EQ(nexthop->port, 25);
  EXPECT_FALSE(nexthop->literal_host);
}

TEST(Nexthop, PortsAreNumbersOrServices) {
  EXPECT_EQ(ParseNexthop("example.com:587", 25)->port, 587);
  EXPECT_EQ(ParseNexthop("[mx.example.com]:submission", 25)->port, 587);
  EXPECT_EQ(ParseNexthop("[::1]:2525", 25)->port, 2525);
}

TEST(Nexthop, BracketsMeanAHostOrAnAddress) {
  EXPECT_TRUE(ParseNexthop("[mx.example.com]", 25)->literal_host);
  EXPECT_FALSE(ParseNexthop("[mx.example.com]", 25)->is_address);
  EXPECT_TRUE(ParseNexthop("[192.0.2.1]", 25)->is_address);
  EXPECT_EQ(ParseNexthop("[IPv6:2001:db8::1]", 25)->host, "2001:db8::1");
}

TEST(Nexthop, NamesInUtf8AreALabels) {
  EXPECT_EQ(ParseNexthop("b\xc3\xbc\x63her.example:587", 25)->host, "xn--bcher-kva.example");
  EXPECT_EQ(ParseNexthop("[\xc3\xa4.example]", 25)->host, "xn--4ca.example");
  EXPECT_FALSE(ParseNexthop("\xff.example", 25).ok());
}

TEST(Nexthop, WhatIsNoHostIsRefused) {
  for (const char* text : {"", "[", "[]", "[mx", "[mx]x", "[mx]:", "mx:", "mx:0", "mx:99999",
                           "mx:no-such-service", "a b", "192.0.2.1", "a..b"}) {
    EXPECT_FALSE(ParseNexthop(text, 25).ok()) << text;
  }
}

TEST(Order, PreferenceComesFirstThenChance) {
  std::vector<Candidate> candidates = {Host("192.0.2.1", 10), Host("192.0.2.2", 10),
                                       Host("192.0.2.3", 20)};
  auto other = candidates;
  OrderCandidates(&candidates, {}, Last);
  EXPECT_THAT(Addresses(candidates), ElementsAre("192.0.2.1", "192.0.2.2", "192.0.2.3"));
  OrderCandidates(&other, {}, First);
  EXPECT_THAT(Addresses(other), ElementsAre("192.0.2.2", "192.0.2.1", "192.0.2.3"));
}

TEST(Order, PreferredFamilyComesFirstWithinAPreference) {
  std::vector<Candidate> candidates = {Host("192.0.2.1", 10), Host("2001:db8::1", 10),
                                       Host("2001:db8::2", 20)};
  OrderCandidates(&candidates, {.prefer = OrderOptions::Prefer::kIpv6}, Last);
  EXPECT_THAT(Addresses(candidates), ElementsAre("2001:db8::1", "192.0.2.1", "2001:db8::2"));
}

TEST(Order, LimitLeavesAShareForEachFamily) {
  std::vector<Candidate> candidates;
  for (int i = 0; i < 9; ++i) candidates.push_back(Host("2001:db8::1", 10));
  candidates.push_back(Host("192.0.2.1", 20));
  OrderCandidates(&candidates, {.addresses_max = 5}, Last);
  EXPECT_EQ(candidates.size(), 5u);
  EXPECT_TRUE(candidates.back().address.is_v4());
}

TEST(Order, LimitCutsTheWorst) {
  std::vector<Candidate> candidates;
  for (uint16_t i = 0; i < 9; ++i) candidates.push_back(Host("192.0.2.1", 9 - i));
  OrderCandidates(&candidates, {.addresses_max = 5}, Last);
  ASSERT_EQ(candidates.size(), 5u);
  EXPECT_EQ(candidates.back().preference, 5);
}

TEST(Order, LimitZeroIsNone) {
  std::vector<Candidate> candidates(50, Host("192.0.2.1", 1));
  OrderCandidates(&candidates, {.addresses_max = 0}, Last);
  EXPECT_EQ(candidates.size(), 50u);
}

TEST(RemoveSelf, WhatIsNotBetterThanOurselvesGoes) {
  std::vector<Candidate> candidates = {Host("192.0.2.1", 10), Host("192.0.2.9", 20),
                                       Host("192.0.2.3", 20), Host("192.0.2.4", 30)};
  EXPECT_EQ(RemoveSelf(&candidates, {asio::ip::make_address("192.0.2.9")}, 10), Loop::kNone);
  EXPECT_THAT(Addresses(candidates), ElementsAre("192.0.2.1"));
}

TEST(RemoveSelf, BeingTheBestIsALoop) {
  std::vector<Candidate> candidates = {Host("192.0.2.9", 10), Host("192.0.2.3", 20)};
  EXPECT_EQ(RemoveSelf(&candidates, {asio::ip::make_address("192.0.2.9")}, 10), Loop::kToMyself);
}

TEST(RemoveSelf, ABetterHostWithoutAddressIsMissed) {
  std::vector<Candidate> candidates = {Host("192.0.2.9", 20)};
  EXPECT_EQ(RemoveSelf(&candidates, {asio::ip::make_address("192.0.2.9")}, 10), Loop::kNoPrimary);
}

TEST(Nexthop, AListIsSplitAtCommasAndBlanks) {
  EXPECT_THAT(SplitNexthops(" a.test,[b.test]:587  c.test ,"),
              ElementsAre("a.test", "[b.test]:587", "c.test"));
  EXPECT_TRUE(SplitNexthops(" , ").empty());
}

TEST(Relay, NamesHaveAPortOrAPath) {
  EXPECT_EQ(RelayName({.host = "mx", .address = asio::ip::make_address("192.0.2.1"), .port = 25}),
            "mx[192.0.2.1]:25");
  EXPECT_EQ(RelayName({.host = "me", .path = "private/lmtp"}), "me[private/lmtp]");
}

std::vector<std::string> Ordered(std::vector<ServiceTarget> targets, const Random& random) {
  OrderServiceTargets(&targets, random);
  std::vector<std::string> hosts;
  for (const ServiceTarget& target : targets) hosts.push_back(target.host);
  return hosts;
}

TEST(Rfc2782, PrioritiesComeInOrderAndWeightsByChance) {
  const std::vector<ServiceTarget> targets = {{.priority = 2, .weight = 9, .host = "last"},
                                              {.priority = 1, .weight = 9, .host = "heavy"},
                                              {.priority = 1, .weight = 1, .host = "light"},
                                              {.priority = 1, .weight = 0, .host = "zero"}};
  EXPECT_THAT(Ordered(targets, First), ElementsAre("zero", "light", "heavy", "last"));
  EXPECT_THAT(Ordered(targets, Last), ElementsAre("heavy", "light", "zero", "last"));
}

TEST(Rfc2782, AGreaterWeightComesFirstMoreOften) {
  uint32_t seed = 1;
  const Random random = [&seed](uint32_t bound) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % bound;
  };
  int heavy_first = 0;
  for (int i = 0; i < 1000; ++i) {
    heavy_first += Ordered({{.weight = 1, .host = "light"}, {.weight = 9, .host = "heavy"}},
                           random)[0] == "heavy";
  }
  EXPECT_GT(heavy_first, 750);
  EXPECT_LT(heavy_first, 990);
}

}  // namespace
}  // namespace postfleet::delivery::smtp
