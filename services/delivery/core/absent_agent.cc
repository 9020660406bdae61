#include "services/delivery/core/absent_agent.h"

#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "services/delivery/core/log_line.h"

namespace postfleet::delivery {

void AbsentAgent::Start(std::unique_ptr<Attempt> attempt) {
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
    outcome.set_recipient_number(recipient.number());
    outcome.set_action(mail::v1::Outcome::ACTION_DEFERRED);
    outcome.set_status("4.3.5");
    outcome.set_text(Concat("mail transport ", delivery.transport(), " cannot deliver: the ",
                            program_, " delivery agent is not supported yet"));
    maillog::Write(program_, RecipientLine(delivery.queue_id(), recipient, "none", times, outcome));
  }
  attempt->done(std::move(result));
}

}  // namespace postfleet::delivery
