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
// A *job* is (message, transport), a *peer* what waits of it at one destination; a *destination* is
// (transport, nexthop), or (transport, localpart@nexthop) where the transport takes one recipient a
// delivery.
//
// Choice. Transports take turns. Within a transport the first job in its order goes that has a peer
// at a destination which is alive and has room in its window: the current job; its destinations
// take turns. The order is that of activation, but for preemption. A delivery starts only if a
// worker has announced a free slot of that transport, maxproc (deliveries_max) allows another one
// over all workers, and no rate delay runs.
//
// Preemption, SCHEDULER_README. Each pick from a job earns it one of the slot_cost deliveries that
// a slot costs. Before a pick from a job that has earned something, and is of slots_min * slot_cost
// deliveries or more, the best of the jobs behind it is sought: that is not blocked, was not itself
// preempted, and needs no more slots than the current one can still earn; best is the highest of
// (seconds in memory + 1) / deliveries. It goes in front if slots earned + slot_loan cover what it
// needs, less slot_discount_percent. The current job pays what it needs at once; when it ends, what
// it did not use comes back. Recipients that are still to come count in the sizes of both.
//
// Costs. A destination that is full, dead, delayed or empty is not in its transport's ready set: it
// costs nothing, however much waits there. With D ready destinations, P peers at the one concerned,
// J jobs and T transports with mail or workers, starting a delivery costs O(log D + log P + log J +
// its recipients); an event O(T) plus what it starts, ends or defers. A search for a candidate
// looks at 500 jobs at most (most end at the first that fits): the first 250 behind the current
// one, and 250 of the rest in turn. Its result serves all picks of the same job in the same second
// until a job comes, ends or is unblocked; a preemption costs O(destinations of the small job),
// which are not more than its deliveries. WorkerLeft and a new session walk the running deliveries.
// A destination that dies costs O(peers waiting there), each deferred once.
//
// Rate delays. With destination_rate_delay_ms the concurrency is 1, and the next delivery starts so
// long after the last one ended, whatever became of it; an idle destination is remembered for as
// long (delayed_destinations_max). It is not dead longer than that: what waited is deferred, new
// mail is tried after the delay. With transport_rate_delay_ms the same goes for a whole transport.
//
// Big messages come page by page. While recipients of a message are still with the queue, its round
// goes on, and more are asked for (Actions::more), once until they come, when fewer than 500 wait;
// but with recipients_max in memory only for a message that has none left there. Places of
// recipients that are done are used again.
//
// Put off. One slow site must not fill memory (the queue gives out active_messages_max messages),
// or all other mail waits for it. When messages in memory are half of that or more, and one
// destination holds more than a tenth of it, it keeps what it can deliver within minimal_backoff_ms
// at its pace, and at least that tenth; its last messages go back to the queue (Actions::put_off)
// until their turn at that pace, but no longer than maximal_backoff_ms, since the pace may change.
// The pace is that of the last minute, projected while the destination is younger than that, never
// below one a minute, and not judged in its first ten seconds: a burst to a fast site is not a
// clog. Of the last ones those go that arrived last: what comes back goes before new mail. Postfix
// only warns of such a clog. Put off mail makes no attempt, so that it expires only after it had
// its turn. One warning a minute for a destination.
//
// Promises.
// - Each recipient of an activation gets one outcome in `commit` (sent, deferred, bounced), unless
//   its message was deleted or recalled; one that runs when the queue is lost gets it in the next
//   session. An attempt whose worker left is made again: at least once (P2); each such attempt has
//   a kInDoubt line.
// - A message gets one `release`, after its last Committed; none once its session has ended.
// - When a delivery starts, those running at its destination are within the window (P3), those at
//   its worker within the slots.
// - Memory is bounded (P4) by Config::active_messages_max (the credit), by the recipients that the
//   queue gives out (1,000 with a message, 10 once 200,000 are out; more when asked, up to
//   recipients_max), attached_body_bytes_max, dead_destinations_max and
//   delayed_destinations_max. What a notice is to tell of is held until the message's round ends.
//
// Flush. All dead destinations and throttled transports are tried again, and recipients whose
// deferral is not committed yet (the queue's own pass comes too early for them); a message that was
// flushed alone (Activation.flushed) does so for its own.
//
// Outcomes made here, without a worker (relay=none): transports error, retry and discard; lookup
// failures (4.3.0); transports of defer_transports (4.3.2 "deferred transport", unless flushed);
// dead destinations ("delivery temporarily suspended: …"); transports that had no
// worker for transport_retry_ms (4.3.0 "mail transport unavailable"; new mail too, at once, for as
// long again or until a worker joins or a flush).
//
// Notices. A bounced recipient is committed at once. When the message has nothing unresolved,
// waiting, running or still to come, one delivery on transport "bounce" carries all of them
// (notice_recipients_max at a time); its result becomes `notify`. Then another one carries those
// that were sent and whose sender wants to know (RFC 3461: NOTIFY has SUCCESS, and the agent did
// not pass the wish on), then one may warn of delay. Failures of which the sender wants to know
// nothing (NOTIFY=NEVER or without FAILURE) are closed by a Notify without notice, unless
// notify_classes has bounce. Those of the null sender's mail and of our own notices go to "bounce"
// too: its agent decides whether the postmaster gets a copy, for which a delivery brings a second
// queue id. A notice that failed is made again minimal_backoff_ms later, with new
// queue ids; until then the message rests with the queue (Actions::rest): other mail gets its
// place. Notices are never deferred or dropped: without a worker for "bounce" they wait, and when
// they are too many the last ones rest, as mail that is put off.
//
// soft_bounce: what an agent or the scheduler bounces is deferred, 5.x.x as 4.x.x; expiry still
// bounces.
//
// Lost workers. Recipients go back to where they waited and are tried again at once, up to
// lost_attempts_max times for one message (a worker that goes counts once); then they are deferred
// (4.3.0 "unknown mail transport error"). The destination's window does not suffer. A worker that
// is cut off but still at work is not counted any more: fencing it is the business of the streams.
//
// Workers that drain start nothing more. An attempt that is not answered within attempt_max_ms is
// told to stop and its recipients are deferred; its slot stays taken until it answers.
//
// Clocks that are set back: what is to happen some time later happens after that time nevertheless,
// as far as events tell how time goes on. Ages are by the wall clock.
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
// Warnings of delay (delay_warning_time), once for a message: when a round ends with deferred
// recipients that may be told of (NOTIFY unset or with DELAY; all, if notify_classes has delay),
// after the other notices, the message is old enough, has a sender and was not warned of. They name
// those too who are not due yet (Activation.waiting). One that fails is left to the next round.
// With confirm_delay_cleared, whom they may name is told of success later.
//
// Changes while mail waits (Configured, RoutesChanged): whatever waits is taken out of where it
// waits and asked again, O(recipients in memory); a destination where nothing runs is forgotten
// with it, windows and all, as Postfix forgets them. Deliveries that run, notices and dead
// destinations stay. A transport that no worker offers any more: mail that goes on being routed
// there waits transport_retry_ms, as for a worker that is late.
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
  // Attempts that were open when their worker was lost (delivery_in_doubt_total).
  uint64_t in_doubt = 0;
  // Outcomes that found their message gone.
  uint64_t late = 0;
  // Results for deliveries that are not running.
  uint64_t stray = 0;
  uint64_t expired_messages = 0;
  uint64_t dead_destinations = 0;
  uint64_t bodies_let_go = 0;
  // Jobs that went before another.
  uint64_t preemptions = 0;
  // (message, destination) that went back to the queue without an attempt.
  uint64_t put_off = 0;
};

// What is in memory now. Counted on the spot, in O(messages + destinations).
struct Sizes {
  size_t messages = 0;
  size_t jobs = 0;
  // That have no outcome yet.
  size_t recipients = 0;
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
  // One line for each job, in the order of choice: "smtp Q1 read=40 selected=1 unread=0 waiting=39
  // slots=-4 level=0 before=-". `waiting`: deliveries that its targets are now; read - selected.
  std::string DescribeJobs() const;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace postfleet::scheduler
