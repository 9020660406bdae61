// What the scheduler is told, and what it owes. Values only: protobuf types are the contracts' own
// (proto/postfleet).
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "proto/postfleet/lookup/v1/lookup.pb.h"
#include "proto/postfleet/mail/v1/mail.pb.h"
#include "proto/postfleet/queue/v1/queue.pb.h"
#include "proto/postfleet/scheduler/v1/scheduler.pb.h"
#include "services/scheduler/core/config.h"
#include "services/scheduler/core/log_line.h"

namespace postfleet::scheduler {

// Contents that travel with a message (payload slices). The core only keeps and passes on the
// handle; the type is defined by whoever owns the streams.
struct Body;
using BodyPtr = std::shared_ptr<const Body>;

// ---- Events ----
//
// Events of an earlier session of the partition (answers of its Schedule stream) must not be passed
// on after Opened.

// The partition was opened: a new session. What waited in an earlier one is forgotten, as by
// QueueLost; what was said and is not known to be durable is committed again
// (MessageOutcome.again); then the queue is granted the whole window as credit. All of that goes
// out in one frame, so that nothing is given out whose outcome is known.
struct Opened {
  uint64_t epoch = 0;
};

// The Schedule stream ended: nothing can be committed. What waits is forgotten, since the queue
// gives it out again. Running deliveries go on, with their slots and their places in the window; an
// outcome that comes meanwhile is said when the next session opens. When the queue gives a message
// out again of which a delivery runs, the delivery goes on as one of that message: nobody is tried
// twice. Notices are told to stop; whoever is given the message next makes them.
struct QueueLost {};

// A message, or a part of its recipients. `body` is set when activation.payload_bytes > 0. For a
// message that is in memory already, recipients that are not in memory yet are added to it.
struct Activated {
  queue::v1::Activation activation;
  BodyPtr body;
};

// Answers to queries, in any order and in any grouping. Unknown ids are ignored.
struct Resolved {
  lookup::v1::ResolveResponse response;
};

// These queries will not be answered; no ids: none that is outstanding will be. Their recipients
// are deferred with 4.3.0 and `text`.
struct LookupFailed {
  std::vector<uint64_t> query_ids;
  std::string text;
};

// `notice_body`, `copy_body`: the payloads of result.notice and result.copy, if any. An unknown id
// is counted as stray and ignored.
struct DeliveryDone {
  scheduler::v1::DeliveryResult result;
  BodyPtr notice_body;
  BodyPtr copy_body;
};

// `worker` is chosen by the caller and never used again after WorkerLeft. A worker joins once.
struct WorkerJoined {
  uint64_t worker = 0;
  scheduler::v1::Hello hello;
};

// It takes no more deliveries; those that it has it will answer.
struct WorkerDraining {
  uint64_t worker = 0;
};

// What it offers from now on, instead of what it offered before; deliveries that run go on.
struct WorkerOffers {
  uint64_t worker = 0;
  scheduler::v1::Offer offer;
};

// Its running deliveries are in doubt: logged, counted, and their recipients go back to the place
// where they waited.
struct WorkerLeft {
  uint64_t worker = 0;
};

// One for each Commit, each PutOff and each Notify, in the order of a message's own.
struct Committed {
  queue::v1::Committed committed;
};

// An administrator removed the message.
struct Deleted {
  std::string queue_id;
};

// The message is to be let go (held, or wanted for a requeue): nothing more of it starts, what
// waits is dropped without an outcome, what runs is cancelled. What attempts did is committed as
// usual; then it is released. A notice that is owed stays owed.
struct Recalled {
  std::string queue_id;
};

// An administrator's flush: dead destinations and transports are tried again.
struct Flushed {};

// New parameters. What runs goes on; windows keep what they have learned, within the new limits;
// where the rest goes is asked again. More credit is granted at once, less from the next Opened on.
struct Configured {
  Config config;
};

// The resolver's configuration has changed: where mail goes of which no delivery runs is asked
// again. Answers to earlier queries are ignored.
struct RoutesChanged {};

// The time set by Actions::timer_at_ms has come. It uses the timer up: what is still to come is
// told anew. Early and late ones do no harm.
struct Timer {};

using Event = std::variant<Opened, QueueLost, Activated, Resolved, LookupFailed, DeliveryDone,
                           WorkerJoined, WorkerDraining, WorkerOffers, WorkerLeft, Committed,
                           Deleted, Recalled, Flushed, Configured, RoutesChanged, Timer>;

// ---- Actions ----

struct StartDelivery {
  uint64_t worker = 0;
  scheduler::v1::Delivery delivery;
  // Set when delivery.payload_bytes > 0.
  BodyPtr body;
};

struct CancelDelivery {
  uint64_t worker = 0;
  uint64_t delivery = 0;
};

struct SendNotify {
  queue::v1::Notify notify;
  scheduler::v1::Delivery::NoticeKind kind = scheduler::v1::Delivery::NOTICE_KIND_FAILURE;
  // The payload of notify.notice; null when it has none.
  BodyPtr body;
  // That of notify.copy; it follows.
  BodyPtr copy_body;
};

inline constexpr int64_t kNoTimer = std::numeric_limits<int64_t>::max();

// What is owed after a Step, in the order of the fields: a message's outcomes are sent before its
// notify, both before its release, and all on one ordered stream. Step appends; the caller empties
// it.
struct Actions {
  std::vector<LogLine> log;
  // Grant to the queue: ScheduleRequest.credit_messages. Releasing gives credit back by itself.
  uint32_t credit_messages = 0;
  std::vector<lookup::v1::Query> resolve;
  std::vector<queue::v1::MessageOutcome> commit;
  // As `release`, but what remains is not wanted back before a time.
  std::vector<queue::v1::Rest> rest;
  // Recipients that go back without an attempt; each comes back as Committed.
  std::vector<queue::v1::PutOff> put_off;
  std::vector<SendNotify> notify;
  // Queue ids of messages of which more recipients are wanted: once, until Activated, Deleted or
  // Recalled comes for that message.
  std::vector<std::string> more;
  // Queue ids of messages that have left memory.
  std::vector<std::string> release;
  std::vector<CancelDelivery> cancel;
  std::vector<StartDelivery> deliver;
  // The time of the only timer, when it changed; kNoTimer: none. A new one replaces the old one.
  std::optional<int64_t> timer_at_ms;

  // Keeps the memory of what was not much: most steps owe a few actions.
  void Clear() {
    credit_messages = 0;
    timer_at_ms.reset();
    const auto empty = [](auto*... lists) { (Empty(lists), ...); };
    empty(&log, &resolve, &commit, &put_off, &notify, &more, &release, &rest, &cancel, &deliver);
  }

 private:
  static constexpr size_t kKept = 64;
  template <typename T>
  static void Empty(std::vector<T>* list) {
    if (list->capacity() <= kKept) return list->clear();
    *list = std::vector<T>();
  }
};

}  // namespace postfleet::scheduler
