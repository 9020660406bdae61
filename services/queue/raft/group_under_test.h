// A raft group in one thread, for tests: Sequencers, a disk of each, and a network that a test
// cuts.
//
// A replica does with a Ready what sequencer.h asks, in its order. Its disk has what was synced;
// Crash takes a replica back to that.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "services/queue/raft/sequencer.h"

namespace postfleet::queue::raft {

struct StoredEntry {
  Entry entry;
  std::string conf_change;  // what entry.conf_change points to

  explicit StoredEntry(const Entry& e) : entry(e), conf_change(e.conf_change) {}
};

class GroupUnderTest;

class ReplicaUnderTest {
 public:
  ReplicaUnderTest(GroupUnderTest* group, Options options);

  uint64_t id() const { return options_.id; }
  Sequencer& sequencer() { return *sequencer_; }
  // Starts anew from what the disk has. `remembers_applied`: as with a state that was flushed.
  void Crash(bool remembers_applied = true);
  // Does what is owed, once; false when nothing was.
  bool Turn();

  Role role() { return sequencer_->standing().soft_state.role; }
  uint64_t last_index() const { return snapshot_.index + entries_.size(); }

  // Sequence numbers of the commands that were applied, in order; a snapshot brings those before
  // it.
  std::vector<uint64_t> applied;
  std::vector<ReadState> reads;
  std::vector<std::string> remarks;
  std::vector<EntryKind> applied_kinds;
  bool snapshot_wanted = false;
  int replaced_entries = 0;
  uint64_t before_sync_messages = 0;
  ConfState members() const { return members_; }
  uint64_t applied_index() const { return applied_index_; }
  uint64_t TermOf(uint64_t index) const;
  // Takes a checkpoint of what is applied, forgets the log before it, and offers it.
  void Checkpoint();
  const std::map<uint64_t, std::vector<uint64_t>>& checkpoints() const { return checkpoints_; }

 private:
  void Install(const Snapshot& snapshot);
  void Append(absl::Span<const Entry> entries);
  void Send(const Ready& ready, bool before_sync);
  void Apply(const Entry& entry);

  GroupUnderTest* group_;
  Options options_;
  std::unique_ptr<Sequencer> sequencer_;
  // The disk.
  HardState hard_state_;
  Snapshot snapshot_;
  std::deque<StoredEntry> entries_;
  // The state machine, and checkpoints of it by index.
  ConfState members_;
  uint64_t applied_index_ = 0;
  std::map<uint64_t, std::vector<uint64_t>> checkpoints_;
};

class GroupUnderTest {
 public:
  // Replicas 1 to `voters`, founded together.
  explicit GroupUnderTest(int voters, Options options = {});

  ReplicaUnderTest& replica(uint64_t id) { return *replicas_.at(id); }
  // One that is to join: an empty disk.
  ReplicaUnderTest& AddJoining(uint64_t id);

  // Ticks all by one, and lets everything settle.
  void Tick();
  // Carries messages and does what is owed until nothing is left.
  void Settle();
  // Ticks until exactly one connected replica leads, at most 200 times; 0 when none does.
  uint64_t Elect();
  // Nothing goes to or comes from it any more, until Heal.
  void Isolate(uint64_t id) { isolated_[id] = true; }
  void Heal() { isolated_.clear(); }

  // Proposes a command with this sequence number, of so many bytes.
  absl::Status Propose(uint64_t leader, uint64_t sequence, uint32_t bytes = 10);

  // Proposes commands `first` to `last`, and settles after each. Aborts when one is refused.
  void Commit(uint64_t leader, uint64_t first, uint64_t last);

  // Looks at each message that is sent; false drops it.
  std::function<bool(const Message&)> filter;
  // One line for each message and each applied entry: what a run was.
  std::string transcript;

 private:
  friend class ReplicaUnderTest;
  struct InTransit {
    uint64_t from;
    uint64_t to;
    bool snapshot;
    std::string bytes;
  };
  void Deliver(const InTransit& message);

  Options options_;
  std::map<uint64_t, std::unique_ptr<ReplicaUnderTest>> replicas_;
  std::map<uint64_t, bool> isolated_;
  std::deque<InTransit> network_;
};

// 1 to `last`: what is applied when all of them are.
std::vector<uint64_t> NumbersTo(uint64_t last);

// Another of three.
inline uint64_t OtherThan(uint64_t id) { return id % 3 + 1; }

}  // namespace postfleet::queue::raft
