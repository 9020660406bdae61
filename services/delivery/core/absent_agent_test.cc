#include "services/delivery/core/absent_agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

namespace postfleet::delivery {
namespace {

using testing::HasSubstr;

TEST(AbsentAgent, DefersEachRecipientAndNamesTheAgentThatIsMissing) {
  AbsentAgent agent("lmtp", SystemClock());
  auto attempt = std::make_unique<Attempt>();
  attempt->delivery.set_id(7);
  attempt->delivery.set_transport("dovecot");
  for (uint32_t number : {3u, 5u}) {
    attempt->delivery.add_recipients()->set_number(number);
  }
  std::optional<AttemptResult> result;
  attempt->done = [&](AttemptResult given) { result = std::move(given); };
  agent.Start(std::move(attempt));
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->result.id(), 7u);
  ASSERT_EQ(result->result.outcomes_size(), 2);
  for (const mail::v1::Outcome& outcome : result->result.outcomes()) {
    EXPECT_EQ(outcome.action(), mail::v1::Outcome::ACTION_DEFERRED);
    EXPECT_THAT(outcome.text(), HasSubstr("dovecot"));
    EXPECT_THAT(outcome.text(), HasSubstr("the lmtp delivery agent is not supported yet"));
  }
  EXPECT_EQ(result->result.outcomes(1).recipient_number(), 5u);
  EXPECT_FALSE(result->result.destination_failed());
}

}  // namespace
}  // namespace postfleet::delivery
