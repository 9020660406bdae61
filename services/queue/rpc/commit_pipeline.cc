#include "services/queue/rpc/commit_pipeline.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"

namespace postfleet::queue {
namespace {

// One voter: the term never changes. Raft's begin at 1.
constexpr uint64_t kTerm = 1;
constexpr uint16_t kShard = 0;

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

// When the command was written.
absl::StatusOr<int64_t> ApplyRecord(StateMachine* machine, const EntryView& entry) {
  const grpc::Slice whole(entry.payload.data(), entry.payload.size(), grpc::Slice::STATIC_SLICE);
  state::Command command;
  rpc::Payload payload;
  if (!rpc::DecodeFrame(grpc::ByteBuffer(&whole, 1), &command, &payload)) {
    return absl::DataLossError(Concat("record ", entry.id.index, " is not a command"));
  }
  const std::vector<std::string_view> views = Views(payload);
  const auto effects =
      machine->Apply(entry.id.index, {.header = command, .payload = views, .payload_owner = {}});
  if (!effects.ok()) return effects.status();
  return command.now_ms();
}

}  // namespace

CommitPipeline::CommitPipeline(Log* log, Store* store, StateMachine* machine,
                               runtime::EventLoop* state_loop, const Clock* clock,
                               CommitObserver observer)
    : log_(log),
      store_(store),
      machine_(machine),
      state_loop_(state_loop),
      clock_(clock),
      observer_(std::move(observer)) {
  // The store may outlive the pipeline: what is posted after Stop never runs.
  store_->SetFlushListener([this, maintenance = std::weak_ptr(maintenance_)] {
    if (const auto loop = maintenance.lock()) loop->Post([this] { CutLog(); });
  });
}

CommitPipeline::~CommitPipeline() { Stop(); }

absl::Status CommitPipeline::Replay(Log* log, StateMachine* machine,
                                    std::vector<LostRecords>* lost) {
  int64_t last_ms = 0;
  size_t dated = 0;  // of `lost`
  const auto visit = [&](const EntryView& entry) {
    if (entry.type != EntryType::kCommand) return absl::OkStatus();
    const auto now_ms = ApplyRecord(machine, entry);
    if (!now_ms.ok()) return now_ms.status();
    last_ms = *now_ms;
    for (; lost != nullptr && dated < lost->size(); ++dated) (*lost)[dated].before_ms = last_ms;
    return absl::OkStatus();
  };
  const auto leave_out = [&](const Hole& hole) {
    if (lost == nullptr) return absl::DataLossError(hole.ToString());
    lost->push_back({.hole = hole, .after_ms = last_ms});
    return absl::OkStatus();
  };
  machine->SetReplaying(true);
  absl::Status replayed = log->Replay(machine->applied_index() + 1, visit, leave_out);
  machine->SetReplaying(false);
  return replayed;
}

void CommitPipeline::Start() {
  maintenance_->Start();
  log_thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "queue-log");
    RunLog();
  });
}

void CommitPipeline::BeginStop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  room_.notify_all();
}

void CommitPipeline::Stop() {
  BeginStop();
  if (log_thread_.joinable()) log_thread_.join();
  maintenance_->Stop();
}

bool CommitPipeline::Propose(Proposal proposal, bool must) {
  const size_t bytes = rpc::PayloadBytes(proposal.payload) + proposal.command.ByteSizeLong();
  std::lock_guard lock(mutex_);
  if (stopping_ || (!must && pending_bytes_ + bytes > kPendingBytesMax)) return false;
  pending_bytes_ += bytes;
  waiting_.push_back({.proposal = std::move(proposal), .must = must, .bytes = bytes});
  if (waiting_.size() == 1) wake_.notify_one();
  return true;
}

CommitPipeline::Group CommitPipeline::TakeGroup() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
  size_t bytes = 0;
  size_t count = 0;
  while (count < waiting_.size() && (count == 0 || bytes < kGroupBytesMax))
    bytes += waiting_[count++].bytes;
  if (count == waiting_.size()) return std::exchange(waiting_, {});
  const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(count);
  Group group(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
  waiting_.erase(waiting_.begin(), end);
  return group;
}

void CommitPipeline::RunLog() {
  while (true) {
    Group group = TakeGroup();
    if (group.empty()) return;  // stopping, and nothing waits
    absl::Status written = Write(&group);
    if (absl::IsResourceExhausted(written)) {
      const auto refused = std::stable_partition(group.begin(), group.end(),
                                                 [](const Item& item) { return item.must; });
      FailGroup(Group(std::make_move_iterator(refused), std::make_move_iterator(group.end())),
                written);
      group.erase(refused, group.end());
      if (group.empty()) continue;
      written = WriteOnceThereIsRoom(&group);
    }
    if (!written.ok()) {
      FailGroup(std::move(group), written);
      continue;
    }
    state_loop_->Post([this, group = std::move(group)]() mutable { ApplyGroup(std::move(group)); });
  }
}

// Ends with ResourceExhausted only when the pipeline stops: nothing of the group is durable then,
// and its mail will be given out again by the next start.
absl::Status CommitPipeline::WriteOnceThereIsRoom(Group* group) {
  constexpr std::chrono::milliseconds kRetryInterval{200};
  while (true) {
    const absl::Status written = Write(group);
    if (!absl::IsResourceExhausted(written)) return written;
    std::unique_lock lock(mutex_);
    if (room_.wait_for(lock, kRetryInterval, [this] { return stopping_; })) return written;
    // New mail does not wait behind outcomes for room: it is refused.
    const auto refused = std::stable_partition(waiting_.begin(), waiting_.end(),
                                               [](const Item& item) { return item.must; });
    Group late(std::make_move_iterator(refused), std::make_move_iterator(waiting_.end()));
    waiting_.erase(refused, waiting_.end());
    lock.unlock();
    if (!late.empty()) FailGroup(std::move(late), written);
  }
}

// Blocks until the group is durable.
absl::Status CommitPipeline::Write(Group* group) {
  const auto started = clock_->Monotonic();
  const int64_t now_ms = clock_->WallMillis();
  size_t part_count = 0;
  size_t messages = 0;
  uint64_t index = log_->last_index();
  for (Item& item : *group) {
    item.index = ++index;
    item.proposal.command.set_now_ms(now_ms);
    rpc::EncodeFrame(item.proposal.command, item.proposal.payload).Dump(&item.record);
    part_count += item.record.size();
    messages += NewMessages(item.proposal.command);
  }
  parts_.clear();
  parts_.reserve(part_count);  // entries point into it: it must not move
  entries_.clear();
  for (const Item& item : *group) {
    const size_t first = parts_.size();
    for (const grpc::Slice& slice : item.record) parts_.push_back(rpc::AsView(slice));
    entries_.push_back({.id = {.shard = kShard, .term = kTerm, .index = item.index},
                        .type = EntryType::kCommand,
                        .parts = absl::MakeConstSpan(parts_).subspan(first)});
  }
  absl::Status status = log_->Append(entries_);
  if (status.ok()) status = log_->Sync();
  if (observer_.on_synced) {
    observer_.on_synced(std::chrono::duration<double>(clock_->Monotonic() - started).count(),
                        messages);
  }
  return status;
}

void CommitPipeline::ApplyGroup(Group group) {
  for (Item& item : group) {
    const std::vector<std::string_view> views = Views(item.proposal.payload);
    absl::StatusOr<const Effects*> effects = absl::AbortedError("apply has ended");
    if (apply_failure_.ok()) {
      // Without an owner small bodies are copied when they are given out: one by reference would
      // keep the whole frame that it came in, of up to 1 MiB, in memory for as long as its message
      // is active.
      const bool timed = item.proposal.command.has_administer();
      const auto started = timed ? clock_->Monotonic() : std::chrono::steady_clock::time_point();
      effects = machine_->Apply(
          item.index,
          {.header = item.proposal.command, .payload = views, .payload_owner = nullptr});
      if (timed) administer_time_ = clock_->Monotonic() - started;
    }
    if (effects.ok()) {
      observer_.on_applied(**effects);
    } else if (apply_failure_.ok()) {
      // The record is durable: whatever the reason (a full disk too), it is not "refused".
      apply_failure_ = absl::InternalError(
          Concat("apply record ", item.index, ": ", std::string(effects.status().message())));
      observer_.on_fatal(apply_failure_);
      effects = apply_failure_;
    }
    Finish(&item, effects);
  }
  if (!apply_failure_.ok()) return;
  observer_.on_group();
  for (const Item& item : group) unflushed_bytes_ += item.bytes;
  if (unflushed_bytes_ > kReplayBytesMax) {
    unflushed_bytes_ = 0;
    if (const absl::Status status = store_->RequestFlush(); !status.ok())
      observer_.on_fatal(status);
  }
}

void CommitPipeline::FailGroup(Group group, const absl::Status& status) {
  if (!absl::IsResourceExhausted(status)) observer_.on_fatal(status);
  state_loop_->Post([this, group = std::move(group), status]() mutable {
    for (Item& item : group) Finish(&item, status);
    if (absl::IsResourceExhausted(status)) observer_.on_group();
  });
}

void CommitPipeline::Finish(Item* item, const absl::StatusOr<const Effects*>& result) {
  item->proposal.done(result);
  std::lock_guard lock(mutex_);
  pending_bytes_ -= item->bytes;
}

// On the maintenance loop: deletes files.
void CommitPipeline::CutLog() {
  const absl::StatusOr<uint64_t> flushed = store_->FlushedIndex();
  absl::Status status = flushed.status();
  if (status.ok()) status = log_->CutBelow(*flushed + 1);
  if (!status.ok()) observer_.on_fatal(status);
}

}  // namespace postfleet::queue
