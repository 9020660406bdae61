#include "services/delivery/core/log_line.h"

#include <algorithm>

#include "libs/base/concat.h"
#include "libs/base/delay_text.h"
#include "libs/mail/address.h"

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

}  // namespace

std::string RecipientLine(std::string_view queue_id, const mail::v1::Recipient& recipient,
                          std::string_view relay, const AttemptTimes& times,
                          const mail::v1::Outcome& outcome) {
  const int64_t start = std::max(times.start_ms, times.active_ms);
  const int64_t connected = std::max(times.connected_ms, start);
  const int64_t end = std::max(times.end_ms, connected);
  std::string line = Concat(queue_id, ": to=<", Quoted(recipient.address()), ">");
  if (!recipient.original_address().empty() &&
      recipient.original_address() != recipient.address()) {
    ConcatTo(&line, ", orig_to=<", Quoted(recipient.original_address()), ">");
  }
  ConcatTo(&line, ", relay=", relay, ", delay=", DelayText(end - times.arrival_ms),
           ", delays=", DelayText(times.active_ms - times.arrival_ms), "/",
           DelayText(start - times.active_ms), "/", DelayText(connected - start), "/",
           DelayText(end - connected), ", dsn=", outcome.status(),
           ", status=", StatusWord(outcome.action()), " (", outcome.text(), ")");
  return line;
}

}  // namespace postfleet::delivery
