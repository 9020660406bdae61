#include "services/delivery/core/log_line.h"

#include <algorithm>

#include "libs/base/concat.h"
#include "libs/base/delay_text.h"
#include "libs/mail/address.h"
#include "libs/mail/notify.h"

namespace postfleet::delivery {
namespace {

using maillog::Event;
using maillog::Fact;
using maillog::Line;
using maillog::NumberText;

// "x y"@d: as a log reader would give it back to a command.
std::string Quoted(const std::string& address) { return mail::SplitAddress(address).ToSmtp(); }

bool IsProbe(const mail::v1::Recipient& recipient) {
  return (recipient.dsn_notify() & mail::kNotifyFlagProbe) != 0;
}

std::string_view StatusWord(const mail::v1::Recipient& recipient,
                            mail::v1::Outcome::Action action) {
  if (IsProbe(recipient)) {
    return action == mail::v1::Outcome::ACTION_SENT ? "deliverable" : "undeliverable";
  }
  switch (action) {
    case mail::v1::Outcome::ACTION_SENT:
      return "sent";
    case mail::v1::Outcome::ACTION_BOUNCED:
      return "bounced";
    default:
      return "deferred";
  }
}

Line MakeLine(std::string_view queue_id, const mail::v1::Recipient& recipient,
              std::string_view relay, const AttemptTimes& times, const mail::v1::Outcome& outcome,
              std::string_view word) {
  const int64_t start = std::max(times.start_ms, times.active_ms);
  const int64_t connected = std::max(times.connected_ms, start);
  const int64_t end = std::max(times.end_ms, connected);
  Line line = Line::Of(Fact("queue_id", queue_id), ": to=<",
                       Fact("to", Quoted(recipient.address())), '>', Event("delivery"));
  if (!recipient.original_address().empty() &&
      recipient.original_address() != recipient.address()) {
    line.Add(", orig_to=<", Fact("orig_to", Quoted(recipient.original_address())), '>');
  }
  line.Add(", relay=", Fact("relay", relay));
  if (times.connection_use > 1) line.Add(", conn_use=", Fact("conn_use", times.connection_use));
  const std::string delay = DelayText(end - times.arrival_ms);
  const std::string delays =
      Concat(DelayText(times.active_ms - times.arrival_ms), '/', DelayText(start - times.active_ms),
             '/', DelayText(connected - start), '/', DelayText(end - connected));
  line.Add(", delay=", NumberText{"delay", delay}, ", delays=", Fact("delays", delays),
           ", dsn=", Fact("dsn", outcome.status()), ", status=", Fact("status", word), " (",
           Fact("text", outcome.text()), ')');
  return line;
}

}  // namespace

Line RecipientLine(std::string_view queue_id, const mail::v1::Recipient& recipient,
                   std::string_view relay, const AttemptTimes& times,
                   const mail::v1::Outcome& outcome) {
  return MakeLine(queue_id, recipient, relay, times, outcome,
                  StatusWord(recipient, outcome.action()));
}

Line LineAndFinalOutcome(std::string_view queue_id, const mail::v1::Recipient& recipient,
                         std::string_view relay, const AttemptTimes& times, bool soft_bounce,
                         mail::v1::Outcome* outcome) {
  const bool is_softened =
      soft_bounce && outcome->action() == mail::v1::Outcome::ACTION_BOUNCED && !IsProbe(recipient);
  if (!is_softened) {
    Line line = RecipientLine(queue_id, recipient, relay, times, *outcome);
    constexpr uint32_t kTold = mail::v1::NOTIFY_FLAG_SUCCESS | mail::kNotifyFlagToldHere;
    if (relay == "none" || (recipient.dsn_notify() & kTold) == 0) return line;
    const std::string text = Concat("delivery via ", relay, ": ", outcome->text());
    if (outcome->action() == mail::v1::Outcome::ACTION_SENT) {
      outcome->set_text(text);
    } else if ((recipient.dsn_notify() & mail::kNotifyFlagToldHere) != 0) {
      outcome->set_success_text(text);
    }
    return line;
  }
  outcome->set_action(mail::v1::Outcome::ACTION_DEFERRED);
  if (!outcome->status().empty()) outcome->mutable_status()->front() = '4';
  return MakeLine(queue_id, recipient, relay, times, *outcome, "SOFTBOUNCE");
}

}  // namespace postfleet::delivery
