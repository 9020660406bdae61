// What the scheduler keeps in memory. Internal to core: others include step.h.
//
//   Message ──< Target (a recipient)            owned by State::messages
//   Transport ──< Destination ──< Job           owned by State::transports; a Job holds targets of
//   one message that wait Worker ──< Slots                            owned by State::workers
//   Attempt (a running delivery)                owned by State::attempts
//
// A Destination lives while mail waits or runs there, or while it is dead; a Transport while it has
// destinations or slots, or is throttled; a Job while it has something to start.
#pragma once

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
#include "services/scheduler/core/window.h"

namespace postfleet::scheduler {

struct Destination;
struct Transport;

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

  // Held while something waits that may want it and the bound allows.
  BodyPtr body;
  uint32_t body_bytes = 0;
  uint32_t body_crc32c = 0;

  std::vector<Target> targets;
  // Answers that wait for the others of the message, so that recipients of one destination share
  // deliveries.
  std::vector<Answered> answered;
  std::vector<queue::v1::BouncedRecipient> bounced;
  // What the notice that waits, runs or is to be made again is about.
  std::vector<queue::v1::BouncedRecipient> in_notice;
  int64_t notice_retry_at_ms = kNoTimer;
  // That notice warns of delay, of which failures know nothing.
  bool notice_warns = false;
  // What was deferred in this round, while a warning of delay may come of it.
  std::vector<queue::v1::BouncedRecipient> delayed;

  uint32_t resolving = 0;
  uint32_t waiting = 0;
  uint32_t uncommitted = 0;
  // Ids of running deliveries.
  std::vector<uint64_t> attempts;
  int attempts_lost = 0;
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

struct Job {
  Message* message = nullptr;
  // Targets that wait are those from `next` on, in the order of delivery.
  std::vector<uint32_t> targets;
  size_t next = 0;
  // A notice to be composed; no targets.
  bool notice = false;
  // When the job last had its turn among those of its message.
  uint64_t turn = 0;

  bool empty() const { return !notice && next == targets.size(); }
  // Preemption will order jobs by something else than age, here.
  static uint64_t Rank(const Message& message) { return message.serial; }
};

// Oldest message first; of one message, the destination that waited longest for its turn.
struct ReadyKey {
  uint64_t rank = 0;
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
  absl::btree_map<uint64_t, Job> jobs;  // by rank
  // Recipients in `jobs`, and how many of them count in State::runnable.
  uint64_t waiting = 0;
  uint64_t runnable = 0;
  // Its entry in transport->ready; destination is null when it has none.
  ReadyKey ready;

  // While dead.
  int64_t dead_until_ms = 0;
  std::string dead_status;
  std::string dead_text;

  explicit Destination(const TransportLimits& limits) : window(limits) {}
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
  // Destinations that could start a delivery now, were there a slot.
  std::set<ReadyKey> ready;
  uint64_t turns = 0;
  // Workers with a free slot, each once; they take turns.
  std::deque<Slots*> free;
  uint64_t slots = 0;
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
  // Null once the queue was lost.
  Message* message = nullptr;
  std::vector<uint32_t> targets;
  bool notice = false;
  bool cancelled = false;
};

}  // namespace postfleet::scheduler
