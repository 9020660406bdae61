// QueueService: what changes messages by an administrator's word.
#include <utility>

#include "libs/base/concat.h"
#include "services/queue/rpc/administer_call.h"
#include "services/queue/rpc/queue_service.h"

namespace postfleet::queue {
namespace {

bool IsAction(v1::Action action) {
  return v1::Action_IsValid(action) && action != v1::ACTION_UNSPECIFIED;
}

grpc::Status NoSuchAction() { return {grpc::StatusCode::INVALID_ARGUMENT, "no such action"}; }

}  // namespace

grpc::ServerUnaryReactor* QueueService::Administer(grpc::CallbackServerContext* context,
                                                   const v1::AdministerRequest* request,
                                                   v1::AdministerResponse* response) {
  if (auto* elsewhere = Elsewhere(context)) return elsewhere;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (!IsAction(request->action())) {
    reactor->Finish(NoSuchAction());
    return reactor;
  }
  if (request->queue_ids_size() > kCommandIdsMax) {
    reactor->Finish({grpc::StatusCode::INVALID_ARGUMENT,
                     Concat("more than ", kCommandIdsMax, " queue ids in one request")});
    return reactor;
  }
  state_loop_->Post([this, request, response, reactor] {
    const AdministerCall::World world = {&dispatcher_, &withholding_, pipeline_};
    const auto done = [reactor](const grpc::Status& status) { reactor->Finish(status); };
    std::make_shared<AdministerCall>(world, request, response, done)->Begin();
  });
  return reactor;
}

grpc::ServerWriteReactor<v1::AdministerAllProgress>* QueueService::AdministerAll(
    grpc::CallbackServerContext* context, const v1::AdministerAllRequest* request) {
  auto stream = ProgressStream<v1::AdministerAllProgress>::Begin(BulkJobs::MergeProgress);
  if (!serves_) {
    stream->End(NotLeader(context));
  } else if (!IsAction(request->action())) {
    stream->End(NoSuchAction());
  } else {
    // `request` dies with the call, which its caller may end at any time.
    state_loop_->Post([this, stream, request = *request] { bulk_jobs_.Begin(request, stream); });
  }
  return stream.get();
}

grpc::ServerUnaryReactor* QueueService::ListJobs(grpc::CallbackServerContext* context,
                                                 const v1::ListJobsRequest*,
                                                 v1::ListJobsResponse* response) {
  if (auto* elsewhere = Elsewhere(context)) return elsewhere;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  state_loop_->Post([this, response, reactor] {
    *response = bulk_jobs_.Jobs();
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* QueueService::StopJob(grpc::CallbackServerContext* context,
                                                const v1::StopJobRequest* request,
                                                v1::StopJobResponse* response) {
  if (auto* elsewhere = Elsewhere(context)) return elsewhere;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  state_loop_->Post([this, request, response, reactor] {
    bulk_jobs_.StopJob(request->id(), [response, reactor](absl::StatusOr<bool> stopped) {
      if (!stopped.ok()) {
        return reactor->Finish(
            {grpc::StatusCode::UNAVAILABLE, std::string(stopped.status().message())});
      }
      response->set_stopped(*stopped);
      reactor->Finish(grpc::Status::OK);
    });
  });
  return reactor;
}

// A flush of a site: page after page of the messages that wait for it. Each page is durable before
// the next is read.
class QueueService::SiteFlush : public std::enable_shared_from_this<SiteFlush> {
 public:
  // `response` lives until the reactor is finished.
  SiteFlush(QueueService* service, std::string site, v1::FlushResponse* response,
            grpc::ServerUnaryReactor* reactor)
      : service_(service), site_(std::move(site)), response_(response), reactor_(reactor) {}

  void Next() {
    service_->list_loop_.Post([self = shared_from_this()] { self->ReadPage(); });
  }

 private:
  void ReadPage() {
    const absl::StatusOr<IdPage> page = service_->reader_->ScanSite(site_, cursor_, kCommandIdsMax);
    if (!page.ok()) {
      return reactor_->Finish({grpc::StatusCode::INTERNAL, std::string(page.status().message())});
    }
    if (page->queue_ids.empty()) return reactor_->Finish(grpc::Status::OK);
    cursor_ = page->cursor;
    Flush(page->queue_ids, page->end);
  }

  void Flush(const std::vector<std::string>& queue_ids, bool end) {
    Proposal proposal;
    *proposal.command.mutable_flush()->mutable_queue_ids() = {queue_ids.begin(), queue_ids.end()};
    proposal.done = [self = shared_from_this(),
                     end](const absl::StatusOr<const Effects*>& effects) {
      if (!effects.ok()) {
        return self->reactor_->Finish(Refusal(effects.status()));
      }
      self->response_->set_messages(self->response_->messages() + (*effects)->flushed.size());
      if (!(*effects)->left.empty()) return self->Flush((*effects)->left, end);
      if (end) return self->reactor_->Finish(grpc::Status::OK);
      self->Next();
    };
    if (service_->pipeline_->Propose(std::move(proposal), /*must=*/true)) return;
    reactor_->Finish({grpc::StatusCode::UNAVAILABLE, "the queue is stopping"});
  }

  QueueService* const service_;
  const std::string site_;
  v1::FlushResponse* const response_;
  grpc::ServerUnaryReactor* const reactor_;
  std::string cursor_;
};

grpc::ServerUnaryReactor* QueueService::Flush(grpc::CallbackServerContext* context,
                                              const v1::FlushRequest* request,
                                              v1::FlushResponse* response) {
  if (request->site().empty()) {
    state::Command command;
    command.mutable_flush();
    return ProposeFor(context, std::move(command), [](const Effects&) {});
  }
  if (auto* elsewhere = Elsewhere(context)) return elsewhere;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  std::make_shared<SiteFlush>(this, request->site(), response, reactor)->Next();
  return reactor;
}

}  // namespace postfleet::queue
