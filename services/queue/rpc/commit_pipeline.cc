#include "services/queue/rpc/commit_pipeline.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "libs/base/concat.h"

namespace postfleet::queue {
namespace {

std::vector<std::string_view> Views(const rpc::Payload& payload) {
  std::vector<std::string_view> views;
  views.reserve(payload.size());
  for (const grpc::Slice& slice : payload) views.push_back(rpc::AsView(slice));
  return views;
}

size_t NewMessages(const state::Command& command) {
  size_t count = 0;
  for (const v1::Submission& submission : command.submissions()) {
    count += submission.has_message() ? 1 : 0;
  }
  return count;
}

absl::Status NoCommand(uint64_t index) {
  return absl::DataLossError(Concat("entry ", index, " is not a command"));
}

// When the command was proposed.
absl::StatusOr<int64_t> ApplyEntry(StateMachine* machine, const LogEntry& entry) {
  const grpc::Slice whole(entry.payload.data(), entry.payload.size(), grpc::Slice::STATIC_SLICE);
  state::Command command;
  rpc::Payload payload;
  if (entry.kind == raft::EntryKind::kCommand &&
      !rpc::DecodeFrame(grpc::ByteBuffer(&whole, 1), &command, &payload)) {
    return NoCommand(entry.index);
  }
  const std::vector<std::string_view> views = Views(payload);
  const auto effects =
      machine->Apply(entry.index, {.header = command, .payload = views, .payload_owner = {}});
  if (!effects.ok()) return effects.status();
  return command.now_ms();
}

}  // namespace

CommitPipeline::CommitPipeline(Store* store, StateMachine* machine, runtime::EventLoop* state_loop,
                               const Clock* clock, CommitObserver observer)
    : store_(store),
      machine_(machine),
      state_loop_(state_loop),
      clock_(clock),
      observer_(std::move(observer)) {}

CommitPipeline::~CommitPipeline() { Stop(); }

absl::Status CommitPipeline::Replay(NodeLog* log, uint64_t last, StateMachine* machine) {
  const uint64_t from = machine->applied_index() + 1;
  const LogStart& start = log->start(kShard);
  // A group that was founded has nothing before its first entry.
  if (start.index > std::max<uint64_t>(machine->applied_index(), 1)) {
    return absl::DataLossError(Concat("the log begins behind entry ", start.index,
                                      ", but the store has only what came up to ",
                                      machine->applied_index()));
  }
  if (machine->applied_index() > log->last_index(kShard)) {
    return absl::DataLossError(Concat("the log ends with entry ", log->last_index(kShard),
                                      ", but entry ", machine->applied_index(), " was applied"));
  }
  const uint64_t first = std::max(from, start.index + 1);
  if (first > last) return absl::OkStatus();
  absl::Status applied;
  machine->SetReplaying(true);
  const absl::Status read = log->Read(kShard, first, [&](const LogEntry& entry) {
    if (entry.index > last) return false;
    applied = ApplyEntry(machine, entry).status();
    return applied.ok();
  });
  machine->SetReplaying(false);
  return applied.ok() ? read : applied;
}

absl::Status CommitPipeline::Repair(const Log::Options& options, const std::string& members,
                                    Store* store, StateMachine* machine,
                                    std::vector<LostRecords>* lost) {
  Recovery found;
  const auto log = Log::Open(options, &found);
  if (!log.ok()) return log.status();
  int64_t last_ms = 0;
  size_t dated = 0;  // of `lost`
  LogStart start{.index = 1, .term = 1, .members = members};
  const auto visit = [&](const EntryView& record) {
    const std::optional<LogEntry> entry = NodeLog::EntryOf(record);
    start.term = std::max(start.term, record.id.term);
    if (!entry) return absl::OkStatus();
    if (entry->index <= machine->applied_index()) return absl::OkStatus();
    const auto now_ms = ApplyEntry(machine, *entry);
    if (!now_ms.ok()) return now_ms.status();
    last_ms = std::max(last_ms, *now_ms);
    for (; dated < lost->size(); ++dated) (*lost)[dated].before_ms = last_ms;
    return absl::OkStatus();
  };
  const auto leave_out = [&](const Hole& hole) {
    lost->push_back({.hole = hole, .after_ms = last_ms});
    return absl::OkStatus();
  };
  machine->SetReplaying(true);
  absl::Status replayed = (*log)->Replay((*log)->first_index(), visit, leave_out);
  machine->SetReplaying(false);
  if (replayed.ok()) replayed = store->Flush();
  if (!replayed.ok()) return replayed;
  start.index = std::max<uint64_t>(machine->applied_index(), 1);
  return NodeLog::BeginAnew(log->get(), kShard, start);
}

ShardObserver CommitPipeline::shard_observer() {
  return {.on_committed = [this](const auto& committed) { OnCommitted(committed); },
          .on_group = [this] { HandOver(); },
          .on_serving = [this](bool serves, uint64_t leader) { OnServing(serves, leader); },
          .on_snapshot_wanted = [this] { maintenance_->Post([this] { OfferSnapshot(); }); },
          .on_members =
              [this](const std::string& members) {
                if (observer_.on_members) observer_.on_members(members);
              }};
}

void CommitPipeline::Attach(ReplicaNode* node) {
  node_ = node;
  // The store may outlive the pipeline: what is posted after Stop never runs.
  store_->SetFlushListener([this, maintenance = std::weak_ptr(maintenance_)] {
    if (const auto loop = maintenance.lock()) loop->Post([this] { CutLog(); });
  });
  maintenance_->Start();
}

void CommitPipeline::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  applied_.notify_all();
  maintenance_->Stop();
}

bool CommitPipeline::Propose(Proposal proposal, bool must) {
  proposal.command.set_now_ms(clock_->WallMillis());
  NodeProposal entry{.must = must, .messages = NewMessages(proposal.command)};
  rpc::EncodeFrame(proposal.command, proposal.payload).Dump(&entry.payload);
  auto item = std::make_shared<Item>();
  item->bytes = rpc::PayloadBytes(entry.payload);
  item->proposal = std::move(proposal);
  {
    std::lock_guard lock(mutex_);
    if (!must && pending_bytes_ + item->bytes > kPendingBytesMax) return false;
    pending_bytes_ += item->bytes;
  }
  const size_t bytes = item->bytes;
  entry.done = [this, item = std::move(item)](absl::StatusOr<uint64_t> index) {
    item->index = std::move(index);
    ended_.push_back(item);
  };
  if (node_->Propose(kShard, std::move(entry))) return true;
  std::lock_guard lock(mutex_);
  pending_bytes_ -= bytes;
  return false;
}

// ---- The log thread

void CommitPipeline::OnCommitted(const Replica::Committed& committed) {
  auto item = std::make_shared<Item>();
  item->is_own = false;
  item->record = *committed.payload;
  item->bytes = rpc::PayloadBytes(item->record);
  item->index = committed.index;
  std::unique_lock lock(mutex_);
  // What is already in ended_ has to be applied for room.
  if (pending_bytes_ + item->bytes > kPendingBytesMax && !ended_.empty()) {
    lock.unlock();
    HandOver();
    lock.lock();
  }
  applied_.wait(lock, [&] {
    return stopping_ || pending_bytes_ == 0 || pending_bytes_ + item->bytes <= kPendingBytesMax;
  });
  pending_bytes_ += item->bytes;
  ended_.push_back(std::move(item));
}

void CommitPipeline::HandOver() {
  if (ended_.empty()) return;
  state_loop_->Post([this, group = std::exchange(ended_, {})] { ApplyGroup(group); });
}

void CommitPipeline::OnServing(bool serves, uint64_t leader) {
  if (!observer_.on_serving) return;
  uint64_t change = 0;
  {
    std::lock_guard lock(serving_mutex_);
    change = ++serving_changes_;
  }
  if (!serves) return observer_.on_serving(false, leader);
  HandOver();
  state_loop_->Post([this, leader, change] {
    // The leadership may have gone meanwhile, which was told at once.
    std::lock_guard lock(serving_mutex_);
    if (change == serving_changes_) observer_.on_serving(true, leader);
  });
}

// ---- The state loop

void CommitPipeline::ApplyGroup(const Group& group) {
  uint64_t bytes = 0;
  for (const std::shared_ptr<Item>& item : group) {
    Apply(*item);
    bytes += item->bytes;
  }
  if (!apply_failure_.ok()) return;
  observer_.on_group();
  unflushed_bytes_ += bytes;
  if (unflushed_bytes_ > kReplayBytesMax) {
    unflushed_bytes_ = 0;
    if (const absl::Status status = store_->RequestFlush(); !status.ok())
      observer_.on_fatal(status);
  }
}

void CommitPipeline::Apply(Item& item) {
  if (!item.index.ok()) return Finish(item, item.index.status());
  absl::StatusOr<const Effects*> effects = absl::AbortedError("apply has ended");
  if (apply_failure_.ok()) effects = ApplyCommand(item);
  if (effects.ok()) {
    observer_.on_applied(**effects);
  } else if (apply_failure_.ok()) {
    // The entry is durable: whatever the reason (a full disk too), it is not "refused".
    apply_failure_ = absl::InternalError(
        Concat("apply entry ", *item.index, ": ", std::string(effects.status().message())));
    observer_.on_fatal(apply_failure_);
    effects = apply_failure_;
  }
  Finish(item, effects);
}

// Without an owner of the payload small bodies are copied when they are given out: one by reference
// would keep the whole frame that it came in, of up to 1 MiB, in memory for as long as its message
// is active.
absl::StatusOr<const Effects*> CommitPipeline::ApplyCommand(Item& item) {
  state::Command& command = item.proposal.command;
  if (!item.is_own && !item.record.empty() &&
      !rpc::DecodeFrame(grpc::ByteBuffer(item.record.data(), item.record.size()), &command,
                        &item.proposal.payload)) {
    return NoCommand(*item.index);
  }
  const std::vector<std::string_view> views = Views(item.proposal.payload);
  const bool timed = command.has_administer();
  const auto started = timed ? clock_->Monotonic() : std::chrono::steady_clock::time_point();
  auto effects =
      machine_->Apply(*item.index, {.header = command, .payload = views, .payload_owner = nullptr});
  if (timed) administer_time_ = clock_->Monotonic() - started;
  return effects;
}

void CommitPipeline::Finish(Item& item, const absl::StatusOr<const Effects*>& result) {
  if (item.proposal.done) item.proposal.done(result);
  {
    std::lock_guard lock(mutex_);
    pending_bytes_ -= item.bytes;
  }
  if (!item.is_own) applied_.notify_one();
}

// On the maintenance loop: flushes.
void CommitPipeline::OfferSnapshot() {
  absl::Status flushed = store_->Flush();
  const absl::StatusOr<uint64_t> index = store_->FlushedIndex();
  if (flushed.ok()) flushed = index.status();
  if (!flushed.ok()) return observer_.on_fatal(flushed);
  node_->OfferSnapshot(kShard, std::max<uint64_t>(*index, 1));
}

// On the maintenance loop: deletes files.
void CommitPipeline::CutLog() {
  const absl::StatusOr<uint64_t> flushed = store_->FlushedIndex();
  if (!flushed.ok()) return observer_.on_fatal(flushed.status());
  node_->Forget(
      kShard, *flushed,
      [this, maintenance = std::weak_ptr(maintenance_)](absl::StatusOr<uint64_t> cuttable) {
        // What keeps the log from being written was told.
        if (!cuttable.ok()) return;
        if (const auto loop = maintenance.lock()) {
          loop->Post([this, record = *cuttable] {
            if (const absl::Status cut = node_->Cut(record); !cut.ok()) observer_.on_fatal(cut);
          });
        }
      });
}

}  // namespace postfleet::queue
