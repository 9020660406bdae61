#include "services/delivery/lookup_routes.h"

#include <gtest/gtest.h>

#include <future>

#include "libs/submission/fake_services.h"

namespace postfleet::delivery {
namespace {

TEST(LookupRoutesTest, AnAddressHasTheRouteThatLookupSays) {
  submission::FakeServices services;
  runtime::EventLoop agents("agents");
  agents.Start();
  std::unique_ptr<LookupRoutes> routes;
  std::promise<Route> found;
  agents.RunAndWait([&] {
    routes = std::make_unique<LookupRoutes>(agents, services.channel());
    routes->Find("", "user@here.example", [&](const absl::Status& status, Route route) {
      EXPECT_TRUE(status.ok()) << status;
      EXPECT_TRUE(agents.OnLoop());
      found.set_value(std::move(route));
    });
  });
  const Route route = found.get_future().get();
  EXPECT_EQ(route.recipient, "user@here.example");
  agents.RunAndWait([&] { routes.reset(); });
}

}  // namespace
}  // namespace postfleet::delivery
