#include "services/delivery/core/log_line.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "libs/base/concat.h"
#include "libs/mail/address.h"

namespace postfleet::delivery {
namespace {

// Seconds with two significant digits, at most two behind the point: 0, 0.01, 0.12, 1.2, 12, 123.
std::string Seconds(int64_t ms) {
  const double seconds = static_cast<double>(std::max<int64_t>(ms, 0)) / 1000.0;
  char text[32];
  if (seconds >= 10) {
    std::snprintf(text, sizeof(text), "%.0f", seconds);
  } else if (seconds >= 0.01) {
    std::snprintf(text, sizeof(text), "%.2g", std::round(seconds * 100) / 100);
  } else {
    return "0";
  }
  return text;
}

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
  if (!recipient.original_address().empty() && recipient.original_address() != recipient.address()) {
    ConcatTo(&line, ", orig_to=<", Quoted(recipient.original_address()), ">");
  }
  ConcatTo(&line, ", relay=", relay, ", delay=", Seconds(end - times.arrival_ms),
           ", delays=", Seconds(times.active_ms - times.arrival_ms), "/",
           Seconds(start - times.active_ms), "/", Seconds(connected - start), "/",
           Seconds(end - connected), ", dsn=", outcome.status(),
           ", status=", StatusWord(outcome.action()), " (", outcome.text(), ")");
  return line;
}

}  // namespace postfleet::delivery
