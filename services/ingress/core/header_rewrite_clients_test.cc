#include "services/ingress/core/header_rewrite_clients.h"

#include <gtest/gtest.h>

namespace postfleet::ingress {
namespace {

absl::StatusOr<HeaderRewriteClients> Open(const std::string& value) {
  config::Diagnostics diagnostics;
  const config::HostFacts facts = {"mx.example.com",
                                   {{*config::IpAddress::Parse("127.0.0.1"), 8},
                                    {*config::IpAddress::Parse("192.0.2.1"), 24},
                                    {*config::IpAddress::Parse("::1"), 128}}};
  absl::StatusOr<config::Config> config = config::Config::FromText(
      "local_header_rewrite_clients = " + value + "\n", "", facts, diagnostics);
  if (!config.ok()) return config.status();
  return HeaderRewriteClients::Open(*config);
}

bool IsLocal(const std::string& value, std::string_view address,
             Membership mynetworks = Membership::kNo) {
  absl::StatusOr<HeaderRewriteClients> clients = Open(value);
  if (!clients.ok()) return ADD_FAILURE() << clients.status(), false;
  const absl::StatusOr<bool> local = clients->AreLocal(address, mynetworks);
  EXPECT_TRUE(local.ok()) << local.status();
  return local.ok() && *local;
}

TEST(HeaderRewriteClients, OurOwnAddressesAreNotTheirNetworks) {
  const char kValue[] = "permit_inet_interfaces";
  EXPECT_TRUE(IsLocal(kValue, "127.0.0.1"));
  EXPECT_TRUE(IsLocal(kValue, "192.0.2.1"));
  EXPECT_TRUE(IsLocal(kValue, "::1"));
  EXPECT_FALSE(IsLocal(kValue, "127.0.0.3"));
  EXPECT_FALSE(IsLocal(kValue, "192.0.2.2", Membership::kYes));
  EXPECT_FALSE(IsLocal(kValue, "unknown"));
}

TEST(HeaderRewriteClients, NobodyIsWhereNothingIsSaid) {
  EXPECT_FALSE(IsLocal("", "127.0.0.1", Membership::kYes));
  EXPECT_FALSE(
      IsLocal("permit_sasl_authenticated permit_tls_clientcerts, "
              "permit_tls_all_clientcerts",
              "127.0.0.1", Membership::kYes));
}

TEST(HeaderRewriteClients, MynetworksCountsWhereItIsNamed) {
  EXPECT_TRUE(IsLocal("PERMIT_MYNETWORKS", "192.0.2.9", Membership::kYes));
  EXPECT_FALSE(IsLocal("permit_mynetworks", "192.0.2.9", Membership::kNo));
}

TEST(HeaderRewriteClients, TablesAreAskedForTheAddress) {
  for (const char* value : {"check_address_map inline:{192.0.2.9=x}", "inline:{192.0.2.9=x}"}) {
    EXPECT_TRUE(IsLocal(value, "192.0.2.9"));
    EXPECT_FALSE(IsLocal(value, "192.0.2.8"));
  }
  EXPECT_TRUE(IsLocal("static:all", "203.0.113.5"));
}

TEST(HeaderRewriteClients, WhatCannotBeAskedIsNotTakenForNo) {
  absl::StatusOr<HeaderRewriteClients> clients =
      Open("permit_inet_interfaces permit_mynetworks texthash:/does/not/exist");
  ASSERT_TRUE(clients.ok()) << clients.status();
  EXPECT_TRUE(absl::IsUnavailable(clients->AreLocal("192.0.2.9", Membership::kNo).status()));
  EXPECT_TRUE(absl::IsUnavailable(clients->AreLocal("192.0.2.9", Membership::kUnknown).status()));
  EXPECT_TRUE(*clients->AreLocal("192.0.2.1", Membership::kUnknown))
      << "what matches first decides";
}

TEST(HeaderRewriteClients, UnknownItemsAreNamed) {
  const absl::Status status = Open("permit_all").status();
  EXPECT_NE(status.message().find("permit_all"), std::string_view::npos) << status;
  EXPECT_FALSE(Open("check_address_map").ok());
}

}  // namespace
}  // namespace postfleet::ingress
