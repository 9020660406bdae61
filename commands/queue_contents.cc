#include "commands/queue_contents.h"

namespace postfleet::commands {

namespace v1 = queue::v1;

QueueContents::QueueContents(QueueClient& client, std::string queue_id, uint32_t chunks)
    : queue_id_(std::move(queue_id)), chunks_(chunks), stream_(client.stub().Fetch(&context_)) {}

QueueContents::~QueueContents() {
  if (finished_) return;
  context_.TryCancel();
  stream_->Finish();
}

absl::StatusOr<const v1::FetchResponse*> QueueContents::Next() {
  if (answered_ == chunks_ || finished_) return nullptr;
  while (asked_ < chunks_ && asked_ <= answered_ + kChunksAhead) {
    v1::FetchRequest request;
    request.set_queue_id(queue_id_);
    request.set_chunk(asked_++);
    if (!stream_->Write(request)) break;  // Read tells
  }
  if (!stream_->Read(&chunk_)) {
    finished_ = true;
    const grpc::Status status = stream_->Finish();
    return status.ok() ? absl::InternalError("the queue's answer ended too early")
                       : ToStatus(status, context_);
  }
  ++answered_;
  return &chunk_;
}

}  // namespace postfleet::commands
