#include "services/queue/rpc/queue_service.h"

#include <utility>

#include "libs/base/concat.h"
#include "services/queue/rpc/streams.h"

namespace postfleet::queue {
namespace {

constexpr uint32_t kPartition = 0;
constexpr int kListLimitMax = 1'000;

grpc::Status TooManyIds() {
  return {grpc::StatusCode::INVALID_ARGUMENT,
          Concat("more than ", kCommandIdsMax, " queue ids in one request")};
}

grpc::ServerUnaryReactor* Refuse(grpc::CallbackServerContext* context, const grpc::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

}  // namespace

QueueService::QueueService(const Reader* reader, const StateMachine* machine,
                           runtime::EventLoop* state_loop, const Clock* clock)
    : reader_(reader),
      machine_(machine),
      state_loop_(state_loop),
      clock_(clock),
      streams_(std::make_unique<StreamSet>()),
      dispatcher_(reader, kPartition),
      due_timer_(*state_loop) {}

QueueService::~QueueService() = default;

void QueueService::OnApplied(const Effects& effects) { dispatcher_.OnEffects(effects); }

void QueueService::OnGroup() {
  if (holder_ != nullptr) holder_->Flush();
  Pump();
}

void QueueService::SetDiskNearlyFull(bool full) {
  if (disk_nearly_full_.exchange(full) == full) return;
  for (const auto& stream : streams_->enqueue_streams()) stream->TellDiskState();
}

void QueueService::CloseStreams() { streams_->CancelAll(); }

rpc::ServerReactor* QueueService::Enqueue(grpc::CallbackServerContext*) {
  return rpc::AcceptStream([this](std::shared_ptr<rpc::Stream> stream) {
    return std::make_shared<EnqueueStream>(this)->Open(std::move(stream));
  });
}

rpc::ServerReactor* QueueService::Schedule(grpc::CallbackServerContext*) {
  return rpc::AcceptStream([this](std::shared_ptr<rpc::Stream> stream) {
    return std::make_shared<ScheduleStream>(this)->Open(std::move(stream));
  });
}

rpc::ServerReactor* QueueService::Fetch(grpc::CallbackServerContext*) {
  return rpc::AcceptStream([this](std::shared_ptr<rpc::Stream> stream) {
    return std::make_shared<FetchStream>(this)->Open(std::move(stream));
  });
}

grpc::ServerUnaryReactor* QueueService::ProposeFor(grpc::CallbackServerContext* context,
                                                   state::Command command,
                                                   std::function<void(const Effects&)> fill) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  Proposal proposal;
  proposal.command = std::move(command);
  proposal.done = [reactor, fill = std::move(fill)](const absl::StatusOr<const Effects*>& effects) {
    if (!effects.ok()) {
      const bool full = absl::IsResourceExhausted(effects.status());
      reactor->Finish({full ? grpc::StatusCode::RESOURCE_EXHAUSTED : grpc::StatusCode::UNKNOWN,
                       std::string(effects.status().message())});
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

grpc::ServerUnaryReactor* QueueService::List(grpc::CallbackServerContext* context,
                                             const v1::ListRequest* request,
                                             v1::ListResponse* response) {
  if (request->queue_ids_size() > kListLimitMax) return Refuse(context, TooManyIds());
  absl::StatusOr<v1::ListResponse> page =
      reader_->List(*request, [](std::string_view) { return false; });
  if (!page.ok()) {
    return Refuse(context, {grpc::StatusCode::INTERNAL, std::string(page.status().message())});
  }
  *response = *std::move(page);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  // Who is active is known on the state loop only.
  state_loop_->Post([this, reactor, response] {
    for (v1::ListedMessage& message : *response->mutable_messages()) {
      if (dispatcher_.IsActive(message.queue_id())) message.set_queue(v1::QUEUE_NAME_ACTIVE);
    }
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* QueueService::Delete(grpc::CallbackServerContext* context,
                                               const v1::DeleteRequest* request,
                                               v1::DeleteResponse* response) {
  if (request->queue_ids_size() > kCommandIdsMax) return Refuse(context, TooManyIds());
  state::Command command;
  *command.mutable_delete_()->mutable_queue_ids() = request->queue_ids();
  return ProposeFor(context, std::move(command), [response](const Effects& effects) {
    for (const std::string& queue_id : effects.deleted) response->add_deleted(queue_id);
  });
}

grpc::ServerUnaryReactor* QueueService::Flush(grpc::CallbackServerContext* context,
                                              const v1::FlushRequest* request,
                                              v1::FlushResponse* response) {
  if (request->queue_ids_size() > kCommandIdsMax) return Refuse(context, TooManyIds());
  state::Command command;
  *command.mutable_flush()->mutable_queue_ids() = request->queue_ids();
  return ProposeFor(context, std::move(command), [response](const Effects& effects) {
    for (const std::string& queue_id : effects.missing) response->add_missing(queue_id);
  });
}

grpc::ServerUnaryReactor* QueueService::Stat(grpc::CallbackServerContext* context,
                                             const v1::StatRequest*, v1::StatResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  state_loop_->Post([this, reactor, response] {
    const state::Counts& counts = machine_->counts();
    response->set_incoming_messages(counts.incoming_messages());
    response->set_active_messages(dispatcher_.active_messages());
    response->set_deferred_messages(counts.deferred_messages());
    response->set_hold_messages(counts.hold_messages());
    response->set_bytes(counts.bytes());
    response->set_late_outcomes(counts.late_outcomes());
    response->set_applied_index(machine_->applied_index());
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

}  // namespace postfleet::queue
