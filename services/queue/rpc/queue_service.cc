#include "services/queue/rpc/queue_service.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/rpc/leader.h"
#include "services/queue/rpc/streams.h"
#include "services/queue/state/message_queue.h"

namespace postfleet::queue {
namespace {

constexpr uint32_t kPartition = 0;

}  // namespace

QueueService::QueueService(const World& world)
    : reader_(world.reader),
      machine_(world.machine),
      state_loop_(world.state_loop),
      clock_(world.clock),
      verify_(world.verify),
      streams_(std::make_unique<StreamSet>()),
      disk_space_(world.store, world.directory),
      dispatcher_(world.reader, kPartition),
      due_timer_(*world.state_loop),
      uploads_timer_(*world.state_loop),
      withholding_(&dispatcher_, world.state_loop,
                   [this] { state_loop_->Post([this] { Pump(); }); }),
      bulk_jobs_({.reader = world.reader,
                  .store = world.store,
                  .machine = world.machine,
                  .dispatcher = &dispatcher_,
                  .withholding = &withholding_,
                  .disk_space = &disk_space_,
                  .state_loop = world.state_loop,
                  .clock = world.clock}) {
  list_loop_.Start();
  shape_loop_.Start();
}

QueueService::~QueueService() { Stop(); }

void QueueService::Attach(CommitPipeline* pipeline) {
  pipeline_ = pipeline;
  bulk_jobs_.Attach(pipeline);
}

void QueueService::Serve(bool with_jobs) {
  serves_ = true;
  uploads_timer_.Set(kUploadCheckInterval, [this] { AbandonUploads(); });
  if (with_jobs) bulk_jobs_.Resume();
}

void QueueService::ServeNoMore(const std::string& leader_address) {
  {
    std::lock_guard lock(leader_mutex_);
    leader_address_ = leader_address;
  }
  if (!serves_.exchange(false)) return;
  streams_->CancelAll();
  state_loop_->Post([this] {
    uploads_timer_.Cancel();
    bulk_jobs_.Pause();
  });
}

grpc::Status QueueService::NotLeader(grpc::CallbackServerContext* context) {
  std::lock_guard lock(leader_mutex_);
  return rpc::NotLeader(context, leader_address_);
}

grpc::ServerUnaryReactor* QueueService::Elsewhere(grpc::CallbackServerContext* context) {
  if (serves_) return nullptr;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(NotLeader(context));
  return reactor;
}

grpc::Status QueueService::Refusal(const absl::Status& status) {
  const std::string text(status.message());
  if (absl::IsResourceExhausted(status)) return {grpc::StatusCode::RESOURCE_EXHAUSTED, text};
  if (absl::IsUnavailable(status)) return {grpc::StatusCode::UNAVAILABLE, text};
  if (absl::IsAborted(status)) {
    return {grpc::StatusCode::ABORTED, Concat(text, "; it is not known whether it was done")};
  }
  return {grpc::StatusCode::UNKNOWN, text};
}

void QueueService::OnApplied(const Effects& effects) {
  dispatcher_.OnEffects(effects);
  for (const SubmissionResult& result : effects.submissions) {
    duplicate_submissions_ += result.duplicate ? 1 : 0;
  }
  uploads_abandoned_ += effects.uploads_abandoned;
  if (!serves_) return;  // the log of the one that does has it
  if (!effects.parked.empty()) LogFoundCorrupt(effects);
  // Whoever reads the log can follow a requeued message.
  for (size_t i = 0; i < effects.new_queue_ids.size(); ++i) {
    maillog::Info("queue", effects.new_queue_ids[i], ": orig_id=", effects.changed[i]);
  }
}

// Commands that met rows that cannot be read. MarkCorrupt, which knows more, has its own line.
void QueueService::LogFoundCorrupt(const Effects& effects) {
  const bool administered = effects.action != v1::ACTION_UNSPECIFIED;
  if (!administered && effects.outcomes.empty() && effects.notifies.empty() &&
      effects.put_offs.empty()) {
    return;
  }
  const absl::flat_hash_set<std::string> held(effects.changed.begin(), effects.changed.end());
  for (const std::string& queue_id : effects.parked) {
    if (held.contains(queue_id)) continue;
    maillog::Warning("queue", queue_id,
                     ": corrupt: some of its rows cannot be read; moved to the corrupt queue");
  }
}

void QueueService::OnGroup() {
  if (holder_ != nullptr) holder_->Flush();
  Pump();
  CheckBacklog();
}

void QueueService::CheckBacklog() {
  {
    // Both at once: who looked first must not have the last word.
    std::lock_guard lock(backlog_mutex_);
    const size_t bytes_max = backlogged_ ? kBacklogBytesLow : kBacklogBytesHigh;
    const bool backlogged = pipeline_->pending_bytes() > bytes_max;
    if (backlogged_.exchange(backlogged) == backlogged) return;
  }
  for (const auto& stream : streams_->enqueue_streams()) stream->TellState();
}

void QueueService::SetDiskNearlyFull(bool full) {
  if (disk_nearly_full_.exchange(full) == full) return;
  for (const auto& stream : streams_->enqueue_streams()) stream->TellState();
}

void QueueService::CloseStreams() {
  closing_ = true;
  streams_->CancelAll();
  state_loop_->Post([this] {
    bulk_jobs_.Close();
    withholding_.Close();
  });
}

void QueueService::Stop() {
  closing_ = true;
  std::thread verifying;
  {
    std::lock_guard lock(verify_mutex_);
    verifying = std::move(verify_thread_);
  }
  if (verifying.joinable()) verifying.join();
  bulk_jobs_.Stop();
  list_loop_.Stop();
  shape_loop_.Stop();
  disk_space_.Stop();
}

template <typename Stream>
rpc::ServerReactor* QueueService::Accept(grpc::CallbackServerContext* context) {
  if (!serves_) return rpc::RefuseStream(NotLeader(context));
  std::shared_ptr<rpc::Stream> opened;
  rpc::ServerReactor* reactor = rpc::AcceptStream(
      [&](std::shared_ptr<rpc::Stream> stream) {
        opened = stream;
        return std::make_shared<Stream>(this)->Open(std::move(stream));
      },
      [this, context] { return serves_ ? grpc::Status::OK : NotLeader(context); });
  // All that were open may have been ended just before.
  if (!serves_) opened->Cancel();
  return reactor;
}

rpc::ServerReactor* QueueService::Enqueue(grpc::CallbackServerContext* context) {
  return Accept<EnqueueStream>(context);
}

rpc::ServerReactor* QueueService::Schedule(grpc::CallbackServerContext* context) {
  return Accept<ScheduleStream>(context);
}

rpc::ServerReactor* QueueService::Fetch(grpc::CallbackServerContext* context) {
  return Accept<FetchStream>(context);
}

grpc::ServerUnaryReactor* QueueService::ProposeFor(grpc::CallbackServerContext* context,
                                                   state::Command command,
                                                   std::function<void(const Effects&)> fill) {
  if (auto* elsewhere = Elsewhere(context)) return elsewhere;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  Proposal proposal;
  proposal.command = std::move(command);
  proposal.done = [this, context, reactor,
                   fill = std::move(fill)](const absl::StatusOr<const Effects*>& effects) {
    if (!effects.ok()) {
      reactor->Finish(absl::IsUnavailable(effects.status()) ? NotLeader(context)
                                                            : Refusal(effects.status()));
    } else if (!(*effects)->refused.empty()) {
      reactor->Finish({grpc::StatusCode::FAILED_PRECONDITION, (*effects)->refused});
    } else {
      fill(**effects);
      reactor->Finish(grpc::Status::OK);
    }
  };
  if (!pipeline_->Propose(std::move(proposal), /*must=*/true)) {
    reactor->Finish({grpc::StatusCode::UNAVAILABLE, "the queue is stopping"});
  }
  return reactor;
}

grpc::ServerUnaryReactor* QueueService::Register(grpc::CallbackServerContext* context,
                                                 const v1::RegisterRequest* request,
                                                 v1::RegisterResponse* response) {
  state::Command command;
  command.mutable_register_()->set_name(request->name());
  return ProposeFor(context, std::move(command), [response](const Effects& effects) {
    response->set_incarnation(effects.incarnation);
  });
}

void QueueService::MarkCorrupt(const std::string& queue_id, const std::string& reason) {
  Proposal proposal;
  proposal.command.mutable_mark_corrupt()->set_queue_id(queue_id);
  proposal.command.mutable_mark_corrupt()->set_reason(reason);
  proposal.done = [queue_id, reason](const absl::StatusOr<const Effects*>& effects) {
    if (!effects.ok() || (*effects)->parked.empty()) return;
    maillog::Warning("queue", queue_id, ": corrupt: ", reason, "; moved to the corrupt queue");
  };
  // Not while the queue stops: whoever reads it next finds it again.
  static_cast<void>(pipeline_->Propose(std::move(proposal), /*must=*/true));
}

bool QueueService::JudgeMissingChunk(const v1::FetchRequest& request,
                                     const absl::StatusOr<Chunk>& chunk) {
  // A store that cannot be read at all is no damage of this message: apply meets the same error and
  // ends the process.
  if (!chunk.ok() && !absl::IsDataLoss(chunk.status())) return true;
  const auto row = reader_->ReadMessage(request.queue_id());
  if (!row.ok()) {
    if (absl::IsDataLoss(row.status())) {
      MarkCorrupt(request.queue_id(), std::string(row.status().message()));
    }
    return true;
  }
  if (!row->has_value() || request.chunk() >= (*row)->chunks()) return false;
  if (!(*row)->corrupt_reason().empty()) return true;
  std::string reason = Concat("chunk ", request.chunk(), " is missing");
  if (!chunk.ok()) {
    reason = std::string(chunk.status().message());
  } else if (chunk->corrupt) {
    reason = Concat("chunk ", request.chunk(), " does not match its checksum");
  }
  MarkCorrupt(request.queue_id(), reason);
  return true;
}

void QueueService::AbandonUploads() {
  uploads_timer_.Set(kUploadCheckInterval, [this] { AbandonUploads(); });
  if (machine_->counts().uploads() == 0) return;
  Proposal proposal;
  proposal.command.mutable_abandon_uploads()->set_idle_since_ms(
      clock_->WallMillis() - std::chrono::milliseconds(kUploadIdleMax).count());
  proposal.done = [this](const absl::StatusOr<const Effects*>& effects) {
    if (!effects.ok() || (*effects)->uploads_abandoned == 0) return;
    maillog::Info("queue", "deleted what came of ", (*effects)->uploads_abandoned,
                  " messages that were never finished");
    if ((*effects)->uploads_abandoned >= kUploadsAbandonedMax) AbandonUploads();
  };
  static_cast<void>(pipeline_->Propose(std::move(proposal), /*must=*/true));
}

// ---- Figures

void QueueService::FillStat(v1::StatResponse* response) const {
  const state::Counts& counts = machine_->counts();
  response->set_incoming_messages(counts.incoming_messages());
  response->set_active_messages(dispatcher_.active_messages());
  response->set_deferred_messages(counts.deferred_messages());
  response->set_hold_messages(counts.hold_messages());
  response->set_corrupt_messages(counts.corrupt_messages());
  response->set_bytes(counts.bytes());
  response->set_late_outcomes(counts.late_outcomes());
  response->set_applied_index(machine_->applied_index());
}

// Reads the store. One that cannot be read is told by whoever needs it: 0 is "not known".
void QueueService::FillOldest(v1::StatResponse* response) const {
  const absl::StatusOr<OldestArrivals> oldest = reader_->ReadOldest();
  if (!oldest.ok()) return;
  response->set_oldest_incoming_ms(oldest->incoming_ms);
  response->set_oldest_deferred_ms(oldest->deferred_ms);
  response->set_oldest_hold_ms(oldest->hold_ms);
  response->set_oldest_corrupt_ms(oldest->corrupt_ms);
}

grpc::ServerUnaryReactor* QueueService::Stat(grpc::CallbackServerContext* context,
                                             const v1::StatRequest*, v1::StatResponse* response) {
  if (auto* elsewhere = Elsewhere(context)) return elsewhere;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  state_loop_->Post([this, reactor, response] {
    FillStat(response);
    list_loop_.Post([this, reactor, response] {
      FillOldest(response);
      reactor->Finish(grpc::Status::OK);
    });
  });
  return reactor;
}

// In the store, an active message is incoming or deferred: it is moved to its place here.
void QueueService::SplitActive(const std::vector<std::string>& active, Figures* figures) const {
  for (const std::string& queue_id : active) {
    const auto row = reader_->ReadMessage(queue_id);
    if (!row.ok() || !row->has_value()) continue;
    const v1::QueueName stored = DurableQueueOf(**row);
    if (stored != v1::QUEUE_NAME_INCOMING && stored != v1::QUEUE_NAME_DEFERRED) continue;
    QueueFigures& from = figures->queues[stored == v1::QUEUE_NAME_INCOMING ? 0 : 2];
    // The counts are a moment older than the rows.
    if (from.messages == 0 || from.bytes < (*row)->content_bytes()) continue;
    --from.messages;
    from.bytes -= (*row)->content_bytes();
    ++figures->queues[1].messages;
    figures->queues[1].bytes += (*row)->content_bytes();
  }
  for (QueueFigures& queue : figures->queues) {
    if (queue.messages == 0) queue.oldest_ms = 0;
  }
}

QueueService::Figures QueueService::ReadFigures() {
  state::Counts counts;
  std::vector<std::string> active;
  Figures figures;
  int64_t oldest_active_ms = 0;
  state_loop_->RunAndWait([&] {
    counts = machine_->counts();
    active = dispatcher_.ActiveIds();
    oldest_active_ms = dispatcher_.OldestActiveMs();
    figures.bulk_jobs = static_cast<uint64_t>(machine_->bulks().size());
    figures.duplicate_submissions = duplicate_submissions_;
    figures.uploads_abandoned = uploads_abandoned_;
  });
  v1::StatResponse oldest;
  FillOldest(&oldest);
  const uint64_t elsewhere = counts.deferred_bytes() + counts.hold_bytes() + counts.corrupt_bytes();
  figures.queues = {
      {{counts.incoming_messages(), counts.bytes() - std::min(counts.bytes(), elsewhere),
        oldest.oldest_incoming_ms()},
       {0, 0, oldest_active_ms},
       {counts.deferred_messages(), counts.deferred_bytes(), oldest.oldest_deferred_ms()},
       {counts.hold_messages(), counts.hold_bytes(), oldest.oldest_hold_ms()},
       {counts.corrupt_messages(), counts.corrupt_bytes(), oldest.oldest_corrupt_ms()}}};
  figures.late_outcomes = counts.late_outcomes();
  figures.uploads = counts.uploads();
  SplitActive(active, &figures);
  return figures;
}

}  // namespace postfleet::queue
