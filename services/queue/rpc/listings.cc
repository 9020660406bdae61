// QueueService: what looks at messages and changes none.
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "libs/base/concat.h"
#include "services/queue/rpc/queue_service.h"

namespace postfleet::queue {
namespace {

constexpr uint32_t kListLimitMax = 1'000;
// Of the verifying thread, as `nice -n`.
constexpr int kVerifyNice = 15;

bool NoneIsActive(std::string_view) { return false; }

grpc::Status ReadFailed(const absl::Status& status) {
  return {grpc::StatusCode::INTERNAL, std::string(status.message())};
}

// The queue that a message is in, whose row is in `stored`.
v1::QueueName SeenQueue(v1::QueueName stored, std::string_view queue_id,
                        const Dispatcher& dispatcher) {
  const bool can_be_active = stored == v1::QUEUE_NAME_INCOMING || stored == v1::QUEUE_NAME_DEFERRED;
  return can_be_active && dispatcher.IsActive(queue_id) ? v1::QUEUE_NAME_ACTIVE : stored;
}

bool OnlyActive(const v1::ListRequest& request) {
  return request.queues_size() > 0 &&
         std::all_of(request.queues().begin(), request.queues().end(),
                     [](int queue) { return queue == v1::QUEUE_NAME_ACTIVE; });
}

void MergeVerify(v1::VerifyProgress* waiting, v1::VerifyProgress later) {
  for (std::string& finding : *later.mutable_findings()) {
    waiting->add_findings(std::move(finding));
  }
  later.mutable_findings()->Swap(waiting->mutable_findings());
  *waiting = std::move(later);
}

}  // namespace

grpc::ServerUnaryReactor* QueueService::List(grpc::CallbackServerContext* context,
                                             const v1::ListRequest* request,
                                             v1::ListResponse* response) {
  if (auto* elsewhere = Elsewhere(context)) return elsewhere;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (request->queue_ids_size() > static_cast<int>(kListLimitMax)) {
    reactor->Finish({grpc::StatusCode::INVALID_ARGUMENT,
                     Concat("more than ", kListLimitMax, " queue ids in one request")});
    return reactor;
  }
  if (OnlyActive(*request) && request->queue_ids().empty()) {
    state_loop_->Post([=, this] { ListActive(request, response, reactor); });
    return reactor;
  }
  v1::ListRequest stored = *request;
  if (WantedQueues::Of(request->queues()).active) {
    stored.add_queues(v1::QUEUE_NAME_INCOMING);
    stored.add_queues(v1::QUEUE_NAME_DEFERRED);
  }
  ListStored(std::move(stored), request, response, reactor, std::nullopt);
  return reactor;
}

// The dispatcher knows all of them: no need to look at a million others.
void QueueService::ListActive(const v1::ListRequest* request, v1::ListResponse* response,
                              grpc::ServerUnaryReactor* reactor) {
  const size_t limit =
      request->limit() == 0 ? kListLimitMax : std::min(request->limit(), kListLimitMax);
  std::vector<std::string> ids = dispatcher_.ActiveIds();
  std::erase_if(ids, [&](const std::string& id) { return id <= request->after_queue_id(); });
  if (ids.empty()) return reactor->Finish(grpc::Status::OK);
  std::optional<std::string> next;
  if (ids.size() > limit) {
    std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(limit), ids.end());
    ids.resize(limit);
    next = ids.back();
  }
  v1::ListRequest some;
  *some.mutable_queue_ids() = {ids.begin(), ids.end()};
  ListStored(std::move(some), request, response, reactor, std::move(next));
}

void QueueService::ListStored(v1::ListRequest wanted, const v1::ListRequest* request,
                              v1::ListResponse* response, grpc::ServerUnaryReactor* reactor,
                              std::optional<std::string> active_next) {
  list_loop_.Post([this, wanted = std::move(wanted), request, response, reactor,
                   active_next = std::move(active_next)] {
    absl::StatusOr<v1::ListResponse> page = reader_->List(wanted, NoneIsActive);
    if (!page.ok()) return reactor->Finish(ReadFailed(page.status()));
    *response = *std::move(page);
    if (active_next.has_value() && !response->more()) {
      response->set_more(true);
      response->set_next_queue_id(*active_next);
    }
    state_loop_->Post([this, request, response, reactor] {
      SayActive(*request, response);
      reactor->Finish(grpc::Status::OK);
    });
  });
}

void QueueService::MarkShown(const std::string& queue_id, v1::QueueName queue,
                             const std::string& reason) {
  // Others were marked before, and may have been released since they were read.
  if (queue != v1::QUEUE_NAME_CORRUPT || !IsFoundDamaged(reason)) return;
  if (marked_.size() >= kMarkedMax) return;
  if (marked_.insert(queue_id).second) MarkCorrupt(queue_id, reason);
}

void QueueService::SayActive(const v1::ListRequest& request, v1::ListResponse* response) {
  auto* messages = response->mutable_messages();
  for (v1::ListedMessage& message : *messages) {
    MarkShown(message.queue_id(), message.queue(), message.corrupt_reason());
    message.set_queue(SeenQueue(message.queue(), message.queue_id(), dispatcher_));
  }
  if (request.queues().empty()) return;
  const auto unwanted = [&](const v1::ListedMessage& message) {
    return std::find(request.queues().begin(), request.queues().end(), message.queue()) ==
           request.queues().end();
  };
  messages->erase(std::remove_if(messages->begin(), messages->end(), unwanted), messages->end());
}

grpc::ServerUnaryReactor* QueueService::Inspect(grpc::CallbackServerContext* context,
                                                const v1::InspectRequest* request,
                                                v1::InspectResponse* response) {
  if (auto* elsewhere = Elsewhere(context)) return elsewhere;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  list_loop_.Post([this, request, response, reactor] {
    absl::StatusOr<v1::InspectResponse> message = reader_->Inspect(*request, NoneIsActive);
    if (!message.ok()) return reactor->Finish(ReadFailed(message.status()));
    *response = *std::move(message);
    state_loop_->Post([this, request, response, reactor] {
      MarkShown(request->queue_id(), response->queue(), response->corrupt_reason());
      response->set_queue(SeenQueue(response->queue(), request->queue_id(), dispatcher_));
      reactor->Finish(grpc::Status::OK);
    });
  });
  return reactor;
}

grpc::ServerUnaryReactor* QueueService::Shape(grpc::CallbackServerContext* context,
                                              const v1::ShapeRequest* request,
                                              v1::ShapeResponse* response) {
  if (auto* elsewhere = Elsewhere(context)) return elsewhere;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  state_loop_->Post([this, request, response, reactor] {
    std::vector<std::string> active = dispatcher_.ActiveIds();
    shape_loop_.Post([this, request, response, reactor, active = std::move(active)] {
      const absl::flat_hash_set<std::string> ids(active.begin(), active.end());
      absl::StatusOr<v1::ShapeResponse> shape =
          reader_->Shape(*request, clock_->WallMillis(), [&ids](std::string_view queue_id) {
            return ids.contains(absl::string_view(queue_id.data(), queue_id.size()));
          });
      if (!shape.ok()) return reactor->Finish(ReadFailed(shape.status()));
      *response = *std::move(shape);
      reactor->Finish(grpc::Status::OK);
    });
  });
  return reactor;
}

grpc::ServerWriteReactor<v1::VerifyProgress>* QueueService::Verify(grpc::CallbackServerContext*,
                                                                   const v1::VerifyRequest*) {
  auto stream = ProgressStream<v1::VerifyProgress>::Begin(MergeVerify);
  std::lock_guard lock(verify_mutex_);
  if (closing_) {
    stream->End({grpc::StatusCode::UNAVAILABLE, "the queue is stopping"});
    return stream.get();
  }
  if (verifying_) {
    stream->End({grpc::StatusCode::RESOURCE_EXHAUSTED, "a verification runs already"});
    return stream.get();
  }
  verifying_ = true;
  if (verify_thread_.joinable()) verify_thread_.join();  // it has nothing left to do
  verify_thread_ = std::thread([this, stream] {
    pthread_setname_np(pthread_self(), "queue-verify");
    setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kVerifyNice);
    const absl::Status status = verify_([&](const v1::VerifyProgress& progress) {
      stream->Tell(progress);
      return !closing_ && !stream->cancelled();
    });
    {
      std::lock_guard ended(verify_mutex_);
      verifying_ = false;
    }
    stream->End(status.ok() ? grpc::Status::OK : ReadFailed(status));
  });
  return stream.get();
}

}  // namespace postfleet::queue
