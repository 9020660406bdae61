#include "services/queue/replica/replica_node.h"

#include <pthread.h>

#include <algorithm>
#include <future>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace postfleet::queue {
namespace {

using std::chrono::steady_clock;

// What raft adds to a group: a hard state, a leader's first entry.
constexpr size_t kOwnRecords = 4;

}  // namespace

ReplicaNode::ReplicaNode(World world) : world_(std::move(world)) {}

ReplicaNode::~ReplicaNode() { Stop(); }

absl::Status ReplicaNode::AddShard(const ReplicaOptions& options, const MembersCodec& codec,
                                   ShardObserver observer) {
  auto replica = Replica::Open(options, codec, world_.log.get());
  if (!replica.ok()) return replica.status();
  auto shard = std::make_unique<Shard>();
  shard->id = options.shard;
  shard->own_id = options.id;
  shard->replica = *std::move(replica);
  shard->observer = std::move(observer);
  shard->members = shard->replica->members();
  if (!shard->members.empty()) {
    const auto members = codec.conf_state(shard->members);
    if (!members.ok()) return members.status();
    shard->is_alone = members->learners.empty() && members->voters.size() == 1 &&
                      members->voters.front() == options.id;
  }
  shard->standing.members = shard->members;
  shards_.push_back(std::move(shard));
  return absl::OkStatus();
}

void ReplicaNode::Start() {
  std::promise<void> begun;
  thread_ = std::thread([this, &begun] {
    pthread_setname_np(pthread_self(), "queue-log");
    for (const auto& shard : shards_) {
      if (shard->observer.on_members) shard->observer.on_members(shard->members);
      if (shard->is_alone) shard->replica->Campaign();
    }
    tick_at_ = steady_clock::now() + world_.tick_interval;
    Settle();
    begun.set_value();
    Run();
  });
  begun.get_future().wait();
}

void ReplicaNode::BeginStop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  room_.notify_all();
}

void ReplicaNode::Stop() {
  BeginStop();
  if (thread_.joinable()) thread_.join();
  std::vector<std::function<void()>> calls;
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    calls = std::exchange(inbox_.calls, {});
  }
  // Whoever waits for one is told.
  for (const auto& call : calls) call();
}

bool ReplicaNode::Propose(uint16_t shard, NodeProposal proposal) {
  const size_t bytes = rpc::PayloadBytes(proposal.payload);
  std::lock_guard lock(mutex_);
  if (stopping_) return false;
  inbox_.proposals.push_back(
      {.shard = Find(shard), .proposal = std::move(proposal), .bytes = bytes});
  if (inbox_.proposals.size() == 1) wake_.notify_one();
  return true;
}

void ReplicaNode::Receive(PeerMessage message) {
  const size_t bytes = rpc::PayloadBytes(message.payload);
  std::lock_guard lock(mutex_);
  if (stopping_) return;
  if (bytes > 0 && received_bytes_ + bytes > kReceivedBytesMax) return;
  received_bytes_ += bytes;
  inbox_.messages.push_back(std::move(message));
  if (inbox_.messages.size() == 1) wake_.notify_one();
}

void ReplicaNode::Call(std::function<void()> call) {
  {
    std::lock_guard lock(mutex_);
    if (!stopped_) {
      inbox_.calls.push_back(std::move(call));
      wake_.notify_one();
      return;
    }
  }
  call();
}

ReplicaNode::Shard* ReplicaNode::Find(uint16_t shard) {
  for (const auto& known : shards_) {
    if (known->id == shard) return known.get();
  }
  return nullptr;
}

void ReplicaNode::ReportUnreachable(uint64_t id) {
  Call([this, id] {
    if (!failure_.ok()) return;
    for (const auto& shard : shards_) shard->replica->ReportUnreachable(id);
  });
}

void ReplicaNode::ReportSnapshot(uint16_t shard, uint64_t to, bool delivered) {
  Call([this, shard, to, delivered] {
    if (failure_.ok()) Find(shard)->replica->ReportSnapshot(to, delivered);
  });
}

NodeStanding ReplicaNode::standing(uint16_t shard) {
  std::lock_guard lock(mutex_);
  return Find(shard)->standing;
}

void ReplicaNode::Change(uint16_t shard, raft::ConfChange change, Done done) {
  Call([this, at = Find(shard), change = std::move(change), done = std::move(done)]() mutable {
    if (!failure_.ok()) return done(failure_);
    if (at->change_done) return done(absl::UnavailableError("another change is under way"));
    const absl::Status proposed = at->replica->Change(change);
    if (!proposed.ok()) return done(proposed);
    at->change = std::move(change);
    at->change_done = std::move(done);
  });
}

void ReplicaNode::TransferLeadership(uint16_t shard, uint64_t to) {
  Call([this, shard, to] {
    if (failure_.ok()) Find(shard)->replica->TransferLeadership(to);
  });
}

void ReplicaNode::Forget(uint16_t shard, uint64_t index,
                         std::function<void(absl::StatusOr<uint64_t>)> done) {
  Call([this, shard, index, done = std::move(done)] {
    if (!failure_.ok()) return done(failure_);
    const bool may_keep = world_.log->bytes_on_disk() <= world_.keep_bytes_max;
    Find(shard)->replica->Forget(index, may_keep ? world_.keep_entries_max : 0);
    world_.log->PrepareCut();
    const absl::Status written = WriteAndSync(/*must_sync=*/true);
    if (!written.ok()) {
      // Stopping, without room: the next life cuts it.
      if (!absl::IsResourceExhausted(written)) Fail(written);
      return done(written);
    }
    done(world_.log->CuttableRecord());
  });
}

void ReplicaNode::OfferSnapshot(uint16_t shard, uint64_t index) {
  Call([this, shard, index] {
    Find(shard)->snapshot_asked = false;
    if (failure_.ok()) Find(shard)->replica->OfferSnapshot(index);
  });
}

absl::StatusOr<LogStart> ReplicaNode::StartAt(uint16_t shard, uint64_t index) {
  std::promise<absl::StatusOr<LogStart>> found;
  Call([this, shard, index, &found] {
    if (!failure_.ok()) return found.set_value(failure_);
    found.set_value(Find(shard)->replica->StartAt(index));
  });
  return found.get_future().get();
}

// ---- The log thread

bool ReplicaNode::Ticks() const {
  return failure_.ok() && std::any_of(shards_.begin(), shards_.end(),
                                      [](const auto& shard) { return !shard->is_alone; });
}

// What waits; at the latest at the next tick. Proposals only as many as one group has.
ReplicaNode::Inbox ReplicaNode::Await() {
  std::unique_lock lock(mutex_);
  const auto wanted = [this] { return stopping_ || !inbox_.is_empty(); };
  auto until = steady_clock::time_point::max();
  if (Ticks()) until = tick_at_;
  if (!held_.empty()) until = std::min(until, retry_at_);
  if (until == steady_clock::time_point::max()) {
    wake_.wait(lock, wanted);
  } else {
    wake_.wait_until(lock, until, wanted);
  }
  Inbox taken;
  taken.stopping = stopping_;
  taken.messages = std::exchange(inbox_.messages, {});
  taken.calls = std::exchange(inbox_.calls, {});
  received_bytes_ = 0;
  size_t bytes = 0;
  size_t count = 0;
  while (count < inbox_.proposals.size() && (count == 0 || bytes < kGroupBytesMax)) {
    bytes += inbox_.proposals[count++].bytes;
  }
  if (count == inbox_.proposals.size()) {
    taken.proposals = std::exchange(inbox_.proposals, {});
  } else {
    const auto end = inbox_.proposals.begin() + static_cast<std::ptrdiff_t>(count);
    taken.proposals.assign(std::make_move_iterator(inbox_.proposals.begin()),
                           std::make_move_iterator(end));
    inbox_.proposals.erase(inbox_.proposals.begin(), end);
  }
  return taken;
}

void ReplicaNode::Run() {
  while (true) {
    Inbox inbox = Await();
    const bool ends = inbox.stopping && inbox.is_empty();
    Take(std::move(inbox));
    if (!ends) continue;
    if (!failure_.ok()) return;
    EndAll(absl::AbortedError("the node stops"));
    failure_ = absl::CancelledError("the node has stopped");
    return;
  }
}

void ReplicaNode::Take(Inbox inbox) {
  for (const auto& call : inbox.calls) call();
  if (!failure_.ok()) {
    Refuse(std::move(inbox.proposals), failure_);
    for (const auto& shard : shards_) shard->observer.on_group();
    return;
  }
  // Before the tick: what came while this thread was held up shows that the others live.
  StepAll(std::move(inbox.messages));
  Settle();
  if (steady_clock::now() >= tick_at_) Tick();
  ProposeAll(std::move(inbox.proposals));
  if (inbox.stopping && !held_.empty()) {
    Refuse(std::exchange(held_, {}), absl::ResourceExhaustedError("the node stops"));
  }
  Settle();
  for (const auto& shard : shards_) shard->observer.on_group();
}

// One, however late it is: who was stopped for long has heard of nobody, and finds out.
void ReplicaNode::Tick() {
  tick_at_ = steady_clock::now() + world_.tick_interval;
  if (!Ticks()) return;
  for (const auto& shard : shards_) {
    shard->replica->Tick();
    Note(*shard, /*with_progress=*/true);
  }
}

void ReplicaNode::StepAll(std::vector<PeerMessage> messages) {
  if (messages.empty()) return;
  // Of an entry in raft's message: its term, index, and reference.
  constexpr size_t kEntryBytesMin = 24;
  uint64_t bytes = 0;
  size_t entries = 0;
  for (const PeerMessage& message : messages) {
    if (message.is_urgent()) continue;
    bytes += rpc::PayloadBytes(message.payload);
    entries += message.raft.size() / kEntryBytesMin;
  }
  absl::Status room;
  if (bytes > 0) room = world_.log->Reserve(kOwnRecords + entries, bytes);
  if (!room.ok() && !absl::IsResourceExhausted(room)) return Fail(room);
  for (PeerMessage& message : messages) {
    if (room.ok() || message.is_urgent()) Step(std::move(message));
  }
}

void ReplicaNode::Step(PeerMessage message) {
  Shard* const shard = Find(message.shard);
  if (shard == nullptr) return;
  const uint64_t from = message.from;
  const absl::Status stepped = shard->replica->Step(std::move(message));
  if (stepped.ok() || absl::IsNotFound(stepped)) return;
  std::string warning = absl::StrCat("a message of replica ", absl::Hex(from, absl::kZeroPad16),
                                     " is not taken: ", stepped.message());
  if (warning == last_warning_) return;
  last_warning_ = warning;
  if (world_.warn) world_.warn(warning);
}

void ReplicaNode::ProposeAll(std::vector<Item> items) {
  if (!held_.empty()) {
    // They were first.
    items.insert(items.begin(), std::make_move_iterator(held_.begin()),
                 std::make_move_iterator(held_.end()));
    held_.clear();
  }
  if (items.empty() || !MakeRoom(&items)) return;
  for (const auto& shard : shards_) {
    std::vector<Replica::Proposal> proposals;
    for (Item& item : items) {
      if (item.shard != shard.get()) continue;
      messages_to_sync_ += item.proposal.messages;
      proposals.push_back(
          {.payload = std::move(item.proposal.payload), .done = std::move(item.proposal.done)});
    }
    if (!proposals.empty()) shard->replica->Propose(std::move(proposals));
  }
}

// False: nothing is left to be proposed now.
bool ReplicaNode::MakeRoom(std::vector<Item>* items) {
  absl::Status room = absl::ResourceExhaustedError("the queue's disk is full");
  if (steady_clock::now() >= retry_at_) {
    uint64_t bytes = 0;
    for (const Item& item : *items) bytes += item.bytes;
    room = world_.log->Reserve(items->size() + kOwnRecords, bytes);
    if (room.ok()) return true;
  }
  if (!absl::IsResourceExhausted(room)) {
    Fail(room);
    Refuse(std::move(*items), room);
    return false;
  }
  if (steady_clock::now() >= retry_at_) retry_at_ = steady_clock::now() + kRoomRetryInterval;
  const auto refused = std::stable_partition(items->begin(), items->end(),
                                             [](const Item& item) { return item.proposal.must; });
  Refuse(std::vector<Item>(std::make_move_iterator(refused), std::make_move_iterator(items->end())),
         room);
  items->erase(refused, items->end());
  held_ = std::move(*items);
  return false;
}

void ReplicaNode::Refuse(std::vector<Item> items, const absl::Status& why) {
  for (const Item& item : items) item.proposal.done(why);
}

void ReplicaNode::Settle() {
  const auto owes = [](const auto& shard) { return shard->replica->HasReady(); };
  while (failure_.ok() && std::any_of(shards_.begin(), shards_.end(), owes)) {
    const absl::Status settled = SettleOnce();
    // Stopping, without room: nothing of this is durable, and nobody was told that it is.
    if (absl::IsResourceExhausted(settled)) return Fail(absl::AbortedError("the node stops"));
    if (!settled.ok()) return Fail(settled);
  }
}

absl::Status ReplicaNode::SettleOnce() {
  std::vector<Shard*> ready;
  std::vector<PeerMessage> messages;
  bool must_sync = false;
  for (const auto& shard : shards_) {
    if (!shard->replica->HasReady()) continue;
    ready.push_back(shard.get());
    shard->replica->Collect(&messages);
    must_sync = must_sync || shard->replica->must_sync();
  }
  Send(std::exchange(messages, {}));
  if (absl::Status durable = WriteAndSync(must_sync); !durable.ok()) return durable;
  for (Shard* shard : ready) {
    const absl::Status settled = shard->replica->Settle(&messages, [&](const auto& committed) {
      if (!committed.own) shard->observer.on_committed(committed);
    });
    if (!settled.ok()) return settled;
    shard->observer.on_group();
    for (const std::string& remark : shard->replica->TakeRemarks()) {
      if (world_.warn) world_.warn(remark);
    }
    if (shard->replica->snapshot_wanted() && !std::exchange(shard->snapshot_asked, true) &&
        shard->observer.on_snapshot_wanted) {
      shard->observer.on_snapshot_wanted();
    }
    Note(*shard, /*with_progress=*/false);
    // Who is told looks at the standing next.
    for (const raft::ConfChange& change : shard->replica->TakeChanges()) {
      if (shard->change_done && change == shard->change) EndChange(*shard, absl::OkStatus());
    }
  }
  Send(std::move(messages));
  return absl::OkStatus();
}

// ResourceExhausted: it stops, and nothing of the group is durable.
absl::Status ReplicaNode::WriteAndSync(bool must_sync) {
  if (!world_.log->has_group() && !must_sync) return absl::OkStatus();
  const auto started = world_.clock->Monotonic();
  absl::Status status = world_.log->Write();
  if (absl::IsResourceExhausted(status)) status = WriteOnceThereIsRoom();
  if (!status.ok() || !must_sync) return status;
  status = world_.log->Sync();
  const double seconds = std::chrono::duration<double>(world_.clock->Monotonic() - started).count();
  if (world_.on_synced) world_.on_synced(seconds, std::exchange(messages_to_sync_, 0));
  return status;
}

absl::Status ReplicaNode::WriteOnceThereIsRoom() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (room_.wait_for(lock, kRoomRetryInterval, [this] { return stopping_; })) {
        return absl::ResourceExhaustedError("the queue's disk is full");
      }
    }
    const absl::Status written = world_.log->Write();
    if (!absl::IsResourceExhausted(written)) return written;
  }
}

void ReplicaNode::Send(std::vector<PeerMessage> messages) {
  if (messages.empty()) return;
  const auto snapshots =
      std::stable_partition(messages.begin(), messages.end(),
                            [](const auto& message) { return message.snapshot_index == 0; });
  for (auto at = snapshots; at != messages.end(); ++at) {
    const uint64_t index = at->snapshot_index;
    if (world_.snapshots != nullptr) world_.snapshots->SendSnapshot(std::move(*at), index);
  }
  messages.erase(snapshots, messages.end());
  if (world_.sender != nullptr && !messages.empty()) world_.sender->Send(std::move(messages));
}

// What others may know of it; tells the observer what has changed.
void ReplicaNode::Note(Shard& shard, bool with_progress) {
  const Replica& replica = *shard.replica;
  const bool members_changed = replica.members() != shard.members;
  const bool serves = replica.may_serve();
  const bool serving_changed = serves != shard.serves || replica.leader() != shard.leader;
  if (serving_changed && !replica.leads()) {
    EndChange(shard, absl::AbortedError("the leadership was lost"));
  }
  std::optional<raft::Standing> now;
  if (with_progress || members_changed || serving_changed) {
    now = shard.replica->standing();
    NoteHeard(shard, &now->progress);
  }
  if (members_changed) {
    shard.members = replica.members();
    shard.is_alone = now->conf_state.learners.empty() && now->conf_state.voters.size() == 1 &&
                     now->conf_state.voters.front() == shard.own_id;
    if (!shard.is_alone) tick_at_ = std::min(tick_at_, steady_clock::now() + world_.tick_interval);
  }
  shard.serves = serves;
  shard.leader = replica.leader();
  {
    std::lock_guard lock(mutex_);
    NodeStanding& standing = shard.standing;
    standing.commit_index = replica.committed_index();
    standing.last_index = world_.log->last_index(shard.id);
    standing.leader = shard.leader;
    standing.serves = serves;
    if (members_changed) standing.members = shard.members;
    if (now) {
      standing.role = now->soft_state.role;
      standing.term = now->hard_state.term;
      standing.progress = std::move(now->progress);
    }
  }
  if (members_changed && shard.observer.on_members) shard.observer.on_members(shard.members);
  if (serving_changed && shard.observer.on_serving) shard.observer.on_serving(serves, shard.leader);
}

void ReplicaNode::NoteHeard(Shard& shard, std::vector<raft::Progress>* progress) const {
  const auto now = steady_clock::now();
  for (raft::Progress& member : *progress) {
    if (member.recent_active) shard.heard_at[member.id] = now;
    const auto heard = shard.heard_at.find(member.id);
    member.recent_active =
        heard != shard.heard_at.end() && now - heard->second <= 2 * world_.tick_interval;
  }
  if (progress->empty()) shard.heard_at.clear();
}

void ReplicaNode::EndChange(Shard& shard, const absl::Status& status) {
  if (const Done done = std::exchange(shard.change_done, nullptr)) done(status);
}

void ReplicaNode::Fail(const absl::Status& error) {
  if (!failure_.ok()) return;
  failure_ = error;
  if (!absl::IsAborted(error) && world_.on_fatal) world_.on_fatal(error);
  EndAll(error);
}

void ReplicaNode::EndAll(const absl::Status& why) {
  Refuse(std::exchange(held_, {}), why);
  for (const auto& shard : shards_) {
    shard->replica->EndProposals(why);
    EndChange(*shard, why);
    shard->observer.on_group();
  }
}

}  // namespace postfleet::queue
