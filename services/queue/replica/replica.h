// One shard's replica on one node: raft's order (raft/sequencer.h), the payloads of its entries,
// and their places in the node's log. No thread, no clock, no I/O but the node's log; the same code
// runs under the log thread and under the simulation.
//
// The node collects what all its replicas owe, so that one write and one sync do for all of them:
//
//   for (Replica* replica : with_ready) replica->Collect(&early);   // into the node's log
//   send early; log.Write(); log.Sync();
//   for (Replica* replica : with_ready) replica->Settle(&late, apply);  // behind the sync
//   send late
//
// Payloads. What is proposed here waits by its sequence until raft has given it a place; what a
// peer sends comes with the payloads of its entries, and is checked (length, CRC-32C) before raft
// sees it. They stay in memory until they are applied, and the last ones up to recent_bytes_max for
// peers; who lags farther gets them read from the log.
//
// Proposals end once: with the index where they stand in the log, committed, or with why not.
// Aborted: the leadership was lost; they may have been committed all the same.
//
// Errors: those of the node's log, which are final.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/rpc/payload.h"
#include "services/queue/raft/sequencer.h"
#include "services/queue/replica/node_log.h"
#include "services/queue/replica/peer_message.h"

namespace postfleet::queue {

struct ReplicaOptions {
  uint16_t shard = 0;
  uint64_t id = 0;
  // What tells this life's proposals from those of others: random.
  uint64_t origin = 0;
  // What the state has applied: the log may begin behind it, never after a gap.
  uint64_t applied = 0;
  // Payloads of applied entries that are kept in memory for members that lag.
  uint64_t recent_bytes_max = 64u << 20;
  int election_ticks = 10;
  int heartbeat_ticks = 1;
};

// Encodes and decodes who is in a group, of which this file knows only voters and learners.
struct MembersCodec {
  std::function<absl::StatusOr<raft::ConfState>(std::string_view members)> conf_state;
  // `members` after a change.
  std::function<std::string(std::string_view members, const raft::ConfChange& change,
                            uint64_t index)>
      changed;
};

class Replica {
 public:
  using Done = std::function<void(absl::StatusOr<uint64_t> index)>;
  // A committed entry, in the order of the log; one of raft's own has no payload. `own`: proposed
  // here and still awaited: `done` of it is called right after.
  struct Committed {
    uint64_t term = 0;
    uint64_t index = 0;
    const rpc::Payload* payload = nullptr;
    bool own = false;
  };
  using Apply = absl::FunctionRef<void(const Committed&)>;

  // The shard must have a start in the log: founded, or an older folder's. A replica that joins has
  // none, and begins with nothing.
  static absl::StatusOr<std::unique_ptr<Replica>> Open(const ReplicaOptions& options,
                                                       const MembersCodec& codec, NodeLog* log);

  void Tick() { sequencer_->Tick(); }
  void Campaign() { sequencer_->Campaign(); }
  // What a peer said; what cannot be taken is said, and dropped.
  absl::Status Step(PeerMessage message);
  struct Proposal {
    rpc::Payload payload;
    Done done;
  };
  // All or none go to raft, in this order; if none, each ends with the reason.
  void Propose(std::vector<Proposal> proposals);
  absl::Status Change(const raft::ConfChange& change);
  void TransferLeadership(uint64_t to) { sequencer_->TransferLeadership(to); }
  void ReportUnreachable(uint64_t id) { sequencer_->ReportUnreachable(id); }
  void ReportSnapshot(uint64_t id, bool delivered) { sequencer_->ReportSnapshot(id, delivered); }

  // Every proposal that is awaited ends with `why`: nothing is decided here any more.
  void EndProposals(const absl::Status& why);

  bool HasReady() const { return sequencer_->HasReady(); }
  // Adds to the log's group what must be durable; `early`: what may be sent before that.
  void Collect(std::vector<PeerMessage>* early);
  // What was collected must be durable before it is settled: a mere commit need not be.
  bool must_sync() const { return ready_.has_value() && ready_->must_sync; }
  // Behind the sync. `late`: what may be sent now. Snapshots that peers need are in
  // snapshots_wanted.
  absl::Status Settle(std::vector<PeerMessage>* late, Apply apply);

  // Everything up to the applied `index` is in a durable store: the log is cut there as far as no
  // member needs it, at most `keep_entries_max` behind. Adds to the log's group.
  void Forget(uint64_t index, uint64_t keep_entries_max);

  // Where a log begins whose state has everything up to `index`, which was applied. NotFound: the
  // log does not reach there.
  absl::StatusOr<LogStart> StartAt(uint64_t index);

  raft::Standing standing() { return sequencer_->standing(); }
  bool leads() const { return soft_state_.role == raft::Role::kLeader; }
  uint64_t leader() const { return soft_state_.leader; }
  // It leads, and has settled an entry of its own term: it knows everything that was acknowledged.
  bool may_serve() const { return leads() && settled_term_ == term_ && term_ != 0; }
  uint64_t committed_index() const { return committed_index_; }
  const std::string& members() const { return members_; }
  // A member needs more than the log has: once the state up to an index is durable, from the log's
  // start on and with all members in it, offer that.
  bool snapshot_wanted() const { return snapshot_wanted_; }
  // Members that lag may be sent the state as of `index`, or later. One that is of no use is asked
  // for again.
  void OfferSnapshot(uint64_t index);
  std::vector<std::string> TakeRemarks() { return std::exchange(remarks_, {}); }
  // Changes of members that came into force since the last call.
  std::vector<raft::ConfChange> TakeChanges() { return std::exchange(changes_, {}); }

 private:
  struct Kept {
    uint64_t term = 0;
    rpc::Payload payload;
    uint64_t bytes = 0;
  };
  struct Waiting {
    rpc::Payload payload;
    Done done;
    bool placed = false;
  };

  Replica(const ReplicaOptions& options, const MembersCodec& codec, NodeLog* log)
      : options_(options), codec_(codec), log_(log) {}
  absl::Status Begin();
  absl::Status TakePayloads(const raft::Message& message, const rpc::Payload& payload);
  void Keep(uint64_t index, uint64_t term, rpc::Payload payload);
  void DropFrom(uint64_t index);
  void DropOld();
  rpc::Payload PayloadOf(const raft::Entry& entry);
  absl::StatusOr<rpc::Payload> Find(uint64_t index, uint64_t term);
  absl::Status Attach(const raft::Message& message, PeerMessage* out);
  absl::Status SettleEntry(const raft::Entry& entry, Apply apply);
  void Lead(const raft::SoftState& state);
  void DropLostProposals();

  const ReplicaOptions options_;
  const MembersCodec codec_;
  NodeLog* const log_;
  std::unique_ptr<raft::Sequencer> sequencer_;
  std::optional<raft::Ready> ready_;
  raft::SoftState soft_state_;
  uint64_t term_ = 0;
  uint64_t settled_term_ = 0;
  uint64_t committed_index_ = 0;
  std::string members_;
  bool snapshot_wanted_ = false;
  std::vector<std::string> remarks_;
  std::vector<raft::ConfChange> changes_;

  uint64_t last_sequence_ = 0;
  std::map<uint64_t, Waiting> waiting_;  // by sequence
  // Came with messages since the last Collect, by (index, term).
  std::map<std::pair<uint64_t, uint64_t>, rpc::Payload> arrived_;
  std::map<uint64_t, Kept> kept_;  // by index
  uint64_t kept_bytes_ = 0;
  // Slices of the group that is being written.
  std::deque<std::vector<std::string_view>> slices_;
};

}  // namespace postfleet::queue
