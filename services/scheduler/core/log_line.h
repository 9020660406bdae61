// Log lines that the scheduler owes, as values, and their text in Postfix's form. Addresses come in
// internal form and are written quoted, as the delivery agents' are. The caller writes
// `maillog::Write(line.program, Render(line))`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libs/base/log_line.h"

namespace postfleet::scheduler {

struct LogLine {
  enum class Kind {
    kQueueActive,   // qmgr: QID: from=<a@b>, size=n, nrcpt=n (queue active)
    kRemoved,       // qmgr: QID: removed
    kExpired,       // qmgr: QID: from=<a@b>, status=expired, returned to sender
    kForceExpired,  // qmgr: QID: from=<a@b>, status=force-expired, returned to sender
    kRecipient,  // error, discard: QID: to=<x@d>, relay=none, delay=, delays=, dsn=, status= (text)
    kInDoubt,    // qmgr: warning: QID: delivery N in doubt: text
    kTransportUnavailable,  // qmgr: warning: connect to transport private/smtp: text
    kPutOff,                // qmgr: warning: transport smtp, nexthop d: n messages in memory, …
  };
  Kind kind = Kind::kQueueActive;
  std::string_view program = "qmgr";  // a literal: "qmgr", "error", "discard"
  std::string queue_id;
  std::string sender;

  // kQueueActive
  uint64_t size = 0;
  uint32_t recipients = 0;

  // kRecipient. Milliseconds; delay = a + b, and c and d are 0 where no agent ran.
  std::string recipient;
  std::string original_recipient;  // empty: as recipient
  int64_t delay_a_ms = 0;
  int64_t delay_b_ms = 0;
  std::string dsn;
  std::string_view status;  // a literal: "sent", "deferred", "bounced", "SOFTBOUNCE"

  // kRecipient, kInDoubt, kTransportUnavailable, kPutOff
  std::string text;
  uint64_t delivery = 0;
  std::string transport;

  // kPutOff
  std::string nexthop;
  uint64_t messages = 0;
  uint64_t per_minute = 0;
};

// The line without program and queue-independent prefix: "4fX: to=<x@d>, relay=none, …".
maillog::Line Render(const LogLine& line);

}  // namespace postfleet::scheduler
