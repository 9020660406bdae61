// From a proposal to its effects, of one shard: the node's log and its replicas (replica_node.h),
// then the state.
//
//   Propose (any thread) -> log thread: one write and one sync of everything that waits, a majority
//   has it -> state loop: apply in order, `done`
//
// While the state loop applies one group, the log thread writes and syncs the next. What others
// proposed is applied just so, without a `done`; when much of it waits, the log thread does.
//
// Promises: `done` is called once for each accepted proposal, on the state loop, in the order of
// the log. With effects: the command is durable on a majority and applied. With ResourceExhausted:
// the disk is full, nothing of it is durable. With Unavailable: this replica does not lead; nothing
// of it happened. With Aborted: the leadership was lost; it may be committed all the same, and is
// to be proposed again where somebody leads. With any other error it is unknown whether it is
// durable; `on_fatal` was called and the process must stop: nothing is applied any more.
//
// Disk full: new mail is refused, commands that free or keep what was accepted (`must`: outcomes,
// deletes) are not. They wait on the log thread until there is room again; meanwhile the scheduler
// gets nothing committed and starts no repeats.
//
// Costs: a proposal is copied nowhere; its payload slices go to pwritev and to apply as they are.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/rpc/payload.h"
#include "libs/runtime/event_loop.h"
#include "services/queue/log/log.h"
#include "services/queue/replica/node_log.h"
#include "services/queue/replica/replica_node.h"
#include "services/queue/state/state_machine.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {

struct Proposal {
  // now_ms is set when it is proposed.
  state::Command command;
  rpc::Payload payload;
  std::function<void(const absl::StatusOr<const Effects*>&)> done;
};

// What replay left out, and when it was written: between the commands before and behind it, in
// milliseconds since the epoch; 0: not known.
struct LostRecords {
  Hole hole;
  int64_t after_ms = 0;
  int64_t before_ms = 0;
};

struct CommitObserver {
  // On the state loop, after each command, before its `done`.
  std::function<void(const Effects&)> on_applied;
  // On the state loop, after each group that was applied or refused.
  std::function<void()> on_group;
  // Whether this replica leads and may serve, and who leads (0: nobody is known). On the log thread
  // as soon as it serves no more; on the state loop, behind all that was acknowledged before, when
  // it does.
  std::function<void(bool serves, uint64_t leader)> on_serving = nullptr;
  std::function<void(const std::string& members)> on_members = nullptr;
  // Any thread, once. What it says is why the process must end.
  std::function<void(const absl::Status&)> on_fatal;
};

class CommitPipeline {
 public:
  // Proposed and not yet applied; past it Propose refuses.
  static constexpr size_t kPendingBytesMax = 64u << 20;
  // Log written since the store was last told to flush; past it it is told again. Bounds replay.
  static constexpr uint64_t kReplayBytesMax = 256u << 20;
  static constexpr uint16_t kShard = 0;

  // Everything passed in outlives the pipeline; the state machine is used by no one else from the
  // node's start on.
  CommitPipeline(Store* store, StateMachine* machine, runtime::EventLoop* state_loop,
                 const Clock* clock, CommitObserver observer);
  ~CommitPipeline();  // Stops

  // Brings the state machine up to the entry `last`, in the log or before it. Before the node takes
  // the log.
  static absl::Status Replay(NodeLog* log, uint64_t last, StateMachine* machine);
  // The same, to the end of a log of which records are damaged: they are left out, and told. The
  // log begins anew behind them, with these members; the store is flushed. Only where no other
  // replica has what is lost.
  static absl::Status Repair(const Log::Options& log, const std::string& members, Store* store,
                             StateMachine* machine, std::vector<LostRecords>* lost);

  // What the node's shard tells.
  ShardObserver shard_observer();
  // Before the node starts; it is stopped before the pipeline.
  void Attach(ReplicaNode* node);
  // Of its threads; after the node's. The state loop still has to run what was posted.
  void Stop();

  // False: over the byte bound, or stopped; `done` is not called. `must` ignores the bound and is
  // never answered with ResourceExhausted (outcomes: they make room).
  [[nodiscard]] bool Propose(Proposal proposal, bool must = false);

  // How long applying the last Administer took. State loop only.
  std::chrono::steady_clock::duration last_administer_time() const { return administer_time_; }

  // Of what is proposed and not applied yet.
  size_t pending_bytes() {
    std::lock_guard lock(mutex_);
    return pending_bytes_;
  }

 private:
  struct Item {
    Proposal proposal;
    bool is_own = true;
    size_t bytes = 0;
    // Of what others proposed: the encoded command.
    rpc::Payload record;
    // How it ended.
    absl::StatusOr<uint64_t> index = 0;
  };
  using Group = std::vector<std::shared_ptr<Item>>;

  void OnCommitted(const Replica::Committed& committed);
  void OnServing(bool serves, uint64_t leader);
  void HandOver();
  void ApplyGroup(const Group& group);
  void Apply(Item& item);
  absl::StatusOr<const Effects*> ApplyCommand(Item& item);
  void Finish(Item& item, const absl::StatusOr<const Effects*>& result);
  void CutLog();
  void OfferSnapshot();

  Store* const store_;
  StateMachine* const machine_;
  runtime::EventLoop* const state_loop_;
  const Clock* const clock_;
  const CommitObserver observer_;
  ReplicaNode* node_ = nullptr;
  const std::shared_ptr<runtime::EventLoop> maintenance_ =
      std::make_shared<runtime::EventLoop>("queue-cut");

  // Log thread only: ended since the last group.
  Group ended_;

  std::mutex mutex_;  // protects all below
  size_t pending_bytes_ = 0;
  bool stopping_ = false;
  std::condition_variable applied_;

  // Of whether it serves. Held while it begins to.
  std::mutex serving_mutex_;
  uint64_t serving_changes_ = 0;

  // State loop only: the first error of apply ended it.
  absl::Status apply_failure_;
  uint64_t unflushed_bytes_ = 0;
  std::chrono::steady_clock::duration administer_time_{};
};

}  // namespace postfleet::queue
