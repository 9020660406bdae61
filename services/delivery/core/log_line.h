// The line that an agent writes for each recipient, as log readers know it:
//
//   4fX...: to=<a@b>, orig_to=<c@d>, relay=mx[192.0.2.1]:25, delay=1.2, delays=0.1/0/0.4/0.7,
//   dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 12345)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libs/base/log_line.h"
#include "proto/postfleet/mail/v1/mail.pb.h"

namespace postfleet::delivery {

// Wall times in ms of one attempt (POSTFIX DELAYS: a before the queue manager, b in it, c
// connection setup, d transmission). A time that was not reached is that of the step before.
struct AttemptTimes {
  int64_t arrival_ms = 0;
  int64_t active_ms = 0;
  int64_t start_ms = 0;
  int64_t connected_ms = 0;
  int64_t end_ms = 0;
  // Which transaction of its connection it was; below 2: not said (conn_use=).
  size_t connection_use = 0;
};

// `relay` is "none", "host[address]:port", "virtual". Of a probe (kNotifyFlagProbe) the line says
// status=deliverable or undeliverable.
maillog::Line RecipientLine(std::string_view queue_id, const mail::v1::Recipient& recipient,
                            std::string_view relay, const AttemptTimes& times,
                            const mail::v1::Outcome& outcome);

// The line, and what follows of it. With soft_bounce, what would be returned is deferred, 4.x: the
// line says status=SOFTBOUNCE. The outcome of
// mail that was sent, and of which the sender wants to know, names the relay as notices do; of
// other mail that is told of here `success_text` does, for a report of all (`sendmail -v`).
maillog::Line LineAndFinalOutcome(std::string_view queue_id, const mail::v1::Recipient& recipient,
                                  std::string_view relay, const AttemptTimes& times,
                                  bool soft_bounce, mail::v1::Outcome* outcome);

}  // namespace postfleet::delivery
