#include "services/delivery/core/log_line.h"

#include <gmock/gmock.h>

#include "libs/mail/notify.h"

namespace postfleet::delivery {
namespace {

mail::v1::Outcome Sent() {
  mail::v1::Outcome outcome;
  outcome.set_action(mail::v1::Outcome::ACTION_SENT);
  outcome.set_status("2.0.0");
  outcome.set_text("250 2.0.0 Ok: queued as 12345");
  return outcome;
}

TEST(RecipientLine, IsPostfixs) {
  mail::v1::Recipient recipient;
  recipient.set_address("a@b");
  recipient.set_original_address("c@d");
  EXPECT_EQ(RecipientLine("4fX", recipient, "mx[192.0.2.1]:25",
                          {.arrival_ms = 1000,
                           .active_ms = 1123,
                           .start_ms = 1124,
                           .connected_ms = 1564,
                           .end_ms = 13000},
                          Sent()),
            "4fX: to=<a@b>, orig_to=<c@d>, relay=mx[192.0.2.1]:25, delay=12, "
            "delays=0.12/0/0.44/11, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 12345)");
}

TEST(RecipientLine, TimesThatWereNotReachedAreZero) {
  mail::v1::Recipient recipient;
  recipient.set_address("a@b");
  EXPECT_EQ(
      RecipientLine("4fX", recipient, "none", {.arrival_ms = 1000, .active_ms = 2200}, Sent()),
      "4fX: to=<a@b>, relay=none, delay=1.2, delays=1.2/0/0/0, dsn=2.0.0, status=sent "
      "(250 2.0.0 Ok: queued as 12345)");
}

TEST(RecipientLine, ALocalPartThatNeedsQuotesHasThem) {
  mail::v1::Recipient recipient;
  recipient.set_address("x y@d");
  EXPECT_EQ(RecipientLine("4fX", recipient, "none", {}, Sent()).text().substr(0, 16),
            "4fX: to=<\"x y\"@d");
}

TEST(RecipientLine, SaysWhichUseOfAConnectionItWas) {
  mail::v1::Recipient recipient;
  recipient.set_address("a@b");
  EXPECT_NE(RecipientLine("4fX", recipient, "mx[192.0.2.1]:25", {.connection_use = 2}, Sent())
                .text()
                .find("relay=mx[192.0.2.1]:25, conn_use=2, delay=0, "),
            std::string::npos);
  EXPECT_EQ(RecipientLine("4fX", recipient, "mx[192.0.2.1]:25", {.connection_use = 1}, Sent())
                .text()
                .find("conn_use"),
            std::string::npos);
}

TEST(RecipientLine, SoftBounceDefersWhatWouldReturn) {
  mail::v1::Recipient recipient;
  recipient.set_address("a@b");
  mail::v1::Outcome outcome;
  outcome.set_action(mail::v1::Outcome::ACTION_BOUNCED);
  outcome.set_status("5.1.1");
  outcome.set_text("no");
  mail::v1::Outcome hard = outcome;
  EXPECT_EQ(LineAndFinalOutcome("4fX", recipient, "none", {}, true, &outcome),
            "4fX: to=<a@b>, relay=none, delay=0, delays=0/0/0/0, dsn=4.1.1, status=SOFTBOUNCE "
            "(no)");
  EXPECT_EQ(outcome.action(), mail::v1::Outcome::ACTION_DEFERRED);
  EXPECT_EQ(outcome.status(), "4.1.1");
  LineAndFinalOutcome("4fX", recipient, "none", {}, false, &hard);
  EXPECT_EQ(hard.action(), mail::v1::Outcome::ACTION_BOUNCED);
}

TEST(RecipientLine, OfAProbeSaysWhetherItCouldBeDelivered) {
  mail::v1::Recipient recipient;
  recipient.set_address("a@b");
  recipient.set_dsn_notify(mail::kNotifyFlagProbe | mail::kNotifyFlagToldHere);
  mail::v1::Outcome outcome = Sent();
  EXPECT_THAT(
      std::string(LineAndFinalOutcome("4fX", recipient, "virtual", {}, true, &outcome).text()),
      testing::HasSubstr("status=deliverable (250 2.0.0 Ok"));
  for (const auto action :
       {mail::v1::Outcome::ACTION_BOUNCED, mail::v1::Outcome::ACTION_DEFERRED}) {
    outcome = Sent();
    outcome.set_action(action);
    EXPECT_THAT(
        std::string(LineAndFinalOutcome("4fX", recipient, "virtual", {}, true, &outcome).text()),
        testing::HasSubstr("status=undeliverable (250 2.0.0 Ok"));
    EXPECT_EQ(outcome.action(), action);
    EXPECT_EQ(outcome.success_text(), "delivery via virtual: 250 2.0.0 Ok: queued as 12345");
  }
}

TEST(FinalOutcome, NamesTheRelayWhereTheSenderIsToldOfSuccess) {
  for (const auto& [notify, text] :
       {std::pair<uint32_t, std::string>{0, "250 2.0.0 Ok: queued as 12345"},
        {mail::v1::NOTIFY_FLAG_FAILURE, "250 2.0.0 Ok: queued as 12345"},
        {mail::v1::NOTIFY_FLAG_SUCCESS,
         "delivery via mx[192.0.2.1]:25: 250 2.0.0 Ok: queued as 12345"},
        {mail::kNotifyFlagToldHere,
         "delivery via mx[192.0.2.1]:25: 250 2.0.0 Ok: queued as 12345"}}) {
    mail::v1::Recipient recipient;
    recipient.set_address("a@b");
    recipient.set_dsn_notify(notify);
    mail::v1::Outcome outcome = Sent();
    LineAndFinalOutcome("4fX", recipient, "mx[192.0.2.1]:25", {}, false, &outcome);
    EXPECT_EQ(outcome.text(), text) << notify;
  }
}

}  // namespace
}  // namespace postfleet::delivery
