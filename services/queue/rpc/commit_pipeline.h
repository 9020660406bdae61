// From a proposal to its effects: log, sync, apply.
//
//   Propose (any thread) -> log thread: everything that waits, one write, one sync -> state loop:
//   apply in order, `done`
//
// While the state loop applies one group, the log thread writes and syncs the next.
//
// Promises: `done` is called once for each accepted proposal, on the state loop, in the order of
// the log. With effects: the command is durable and applied. With ResourceExhausted: the disk is
// full, nothing of it is durable. With any other error it is unknown whether it is durable;
// `on_fatal` was called and the process must stop: nothing is applied any more.
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
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/rpc/payload.h"
#include "libs/runtime/event_loop.h"
#include "services/queue/log/log.h"
#include "services/queue/state/state_machine.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {

struct Proposal {
  // now_ms is set when it is written.
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
  // Any thread, once. What it says is why the process must end.
  std::function<void(const absl::Status&)> on_fatal;
  // On the log thread: seconds of one sync, and messages that it made durable (new ones; there are
  // syncs of outcomes alone).
  std::function<void(double seconds, size_t messages)> on_synced;
};

class CommitPipeline {
 public:
  // Proposed and not yet applied; past it Propose refuses.
  static constexpr size_t kPendingBytesMax = 64u << 20;
  static constexpr size_t kGroupBytesMax = 8u << 20;
  // Log written since the store was last told to flush; past it it is told again. Bounds replay.
  static constexpr uint64_t kReplayBytesMax = 256u << 20;

  // Everything passed in outlives the pipeline; the log and the state machine are used by no one
  // else from Start on.
  CommitPipeline(Log* log, Store* store, StateMachine* machine, runtime::EventLoop* state_loop,
                 const Clock* clock, CommitObserver observer);
  ~CommitPipeline();  // Stops

  // Brings the state machine up to the end of the log. Before Start. Damaged records are DataLoss;
  // with `lost` they are left out, and told there.
  static absl::Status Replay(Log* log, StateMachine* machine,
                             std::vector<LostRecords>* lost = nullptr);

  void Start();
  // Refuses new proposals from now on and waits for no room on a full disk any more; what waits is
  // still written.
  void BeginStop();
  // Begins to stop, if that was not done, and ends the log thread. The state loop still has to run
  // what was posted.
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
    bool must = false;
    rpc::Payload record;  // the encoded command, payload slices at its end
    size_t bytes = 0;
    uint64_t index = 0;
  };
  using Group = std::vector<Item>;

  void RunLog();
  Group TakeGroup();
  absl::Status Write(Group* group);
  absl::Status WriteOnceThereIsRoom(Group* group);
  void ApplyGroup(Group group);
  void FailGroup(Group group, const absl::Status& status);
  void Finish(Item* item, const absl::StatusOr<const Effects*>& result);
  void CutLog();

  Log* const log_;
  Store* const store_;
  StateMachine* const machine_;
  runtime::EventLoop* const state_loop_;
  const Clock* const clock_;
  const CommitObserver observer_;
  const std::shared_ptr<runtime::EventLoop> maintenance_ =
      std::make_shared<runtime::EventLoop>("queue-cut");
  std::thread log_thread_;

  // Log thread only, reused from group to group.
  std::vector<std::string_view> parts_;
  std::vector<Entry> entries_;

  std::mutex mutex_;  // protects all below
  std::condition_variable wake_;
  Group waiting_;
  size_t pending_bytes_ = 0;
  bool stopping_ = false;
  std::condition_variable room_;  // only ever times out, or wakes to stop

  // State loop only: the first error of apply ended it.
  absl::Status apply_failure_;
  uint64_t unflushed_bytes_ = 0;
  std::chrono::steady_clock::duration administer_time_{};
};

}  // namespace postfleet::queue
