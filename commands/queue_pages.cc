#include "commands/queue_pages.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/async_unary_call.h>

namespace postfleet::commands {

namespace v1 = queue::v1;

struct QueuePages::Asked {
  grpc::ClientContext context;
  v1::ListResponse response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::ListResponse>> reader;
};

QueuePages::QueuePages(QueueClient& client, v1::ListRequest request)
    : client_(client), request_(std::move(request)) {
  if (request_.queue_ids().empty()) request_.set_limit(kFirstPageMessages);
  Ask();
}

QueuePages::~QueuePages() {
  if (asked_) asked_->context.TryCancel();
  completions_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (completions_.Next(&tag, &ok)) {
  }
}

void QueuePages::Ask() {
  asked_ = std::make_unique<Asked>();
  SetCallDeadline(&asked_->context);
  asked_->reader = client_.stub().AsyncList(&asked_->context, request_, &completions_);
  asked_->reader->Finish(&asked_->response, &asked_->status, nullptr);
}

absl::StatusOr<const v1::ListResponse*> QueuePages::Next() {
  if (!asked_) return nullptr;
  void* tag = nullptr;
  bool ok = false;
  completions_.Next(&tag, &ok);  // by its deadline at the latest
  const std::unique_ptr<Asked> answered = std::move(asked_);
  if (!answered->status.ok()) return ToStatus(answered->status, answered->context);
  page_ = std::move(answered->response);
  if (!page_.more()) return &page_;
  // A cursor that stands still would repeat for ever.
  if (page_.next_queue_id() <= request_.after_queue_id()) {
    return absl::InternalError("the queue's listing does not move on");
  }
  request_.set_after_queue_id(page_.next_queue_id());
  request_.set_limit(kPageMessages);
  Ask();
  return &page_;
}

}  // namespace postfleet::commands
