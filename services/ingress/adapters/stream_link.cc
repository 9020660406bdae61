#include "services/ingress/adapters/stream_link.h"

#include <algorithm>
#include <utility>

namespace postfleet::ingress {

StreamLink::StreamLink(runtime::EventLoop& loop, std::shared_ptr<grpc::Channel> channel,
                       std::string method, Callbacks callbacks)
    : loop_(loop),
      channel_(std::move(channel)),
      method_(std::move(method)),
      callbacks_(std::move(callbacks)),
      retry_(loop) {}

StreamLink::~StreamLink() = default;

void StreamLink::Start() { Probe(); }

void StreamLink::Stop() {
  loop_.RunAndWait([this] {
    stopped_ = true;
    retry_.Cancel();
    if (stream_ != nullptr) stream_->Cancel();
  });
  pending_->WaitForNone();
  // What was posted by the last callbacks still refers to this.
  loop_.RunAndWait([] {});
}

void StreamLink::Probe() {
  if (stopped_) return;
  if (!callbacks_.probe) {
    Open();
    return;
  }
  pending_->Begin();
  callbacks_.probe([this, pending = pending_](bool ok) {
    loop_.Post([this, ok] {
      if (stopped_) return;
      if (ok) {
        Alive();
        Open();
      } else {
        Retry();
      }
    });
    pending->End();
  });
}

void StreamLink::Open() {
  rpc::StreamCallbacks callbacks = callbacks_.open();
  pending_->Begin();
  callbacks.on_closed = [this, pending = pending_](const grpc::Status&) {
    loop_.Post([this] {
      stream_.reset();
      callbacks_.lost();
      if (!stopped_) Retry();
    });
    pending->End();
  };
  stream_ = rpc::OpenStream(channel_, method_, std::move(callbacks));
  callbacks_.opened(stream_);
}

void StreamLink::Retry() {
  retry_.Set(retry_after_, [this] { Probe(); });
  retry_after_ = std::min(retry_after_ * 2, kRetryMax);
}

}  // namespace postfleet::ingress
