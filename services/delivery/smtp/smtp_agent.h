// The agent of transports whose program is smtp or lmtp: one attempt is one transaction on one
// connection; when hosts fail or put off, the next of the destination's hosts is tried, as
// Postfix's smtp(8) does. A nexthop may be a list of destinations, "a, [b]:587"; behind the last
// one comes the fallback relay. As lmtp: "unix:path", "inet:host", "inet:[host]:port", no MX.
//
// A connection is kept for the next attempt to the same destination when attempts follow one
// another: an attempt that starts while another one runs, or within a second of the last one's end,
// makes its destination a reused one (smtp_connection_cache_on_demand). It may also serve another
// reused destination that has the same host at the same address and port. A kept connection is
// closed after `cache_time` or when there are more than `idle_connections_max`; one that turns out
// dead before it has answered is replaced by a fresh one, which is no failure.
//
// A lost connection after the final dot is deferred (4.4.2) and not tried at another host at once:
// the message may have been taken. Cost of an attempt on a kept connection, PIPELINING, body within
// kSendBufferBytes: 2 sends, 2 reads that bring bytes.
//
// Log lines: one for each recipient, with relay=host[address]:port; one for each host that could
// not be reached.
#pragma once

#include <cstdint>
#include <memory>

#include "libs/base/clock.h"
#include "libs/dns/resolver.h"
#include "libs/runtime/event_loop.h"
#include "services/delivery/core/agent.h"
#include "services/delivery/smtp/core/hosts.h"
#include "services/delivery/smtp/smtp_options.h"

namespace postfleet::delivery::smtp {

// What the agent takes from the world; everything must outlive it.
struct SmtpWorld {
  runtime::EventLoop* loop = nullptr;
  dns::Resolver* resolver = nullptr;
  // Of smtp_host_lookup = native; may be nullptr where that is not asked for.
  dns::Resolver* native_resolver = nullptr;
  const Clock* clock = &SystemClock();
  Random random;
};

class SmtpAgent : public Agent {
 public:
  SmtpAgent(SmtpOptions options, SmtpWorld world);
  // Ends what runs without answering.
  ~SmtpAgent() override;

  void Start(std::unique_ptr<Attempt> attempt) override;
  bool ServesProbes() const override { return true; }
  void Cancel(uint64_t delivery_id) override;
  void CloseIdle() override;

  size_t idle_connections() const;
  size_t running_attempts() const;
  uint64_t connections_opened() const;

 private:
  class Core;
  const std::shared_ptr<Core> core_;
};

}  // namespace postfleet::delivery::smtp
