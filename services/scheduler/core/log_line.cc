#include "services/scheduler/core/log_line.h"

#include <algorithm>

#include "libs/base/concat.h"
#include "libs/base/delay_text.h"
#include "libs/mail/address.h"

namespace postfleet::scheduler {
namespace {

// "x y"@d: the end of an address cannot be forged, and a log reader can give it back to a command.
// Control characters become `?` in maillog.
std::string Quoted(const std::string& address) { return mail::SplitAddress(address).ToSmtp(); }

std::string RenderRecipient(const LogLine& line) {
  const int64_t a = std::max<int64_t>(line.delay_a_ms, 0);
  const int64_t b = std::max<int64_t>(line.delay_b_ms, 0);
  std::string text = Concat(line.queue_id, ": to=<", Quoted(line.recipient), ">, ");
  if (!line.original_recipient.empty() && line.original_recipient != line.recipient) {
    ConcatTo(&text, "orig_to=<", Quoted(line.original_recipient), ">, ");
  }
  ConcatTo(&text, "relay=none, delay=", DelayText(a + b), ", delays=", DelayText(a), "/",
           DelayText(b), "/0/0, dsn=", line.dsn, ", status=", line.status, " (", line.text, ")");
  return text;
}

}  // namespace

std::string Render(const LogLine& line) {
  using Kind = LogLine::Kind;
  switch (line.kind) {
    case Kind::kQueueActive:
      return Concat(line.queue_id, ": from=<", Quoted(line.sender), ">, size=", line.size,
                    ", nrcpt=", line.recipients, " (queue active)");
    case Kind::kRemoved:
      return Concat(line.queue_id, ": removed");
    case Kind::kExpired:
      return Concat(line.queue_id, ": from=<", Quoted(line.sender),
                    ">, status=expired, returned to sender");
    case Kind::kForceExpired:
      return Concat(line.queue_id, ": from=<", Quoted(line.sender),
                    ">, status=force-expired, returned to sender");
    case Kind::kRecipient:
      return RenderRecipient(line);
    case Kind::kInDoubt:
      return Concat("warning: ", line.queue_id, ": delivery ", line.delivery, " on transport ",
                    line.transport, " is in doubt: ", line.text);
    case Kind::kTransportUnavailable:
      return Concat("warning: connect to transport private/", line.transport, ": ", line.text);
    case Kind::kPutOff:
      return Concat("warning: transport ", line.transport, ", nexthop ", line.nexthop, ": ",
                    line.messages, " messages in memory for ", line.per_minute,
                    " deliveries a minute: the last ones go back to the queue until their turn");
  }
  return {};
}

}  // namespace postfleet::scheduler
