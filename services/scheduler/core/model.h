// What the scheduler keeps in memory. Internal to core: others include step.h.
//
//   Message ──< Target (a recipient)            owned by State::messages
//   Transport ──< Job                           owned by State::transports; message x transport
//   Transport ──< Destination ──< Peer          owned by State::transports; a Peer holds the
//   targets
//                                               of one job that wait at one destination
//   Worker ──< Slots                            owned by State::workers
//   Attempt (a running delivery)                owned by State::attempts
//
// A Destination lives while mail waits or runs there, or while it is dead or its rate delay runs; a
// Transport while it has destinations, jobs or slots, is throttled or its rate delay runs; a Peer
// while it has something to start; a Job while it has peers, or recipients of its message are still
// to come.
#pragma once

#include <compare>
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "services/scheduler/core/config.h"
#include "services/scheduler/core/events.h"
#include "services/scheduler/core/pace.h"
#include "services/scheduler/core/window.h"

namespace postfleet::scheduler {

struct Destination;
struct Job;
struct Transport;

// Of Message::in_notice.
using NoticeKind = scheduler::v1::Delivery::NoticeKind;

struct Target {
  enum class Phase : uint8_t { kResolving, kResolved, kWaiting, kRunning, kDone };
  mail::v1::Recipient recipient;
  Phase phase = Phase::kResolving;
  // The query about it; in kResolving only.
  uint64_t query = 0;
  // Where it waits; valid in kWaiting only.
  Destination* destination = nullptr;
};

struct Answered {
  uint32_t target = 0;
  lookup::v1::Answer answer;
};

struct Message {
  // Order of activation: age.
  uint64_t serial = 0;
  std::string queue_id;
  mail::v1::Envelope envelope;
  uint64_t content_bytes = 0;
  uint32_t chunks = 0;
  int64_t create_ms = 0;
  int64_t active_ms = 0;
  // The same moment, for how long it waits here: clocks are set back.
  int64_t since_ms = 0;

  // Held while something waits that may want it and the bound allows.
  BodyPtr body;
  uint32_t body_bytes = 0;
  uint32_t body_crc32c = 0;

  std::vector<Target> targets;
  // Answers that wait for the others of the message, so that recipients of one destination share
  // deliveries.
  std::vector<Answered> answered;
  std::vector<queue::v1::BouncedRecipient> bounced;
  // Sent, with a notice owed; of a probe all.
  std::vector<queue::v1::BouncedRecipient> succeeded;
  // Deferred in this round, while a report will tell of it.
  std::vector<queue::v1::BouncedRecipient> reported;
  // What the notice that waits, runs or is to be made again is about.
  std::vector<queue::v1::BouncedRecipient> in_notice;
  // Until when it rests after this round, since a notice could not be made; 0: it does
  // not.
  int64_t rest_until_ms = 0;
  NoticeKind notice_kind = scheduler::v1::Delivery::NOTICE_KIND_FAILURE;
  // What was deferred, in this round or before, while a warning of delay may come of it.
  std::vector<queue::v1::BouncedRecipient> delayed;

  // One for each transport where it has something to start.
  std::vector<Job*> jobs;
  // Recipients that the queue has not given out yet, and whether they were asked for.
  uint32_t left = 0;
  bool more_asked = false;

  uint32_t resolving = 0;
  uint32_t waiting = 0;
  // What was said of it and is not known to be durable, in order; empty for what is no outcome.
  std::vector<queue::v1::MessageOutcome> said;
  // Deferred by what is not committed yet. The first ones are to be tried again at once, since a
  // flush came meanwhile, and stay until the round ends.
  std::vector<queue::v1::PutOff> deferring;
  uint32_t flush_again = 0;
  // Ids of running deliveries.
  std::vector<uint64_t> attempts;
  int attempts_lost = 0;
  uint64_t last_loss = 0;  // State::losses of the last one
  // Left by an earlier session: attempts that still run, outcomes that are not known to be durable.
  // The queue has not given it out in this one.
  bool kept = false;
  bool deleted = false;
  bool recalled = false;
  // A worker found its contents damaged: there is nothing to return.
  bool damaged = false;
  // Of its last activation (queue.proto).
  bool flushed = false;
  bool incoming = false;
  bool forced_expire = false;
  bool delay_warned = false;
  bool expiry_logged = false;
};

// The place of a job in the order of its transport: by age, but that a job which goes before
// another gets a number between that one and its predecessor.
struct Rank {
  static constexpr uint64_t kOwnPlace = uint64_t{1} << 63;

  uint64_t serial = 0;
  uint64_t fraction = kOwnPlace;
  friend auto operator<=>(const Rank&, const Rank&) = default;
};

// Message x transport: what preempts and is preempted. Counts are deliveries, in Postfix's terms
// "entries".
struct Job {
  Message* message = nullptr;
  Transport* transport = nullptr;
  Rank rank;
  // Where it has peers; Peer::index points here.
  std::vector<Destination*> destinations;

  // Made of what the queue has given out; of these, started (or deferred together with others).
  int64_t read = 0;
  int64_t selected = 0;
  // Of the cost of slots: earned by picks and not spent. Negative after a loan.
  int64_t slots_available = 0;
  // Picks since it went before another job, less those that were expected: what the other one
  // gets back, or loses, when this one ends.
  int64_t slots_used = 0;

  // The stack of preemptions. `parent` is the one that it went before, or who adopted it.
  Job* parent = nullptr;
  std::vector<Job*> children;
  size_t child_index = 0;
  int level = 0;

  // Still to be made of recipients that have not come yet.
  int64_t Unread() const;
  int64_t Total() const { return read + Unread(); }
  int64_t Needed() const { return Total() - selected; }
};

// What waits of a job at one destination.
struct Peer {
  Job* job = nullptr;
  // Its place in job->destinations.
  size_t index = 0;
  // Targets that wait are those from `next` on, in the order of delivery.
  std::vector<uint32_t> targets;
  size_t next = 0;
  // A notice to be composed; no targets.
  bool notice = false;
  // When it last had its turn among those of its job.
  uint64_t turn = 0;

  size_t waiting() const { return targets.size() - next; }
  bool empty() const { return !notice && waiting() == 0; }
};

// The first job first; of one job, the destination that waited longest for its turn.
struct ReadyKey {
  Rank rank;
  uint64_t turn = 0;
  Destination* destination = nullptr;
  friend bool operator<(const ReadyKey& a, const ReadyKey& b) {
    return std::tie(a.rank, a.turn) < std::tie(b.rank, b.turn);
  }
};

// A time, and a number that tells equal times apart.
using Deadline = std::pair<int64_t, uint64_t>;

struct Destination {
  uint64_t serial = 0;
  Transport* transport = nullptr;
  std::string name;
  std::string nexthop;
  Window window;
  int busy = 0;
  absl::btree_map<Rank, Peer> peers;
  // Recipients in `peers`, and how many of them count in State::runnable.
  uint64_t waiting = 0;
  uint64_t runnable = 0;
  // Its entry in transport->ready; destination is null when it has none.
  ReadyKey ready;

  // While dead.
  int64_t dead_until_ms = 0;
  std::string dead_status;
  std::string dead_text;

  // Until its rate delay has passed; kNoTimer: none runs.
  int64_t delayed_until_ms = kNoTimer;

  Pace pace;
  // It has so much mail that some of it may be put off: it is in State::crowded.
  bool crowded = false;
  // When the last message that was put off has its turn.
  int64_t put_off_until_ms = 0;
  int64_t put_off_logged_ms = 0;

  explicit Destination(const TransportLimits& limits) : window(limits) {}
};

// The result of the last search for a job that could go before the current one.
struct CandidateCache {
  // Null: nothing is known.
  const Job* current = nullptr;
  int64_t second = 0;
  Job* candidate = nullptr;
  // Without a candidate: how many jobs were looked at in vain.
  size_t looked = 0;
};

struct Slots {
  uint64_t worker = 0;
  Transport* transport = nullptr;
  uint32_t total = 0;
  uint32_t busy = 0;
};

struct Transport {
  enum class Phase : uint8_t {
    kServed,     // has workers, or no mail
    kAwaited,    // mail waits for a first worker until `deadline_ms`
    kThrottled,  // no worker came: mail is deferred at once until `deadline_ms`
  };
  std::string name;
  TransportLimits limits;
  Phase phase = Phase::kServed;
  int64_t deadline_ms = kNoTimer;
  absl::flat_hash_map<std::string, std::unique_ptr<Destination>> destinations;
  // In the order of choice.
  absl::btree_map<Rank, std::unique_ptr<Job>> jobs;
  CandidateCache cache;
  // Where the search for a candidate goes on, behind those that every search looks at.
  Rank search_from{.serial = 0, .fraction = 0};
  // No delivery starts before, for its rate delay, nor while one runs; kNoTimer: it has passed.
  int64_t delayed_until_ms = kNoTimer;
  // Destinations that could start a delivery now, were there a slot.
  std::set<ReadyKey> ready;
  uint64_t turns = 0;
  // Workers with a free slot, each once; they take turns.
  std::deque<Slots*> free;
  uint64_t slots = 0;
  // Workers that announced some, draining ones too.
  uint64_t announced = 0;
  int busy = 0;
};

struct Worker {
  uint64_t id = 0;
  std::vector<std::unique_ptr<Slots>> slots;
};

struct Attempt {
  uint64_t id = 0;
  Slots* slots = nullptr;
  Destination* destination = nullptr;
  // Null when nothing comes of it any more: a notice of an earlier session.
  Message* message = nullptr;
  std::vector<uint32_t> targets;
  int64_t started_ms = 0;
  bool notice = false;
  bool cancelled = false;
};

}  // namespace postfleet::scheduler
