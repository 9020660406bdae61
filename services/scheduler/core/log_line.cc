#include "services/scheduler/core/log_line.h"

#include <algorithm>

#include "libs/base/concat.h"
#include "libs/base/delay_text.h"
#include "libs/mail/address.h"

namespace postfleet::scheduler {
namespace {

using maillog::Event;
using maillog::Fact;
using maillog::Line;
using maillog::NumberText;

// "x y"@d: the end of an address cannot be forged, and a log reader can give it back to a command.
// Control characters become `?` in maillog.
std::string Quoted(const std::string& address) { return mail::SplitAddress(address).ToSmtp(); }

Line RenderRecipient(const LogLine& line) {
  const int64_t a = std::max<int64_t>(line.delay_a_ms, 0);
  const int64_t b = std::max<int64_t>(line.delay_b_ms, 0);
  Line text = Line::Of(Fact("queue_id", line.queue_id), ": to=<",
                       Fact("to", Quoted(line.recipient)), ">, ", Event("delivery"));
  if (!line.original_recipient.empty() && line.original_recipient != line.recipient) {
    text.Add("orig_to=<", Fact("orig_to", Quoted(line.original_recipient)), ">, ");
  }
  const std::string delays = Concat(DelayText(a), '/', DelayText(b), "/0/0");
  text.Add("relay=", Fact("relay", "none"), ", delay=", NumberText{"delay", DelayText(a + b)},
           ", delays=", Fact("delays", delays), ", dsn=", Fact("dsn", line.dsn),
           ", status=", Fact("status", line.status), " (", Fact("text", line.text), ')');
  return text;
}

Line RenderActive(const LogLine& line) {
  return Line::Of(Fact("queue_id", line.queue_id), ": from=<", Fact("from", Quoted(line.sender)),
                  ">, size=", Fact("size", line.size), ", nrcpt=", Fact("nrcpt", line.recipients),
                  " (queue active)", Event("queue_active"));
}

Line RenderExpired(const LogLine& line, std::string_view status) {
  return Line::Of(Fact("queue_id", line.queue_id), ": from=<", Fact("from", Quoted(line.sender)),
                  ">, status=", Fact("status", status), ", returned to sender", Event("expired"));
}

}  // namespace

Line Render(const LogLine& line) {
  using Kind = LogLine::Kind;
  switch (line.kind) {
    case Kind::kQueueActive:
      return RenderActive(line);
    case Kind::kRemoved:
      return Line::Of(Fact("queue_id", line.queue_id), ": removed", Event("removed"));
    case Kind::kExpired:
      return RenderExpired(line, "expired");
    case Kind::kForceExpired:
      return RenderExpired(line, "force-expired");
    case Kind::kRecipient:
      return RenderRecipient(line);
    case Kind::kInDoubt:
      return Line::Of("warning: ", Fact("queue_id", line.queue_id), ": delivery ",
                      Fact("delivery", line.delivery), " on transport ",
                      Fact("transport", line.transport), " is in doubt: ", Fact("text", line.text),
                      Event("in_doubt"));
    case Kind::kTransportUnavailable:
      return Line::Of("warning: connect to transport private/", Fact("transport", line.transport),
                      ": ", Fact("text", line.text), Event("transport_unavailable"));
    case Kind::kPutOff:
      return Line::Of("warning: transport ", Fact("transport", line.transport), ", nexthop ",
                      Fact("nexthop", line.nexthop), ": ", Fact("messages", line.messages),
                      " messages in memory for ", Fact("per_minute", line.per_minute),
                      " deliveries a minute: the last ones go back to the queue until their turn",
                      Event("put_off"));
  }
  return {};
}

}  // namespace postfleet::scheduler
