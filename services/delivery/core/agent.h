// A delivery agent takes attempts and answers each once. Agents live on the delivery service's
// loop; they do not block it.
//
// An attempt is one Delivery (scheduler.proto): some recipients of one message, at one destination.
// Its result has one Outcome for each recipient, whatever happens: a failure of our own (a table, a
// disk, a missing right) is `deferred`, never `bounced`. The agent writes the log line of each
// recipient (log_line.h); the service sends the result.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "libs/rpc/payload.h"
#include "proto/postfleet/scheduler/v1/scheduler.pb.h"

namespace postfleet::delivery {

// A message's contents, piece by piece (LF line ends, headers first), without holding more than a
// chunk or two.
class ContentReader {
 public:
  virtual ~ContentReader() = default;

  // OK with bytes: the next piece. OK and empty: the end. Otherwise the contents cannot be had now
  // (defer, 4.3.0), or, with DataLoss, are damaged (defer, 4.3.0, and say so: nothing of it may be
  // delivered as complete). A piece's slices stay valid as long as they are held.
  using Done = std::function<void(const absl::Status&, rpc::Payload)>;

  // Calls `done` once, on the loop, never before Next returns. One call at a time. Destroying the
  // reader forgets a call that is open.
  virtual void Next(Done done) = 0;

  // The next piece is the first one again; a call that is open is forgotten. False: what was given
  // cannot be had a second time.
  virtual bool Restart() { return false; }
};

struct Attempt;

struct AttemptResult {
  scheduler::v1::DeliveryResult result;
  // Of result.notice.
  rpc::Payload notice_contents;
  // Who has no outcome in `result` goes on by the agent of passed_on->delivery.transport(), in the
  // same delivery (Postfix's best_mx_transport). Its `done` is set by whoever takes this.
  std::unique_ptr<Attempt> passed_on;
};

struct Attempt {
  scheduler::v1::Delivery delivery;
  std::unique_ptr<ContentReader> contents;
  // Once, on the loop. The attempt is over then.
  std::function<void(AttemptResult)> done;
};

class Agent {
 public:
  virtual ~Agent() = default;
  virtual void Start(std::unique_ptr<Attempt> attempt) = 0;
  // It knows probes (Envelope.probe, `sendmail -bv`): it finds out whether it would deliver, and
  // says so, without delivering anything. Others are never given one.
  virtual bool ServesProbes() const { return false; }
  // The scheduler has no use for it any more: end it unless the final dot may have been sent. It is
  // answered all the same; recipients that were not served are deferred, 4.3.2. An unknown id is
  // ignored.
  virtual void Cancel(uint64_t delivery_id) = 0;
  // Idle connections and the like are closed; attempts that run go on.
  virtual void CloseIdle() = 0;
};

}  // namespace postfleet::delivery
