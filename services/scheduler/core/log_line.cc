#include "services/scheduler/core/log_line.h"

#include <algorithm>
#include <cstdio>

#include "libs/base/concat.h"

namespace postfleet::scheduler {
namespace {

std::string RenderRecipient(const LogLine& line) {
  const int64_t a = std::max<int64_t>(line.delay_a_ms, 0);
  const int64_t b = std::max<int64_t>(line.delay_b_ms, 0);
  std::string text = Concat(line.queue_id, ": to=<", line.recipient, ">, ");
  if (!line.original_recipient.empty() && line.original_recipient != line.recipient) {
    ConcatTo(&text, "orig_to=<", line.original_recipient, ">, ");
  }
  ConcatTo(&text, "relay=none, delay=", FormatDelay(a + b), ", delays=", FormatDelay(a), "/",
           FormatDelay(b), "/0/0, dsn=", line.dsn, ", status=", line.status, " (", line.text, ")");
  return text;
}

}  // namespace

std::string FormatDelay(int64_t ms) {
  char text[32];
  const int64_t whole = ms / 1000;
  // Two significant digits; none of them after the point from ten seconds on.
  const int decimals = ms >= 9'950 ? 0 : ms >= 995 ? 1 : ms >= 100 ? 2 : 3;
  if (decimals == 0) {
    return Concat(whole + (ms % 1000 >= 500 ? 1 : 0));
  }
  std::snprintf(text, sizeof(text), "%.*f", decimals, static_cast<double>(ms) / 1000);
  std::string digits = text;
  digits.erase(digits.find_last_not_of('0') + 1);
  if (digits.back() == '.') digits.pop_back();
  return digits;
}

std::string Render(const LogLine& line) {
  using Kind = LogLine::Kind;
  switch (line.kind) {
    case Kind::kQueueActive:
      return Concat(line.queue_id, ": from=<", line.sender, ">, size=", line.size,
                    ", nrcpt=", line.recipients, " (queue active)");
    case Kind::kRemoved:
      return Concat(line.queue_id, ": removed");
    case Kind::kExpired:
      return Concat(line.queue_id, ": from=<", line.sender,
                    ">, status=expired, returned to sender");
    case Kind::kRecipient:
      return RenderRecipient(line);
    case Kind::kInDoubt:
      return Concat("warning: ", line.queue_id, ": delivery ", line.delivery, " on transport ",
                    line.transport, " is in doubt: ", line.text);
    case Kind::kLate:
      return Concat("warning: ", line.queue_id, ": outcome came after the message was removed");
    case Kind::kTransportUnavailable:
      return Concat("warning: connect to transport private/", line.transport, ": ", line.text);
  }
  return {};
}

}  // namespace postfleet::scheduler
