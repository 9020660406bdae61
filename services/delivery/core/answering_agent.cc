#include "services/delivery/core/answering_agent.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "libs/base/maillog.h"
#include "libs/mail/enhanced_status.h"
#include "services/delivery/core/log_line.h"

namespace postfleet::delivery {
namespace {

mail::v1::Outcome AnswerOf(AnsweringAgent::Kind kind, std::string_view text) {
  const bool discard = kind == AnsweringAgent::Kind::kDiscard;
  const char own_class = discard ? '2' : '5';
  mail::v1::Outcome outcome;
  outcome.set_action(discard ? mail::v1::Outcome::ACTION_SENT : mail::v1::Outcome::ACTION_BOUNCED);
  if (discard) outcome.set_success(mail::v1::Outcome::SUCCESS_DELIVERED);
  outcome.set_status(std::string(1, own_class) + ".0.0");
  size_t length = 0;
  if (const auto status = mail::ParseEnhancedStatusPrefix(text, &length)) {
    const std::string given = status->ToString();
    if (given[0] == own_class) outcome.set_status(given);
    text.remove_prefix(length);
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  }
  outcome.set_text(std::string(text));
  return outcome;
}

}  // namespace

void AnsweringAgent::Start(std::unique_ptr<Attempt> attempt) {
  const scheduler::v1::Delivery& delivery = attempt->delivery;
  const int64_t now_ms = clock_.WallMillis();
  const AttemptTimes times = {.arrival_ms = delivery.envelope().arrival_ms(),
                              .active_ms = delivery.active_ms(),
                              .start_ms = now_ms,
                              .connected_ms = now_ms,
                              .end_ms = now_ms};
  AttemptResult result;
  result.result.set_id(delivery.id());
  for (const mail::v1::Recipient& recipient : delivery.recipients()) {
    mail::v1::Outcome& outcome = *result.result.add_outcomes();
    outcome = AnswerOf(kind_, delivery.nexthop());
    outcome.set_recipient_number(recipient.number());
    maillog::Write(program_, LineAndFinalOutcome(delivery.queue_id(), recipient, "none", times,
                                                 soft_bounce_, &outcome));
  }
  attempt->done(std::move(result));
}

}  // namespace postfleet::delivery
