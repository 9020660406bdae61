// One node of the queue: its replicas, the log that they share, and the thread that drives them.
//
//   Propose, Receive, calls (any thread) -> log thread: what peers said, ticks, what is proposed
//     -> raft -> one write, one sync for all -> what raft says goes to the peers
//     -> what is committed goes to the shard's observer, in the order of its log
//
// A node whose group has no other member needs no ticks: nothing happens while nothing is proposed.
//
// Disk full: room is made sure of before anything is given to raft, for what raft has taken cannot
// be refused any more. Without room new proposals end with ResourceExhausted; those that free space
// (`must`) wait until there is some, and appends of a leader are dropped: it sends them again.
//
// Errors: those of the log are final. on_fatal is called once, and every proposal ends with it.
//
// Threads: everything of a replica, and every `done` and observer, on the log thread.
//
// Costs: what is proposed is copied nowhere; a group of proposals is one call into raft, one Ready,
// one write and one sync (raft/sequencer.h has what these cost).
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "services/queue/replica/node_log.h"
#include "services/queue/replica/peer_message.h"
#include "services/queue/replica/replica.h"

namespace postfleet::queue {

struct NodeProposal {
  rpc::Payload payload;
  // Frees space, or keeps what was accepted.
  bool must = false;
  // New ones, for on_synced.
  size_t messages = 0;
  // As Replica::Done, and ResourceExhausted: no room, nothing of it is durable. Unavailable: this
  // replica does not lead, nothing of it happened.
  Replica::Done done;
};

// Of one replica, as it was last looked at: at each change, and at each tick.
struct NodeStanding {
  raft::Role role = raft::Role::kFollower;
  uint64_t term = 0;
  uint64_t leader = 0;  // 0: none is known
  bool serves = false;
  uint64_t last_index = 0;
  uint64_t commit_index = 0;
  std::string members;
  std::vector<raft::Progress> progress;  // of a leader only
};

struct ShardObserver {
  // Entries that were not proposed here, or not in this life; own ones are told by their `done`.
  std::function<void(const Replica::Committed&)> on_committed;
  // Some of them, or ends of proposals, may have been told since the last one.
  std::function<void()> on_group;
  // Whether it serves, whenever that or the leader changes: it leads, and everything that was ever
  // acknowledged was told by on_committed before. The leader: 0: none is known.
  std::function<void(bool serves, uint64_t leader)> on_serving;
  // A member lags behind what the log has: the state is to be made durable, and offered.
  std::function<void()> on_snapshot_wanted;
  // At the start, and whenever they change.
  std::function<void(const std::string& members)> on_members;
};

class ReplicaNode {
 public:
  static constexpr size_t kGroupBytesMax = 8u << 20;
  // Of peers' messages that wait; past it appends are dropped.
  static constexpr size_t kReceivedBytesMax = 64u << 20;
  static constexpr std::chrono::milliseconds kRoomRetryInterval{200};

  struct World {
    std::unique_ptr<NodeLog> log;
    // Null where there are no peers. Both outlive the node.
    PeerSender* sender = nullptr;
    SnapshotPort* snapshots = nullptr;
    const Clock* clock = &SystemClock();
    std::chrono::milliseconds tick_interval{100};
    // Kept for members that lag (Replica::Forget), but no more than the log may take up.
    uint64_t keep_entries_max = 0;
    uint64_t keep_bytes_max = 2ull << 30;
    // A line for the mail log.
    std::function<void(const std::string&)> warn = nullptr;
    // Once; why the process must end.
    std::function<void(const absl::Status&)> on_fatal = nullptr;
    // Seconds of one write and sync, and new messages that it made durable.
    std::function<void(double seconds, size_t messages)> on_synced = nullptr;
  };
  explicit ReplicaNode(World world);
  ~ReplicaNode();  // Stops

  // Before Start. The observer outlives the node.
  absl::Status AddShard(const ReplicaOptions& options, const MembersCodec& codec,
                        ShardObserver observer);
  // A group of one voter has elected itself when this returns, unless on_fatal was called.
  void Start();
  // Refuses proposals from now on; what waits is still written, but waits for no room any more.
  void BeginStop();
  // Begins to stop, if that was not done, and ends the thread. What no majority has decided by then
  // ends with Aborted.
  void Stop();

  // False: it stops; `done` is not called.
  [[nodiscard]] bool Propose(uint16_t shard, NodeProposal proposal);
  void Receive(PeerMessage message);
  void ReportUnreachable(uint64_t id);
  void ReportSnapshot(uint16_t shard, uint64_t to, bool delivered);

  NodeStanding standing(uint16_t shard);
  // `done` once: OK when it is in force here; otherwise it came to nothing, or nobody knows.
  using Done = std::function<void(absl::Status)>;
  void Change(uint16_t shard, raft::ConfChange change, Done done);
  void TransferLeadership(uint16_t shard, uint64_t to);

  // Everything up to `index` is in the shard's durable store: forgets what nobody needs any more,
  // and says below which record the log may be cut.
  void Forget(uint16_t shard, uint64_t index,
              std::function<void(absl::StatusOr<uint64_t> cuttable_record)> done);
  // Deletes the files below a record that Forget said. One thread, not the log's.
  absl::Status Cut(uint64_t record) { return world_.log->Cut(record); }

  // The state up to `index` is durable, and is sent to members that lag (SnapshotPort).
  void OfferSnapshot(uint16_t shard, uint64_t index);

  // Waits for the log thread, so not from there. NotFound: the log does not have that index (any
  // more). Cancelled: the node has stopped.
  absl::StatusOr<LogStart> StartAt(uint16_t shard, uint64_t index);

 private:
  struct Shard {
    uint16_t id = 0;
    uint64_t own_id = 0;
    std::unique_ptr<Replica> replica;
    ShardObserver observer;
    bool is_alone = false;
    bool serves = false;
    uint64_t leader = 0;
    std::string members;
    bool snapshot_asked = false;
    // Raft forgets at each election timeout who was heard, and learns it anew within a heartbeat.
    std::map<uint64_t, std::chrono::steady_clock::time_point> heard_at;
    // The change of members that is under way.
    raft::ConfChange change;
    Done change_done;
    NodeStanding standing;  // guarded by mutex_
  };
  struct Item {
    Shard* shard = nullptr;
    NodeProposal proposal;
    size_t bytes = 0;
  };
  struct Inbox {
    std::vector<Item> proposals;
    std::vector<PeerMessage> messages;
    std::vector<std::function<void()>> calls;
    bool stopping = false;
    bool is_empty() const { return proposals.empty() && messages.empty() && calls.empty(); }
  };

  Shard* Find(uint16_t shard);
  void Call(std::function<void()> call);
  void Run();
  Inbox Await();
  bool Ticks() const;
  void Tick();
  void Take(Inbox inbox);
  void StepAll(std::vector<PeerMessage> messages);
  void Step(PeerMessage message);
  void ProposeAll(std::vector<Item> items);
  bool MakeRoom(std::vector<Item>* items);
  void Refuse(std::vector<Item> items, const absl::Status& why);
  // Does what raft owes until it owes nothing.
  void Settle();
  absl::Status SettleOnce();
  absl::Status WriteAndSync(bool must_sync);
  absl::Status WriteOnceThereIsRoom();
  void Send(std::vector<PeerMessage> messages);
  void Note(Shard& shard, bool with_progress);
  void NoteHeard(Shard& shard, std::vector<raft::Progress>* progress) const;
  void EndChange(Shard& shard, const absl::Status& status);
  void Fail(const absl::Status& error);
  void EndAll(const absl::Status& why);

  const World world_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::thread thread_;

  // Log thread only.
  absl::Status failure_;
  std::vector<Item> held_;  // `must`, waiting for room
  std::chrono::steady_clock::time_point retry_at_{};
  std::chrono::steady_clock::time_point tick_at_{};
  size_t messages_to_sync_ = 0;
  std::string last_warning_;

  std::mutex mutex_;  // protects all below
  std::condition_variable wake_;
  Inbox inbox_;
  size_t received_bytes_ = 0;
  bool stopping_ = false;
  bool stopped_ = false;
  std::condition_variable room_;  // only ever times out, or wakes to stop
};

}  // namespace postfleet::queue
