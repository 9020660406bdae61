// The scheduler: which delivery runs when, where, and how many at once. Pure: no clock, no I/O, no
// randomness, one thread.
//
//   Scheduler scheduler(config, mint);
//   Actions actions;
//   scheduler.Step(Activated{...}, now_ms, &actions);  // actions: what the caller now owes
//
// It follows Postfix 3.9's queue manager: qmgr(8), SCHEDULER_README. Events and actions, with their
// order: events.h. Limits: config.h. Windows, feedback and dead destinations: window.h.
//
// A *job* is (message, destination); a *destination* is (transport, nexthop), or (transport,
// localpart@nexthop) where the transport takes one recipient a delivery.
//
// Choice. Transports take turns. Within a transport the oldest message goes first that has a job at
// a destination which is alive and has room in its window; its destinations take turns. A delivery
// starts only if a worker has announced a free slot of that transport. Preemption of big messages
// by small ones is NOT here yet; its place is Job::Rank (model.h), the key by which jobs are
// ordered: it is the order of activation now.
//
// Costs. A destination that is full, dead or empty is not in its transport's ready set: it costs
// nothing, however many jobs wait there. With D ready destinations, J jobs at the one concerned and
// T transports with mail or workers, starting a delivery costs O(log D + log J + its recipients);
// an event O(T) plus what it starts, ends or defers. WorkerLeft and a new session walk the running
// deliveries. A destination that dies costs O(jobs waiting there), each deferred once.
//
// Promises.
// - Each recipient of an activation gets one outcome in `commit` (sent, deferred, bounced), unless
//   its message was deleted or recalled, or the queue was lost. An attempt whose worker left is
//   made again: at least once (P2); each such attempt has a kInDoubt line.
// - A message gets one `release`, after its last Committed; none once its session has ended.
// - When a delivery starts, those running at its destination are within the window (P3), those at
//   its worker within the slots.
// - Memory is bounded (P4) by Config::active_messages_max (the credit) times the recipients that
//   the queue gives out of one message, attached_body_bytes_max and dead_destinations_max.
//
// Outcomes made here, without a worker (relay=none): transports error, retry and discard; lookup
// failures (4.3.0); transports of defer_transports (4.3.2 "deferred transport", unless flushed);
// dead destinations ("delivery temporarily suspended: …"); transports that had no
// worker for transport_retry_ms (4.3.0 "mail transport unavailable"; new mail too, at once, for as
// long again or until a worker joins or a flush).
//
// Bounces. A bounced recipient is committed at once. When the message has nothing unresolved,
// waiting or running, one delivery on transport "bounce" carries all of them; its result becomes
// `notify`. Mail from the null sender gets a Notify without notice. A notice that failed is made
// again minimal_backoff_ms later, with a new queue id; the message stays in memory until then (it
// keeps its place in the window: released, the queue would give it out again at once). Notices are
// never deferred or dropped: without a worker for "bounce" they wait.
//
// Lost workers. Recipients go back to where they waited and are tried again at once, up to
// lost_attempts_max times for one message; then they are deferred (4.3.0 "unknown mail transport
// error"). The destination's window does not suffer. A worker that is cut off but still at work is
// not counted any more: fencing it is the business of the streams.
//
// Deleted messages: running deliveries are cancelled; only `sent` outcomes that still come are
// committed (the queue counts them as late).
//
// Recalled messages: running deliveries are cancelled, and all that they say is committed; what
// waits gets no outcome. Then the message is released, with its notices owed.
//
// Expiry is judged when a recipient is deferred, whoever defers it: past the lifetime since
// create_ms (bounce_queue_lifetime for the null sender), or forced by an administrator, it bounces
// with the deferral's status and text. Of a message with forced_expire nothing is tried any more:
// recipients bounce with the reason of their last deferral, or 4.7.0.
//
// Warnings of delay (delay_warning_time), once for a message, as a second kind of notice on
// transport "bounce": when a round ends with deferred recipients, after notices of failures, the
// message is old enough, has a sender and was not warned of. One that fails is left to the next
// round. confirm_delay_cleared and copies to the postmaster are not supported.
//
// Not here yet: preemption, rate delays, changes of Config while running, revival of one
// destination by the flush of one message.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "services/scheduler/core/config.h"
#include "services/scheduler/core/events.h"

namespace postfleet::scheduler {

struct State;

// Counted since construction.
struct Counters {
  uint64_t deliveries = 0;
  // Attempts that were open when their worker or the queue was lost (delivery_in_doubt_total).
  uint64_t in_doubt = 0;
  // Outcomes that found their message gone.
  uint64_t late = 0;
  // Results for deliveries that are not running.
  uint64_t stray = 0;
  uint64_t expired_messages = 0;
  uint64_t dead_destinations = 0;
  uint64_t bodies_let_go = 0;
};

// What is in memory now. Counted on the spot, in O(messages + destinations).
struct Sizes {
  size_t messages = 0;
  size_t recipients_waiting = 0;
  size_t deliveries_running = 0;
  size_t destinations = 0;
  size_t destinations_dead = 0;
  size_t queries = 0;
  size_t transports = 0;
  size_t workers = 0;
  uint64_t body_bytes = 0;
};

class Scheduler {
 public:
  // `mint_queue_id` makes the queue ids of notices (base/queue_id.h).
  Scheduler(Config config, std::function<std::string()> mint_queue_id);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // `now_ms`: wall time since the epoch. Appends to `actions`.
  void Step(Event event, int64_t now_ms, Actions* actions);

  const Counters& counters() const;
  Sizes sizes() const;
  // Recipients that wait where the destination's window has room: what more workers, or more slots,
  // would start now. O(1).
  uint64_t runnable_recipients() const;
  // One line for each destination: "smtp/d busy=1 window=5 waiting=3", ", dead for 300s". For tests
  // and diagnosis.
  std::string Describe(int64_t now_ms) const;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace postfleet::scheduler
