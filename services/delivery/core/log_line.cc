#include "services/delivery/core/log_line.h"

#include <algorithm>

#include "libs/base/concat.h"
#include "libs/base/delay_text.h"
#include "libs/mail/address.h"
#include "libs/mail/notify.h"

namespace postfleet::delivery {
namespace {

// "x y"@d: as a log reader would give it back to a command.
std::string Quoted(const std::string& address) { return mail::SplitAddress(address).ToSmtp(); }

std::string_view StatusWord(mail::v1::Outcome::Action action) {
  switch (action) {
    case mail::v1::Outcome::ACTION_SENT:
      return "sent";
    case mail::v1::Outcome::ACTION_BOUNCED:
      return "bounced";
    default:
      return "deferred";
  }
}

std::string Line(std::string_view queue_id, const mail::v1::Recipient& recipient,
                 std::string_view relay, const AttemptTimes& times,
                 const mail::v1::Outcome& outcome, std::string_view word) {
  const int64_t start = std::max(times.start_ms, times.active_ms);
  const int64_t connected = std::max(times.connected_ms, start);
  const int64_t end = std::max(times.end_ms, connected);
  std::string line = Concat(queue_id, ": to=<", Quoted(recipient.address()), ">");
  if (!recipient.original_address().empty() &&
      recipient.original_address() != recipient.address()) {
    ConcatTo(&line, ", orig_to=<", Quoted(recipient.original_address()), ">");
  }
  ConcatTo(&line, ", relay=", relay);
  if (times.connection_use > 1) ConcatTo(&line, ", conn_use=", times.connection_use);
  ConcatTo(&line, ", delay=", DelayText(end - times.arrival_ms),
           ", delays=", DelayText(times.active_ms - times.arrival_ms), "/",
           DelayText(start - times.active_ms), "/", DelayText(connected - start), "/",
           DelayText(end - connected), ", dsn=", outcome.status(), ", status=", word, " (",
           outcome.text(), ")");
  return line;
}

}  // namespace

std::string RecipientLine(std::string_view queue_id, const mail::v1::Recipient& recipient,
                          std::string_view relay, const AttemptTimes& times,
                          const mail::v1::Outcome& outcome) {
  return Line(queue_id, recipient, relay, times, outcome, StatusWord(outcome.action()));
}

std::string LineAndFinalOutcome(std::string_view queue_id, const mail::v1::Recipient& recipient,
                                std::string_view relay, const AttemptTimes& times, bool soft_bounce,
                                mail::v1::Outcome* outcome) {
  if (!soft_bounce || outcome->action() != mail::v1::Outcome::ACTION_BOUNCED) {
    std::string line = RecipientLine(queue_id, recipient, relay, times, *outcome);
    constexpr uint32_t kTold = mail::v1::NOTIFY_FLAG_SUCCESS | mail::kNotifyFlagToldHere;
    if (outcome->action() == mail::v1::Outcome::ACTION_SENT &&
        (recipient.dsn_notify() & kTold) != 0) {
      outcome->set_text(Concat("delivery via ", relay, ": ", outcome->text()));
    }
    return line;
  }
  outcome->set_action(mail::v1::Outcome::ACTION_DEFERRED);
  if (!outcome->status().empty()) outcome->mutable_status()->front() = '4';
  return Line(queue_id, recipient, relay, times, *outcome, "SOFTBOUNCE");
}

}  // namespace postfleet::delivery
