#include "services/ingress/adapters/client_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <asio/io_context.hpp>
#include <optional>

#include "libs/dns/fake_resolver.h"

namespace postfleet::ingress {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

class ClientNamesTest : public testing::Test {
 protected:
  ClientName Find(const std::string& address) {
    std::optional<ClientName> found;
    names_.Find(address, [&](const ClientName& name) { found = name; });
    io_.restart();
    io_.run();
    EXPECT_TRUE(found);
    return found.value_or(ClientName{});
  }

  asio::io_context io_;
  dns::FakeResolver resolver_{io_};
  FakeClock clock_;
  ClientNames names_{resolver_, clock_};
};

TEST_F(ClientNamesTest, ANameThatHasTheAddressIsTheClients) {
  resolver_.SetName("192.0.2.1", "mx.example");
  resolver_.AddAddress("mx.example", "192.0.2.7");
  resolver_.AddAddress("mx.example", "192.0.2.1");
  const ClientName found = Find("192.0.2.1");
  EXPECT_EQ(found.name, "mx.example");
  EXPECT_EQ(found.status, NameStatus::kOk);
  EXPECT_EQ(found.warning, "");
}

TEST_F(ClientNamesTest, OfIpv6TheNameIsAskedForAaaa) {
  resolver_.SetName("2001:db8::1", "mx.example");
  resolver_.AddAddress("mx.example", "2001:db8::1");
  EXPECT_EQ(Find("2001:db8::1").name, "mx.example");
  EXPECT_THAT(resolver_.asked(), ElementsAre("PTR 2001:db8::1", "AAAA mx.example"));
}

TEST_F(ClientNamesTest, AnAddressWithoutANameIsUnknown) {
  const ClientName found = Find("192.0.2.1");
  EXPECT_EQ(found.name, "unknown");
  EXPECT_EQ(found.reverse_status, NameStatus::kPermanent);
  EXPECT_EQ(found.warning, "");
}

TEST_F(ClientNamesTest, ANameThatDoesNotHaveTheAddressIsForged) {
  resolver_.SetName("192.0.2.1", "bank.example");
  resolver_.AddAddress("bank.example", "198.51.100.1");
  const ClientName found = Find("192.0.2.1");
  EXPECT_EQ(found.name, "unknown");
  EXPECT_EQ(found.status, NameStatus::kForged);
  EXPECT_EQ(found.reverse_name, "bank.example");
  EXPECT_EQ(found.warning, "hostname bank.example does not resolve to address 192.0.2.1");
}

TEST_F(ClientNamesTest, ANameThatIsNotThereIsWarnedOf) {
  resolver_.SetName("192.0.2.1", "gone.example");
  const ClientName found = Find("192.0.2.1");
  EXPECT_EQ(found.status, NameStatus::kPermanent);
  EXPECT_EQ(
      found.warning,
      "hostname gone.example does not resolve to address 192.0.2.1: Name or service not known");
}

TEST_F(ClientNamesTest, WhatIsNotKnownNowIsAskedAgainSoon) {
  resolver_.Fail(dns::Type::kPtr, "192.0.2.1", dns::Result::kTemporary);
  EXPECT_EQ(Find("192.0.2.1").status, NameStatus::kTemporary);
  clock_.AdvanceMillis(4'999);
  Find("192.0.2.1");
  EXPECT_THAT(resolver_.asked(), SizeIs(1));
  clock_.AdvanceMillis(1);
  Find("192.0.2.1");
  EXPECT_THAT(resolver_.asked(), SizeIs(2));
}

TEST_F(ClientNamesTest, WhatIsKnownIsAskedAgainAfterAMinute) {
  resolver_.SetName("192.0.2.1", "mx.example");
  resolver_.AddAddress("mx.example", "192.0.2.1");
  Find("192.0.2.1");
  clock_.AdvanceMillis(59'999);
  EXPECT_EQ(Find("192.0.2.1").name, "mx.example");
  EXPECT_THAT(resolver_.asked(), SizeIs(2));
  clock_.AdvanceMillis(1);
  Find("192.0.2.1");
  EXPECT_THAT(resolver_.asked(), SizeIs(4));
}

}  // namespace
}  // namespace postfleet::ingress
