#include "libs/dns/metered_resolver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <asio/io_context.hpp>

#include "libs/dns/fake_resolver.h"

namespace postfleet::dns {
namespace {

using testing::HasSubstr;

TEST(MeteredResolver, CountsAndTimesEachAnswer) {
  asio::io_context io;
  auto fake = std::make_unique<FakeResolver>(io);
  fake->AddAddress("mx.example", "192.0.2.1");
  metrics::Registry registry;
  FakeClock clock;
  MeteredResolver resolver(std::move(fake), registry, clock);
  size_t found = 0;
  const auto count = [&](const Answer& answer) { found += answer.found(); };
  resolver.Lookup(Type::kA, "mx.example", count);
  resolver.Lookup(Type::kA, "absent.example", count);
  clock.AdvanceMillis(2'000);
  io.run();
  EXPECT_EQ(found, 1u);
  const std::string text = registry.Expose();
  EXPECT_THAT(text, HasSubstr("postfleet_dns_lookups_total{result=\"found\",type=\"A\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("postfleet_dns_lookups_total{result=\"no_name\",type=\"A\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("postfleet_dns_lookups_total{result=\"found\",type=\"MX\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("postfleet_dns_seconds_sum{type=\"A\"} 4\n"));
}

}  // namespace
}  // namespace postfleet::dns
