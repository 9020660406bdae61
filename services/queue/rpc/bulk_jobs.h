// AdministerAll: one action on all messages of some queues.
//
// What is one command is proposed at once: deleting everything (Purge), a flush of all that is
// deferred. What is in delivery is known here only, so an action on `active` without incoming and
// deferred is done to the ids that are active now, and is not durable. All else is a durable job
// (StartBulk): its steps are Administer commands that carry the job's cursor, so that a restart
// goes on where it was, with or without somebody who watches. Jobs run one after another.
//
//   a step: scan the next ids (thread queue-bulk) -> leave out active ones that were not asked for
//           -> of a requeue: withhold them until no attempt of them runs, or without those whose
//           attempt does not end (AdministerCall::kRequeueWaitMax) -> propose -> applied: log
//           lines, progress, the next step
//
// One step is in flight. How many ids it has follows from how long the last one held the state loop
// up (kStepMillis): mail goes on between the steps. A restart loses nothing but who watches: an
// attempt of a withheld message has ended with its holder.
//
// Log lines are Postfix's, as postsuper's: `QUEUEID: removed`. A delete of everything has none.
//
// Disk space: after much was deleted the store is compacted in the background; the last progress
// waits for that, at most kFreedWaitMax, to tell what the disk got back.
//
// Threads: the state loop, but for Stop.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/runtime/event_loop.h"
#include "services/queue/dispatch/dispatcher.h"
#include "services/queue/rpc/commit_pipeline.h"
#include "services/queue/rpc/disk_space.h"
#include "services/queue/rpc/progress_stream.h"
#include "services/queue/rpc/withholding.h"
#include "services/queue/state/reader.h"

namespace postfleet::queue {

// The queues of an AdministerAll. In delivery is what the dispatcher says of messages that are
// incoming or deferred.
struct WantedQueues {
  bool incoming = false;
  bool active = false;
  bool deferred = false;
  bool hold = false;
  bool corrupt = false;

  // With the action's default when none is named.
  static WantedQueues Of(const v1::AdministerAllRequest& request);
  static WantedQueues Of(const google::protobuf::RepeatedField<int>& queues);
  // Those that rows are in: without active.
  std::vector<v1::QueueName> Durable() const;
  // Whether it matters who is active: not when all three of a kind are asked for.
  bool SplitsActive() const {
    return (incoming || active || deferred) && !(incoming && active && deferred);
  }
};

class BulkJobs {
 public:
  static constexpr std::chrono::milliseconds kStepMillis{12};
  static constexpr size_t kStepIdsMin = 100;
  static constexpr size_t kStepIdsFirst = 500;
  // Of a requeue, whose messages wait for one another's attempts.
  static constexpr size_t kRequeueIdsMax = 1'000;
  // A step ends with the message that passes so many recipients.
  static constexpr size_t kStepRecipientsMax = 5'000;
  // Fewer deleted ones leave it to the store when their space comes back.
  static constexpr uint64_t kReclaimMessagesMin = 1'000;
  static constexpr std::chrono::seconds kFreedWaitMax{20};
  // After a step that was not taken down.
  static constexpr std::chrono::seconds kRetryInterval{1};
  // Of one progress; more are in the log only.
  static constexpr int kToldIdsMax = 20'000;

  using Watcher = std::shared_ptr<ProgressStream<v1::AdministerAllProgress>>;
  static void MergeProgress(v1::AdministerAllProgress* waiting, v1::AdministerAllProgress later);

  // What it works on; all outlives this. The state loop's are the machine, the dispatcher and the
  // withholding.
  struct World {
    const Reader* reader;
    const Store* store;
    const StateMachine* machine;
    Dispatcher* dispatcher;
    Withholding* withholding;
    DiskSpace* disk_space;
    runtime::EventLoop* state_loop;
    const Clock* clock;
  };
  explicit BulkJobs(const World& world);
  ~BulkJobs();  // Stops

  // Before everything else.
  void Attach(CommitPipeline* pipeline) { pipeline_ = pipeline; }
  // Goes on with the jobs that are there: at the start, and whenever this replica begins to serve.
  void Resume();
  // Ends all watching, begins no more steps until Resume.
  void Pause();

  void Begin(const v1::AdministerAllRequest& request, Watcher watcher);

  // In the order in which they run.
  v1::ListJobsResponse Jobs() const;
  // What it has done stays done; a step that is on its way may still be. Who watches it is told.
  void StopJob(uint64_t id, std::function<void(absl::StatusOr<bool> stopped)> done);

  void Close() { Pause(); }
  // Any thread; waits for the scanning thread.
  void Stop();

 private:
  // What one AdministerAll asked for, until it is a job or done.
  struct Wish {
    v1::Action action;
    WantedQueues queues;
    Watcher watcher;
    uint64_t changed = 0;
    uint64_t total = 0;
    uint64_t used_bytes_before = 0;
  };
  // The job that runs.
  struct Running {
    uint64_t id = 0;
    v1::Action action = v1::ACTION_UNSPECIFIED;
    WantedQueues queues;
    uint64_t changed = 0;
    uint64_t total = 0;
    uint64_t messages_before = 0;
    std::optional<uint64_t> used_bytes_before;
    // Its queues' index is damaged: all messages are looked at.
    bool by_row = false;
    // What lies behind the cursor cannot be read.
    bool cut_short = false;
  };
  // Who watches a job, and what was done for that call before the job began.
  struct Watching {
    Watcher watcher;
    uint64_t changed_before = 0;
  };
  using Applied = std::function<void(const Effects&)>;

  uint64_t Count(const WantedQueues& queues) const;
  void CountOnly(std::shared_ptr<Wish> wish);
  void FlushAll(std::shared_ptr<Wish> wish);
  void Purge(std::shared_ptr<Wish> wish);
  void DoActive(std::shared_ptr<Wish> wish, std::vector<std::string> queue_ids);
  void Start(std::shared_ptr<Wish> wish);
  // `refused`, if any, is called where `applied` never is.
  void Propose(state::Command command, const Watcher& watcher, Applied applied,
               std::function<void()> refused = nullptr);

  void Next();
  // Nobody stopped the job that runs.
  bool IsCurrent() const;
  void Adopt(const state::Bulk& job);
  void OnPage(absl::StatusOr<IdPage> page);
  // Of those that were active none runs any more, but for `out`.
  void OnWithheld(std::vector<std::string> queue_ids, const std::vector<std::string>& active,
                  const Withholding::StillOut& out, const IdPage& page);
  // `withheld` until it is applied.
  void Step(std::vector<std::string> queue_ids, std::vector<std::string> withheld,
            const IdPage& page);
  void OnStepped(const Effects& effects, std::chrono::steady_clock::duration took);
  void EndJob();
  void FailJob(const std::string& reason);
  void OnStopped(uint64_t id);
  void EndWatching(uint64_t id, const grpc::Status& status);

  void Log(const Effects& effects) const;
  static v1::AdministerAllProgress ProgressOf(const Effects& effects, uint64_t changed,
                                              uint64_t total);
  // The last progress, once it is known what the disk got back.
  void Finish(uint64_t changed, std::vector<Watching> watchers, uint64_t deleted_messages,
              uint64_t messages_before, uint64_t used_bytes_before);

  const World world_;
  CommitPipeline* pipeline_ = nullptr;
  runtime::EventLoop scan_loop_{"queue-bulk"};
  runtime::Timer retry_timer_;
  bool closed_ = false;
  // Counts Resumes: what a step before the last one began ends in nothing.
  uint64_t life_ = 0;
  // Every call, so that Close ends it.
  std::vector<std::weak_ptr<ProgressStream<v1::AdministerAllProgress>>> open_;

  // A step is on its way: scanned, waiting for attempts, or proposed.
  bool busy_ = false;
  // The job that runs made no headway: it waits for the next start, or to be stopped.
  bool stuck_ = false;
  // What a requeue waits for.
  Withholding::Ticket withheld_;
  Running running_;
  size_t step_ids_ = kStepIdsFirst;
  std::map<uint64_t, std::vector<Watching>> watchers_;
};

}  // namespace postfleet::queue
