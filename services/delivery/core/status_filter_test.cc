#include "services/delivery/core/status_filter.h"

#include <gtest/gtest.h>

#include "libs/base/concat.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;

Outcome OutcomeOf(Outcome::Action action, std::string status, std::string text) {
  Outcome outcome;
  outcome.set_action(action);
  outcome.set_status(std::move(status));
  outcome.set_text(std::move(text));
  return outcome;
}

// "ACTION STATUS TEXT" behind a filter with one table.
std::string Filtered(const std::string& table, Outcome outcome) {
  auto filter = StatusFilter::Open(
      {.parameter = "smtp_delivery_status_filter", .program = "smtp", .maps = {table}});
  EXPECT_TRUE(filter.ok()) << filter.status();
  if (!filter.ok()) return "";
  (*filter)->Apply(&outcome);
  const char* action = outcome.action() == Outcome::ACTION_SENT       ? "sent"
                       : outcome.action() == Outcome::ACTION_DEFERRED ? "deferred"
                                                                      : "bounced";
  return Concat(action, " ", outcome.status(), " ", outcome.text());
}

TEST(StatusFilter, ReplacesStatusAndText) {
  EXPECT_EQ(Filtered("regexp:{{/^5.1.1 no such user$/ 5.1.2 nobody there}}",
                     OutcomeOf(Outcome::ACTION_BOUNCED, "5.1.1", "no such user")),
            "bounced 5.1.2 nobody there");
  EXPECT_EQ(Filtered("regexp:{{/^2.0.0 250 Ok$/ 2.1.5 250 done}}",
                     OutcomeOf(Outcome::ACTION_SENT, "2.0.0", "250 Ok")),
            "sent 2.1.5 250 done");
}

TEST(StatusFilter, LeavesWhatItDoesNotName) {
  EXPECT_EQ(Filtered("regexp:{{/^5.1.1 x$/ 5.1.2 y}}",
                     OutcomeOf(Outcome::ACTION_BOUNCED, "5.1.1", "no such user")),
            "bounced 5.1.1 no such user");
}

TEST(StatusFilter, MakesADeferralABounceAndTheOtherWayRound) {
  EXPECT_EQ(Filtered("static:{5.0.0 gone for good}",
                     OutcomeOf(Outcome::ACTION_DEFERRED, "4.4.1", "connect to x: timed out")),
            "bounced 5.0.0 gone for good");
  EXPECT_EQ(
      Filtered("static:{4.0.0 later}", OutcomeOf(Outcome::ACTION_BOUNCED, "5.1.1", "no such user")),
      "deferred 4.0.0 later");
}

TEST(StatusFilter, NeverMakesAFailureASuccessOrASuccessAFailure) {
  EXPECT_EQ(
      Filtered("static:{2.0.0 fine}", OutcomeOf(Outcome::ACTION_BOUNCED, "5.1.1", "no such user")),
      "bounced 5.1.1 no such user");
  EXPECT_EQ(Filtered("static:{4.0.0 later}", OutcomeOf(Outcome::ACTION_SENT, "2.0.0", "250 Ok")),
            "sent 2.0.0 250 Ok");
}

TEST(StatusFilter, IgnoresAnAnswerWithoutAStatus) {
  EXPECT_EQ(Filtered("static:{gone for good}",
                     OutcomeOf(Outcome::ACTION_BOUNCED, "5.1.1", "no such user")),
            "bounced 5.1.1 no such user");
  EXPECT_EQ(
      Filtered("static:{4.0.0later}", OutcomeOf(Outcome::ACTION_BOUNCED, "5.1.1", "no such user")),
      "bounced 5.1.1 no such user");
}

TEST(StatusFilter, ATableThatCannotBeAskedChangesNothing) {
  EXPECT_EQ(Filtered("hash:/nowhere/at/all", OutcomeOf(Outcome::ACTION_SENT, "2.0.0", "250 Ok")),
            "sent 2.0.0 250 Ok");
}

TEST(StatusFilter, PatternsSeeTheWholeLineAndItsLetters) {
  EXPECT_EQ(Filtered("regexp:{{/^5(\\.[0-9.]+ .* Over quota.*)/ 4$1}}",
                     OutcomeOf(Outcome::ACTION_BOUNCED, "5.2.2", "host x said: 552 Over quota")),
            "deferred 4.2.2 host x said: 552 Over quota");
}

TEST(StatusFilter, ATableOfNoKnownTypeDoesNotOpen) {
  EXPECT_FALSE(StatusFilter::Open({.maps = {"nosuch:table"}}).ok());
}

}  // namespace
}  // namespace postfleet::delivery
