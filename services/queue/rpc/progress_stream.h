// A server stream of progress. At most one write is in flight; what a slow caller has not taken yet
// is merged into one, so that nothing piles up. Thread-safe.
#pragma once

#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace postfleet::queue {

template <typename Progress>
class ProgressStream final : public grpc::ServerWriteReactor<Progress> {
 public:
  // Adds what came later to what waits.
  using Merge = void (*)(Progress* waiting, Progress later);

  // Lives until the call has ended, and as long as somebody holds it. Returned from the method as
  // its reactor.
  static std::shared_ptr<ProgressStream> Begin(Merge merge) {
    std::shared_ptr<ProgressStream> stream(new ProgressStream(merge));
    stream->self_ = stream;
    return stream;
  }

  // Nothing happens once the call has ended, or is to end.
  void Tell(Progress progress) {
    {
      std::lock_guard lock(mutex_);
      if (end_.has_value()) return;
      if (waiting_.has_value()) {
        merge_(&*waiting_, std::move(progress));
      } else {
        waiting_ = std::move(progress);
      }
    }
    Go();
  }

  // Ends the call after what waits. Later ends do nothing.
  void End(grpc::Status status) {
    {
      std::lock_guard lock(mutex_);
      if (end_.has_value()) return;
      end_ = std::move(status);
    }
    Go();
  }

  // The caller went away.
  bool cancelled() const { return cancelled_; }

 private:
  explicit ProgressStream(Merge merge) : merge_(merge) {}

  void Go() {
    bool write = false;
    {
      std::lock_guard lock(mutex_);
      if (writing_ || finished_) return;
      if (waiting_.has_value() && !cancelled_) {
        current_ = *std::exchange(waiting_, std::nullopt);
        write = writing_ = true;
      } else if (end_.has_value()) {
        finished_ = true;
      } else {
        return;
      }
    }
    if (write) {
      this->StartWrite(&current_);
    } else {
      this->Finish(*end_);
    }
  }

  void OnWriteDone(bool) override {
    {
      std::lock_guard lock(mutex_);
      writing_ = false;
    }
    Go();
  }
  void OnCancel() override {
    cancelled_ = true;
    End(grpc::Status::CANCELLED);
    Go();
  }
  void OnDone() override { const auto last = std::move(self_); }

  const Merge merge_;
  std::shared_ptr<ProgressStream> self_;
  std::atomic<bool> cancelled_{false};

  std::mutex mutex_;  // protects what follows; no call into gRPC is made under it
  std::optional<Progress> waiting_;
  std::optional<grpc::Status> end_;
  Progress current_;  // being written
  bool writing_ = false;
  bool finished_ = false;
};

}  // namespace postfleet::queue
