#include "services/delivery/core/answering_agent.h"

#include <gtest/gtest.h>

#include <optional>

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;
using Kind = AnsweringAgent::Kind;

Outcome AnswerTo(Kind kind, const std::string& nexthop, bool soft_bounce = false) {
  AnsweringAgent agent(kind, soft_bounce, SystemClock());
  auto attempt = std::make_unique<Attempt>();
  attempt->delivery.set_nexthop(nexthop);
  attempt->delivery.add_recipients()->set_number(3);
  attempt->delivery.add_recipients()->set_number(5);
  std::optional<AttemptResult> result;
  attempt->done = [&](AttemptResult given) { result = std::move(given); };
  agent.Start(std::move(attempt));
  EXPECT_TRUE(result.has_value());
  EXPECT_EQ(result->result.outcomes_size(), 2);
  EXPECT_EQ(result->result.outcomes(1).recipient_number(), 5u);
  return result->result.outcomes(0);
}

TEST(AnsweringAgent, ErrorReturnsWithTheStatusOfTheNexthop) {
  const Outcome outcome = AnswerTo(Kind::kError, "5.1.6 has moved");
  EXPECT_EQ(outcome.action(), Outcome::ACTION_BOUNCED);
  EXPECT_EQ(outcome.status(), "5.1.6");
  EXPECT_EQ(outcome.text(), "has moved");
  EXPECT_EQ(outcome.recipient_number(), 3u);
}

TEST(AnsweringAgent, ErrorWithoutAStatusOfItsClassIs500) {
  EXPECT_EQ(AnswerTo(Kind::kError, "has moved").status(), "5.0.0");
  EXPECT_EQ(AnswerTo(Kind::kError, "4.1.1 later").status(), "5.0.0");
}

TEST(AnsweringAgent, DiscardTakesAll) {
  const Outcome outcome = AnswerTo(Kind::kDiscard, "unwanted");
  EXPECT_EQ(outcome.action(), Outcome::ACTION_SENT);
  EXPECT_EQ(outcome.status(), "2.0.0");
  EXPECT_EQ(outcome.text(), "unwanted");
}

TEST(AnsweringAgent, SoftBounceDefers) {
  const Outcome outcome = AnswerTo(Kind::kError, "5.1.6 has moved", true);
  EXPECT_EQ(outcome.action(), Outcome::ACTION_DEFERRED);
  EXPECT_EQ(outcome.status(), "4.1.6");
}

}  // namespace
}  // namespace postfleet::delivery
