#include "libs/rpc/lasting_stream.h"

#include <algorithm>
#include <utility>

namespace postfleet::rpc {
namespace {

// One call that Stop waits for: until it was answered, or nobody is left who could.
class PendingCall {
 public:
  explicit PendingCall(std::shared_ptr<PendingCalls> calls) : calls_(std::move(calls)) {
    calls_->Begin();
  }
  ~PendingCall() { calls_->End(); }
  PendingCall(const PendingCall&) = delete;
  PendingCall& operator=(const PendingCall&) = delete;

 private:
  const std::shared_ptr<PendingCalls> calls_;
};

}  // namespace

LastingStream::LastingStream(runtime::EventLoop& loop, std::string method, Callbacks callbacks)
    : LastingStream(loop, std::move(method), std::move(callbacks), Time()) {}

LastingStream::LastingStream(runtime::EventLoop& loop, std::string method, Callbacks callbacks,
                             Time time)
    : loop_(loop),
      method_(std::move(method)),
      callbacks_(std::move(callbacks)),
      time_(std::move(time)),
      retry_(loop) {}

void LastingStream::Start(LeaderChannel channel) {
  channel_ = std::move(channel);
  Prepare();
}

void LastingStream::Stop() {
  loop_.RunAndWait([this] {
    stopped_ = true;
    retry_.Cancel();
    Break();
  });
  pending_->WaitForNone();
  // What was posted by the last callbacks still refers to this.
  loop_.RunAndWait([] {});
}

void LastingStream::Prepare() {
  if (stopped_) return;
  if (!callbacks_.prepare) return Open();
  callbacks_.prepare([this, call = std::make_shared<PendingCall>(pending_)](bool ok) {
    loop_.Post([this, ok] {
      if (stopped_) return;
      ok ? Open() : Retry();
    });
  });
}

void LastingStream::Open() {
  StreamCallbacks callbacks = callbacks_.open();
  auto told = std::make_shared<std::string>();
  callbacks.on_not_leader = [told](std::string address) { *told = std::move(address); };
  callbacks.on_closed = [this, told, pending = pending_](const grpc::Status& status) {
    loop_.Post([this, told, status] { OnClosed(status, *told); });
    pending->End();
  };
  pending_->Begin();
  opened_at_ = time_.clock->Monotonic();
  replica_ = channel_.leader();
  stream_ = OpenStream(channel_.channel(replica_), method_, std::move(callbacks));
  if (callbacks_.opened) callbacks_.opened();
}

void LastingStream::OnClosed(const grpc::Status& status, std::string_view told_leader) {
  stream_.reset();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) channel_.Turn(replica_, told_leader);
  if (time_.clock->Monotonic() - opened_at_ >= kRetryMax) retry_after_ = kRetryFirst;
  callbacks_.lost(status);
  if (!stopped_) Retry();
}

void LastingStream::Retry() {
  const auto after = std::exchange(retry_after_, std::min(retry_after_ * 2, kRetryMax));
  if (time_.after) return time_.after(after, [this] { Prepare(); });
  retry_.Set(after, [this] { Prepare(); });
}

}  // namespace postfleet::rpc
