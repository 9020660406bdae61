#include "services/ingress/core/client_rates.h"

#include <gtest/gtest.h>

#include "libs/base/concat.h"

namespace postfleet::ingress {
namespace {

constexpr int64_t kUnitMs = 60'000;

ClientLimits Rates() { return {.connection_rate = 1, .unit_ms = kUnitMs}; }

TEST(Anvil8, ConnectionsAreCountedAtOnceAndInAUnit) {
  ClientRates rates(Rates());
  EXPECT_EQ(rates.Connect("a", 1000).count, 1);
  const auto second = rates.Connect("a", 2000);
  EXPECT_EQ(second.count, 2);
  EXPECT_EQ(second.rate, 2);
  rates.Disconnect("a");
  const auto third = rates.Connect("a", 3000);
  EXPECT_EQ(third.count, 2);
  EXPECT_EQ(third.rate, 3);
  EXPECT_EQ(rates.Connect("b", 3000).rate, 1) << "another client";
}

TEST(Anvil8, AUnitBeginsWithTheFirstEventAfterTheOneBefore) {
  ClientRates rates(Rates());
  rates.Connect("a", 1000);
  EXPECT_EQ(rates.CountMessage("a", 1000), 1);
  EXPECT_EQ(rates.CountRecipient("a", 1000), 1);
  EXPECT_EQ(rates.CountMessage("a", 1000 + kUnitMs - 1), 2);
  EXPECT_EQ(rates.CountMessage("a", 1000 + kUnitMs), 1);
  EXPECT_EQ(rates.CountRecipient("a", 1000 + kUnitMs), 1) << "all counts begin anew";
  EXPECT_EQ(rates.Connect("a", 1000 + kUnitMs).rate, 1);
  EXPECT_EQ(rates.CountMessage("a", 1000 + 2 * kUnitMs - 1), 2);
}

TEST(Anvil8, AClientThatComesBackInItsUnitIsKnown) {
  ClientRates rates(Rates());
  rates.Connect("a", 0);
  rates.Disconnect("a");
  EXPECT_EQ(rates.Connect("a", kUnitMs - 1).rate, 2);
  rates.Disconnect("a");
  EXPECT_EQ(rates.Connect("a", kUnitMs).rate, 1);
}

TEST(Anvil8, AClockThatIsSetBackBlocksNobody) {
  ClientRates rates(Rates());
  rates.Connect("a", 10 * kUnitMs);
  EXPECT_EQ(rates.CountMessage("a", 10 * kUnitMs), 1);
  EXPECT_EQ(rates.CountMessage("a", kUnitMs), 1);
}

TEST(Anvil8, AVisitCountsForAsLongAsItLives) {
  const auto rates = std::make_shared<ClientRates>(Rates());
  ClientVisit first(rates, "a", 0);
  {
    const ClientVisit second(rates, "a", 0);
    EXPECT_EQ(second.connections().count, 2);
  }
  const ClientVisit third(rates, "a", 0);
  EXPECT_EQ(third.connections().count, 2);
  EXPECT_EQ(third.connections().rate, 3);
  EXPECT_EQ(first.CountMessage(0), 1);
  EXPECT_EQ(first.CountRecipient(0), 1);
}

TEST(Bounds, AClientIsRememberedForItsUnitWhereOnlyConnectionsAtOnceAreLimited) {
  ClientRates rates(ClientLimits{.connection_count = 5});
  rates.Connect("a", 0);
  rates.Disconnect("a");
  EXPECT_EQ(rates.clients(), 1u);
  EXPECT_EQ(rates.Connect("a", 1).rate, 2);
  rates.Disconnect("a");
  rates.Connect("b", 60'000);
  EXPECT_EQ(rates.clients(), 1u);
}

TEST(Peaks, AreTheMostSinceTheyWereTaken) {
  ClientRates rates(ClientLimits{.connection_count = 5, .message_rate = 5});
  rates.Connect("a", 1);
  rates.Connect("b", 2);
  rates.Connect("a", 3);
  rates.CountMessage("b", 4);
  const ClientRates::Peaks peaks = rates.TakePeaks();
  EXPECT_EQ(peaks.connection_count.value, 2);
  EXPECT_EQ(peaks.connection_count.key, "a");
  EXPECT_EQ(peaks.connection_count.at_ms, 3);
  EXPECT_EQ(peaks.message_rate.key, "b");
  EXPECT_EQ(peaks.recipient_rate.value, 0);
  EXPECT_EQ(peaks.clients.value, 2);
  EXPECT_EQ(rates.TakePeaks().connection_count.value, 0);
}

TEST(Bounds, ClientsOfPassedUnitsAreForgotten) {
  ClientRates rates(Rates());
  for (int i = 0; i < 1000; ++i) {
    rates.Connect(Concat(i), 0);
    rates.Disconnect(Concat(i));
  }
  EXPECT_EQ(rates.clients(), 1000u);
  rates.Connect("a", kUnitMs);
  EXPECT_EQ(rates.clients(), 1u);
}

TEST(Bounds, ThereAreNeverMoreClientsThanTheirMaximumAndThoseConnected) {
  ClientRates rates(Rates(), 10);
  rates.Connect("connected", 0);
  for (int i = 0; i < 1000; ++i) {
    rates.Connect(Concat(i), 1);
    rates.Disconnect(Concat(i));
    EXPECT_LE(rates.clients(), 10u);
  }
  EXPECT_EQ(rates.Connect("connected", 2).count, 2);
}

}  // namespace
}  // namespace postfleet::ingress
