#include "libs/rpc/stream.h"

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/client_callback.h>

#include <mutex>
#include <utility>

#include "libs/rpc/leader.h"

namespace postfleet::rpc {
namespace {

// Who may start a write, and who ends the stream. Shared by both ends. The write side begins as
// owned by whoever starts the stream, who pulls first.
//
// Write is called with the lock not held; only the owner of the write side calls it or next_frame.
class WriteSide {
 public:
  enum class Next {
    kPull,  // still the owner: ask for a frame
    kIdle,  // not the owner any more
    kEnd,   // not the owner any more, and the one who ends the stream
  };

  // True: the caller is the owner now, and pulls.
  bool Kick() {
    std::lock_guard lock(mutex_);
    if (closing_) return false;
    if (owned_) {
      kicked_ = true;
      return false;
    }
    return owned_ = true;
  }

  // By the owner, when next_frame had nothing, or a write ended.
  Next Continue(bool wrote) {
    std::lock_guard lock(mutex_);
    if (!closing_ && (wrote || kicked_)) {
      kicked_ = false;
      return Next::kPull;
    }
    owned_ = false;
    return closing_ ? Next::kEnd : Next::kIdle;
  }

  // No write starts from now on. True: the caller ends the stream; otherwise the owner does, or
  // somebody did.
  bool BeginClose() {
    std::lock_guard lock(mutex_);
    if (closing_) return false;
    closing_ = true;
    return !owned_;
  }

  bool closing() const {
    std::lock_guard lock(mutex_);
    return closing_;
  }

 private:
  mutable std::mutex mutex_;
  bool owned_ = true;
  bool kicked_ = false;
  bool closing_ = false;
};

// Both ends' common course. `Reactor` is gRPC's class, `Derived` says how to end.
template <typename Derived, typename Reactor>
class End : public Stream, public Reactor {
 public:
  void Kick() override {
    if (write_side_.Kick()) Pull();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Close();
      return;
    }
    callbacks_.on_frame(std::exchange(read_, {}));
    this->StartRead(&read_);
  }

  void OnWriteDone(bool ok) override {
    written_.Clear();
    if (!ok) write_side_.BeginClose();
    Continue(/*wrote=*/true);
  }

 protected:
  Derived& derived() { return static_cast<Derived&>(*this); }

  void Close() {
    if (write_side_.BeginClose()) derived().EndStream();
  }

  // By the owner of the write side.
  void Pull() {
    if (!write_side_.closing() && callbacks_.next_frame(&written_)) {
      this->StartWrite(&written_);
    } else {
      Continue(/*wrote=*/false);
    }
  }

  void Continue(bool wrote) {
    switch (write_side_.Continue(wrote)) {
      case WriteSide::Next::kPull:
        return Pull();
      case WriteSide::Next::kIdle:
        return;
      case WriteSide::Next::kEnd:
        return derived().EndStream();
    }
  }

  // Drops gRPC's hold on the stream before the holder hears of it: whoever waits for on_closed may
  // then end the process.
  void ReleaseAndTell(std::shared_ptr<Derived> self, const grpc::Status& status) {
    const grpc::Status copy = status;
    const auto on_closed = std::move(callbacks_.on_closed);
    callbacks_ = {};
    self.reset();  // may delete this
    on_closed(copy);
  }

  StreamCallbacks callbacks_;
  WriteSide write_side_;
  grpc::ByteBuffer read_;
  grpc::ByteBuffer written_;
};

class ClientEnd final
    : public End<ClientEnd, grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>> {
 public:
  ClientEnd(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
            StreamCallbacks callbacks)
      : stub_(channel) {
    callbacks_ = std::move(callbacks);
    stub_.PrepareBidiStreamingCall(&context_, method, {}, this);
  }

  void Start(std::shared_ptr<ClientEnd> self) {
    self_ = std::move(self);
    AddHold();  // writes start from outside of reactions, until EndStream
    StartRead(&read_);
    StartCall();
    Pull();
  }

  void Cancel() override { context_.TryCancel(); }

  // Once; no write is in flight and none will start.
  void EndStream() {
    context_.TryCancel();
    RemoveHold();
  }

  void OnDone(const grpc::Status& status) override {
    if (callbacks_.on_not_leader && IsNotLeader(context_)) {
      callbacks_.on_not_leader(LeaderToldBy(context_));
    }
    ReleaseAndTell(std::move(self_), status);
  }

 private:
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  std::shared_ptr<ClientEnd> self_;
};

class ServerEnd final
    : public End<ServerEnd, grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>> {
 public:
  explicit ServerEnd(std::function<grpc::Status()> how_it_ended)
      : how_it_ended_(std::move(how_it_ended)) {}

  void Start(std::shared_ptr<ServerEnd> self, StreamCallbacks callbacks) {
    self_ = std::move(self);
    callbacks_ = std::move(callbacks);
    StartRead(&read_);
    Pull();
  }

  void Cancel() override { Close(); }
  void OnCancel() override { Close(); }

  void EndStream() { Finish(how_it_ended_ ? how_it_ended_() : grpc::Status::OK); }

  void OnDone() override { ReleaseAndTell(std::move(self_), grpc::Status::OK); }

 private:
  const std::function<grpc::Status()> how_it_ended_;
  std::shared_ptr<ServerEnd> self_;
};

class Refusal final : public ServerReactor {
 public:
  explicit Refusal(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

std::shared_ptr<Stream> OpenStream(const std::shared_ptr<grpc::Channel>& channel,
                                   const std::string& method, StreamCallbacks callbacks) {
  auto stream = std::make_shared<ClientEnd>(channel, method, std::move(callbacks));
  stream->Start(stream);
  return stream;
}

ServerReactor* AcceptStream(const std::function<StreamCallbacks(std::shared_ptr<Stream>)>& accept,
                            std::function<grpc::Status()> how_it_ended) {
  auto stream = std::make_shared<ServerEnd>(std::move(how_it_ended));
  stream->Start(stream, accept(stream));
  return stream.get();
}

ServerReactor* RefuseStream(const grpc::Status& status) { return new Refusal(status); }

}  // namespace postfleet::rpc
