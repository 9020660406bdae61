#include "services/queue/raft/group_under_test.h"

#include <cstdlib>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

namespace postfleet::queue::raft {

ReplicaUnderTest::ReplicaUnderTest(GroupUnderTest* group, Options options)
    : group_(group), options_(std::move(options)) {
  hard_state_ = options_.hard_state;
  snapshot_ = options_.snapshot;
  members_ = snapshot_.conf_state;
  applied_index_ = snapshot_.index;
  Crash();
}

void ReplicaUnderTest::Crash(bool remembers_applied) {
  if (!remembers_applied) {
    applied_index_ = snapshot_.index;
    members_ = snapshot_.conf_state;
    const auto checkpoint = checkpoints_.find(snapshot_.index);
    applied = checkpoint == checkpoints_.end() ? std::vector<uint64_t>() : checkpoint->second;
  }
  std::vector<Entry> entries;
  for (const StoredEntry& stored : entries_) {
    entries.push_back(stored.entry);
    entries.back().conf_change = stored.conf_change;
  }
  Options options = options_;
  options.hard_state = hard_state_;
  options.snapshot = snapshot_;
  options.entries = entries;
  options.applied = applied_index_;
  options.applied_conf_state = members_;
  auto started = Sequencer::Start(options);
  if (!started.ok()) std::abort();
  sequencer_ = *std::move(started);
}

bool ReplicaUnderTest::Turn() {
  if (!sequencer_->HasReady()) return false;
  const Ready ready = sequencer_->TakeReady();
  if (ready.snapshot) Install(*ready.snapshot);
  Send(ready, true);
  Append(ready.entries);
  if (ready.hard_state) hard_state_ = *ready.hard_state;
  Send(ready, false);
  for (const Entry& entry : ready.committed) Apply(entry);
  reads.insert(reads.end(), ready.read_states.begin(), ready.read_states.end());
  remarks.insert(remarks.end(), ready.remarks.begin(), ready.remarks.end());
  snapshot_wanted |= ready.snapshot_wanted;
  sequencer_->Advance();
  return true;
}

void ReplicaUnderTest::Install(const Snapshot& snapshot) {
  snapshot_ = snapshot;
  entries_.clear();
  members_ = snapshot.conf_state;
  applied_index_ = snapshot.index;
  for (const auto& [id, replica] : group_->replicas_) {
    const auto files = replica->checkpoints().find(snapshot.index);
    if (files != replica->checkpoints().end()) applied = files->second;
  }
  checkpoints_[snapshot.index] = applied;
}

void ReplicaUnderTest::Append(absl::Span<const Entry> entries) {
  for (const Entry& entry : entries) {
    if (entry.index <= snapshot_.index || entry.index > last_index() + 1) std::abort();
    while (last_index() >= entry.index) {
      entries_.pop_back();
      ++replaced_entries;
    }
    entries_.emplace_back(entry);
  }
}

void ReplicaUnderTest::Send(const Ready& ready, bool before_sync) {
  for (const Message& message : ready.messages) {
    if (message.before_sync != before_sync) continue;
    before_sync_messages += before_sync ? 1 : 0;
    absl::StrAppend(&group_->transcript, message.from, ">", message.to, " ",
                    static_cast<int>(message.type), " t", message.term, " n",
                    message.entries.size(), "\n");
    if (group_->filter && !group_->filter(message)) continue;
    group_->network_.push_back({message.from, message.to, message.type == MessageType::kSnapshot,
                                std::string(message.bytes)});
  }
}

void ReplicaUnderTest::Apply(const Entry& entry) {
  if (entry.index != applied_index_ + 1) std::abort();
  applied_index_ = entry.index;
  applied_kinds.push_back(entry.kind);
  absl::StrAppend(&group_->transcript, id(), " applies ", entry.index, "\n");
  if (entry.kind == EntryKind::kCommand) applied.push_back(entry.reference.sequence);
  if (entry.kind != EntryKind::kConfChange) return;
  const auto change = sequencer_->ParseConfChange(entry.conf_change);
  if (!change.ok()) std::abort();
  members_ = sequencer_->ApplyConfChange(*change);
}

uint64_t ReplicaUnderTest::TermOf(uint64_t index) const {
  if (index == snapshot_.index) return snapshot_.term;
  return entries_.at(index - snapshot_.index - 1).entry.term;
}

void ReplicaUnderTest::Checkpoint() {
  const Snapshot snapshot{applied_index_, TermOf(applied_index_), members_};
  checkpoints_[snapshot.index] = applied;
  sequencer_->SetSnapshot(snapshot);
  sequencer_->Compact(snapshot.index);
  entries_.erase(entries_.begin(), entries_.begin() + (snapshot.index - snapshot_.index));
  snapshot_ = snapshot;
}

GroupUnderTest::GroupUnderTest(int voters, Options options) : options_(std::move(options)) {
  Snapshot founding{1, 1, {}};
  for (int id = 1; id <= voters; ++id) founding.conf_state.voters.push_back(id);
  for (const uint64_t id : founding.conf_state.voters) {
    Options own = options_;
    own.id = id;
    own.snapshot = founding;
    own.hard_state = {1, 0, 1};
    own.applied = 1;
    replicas_[id] = std::make_unique<ReplicaUnderTest>(this, own);
  }
}

ReplicaUnderTest& GroupUnderTest::AddJoining(uint64_t id) {
  Options own = options_;
  own.id = id;
  replicas_[id] = std::make_unique<ReplicaUnderTest>(this, own);
  return *replicas_[id];
}

void GroupUnderTest::Tick() {
  for (auto& [id, replica] : replicas_) replica->sequencer().Tick();
  Settle();
}

void GroupUnderTest::Settle() {
  constexpr int kTurnsMax = 10000;
  for (int turn = 0; turn < kTurnsMax; ++turn) {
    bool moved = false;
    for (auto& [id, replica] : replicas_) moved |= replica->Turn();
    moved |= !network_.empty();
    for (std::deque<InTransit> sent = std::exchange(network_, {}); !sent.empty();
         sent.pop_front()) {
      Deliver(sent.front());
    }
    if (!moved) return;
  }
  std::abort();  // it never settles
}

void GroupUnderTest::Deliver(const InTransit& message) {
  const auto to = replicas_.find(message.to);
  const bool cut =
      to == replicas_.end() || isolated_.contains(message.from) || isolated_.contains(message.to);
  // What is refused is lost: raft sends again.
  if (!cut) to->second->sequencer().Step(message.from, message.bytes).IgnoreError();
  if (message.snapshot) replica(message.from).sequencer().ReportSnapshot(message.to, !cut);
}

uint64_t GroupUnderTest::Elect() {
  constexpr int kTicksMax = 200;
  for (int tick = 0; tick < kTicksMax; ++tick) {
    uint64_t leader = 0;
    int leaders = 0;
    for (auto& [id, replica] : replicas_) {
      if (isolated_.contains(id) || replica->role() != Role::kLeader) continue;
      leader = id;
      ++leaders;
    }
    if (leaders == 1) return leader;
    Tick();
  }
  return 0;
}

absl::Status GroupUnderTest::Propose(uint64_t leader, uint64_t sequence, uint32_t bytes) {
  return replica(leader).sequencer().Propose({.origin = 7, .sequence = sequence, .bytes = bytes});
}

void GroupUnderTest::Commit(uint64_t leader, uint64_t first, uint64_t last) {
  for (uint64_t sequence = first; sequence <= last; ++sequence) {
    if (!Propose(leader, sequence).ok()) std::abort();
    Settle();
  }
}

std::vector<uint64_t> NumbersTo(uint64_t last) {
  std::vector<uint64_t> numbers(last);
  std::iota(numbers.begin(), numbers.end(), 1);
  return numbers;
}

}  // namespace postfleet::queue::raft
