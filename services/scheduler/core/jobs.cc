// Jobs and peers, their order, and which job may go before another: POSTFIX SCHEDULER_README.
#include <algorithm>
#include <optional>

#include "services/scheduler/core/state.h"
#include "services/scheduler/core/verp.h"

namespace postfleet::scheduler {
namespace {

// A search for a candidate looks at so many jobs right behind the current one, and at so many of
// the rest, where it goes on the next time: a pick costs the same however much waits.
constexpr size_t kCandidatesMax = 250;

int64_t DeliveriesOf(uint64_t recipients, const Job& job) {
  const int limit_set = job.transport->limits.destination_recipient_limit;
  const auto limit = IsVerp(job.message->envelope) ? 1 : static_cast<uint64_t>(limit_set);
  if (limit == 0) return recipients > 0 ? 1 : 0;
  return static_cast<int64_t>((recipients + limit - 1) / limit);
}

// One of its destinations could start a delivery.
bool IsSelectable(const Job& job) {
  return std::any_of(job.destinations.begin(), job.destinations.end(),
                     [](const Destination* one) { return one->ready.destination != nullptr; });
}

}  // namespace

// Nobody knows where they go: each may be a delivery of its own.
int64_t Job::Unread() const { return message->left; }

int64_t State::Deliveries(const Peer& peer) const {
  return peer.notice ? 1 : DeliveriesOf(peer.waiting(), *peer.job);
}

Job* State::JobOf(Message* message, Transport* transport) {
  for (Job* job : message->jobs) {
    if (job->transport == transport) return job;
  }
  auto made = std::make_unique<Job>();
  Job* job = made.get();
  job->message = message;
  job->transport = transport;
  job->rank.serial = message->serial;
  message->jobs.push_back(job);
  transport->jobs.emplace(job->rank, std::move(made));
  return job;
}

Peer* State::PeerOf(Message* message, Destination* destination) {
  Job* job = JobOf(message, destination->transport);
  auto [at, made] = destination->peers.try_emplace(job->rank);
  if (made) {
    at->second.job = job;
    at->second.index = job->destinations.size();
    at->second.turn = ++destination->transport->turns;
    job->destinations.push_back(destination);
  }
  destination->transport->cache = {};
  return &at->second;
}

void State::ErasePeer(Destination* destination, absl::btree_map<Rank, Peer>::iterator at) {
  const Peer peer = std::move(at->second);
  destination->peers.erase(at);
  Detach(peer);
}

// The peer is out of its destination already. Its job may be gone afterwards.
void State::Detach(const Peer& peer) {
  Job* job = peer.job;
  Destination* moved = job->destinations.back();
  job->destinations[peer.index] = moved;
  job->destinations.pop_back();
  if (peer.index < job->destinations.size()) {
    moved->peers.find(job->rank)->second.index = peer.index;
  }
  EndIfEmpty(job);
}

bool State::EndIfEmpty(Job* job) {
  const Message& message = *job->message;
  // It keeps its slots while more of the message is to come.
  if (!job->destinations.empty() || message.left > 0 || message.resolving > 0) return false;
  LeaveStack(job);
  std::erase(job->message->jobs, job);
  Transport* transport = job->transport;
  transport->cache = {};
  transport->jobs.erase(job->rank);
  return true;
}

void State::EndEmptyJobs(Message* message) {
  if (message->jobs.empty() || message->left > 0 || message->resolving > 0) return;
  for (Job* job : std::vector<Job*>(message->jobs)) {
    Transport* transport = job->transport;
    if (EndIfEmpty(job)) ForgetIfIdle(transport);
  }
}

// What it did not use of its slots, or used above what was expected, goes to the job that it went
// before; not to one that only adopted it, or the bound on how much later a big message can come
// would be lost.
void State::LeaveStack(Job* job) {
  Job* parent = job->parent;
  if (parent != nullptr) {
    if (job->level == parent->level + 1) {
      parent->slots_available -= job->slots_used * job->transport->limits.slot_cost;
    }
    Job* moved = parent->children.back();
    parent->children[job->child_index] = moved;
    moved->child_index = job->child_index;
    parent->children.pop_back();
  }
  for (Job* child : job->children) {
    child->parent = parent;
    if (parent == nullptr) continue;
    child->child_index = parent->children.size();
    parent->children.push_back(child);
  }
  job->children.clear();
  job->parent = nullptr;
  job->level = 0;
}

// Before a pick: a small job that the current one has earned slots for goes in front of it.
void State::Preempt(Transport* transport) {
  const TransportLimits& limits = transport->limits;
  if (limits.slot_cost < 2) return;
  Job* current = transport->ready.begin()->destination->peers.begin()->second.job;
  if (current->slots_available <= 0) return;
  if (current->Total() < int64_t{limits.slots_min} * limits.slot_cost) return;
  Job* job = Candidate(current);
  if (job == nullptr) return;
  const int64_t needed = job->Needed();
  const int64_t slots = current->slots_available / limits.slot_cost + limits.slot_loan;
  if (slots * 100 < needed * (100 - limits.slot_discount_percent)) return;

  const auto place = transport->jobs.find(current->rank);
  uint64_t below = 0;
  if (place != transport->jobs.begin()) {
    const Rank& before = std::prev(place)->first;
    if (before.serial == current->rank.serial) below = before.fraction;
  }
  const uint64_t fraction = below + (current->rank.fraction - below) / 2;
  if (fraction == below) return;  // 63 jobs in front of one: it waits for these

  if (job->level > 0) LeaveStack(job);
  Move(job, {.serial = current->rank.serial, .fraction = fraction});
  job->parent = current;
  job->child_index = current->children.size();
  current->children.push_back(job);
  job->level = current->level + 1;
  current->slots_available -= needed * limits.slot_cost;
  job->slots_used = -needed;
  transport->cache = {};
  ++counters.preemptions;
}

// Looks at `count` jobs from `at` on, as long as a better one may come.
State::JobAt State::LookForCandidate(Transport* transport, JobAt at, size_t count, int64_t slots,
                                     double* best) {
  for (size_t i = 0; i < count && at != transport->jobs.end(); ++i, ++at) {
    Job* job = at->second.get();
    if (!job->children.empty()) continue;
    const int64_t needed = job->Needed();
    const auto delay_s = static_cast<double>((steady_ms - job->message->since_ms) / 1000 + 1);
    if (needed > 0 && needed <= slots) {
      const double score = delay_s / static_cast<double>(job->Total());
      if (score > *best && IsSelectable(*job)) {
        *best = score;
        transport->cache.candidate = job;
      }
    }
    // Those on a stack are not in the order of age.
    if (delay_s <= *best && job->level == 0) return transport->jobs.end();
  }
  return at;
}

// Of the jobs behind `current` the one that waited longest for how big it is, if the slots that
// `current` can still earn suffice for it.
Job* State::Candidate(Job* current) {
  Transport* transport = current->transport;
  CandidateCache& cache = transport->cache;
  const int64_t second = steady_ms / 1000;
  if (cache.current == current) {
    // Time changes which one is the best, not whether there is one.
    if (cache.candidate == nullptr && cache.looked >= transport->jobs.size()) return nullptr;
    if (cache.candidate != nullptr && cache.second == second && IsSelectable(*cache.candidate)) {
      return cache.candidate;
    }
  }
  const size_t looked = cache.current == current && cache.candidate == nullptr ? cache.looked : 0;
  cache = {.current = current, .second = second, .looked = looked};
  const int64_t slots =
      (current->read - current->selected + current->slots_available) / transport->limits.slot_cost;
  if (slots <= 0) return nullptr;
  double best = 0;
  auto at = std::next(transport->jobs.find(current->rank));
  at = LookForCandidate(transport, at, kCandidatesMax, slots, &best);
  if (at != transport->jobs.end() && at->first < transport->search_from) {
    at = transport->jobs.lower_bound(transport->search_from);
  }
  at = LookForCandidate(transport, at, kCandidatesMax, slots, &best);
  cache.looked += kCandidatesMax;
  transport->search_from =
      at == transport->jobs.end() ? Rank{.serial = 0, .fraction = 0} : at->first;
  return cache.candidate;
}

// Costs O(destinations of the job), which its deliveries pay for.
void State::Move(Job* job, Rank rank) {
  Transport* transport = job->transport;
  const auto at = transport->jobs.find(job->rank);
  std::unique_ptr<Job> owned = std::move(at->second);
  transport->jobs.erase(at);
  for (Destination* destination : job->destinations) {
    const auto peer_at = destination->peers.find(job->rank);
    Peer peer = std::move(peer_at->second);
    destination->peers.erase(peer_at);
    destination->peers.emplace(rank, std::move(peer));
  }
  job->rank = rank;
  transport->jobs.emplace(rank, std::move(owned));
  for (Destination* destination : job->destinations) UpdateReady(destination);
}

}  // namespace postfleet::scheduler
