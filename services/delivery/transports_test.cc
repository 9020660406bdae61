#include "services/delivery/transports.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "libs/config/diagnostics.h"

namespace postfleet::delivery {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kMasterCf =
    "moved unix - - n - - error\n"
    "sink unix - - n - - discard\n"
    "mda unix - - n - - lmtp -o lmtp_tcp_port=2424\n";

absl::StatusOr<std::vector<TransportAgent>> Transports(const std::string& master_cf) {
  config::Diagnostics diagnostics;
  const auto config = config::Config::FromText("myhostname = mx.example.com\n", master_cf,
                                               {.hostname = "mx.example.com"}, diagnostics);
  if (!config.ok()) return config.status();
  return TransportsFrom(*config, {});
}

std::vector<std::string> Names(const std::vector<TransportAgent>& transports) {
  std::vector<std::string> names;
  for (const TransportAgent& transport : transports) names.push_back(transport.transport);
  return names;
}

mail::v1::Outcome AnswerOf(const TransportAgent& transport) {
  runtime::EventLoop loop("test");
  const std::unique_ptr<Agent> agent = transport.make(loop);
  auto attempt = std::make_unique<Attempt>();
  attempt->delivery.set_transport(transport.transport);
  attempt->delivery.set_nexthop("5.1.6 has moved");
  attempt->delivery.add_recipients();
  std::optional<AttemptResult> result;
  attempt->done = [&](AttemptResult given) { result = std::move(given); };
  agent->Start(std::move(attempt));
  return result->result.outcomes(0);
}

TEST(Transports, ErrorAndDiscardUnderOtherNamesAreAnsweredHere) {
  const auto transports = Transports(kMasterCf);
  ASSERT_TRUE(transports.ok()) << transports.status();
  EXPECT_THAT(Names(*transports), Contains("mda"));
  // Those are the scheduler's.
  EXPECT_THAT(Names(*transports), Not(Contains("error")));
  EXPECT_THAT(Names(*transports), Not(Contains("discard")));
  std::map<std::string, std::string> statuses;
  for (const TransportAgent& transport : *transports) {
    if (transport.transport != "moved" && transport.transport != "sink") continue;
    statuses[transport.transport] = AnswerOf(transport).status();
  }
  EXPECT_EQ(statuses["moved"], "5.1.6");
  EXPECT_EQ(statuses["sink"], "2.0.0");
}

TEST(Transports, AnOptionThatCannotWorkIsNamed) {
  const auto transports = Transports("mda unix - - n - - lmtp -o lmtp_tcp_port=nosuchservice\n");
  ASSERT_FALSE(transports.ok());
  EXPECT_THAT(std::string(transports.status().message()), HasSubstr("lmtp_tcp_port"));
}

}  // namespace
}  // namespace postfleet::delivery
