#include "services/queue/queue.h"

#include <sys/statvfs.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "services/queue/log/file_system.h"
#include "services/queue/rpc/queue_service.h"

namespace postfleet::queue {
namespace {

constexpr std::chrono::milliseconds kDiskCheckInterval{1000};

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

}  // namespace

QueueOptions QueueOptions::From(const config::Config& config) {
  QueueOptions options;
  options.directory = config.GetString("queue_directory") + "/postfleet";
  options.queue_minfree_bytes = static_cast<uint64_t>(config.GetSize("queue_minfree"));
  options.message_size_limit_bytes = static_cast<uint64_t>(config.GetSize("message_size_limit"));
  return options;
}

struct Queue::Parts {
  explicit Parts(QueueOptions opened) : options(std::move(opened)) {}

  absl::Status Open();
  // Every second, and after each group that a disk could have been filled by.
  void WatchDisk();
  void CheckDisk();
  void ExportMetrics();

  // What must stay free: room to commit outcomes of everything that was accepted. What is proposed
  // is written twice, by the log and by the store; the store's buffers may be twice their size
  // while a flush is slow.
  uint64_t FreeBytesMin() const {
    const uint64_t accept =
        std::max(options.queue_minfree_bytes, options.message_size_limit_bytes * 3 / 2);
    return accept + 2 * options.write_buffer_bytes + options.segment_bytes +
           2 * pipeline->pending_bytes();
  }

  const QueueOptions options;
  std::unique_ptr<Store> store;
  std::unique_ptr<Log> log;
  std::unique_ptr<StateMachine> machine;
  std::unique_ptr<Reader> reader;
  runtime::EventLoop state_loop{"queue-state"};
  std::unique_ptr<QueueService> service;
  std::unique_ptr<CommitPipeline> pipeline;
  std::unique_ptr<runtime::Timer> disk_timer;
  std::atomic<bool> stopped{false};
  std::atomic<bool> disk_nearly_full{false};
  metrics::Histogram* sync_seconds = nullptr;
  metrics::Histogram* batch_messages = nullptr;
};

absl::Status Queue::Parts::Open() {
  if (const absl::Status made = MakeDirectory(options.directory); !made.ok()) return made;
  absl::StatusOr<std::unique_ptr<Store>> opened_store =
      Store::Open({.path = options.directory + "/state",
                   .env = nullptr,
                   .write_buffer_bytes = options.write_buffer_bytes});
  if (!opened_store.ok()) return opened_store.status();
  store = *std::move(opened_store);

  Recovery found;
  absl::StatusOr<std::unique_ptr<Log>> opened_log = Log::Open(
      {.dir = options.directory + "/log", .segment_bytes = options.segment_bytes}, &found);
  if (!opened_log.ok()) return opened_log.status();
  log = *std::move(opened_log);
  if (!found.remark.empty()) maillog::Warning("queue", found.remark);

  absl::StatusOr<std::unique_ptr<StateMachine>> loaded = StateMachine::Load(store.get());
  if (!loaded.ok()) return loaded.status();
  machine = *std::move(loaded);
  const uint64_t from = machine->applied_index();
  if (const absl::Status replayed = CommitPipeline::Replay(log.get(), machine.get());
      !replayed.ok()) {
    return replayed;
  }
  maillog::Info("queue", "opened ", options.directory, ": ", machine->applied_index() - from,
                " records replayed, ", machine->counts().incoming_messages(),
                " messages incoming, ", machine->counts().deferred_messages(), " deferred");

  reader = std::make_unique<Reader>(store.get());
  service = std::make_unique<QueueService>(reader.get(), machine.get(), &state_loop, options.clock);
  if (options.metrics != nullptr) ExportMetrics();
  pipeline = std::make_unique<CommitPipeline>(
      log.get(), store.get(), machine.get(), &state_loop, options.clock,
      CommitObserver{.on_applied = [this](const Effects& effects) { service->OnApplied(effects); },
                     .on_group =
                         [this] {
                           CheckDisk();
                           service->OnGroup();
                         },
                     .on_fatal = options.on_fatal,
                     .on_synced =
                         [this](double seconds, size_t commands) {
                           if (sync_seconds == nullptr) return;
                           sync_seconds->Observe(seconds);
                           batch_messages->Observe(static_cast<double>(commands));
                         }});
  service->Attach(pipeline.get());
  disk_timer = std::make_unique<runtime::Timer>(state_loop);
  WatchDisk();
  pipeline->Start();
  state_loop.Start();
  return absl::OkStatus();
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
  batch_messages = &registry.AddHistogram("queue_commit_batch_messages", "Commands in one fsync.",
                                          {}, {1, 2, 4, 8, 16, 32, 64, 128, 256, 512});
  auto gauge = [&registry](const char* queue) {
    return &registry.AddGauge("queue_messages", "Messages by queue.", {{"queue", queue}});
  };
  metrics::Gauge* incoming = gauge("incoming");
  metrics::Gauge* deferred = gauge("deferred");
  metrics::Gauge* hold = gauge("hold");
  metrics::Gauge* bytes = &registry.AddGauge("queue_bytes", "Contents of all messages.");
  metrics::Gauge* free = &registry.AddGauge("spool_free_bytes", "Free space of the queue's disk.");
  registry.OnCollect([this, incoming, deferred, hold, bytes, free] {
    if (stopped) return;
    state_loop.RunAndWait([&] {
      const state::Counts& counts = machine->counts();
      incoming->Set(static_cast<double>(counts.incoming_messages()));
      deferred->Set(static_cast<double>(counts.deferred_messages()));
      hold->Set(static_cast<double>(counts.hold_messages()));
      bytes->Set(static_cast<double>(counts.bytes()));
    });
    free->Set(static_cast<double>(FreeBytes(options.directory)));
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

void Queue::CloseStreams() {
  parts_->service->CloseStreams();
  parts_->pipeline->BeginStop();
}

void Queue::Stop() {
  if (parts_->stopped.exchange(true)) return;
  parts_->pipeline->Stop();
  parts_->state_loop.Stop();
}

bool Queue::Ready() const { return !parts_->stopped && !parts_->disk_nearly_full; }

}  // namespace postfleet::queue
