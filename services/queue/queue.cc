#include "services/queue/queue.h"

#include <sys/statvfs.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "services/queue/log/file_system.h"
#include "services/queue/membership/member_changes.h"
#include "services/queue/replica/node_log.h"
#include "services/queue/replica/replica_node.h"
#include "services/queue/replica/version.h"
#include "services/queue/rpc/queue_service.h"
#include "services/queue/snapshot.h"
#include "services/queue/verify/verify.h"

namespace postfleet::queue {
namespace {

constexpr std::chrono::milliseconds kDiskCheckInterval{1000};
constexpr std::chrono::seconds kLockWaitMax{10};
constexpr uint16_t kShard = CommitPipeline::kShard;
// Entries that a member may lag behind and still catches up by the log.
constexpr uint64_t kKeepEntriesMax = 50'000;

// Free space in the folder's file system, for this user.
uint64_t FreeBytes(const std::string& directory) {
  struct statvfs facts;
  if (statvfs(directory.c_str(), &facts) != 0) return 0;
  return static_cast<uint64_t>(facts.f_bavail) * facts.f_frsize;
}

absl::Status MakeDirectory(const std::string& directory) {
  std::error_code error;
  // From the top: each new folder's name is synced into the one above before anything is put into
  // it. Mail in a folder is not more durable than that.
  std::filesystem::path so_far;
  for (const std::filesystem::path& part : std::filesystem::absolute(directory)) {
    so_far /= part;
    const bool made = std::filesystem::create_directory(so_far, error);
    if (error) break;
    if (!made) continue;
    const absl::Status synced = PosixFileSystem().SyncDirectory(so_far.parent_path());
    if (!synced.ok()) return synced;
  }
  if (error || access(directory.c_str(), R_OK | W_OK | X_OK) != 0) {
    const std::string reason = error ? error.message() : strerror(errno);
    return absl::PermissionDeniedError(Concat(
        "queue folder ", directory, ": ", reason,
        "; give its owner (mail_owner) read, write and search permission, or set queue_directory"));
  }
  return absl::OkStatus();
}

std::string TextOf(const LostRecords& lost) {
  const auto time = [](int64_t ms) {
    return ms == 0 ? std::string("an unknown time")
                   : absl::FormatTime("%b %d %H:%M:%S", absl::FromUnixMillis(ms),
                                      absl::LocalTimeZone());
  };
  return Concat(lost.hole.ToString(), ": what happened between ", time(lost.after_ms), " and ",
                time(lost.before_ms),
                " is lost: mail accepted then may be missing, mail delivered or deleted then may "
                "be there again");
}

}  // namespace

QueueOptions QueueOptions::From(const config::Config& config) {
  QueueOptions options;
  options.directory = config.GetString("queue_directory") + "/postfleet";
  options.queue_minfree_bytes = static_cast<uint64_t>(config.GetSize("queue_minfree"));
  options.message_size_limit_bytes = static_cast<uint64_t>(config.GetSize("message_size_limit"));
  return options;
}

struct Queue::Parts {
  explicit Parts(QueueOptions opened) : options(std::move(opened)) { SetAcceptMin(options); }

  absl::Status CheckFolder();
  absl::Status Open();
  Log::Options LogOptions() const {
    return {.dir = options.directory + "/log", .segment_bytes = options.segment_bytes};
  }
  std::string OwnMembers() const;
  absl::Status OpenLog();
  absl::Status Repair();
  absl::Status Replay();
  absl::Status FoundGroup();
  void MakeService();
  absl::Status StartNode();
  void OnServing(bool serves, uint64_t leader);
  void OnMembers(const std::string& members);
  cluster::v1::ShardStatus Status();
  // Every second, and after each group that a disk could have been filled by.
  void WatchDisk();
  void CheckDisk();
  void ExportMetrics();

  void SetAcceptMin(const QueueOptions& from) {
    accept_bytes_min = std::max(from.queue_minfree_bytes, from.message_size_limit_bytes * 3 / 2);
  }
  // What must stay free: room to commit outcomes of everything that was accepted. What is proposed
  // is written twice, by the log and by the store; the store's buffers may be twice their size
  // while a flush is slow.
  uint64_t FreeBytesMin() const {
    return accept_bytes_min.load() + 2 * options.write_buffer_bytes + options.segment_bytes +
           2 * pipeline->pending_bytes();
  }

  const QueueOptions options;
  std::unique_ptr<Store> store;
  std::unique_ptr<NodeLog> log;  // until the node has it
  std::unique_ptr<StateMachine> machine;
  std::unique_ptr<Reader> reader;
  runtime::EventLoop state_loop{"queue-state"};
  std::unique_ptr<QueueService> service;
  std::unique_ptr<CommitPipeline> pipeline;
  std::unique_ptr<ReplicaNode> node;
  std::mutex members_mutex;
  cluster::v1::Membership members;  // guarded by members_mutex
  std::unique_ptr<runtime::Timer> disk_timer;
  std::atomic<uint64_t> accept_bytes_min;
  std::atomic<uint64_t> applied_index{0};
  std::atomic<bool> stopped{false};
  std::atomic<bool> disk_nearly_full{false};
  metrics::Histogram* sync_seconds = nullptr;
  metrics::Histogram* batch_messages = nullptr;
};

absl::Status Queue::Parts::CheckFolder() {
  if (absl::Status made = MakeDirectory(options.directory); !made.ok()) return made;
  if (options.identity.cluster_id != 0) return absl::OkStatus();
  const absl::StatusOr<membership::Folder> folder =
      membership::LookAt(PosixFileSystem(), options.directory);
  return folder.ok() ? membership::CheckAlone(*folder) : folder.status();
}

absl::Status Queue::Parts::Open() {
  if (const absl::Status checked = CheckFolder(); !checked.ok()) return checked;
  const absl::StatusOr<bool> received = TakeOverReceived(options.directory, LogOptions());
  if (!received.ok()) return received.status();
  if (*received) maillog::Info("queue", "took over the snapshot that the leader sent");
  absl::StatusOr<std::unique_ptr<Store>> opened_store =
      Store::Open({.path = options.directory + "/state",
                   .env = nullptr,
                   .write_buffer_bytes = options.write_buffer_bytes,
                   .lock_wait_max = kLockWaitMax});
  if (!opened_store.ok()) return opened_store.status();
  store = *std::move(opened_store);

  absl::StatusOr<std::unique_ptr<StateMachine>> loaded = StateMachine::Load(store.get());
  if (!loaded.ok()) return loaded.status();
  machine = *std::move(loaded);
  const uint64_t from = machine->applied_index();
  if (const absl::Status opened = OpenLog(); !opened.ok()) return opened;
  applied_index = machine->applied_index();
  maillog::Info("queue", "opened ", options.directory, ": ", machine->applied_index() - from,
                " records replayed, ", machine->counts().incoming_messages(),
                " messages incoming, ", machine->counts().deferred_messages(), " deferred, ",
                machine->counts().hold_messages(), " held, ", machine->counts().corrupt_messages(),
                " corrupt");
  MakeService();
  disk_timer = std::make_unique<runtime::Timer>(state_loop);
  WatchDisk();
  return StartNode();
}

std::string Queue::Parts::OwnMembers() const {
  cluster::v1::Member own = options.own;
  own.set_id(options.identity.id);
  return membership::MembersOf(own);
}

absl::Status Queue::Parts::OpenLog() {
  Recovery found;
  absl::StatusOr<std::unique_ptr<NodeLog>> opened = NodeLog::Open(LogOptions(), &found);
  if (!found.remark.empty()) maillog::Warning("queue", found.remark);
  if (absl::IsDataLoss(opened.status()) && options.repaired != nullptr) {
    if (const absl::Status repaired = Repair(); !repaired.ok()) return repaired;
    opened = NodeLog::Open(LogOptions(), &found);
  } else if (absl::IsDataLoss(opened.status())) {
    return absl::DataLossError(Concat(
        std::string(opened.status().message()),
        options.identity.cluster_id == 0
            ? "; restore it, or go on without it by `postfleet queue repair`"
            : "; the other replicas have what is lost: start this one with an empty folder"));
  }
  if (!opened.ok()) return opened.status();
  log = *std::move(opened);
  if (const absl::Status replayed = Replay(); !replayed.ok()) return replayed;
  return FoundGroup();
}

absl::Status Queue::Parts::Repair() {
  if (options.identity.cluster_id != 0) {
    return absl::FailedPreconditionError(
        "a replica is not repaired: the others have what is lost; start it with an empty folder");
  }
  std::vector<LostRecords> lost;
  const absl::Status repaired =
      CommitPipeline::Repair(LogOptions(), OwnMembers(), store.get(), machine.get(), &lost);
  for (const LostRecords& records : lost) {
    options.repaired->push_back(TextOf(records));
    maillog::Warning("queue", "repaired: ", options.repaired->back());
  }
  return repaired;
}

// A log from before there were groups has nothing that was not committed, nor has that of a group's
// only voter, which commits what it writes.
absl::Status Queue::Parts::Replay() {
  const bool is_group = !log->start(kShard).members.empty();
  const uint64_t last = is_group ? log->hard_state(kShard).commit : log->last_index(kShard);
  return CommitPipeline::Replay(log.get(), std::min(last, log->last_index(kShard)), machine.get());
}

absl::Status Queue::Parts::FoundGroup() {
  if (!log->start(kShard).members.empty() || !options.identity.founds) return absl::OkStatus();
  // The group begins behind what an older folder has: its log is not needed any more.
  if (machine->applied_index() > 0) {
    if (const absl::Status flushed = store->Flush(); !flushed.ok()) return flushed;
  }
  log->Add(kShard, LogStart{.index = std::max<uint64_t>(machine->applied_index(), 1),
                            .term = 1,
                            .members = OwnMembers()});
  if (const absl::Status written = log->Write(); !written.ok()) return written;
  return log->Sync();
}

absl::Status Queue::Parts::StartNode() {
  const bool has_peers = options.peers != nullptr;
  const auto warn = [](const std::string& line) { maillog::Warning("queue", line); };
  node = std::make_unique<ReplicaNode>(
      ReplicaNode::World{.log = std::move(log),
                         .sender = options.peers,
                         .snapshots = options.snapshots,
                         .clock = options.clock,
                         .tick_interval = options.tick_interval,
                         .keep_entries_max = has_peers ? kKeepEntriesMax : 0,
                         .warn = warn,
                         .on_fatal = options.on_fatal,
                         .on_synced = [this](double seconds, size_t messages) {
                           if (sync_seconds == nullptr) return;
                           sync_seconds->Observe(seconds);
                           if (messages > 0) batch_messages->Observe(static_cast<double>(messages));
                         }});
  std::random_device random;
  const ReplicaOptions replica = {.shard = kShard,
                                  .id = options.identity.id,
                                  .origin = uint64_t{random()} << 32 | random(),
                                  .applied = machine->applied_index(),
                                  .recent_bytes_max = has_peers ? 64u << 20 : 0};
  const MembersCodec codec = {.conf_state = membership::ConfStateOf,
                              .changed = membership::Changed};
  const absl::Status added = node->AddShard(replica, codec, pipeline->shard_observer());
  if (!added.ok()) return added;
  pipeline->Attach(node.get());
  state_loop.Start();
  node->Start();
  // A group of one leads by now, and serves once this has run.
  state_loop.RunAndWait([] {});
  return absl::OkStatus();
}

void Queue::Parts::OnMembers(const std::string& encoded) {
  const absl::StatusOr<cluster::v1::Membership> parsed = membership::ParseMembers(encoded);
  if (!parsed.ok()) return options.on_fatal(parsed.status());
  {
    std::lock_guard lock(members_mutex);
    members = *parsed;
  }
  if (options.on_members) options.on_members(*parsed);
}

void Queue::Parts::OnServing(bool serves, uint64_t leader) {
  if (serves) return service->Serve(options.resume_jobs);
  std::lock_guard lock(members_mutex);
  const cluster::v1::Member* member = membership::FindMember(members, leader);
  std::string address;
  if (member != nullptr) {
    address = options.address_of ? options.address_of(*member) : member->address();
  }
  service->ServeNoMore(address);
}

cluster::v1::ShardStatus Queue::Parts::Status() {
  using cluster::v1::ShardStatus;
  const NodeStanding standing = node->standing(kShard);
  ShardStatus shard;
  {
    std::lock_guard lock(members_mutex);
    *shard.mutable_membership() = members;
  }
  const cluster::v1::Member* own = membership::FindMember(shard.membership(), options.identity.id);
  shard.set_shard(kShard);
  shard.set_term(standing.term);
  shard.set_leader(standing.leader);
  shard.set_last_index(standing.last_index);
  shard.set_commit_index(standing.commit_index);
  shard.set_applied_index(applied_index);
  switch (standing.role) {
    case raft::Role::kLeader:
      // Who cannot serve yet is asked for nothing.
      shard.set_role(service->serves() ? ShardStatus::ROLE_LEADER : ShardStatus::ROLE_CANDIDATE);
      break;
    case raft::Role::kFollower:
      shard.set_role(own != nullptr && own->learner() ? ShardStatus::ROLE_LEARNER
                                                      : ShardStatus::ROLE_FOLLOWER);
      break;
    default:
      shard.set_role(ShardStatus::ROLE_CANDIDATE);
  }
  for (const raft::Progress& progress : standing.progress) {
    cluster::v1::MemberProgress& member = *shard.add_progress();
    member.set_id(progress.id);
    member.set_match_index(progress.match);
    member.set_active(progress.recent_active);
    member.set_snapshot(progress.state == raft::Progress::State::kSnapshot);
  }
  return shard;
}

void Queue::Parts::MakeService() {
  reader = std::make_unique<Reader>(store.get());
  service = std::make_unique<QueueService>(QueueService::World{
      .reader = reader.get(),
      .store = store.get(),
      .directory = options.directory + "/state",
      .machine = machine.get(),
      .state_loop = &state_loop,
      .clock = options.clock,
      .verify = [this](const VerifyListener& listener) { return VerifyStore(*store, listener); }});
  if (options.metrics != nullptr) ExportMetrics();
  pipeline = std::make_unique<CommitPipeline>(
      store.get(), machine.get(), &state_loop, options.clock,
      CommitObserver{
          .on_applied = [this](const Effects& effects) { service->OnApplied(effects); },
          .on_group =
              [this] {
                applied_index = machine->applied_index();
                CheckDisk();
                service->OnGroup();
              },
          .on_serving = [this](bool serves, uint64_t leader) { OnServing(serves, leader); },
          .on_members = [this](const std::string& encoded) { OnMembers(encoded); },
          .on_fatal = options.on_fatal});
  service->Attach(pipeline.get());
}

void Queue::Parts::WatchDisk() {
  CheckDisk();
  disk_timer->Set(kDiskCheckInterval, [this] { WatchDisk(); });
}

void Queue::Parts::CheckDisk() {
  const uint64_t free_bytes = FreeBytes(options.directory);
  const bool full = free_bytes < FreeBytesMin();
  if (full != disk_nearly_full.exchange(full)) {
    if (full) {
      maillog::Warning("queue", "not enough free space in mail queue: ", free_bytes, " bytes < ",
                       FreeBytesMin(), "; no mail is accepted until space is back");
    } else {
      maillog::Info("queue", "space is back in the mail queue: ", free_bytes, " bytes free");
    }
  }
  service->SetDiskNearlyFull(full);
}

void Queue::Parts::ExportMetrics() {
  metrics::Registry& registry = *options.metrics;
  sync_seconds = &registry.AddHistogram("queue_commit_seconds", "Time of a commit before the 250.",
                                        {{"phase", "fsync"}}, metrics::SecondsBuckets());
  batch_messages = &registry.AddHistogram("queue_commit_batch_messages",
                                          "New messages in one fsync, of those that have any.", {},
                                          {1, 2, 4, 8, 16, 32, 64, 128, 256, 512});
  const auto gauge = [&registry](const char* name, const char* help, const char* queue) {
    return &registry.AddGauge(name, help, {{"queue", queue}});
  };
  struct QueueGauges {
    metrics::Gauge* messages;
    metrics::Gauge* bytes;
    metrics::Gauge* oldest_seconds;
  };
  std::array<QueueGauges, 5> queues;
  constexpr std::array<const char*, 5> kNames = {"incoming", "active", "deferred", "hold",
                                                 "corrupt"};
  for (size_t i = 0; i < kNames.size(); ++i) {
    queues[i] = {gauge("queue_messages", "Messages; each is in one queue.", kNames[i]),
                 gauge("queue_bytes", "Contents of the queue's messages.", kNames[i]),
                 gauge("queue_oldest_message_age_seconds",
                       "Age by arrival of the oldest message of the queue; 0: none.", kNames[i])};
  }
  metrics::Gauge* uploads =
      &registry.AddGauge("queue_uploads", "Messages of which only the first chunks have come.");
  metrics::Gauge* jobs =
      &registry.AddGauge("queue_bulk_jobs", "Durable jobs of administrators that run or wait.");
  metrics::Gauge* free = &registry.AddGauge("spool_free_bytes", "Free space of the queue's disk.");
  metrics::Gauge* compaction =
      &registry.AddGauge("rocksdb_pending_compaction_bytes",
                         "What compactions have to catch up on.", {{"instance", "queue"}});
  metrics::Gauge* stalled = &registry.AddGauge(
      "rocksdb_write_stalled", "1 while the store takes no writes.", {{"instance", "queue"}});
  metrics::Counter* late = &registry.AddCounter("queue_late_outcomes_total",
                                                "Outcomes that found their message deleted.");
  metrics::Counter* damaged = &registry.AddCounter(
      "queue_damaged_compactions_total", "Compactions of the store that met a damaged block.");
  metrics::Counter* duplicates = &registry.AddCounter(
      "queue_duplicate_submissions_total",
      "Submissions that came again after they were applied: answered, and not applied twice.");
  metrics::Counter* abandoned = &registry.AddCounter(
      "queue_uploads_abandoned_total",
      "Messages that were given up after their first chunks, which were deleted.");
  auto duplicates_seen = std::make_shared<std::atomic<uint64_t>>(0);
  auto abandoned_seen = std::make_shared<std::atomic<uint64_t>>(0);
  auto damaged_seen = std::make_shared<std::atomic<uint64_t>>(0);
  // The state's count goes on over restarts, the metric begins at 0.
  auto late_seen = std::make_shared<std::atomic<uint64_t>>(machine->counts().late_outcomes());
  registry.OnCollect([=, this] {
    if (stopped) return;
    const QueueService::Figures figures = service->ReadFigures();
    const int64_t now_ms = options.clock->WallMillis();
    for (size_t i = 0; i < kNames.size(); ++i) {
      const QueueService::QueueFigures& queue = figures.queues[i];
      queues[i].messages->Set(static_cast<double>(queue.messages));
      queues[i].bytes->Set(static_cast<double>(queue.bytes));
      const int64_t age_ms =
          queue.oldest_ms == 0 ? 0 : std::max<int64_t>(0, now_ms - queue.oldest_ms);
      queues[i].oldest_seconds->Set(static_cast<double>(age_ms) / 1'000);
    }
    uploads->Set(static_cast<double>(figures.uploads));
    jobs->Set(static_cast<double>(figures.bulk_jobs));
    const auto raise = [](metrics::Counter* counter, std::atomic<uint64_t>& seen, uint64_t now) {
      const uint64_t before = seen.exchange(now);
      if (now > before) counter->Increment(static_cast<double>(now - before));
    };
    raise(damaged, *damaged_seen, store->damaged_compactions());
    raise(late, *late_seen, figures.late_outcomes);
    raise(duplicates, *duplicates_seen, figures.duplicate_submissions);
    raise(abandoned, *abandoned_seen, figures.uploads_abandoned);
    free->Set(static_cast<double>(FreeBytes(options.directory)));
    const auto property = [this](const char* name) {
      uint64_t value = 0;
      store->db()->GetAggregatedIntProperty(name, &value);
      return static_cast<double>(value);
    };
    compaction->Set(property("rocksdb.estimate-pending-compaction-bytes"));
    stalled->Set(property("rocksdb.is-write-stopped") > 0 ? 1 : 0);
  });
}

absl::StatusOr<std::unique_ptr<Queue>> Queue::Open(QueueOptions options) {
  auto parts = std::make_unique<Parts>(std::move(options));
  if (const absl::Status opened = parts->Open(); !opened.ok()) return opened;
  return std::unique_ptr<Queue>(new Queue(std::move(parts)));
}

Queue::Queue(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Queue::~Queue() { Stop(); }

grpc::Service* Queue::service() { return parts_->service.get(); }

absl::StatusOr<std::function<void()>> Queue::Prepare(const config::Config& config) {
  return [this, next = QueueOptions::From(config)] { parts_->SetAcceptMin(next); };
}

membership::Group Queue::group() {
  return {.status = [this] { return parts_->Status(); },
          .change =
              [this](const membership::Change& change, membership::Group::Done done) {
                parts_->node->Change(kShard, membership::ConfChangeOf(change), std::move(done));
              },
          .transfer =
              [this](uint64_t to, const membership::Group::Done& done) {
                parts_->node->TransferLeadership(kShard, to);
                done(absl::OkStatus());
              }};
}

absl::StatusOr<transport::PreparedSnapshot> Queue::MakeSnapshot(uint16_t shard) {
  transport::PreparedSnapshot snapshot;
  snapshot.folder = parts_->options.directory + "/outgoing";
  std::error_code ignored;
  std::filesystem::remove_all(snapshot.folder, ignored);
  const absl::StatusOr<uint64_t> index = MakeCheckpoint(parts_->store.get(), snapshot.folder);
  if (!index.ok()) return index.status();
  // A state that nothing was ever applied to is as of the group's beginning.
  const uint64_t as_of = std::max<uint64_t>(*index, 1);
  const absl::StatusOr<LogStart> start = parts_->node->StartAt(shard, as_of);
  if (!start.ok()) return start.status();
  const auto members = membership::ParseMembers(start->members);
  if (!members.ok()) return members.status();
  snapshot.manifest.set_shard(shard);
  snapshot.manifest.set_index(start->index);
  snapshot.manifest.set_term(start->term);
  *snapshot.manifest.mutable_membership() = *members;
  snapshot.manifest.set_version(kClusterVersion);
  for (const auto& file : std::filesystem::directory_iterator(snapshot.folder)) {
    snapshot.manifest.add_files()->set_name(file.path().filename());
  }
  return snapshot;
}

uint64_t Queue::committed_index() const { return parts_->node->standing(kShard).commit_index; }

void Queue::Receive(PeerMessage message) { parts_->node->Receive(std::move(message)); }
void Queue::ReportUnreachable(uint64_t id) { parts_->node->ReportUnreachable(id); }
void Queue::ReportSnapshot(uint16_t shard, uint64_t to, bool delivered) {
  parts_->node->ReportSnapshot(shard, to, delivered);
}

void Queue::CloseStreams() {
  parts_->service->CloseStreams();
  parts_->node->BeginStop();
}

void Queue::Stop() {
  if (parts_->stopped.exchange(true)) return;
  parts_->node->Stop();
  parts_->pipeline->Stop();
  parts_->service->Stop();
  parts_->state_loop.Stop();
}

bool Queue::Ready() const {
  return !parts_->stopped && parts_->service->serves() && !parts_->disk_nearly_full;
}

}  // namespace postfleet::queue
