#include "tests/bench/shapes/rpc_server.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <mutex>
#include <utility>

#include "tests/bench/shapes/rpc_codec.h"

namespace postfleet::bench {
namespace {

template <class Codec>
class StreamReactor final
    : public grpc::ServerBidiReactor<typename Codec::BatchFrame, typename Codec::AckFrame> {
 public:
  StreamReactor() { this->StartRead(&incoming_); }

  void OnReadDone(bool ok) override {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!ok) {
      reads_ended_ = true;
      if (!writing_) this->Finish(grpc::Status::OK);
      return;
    }
    Codec::ReadBatch(incoming_, &pending_);
    WriteIfIdle();
    lock.unlock();
    this->StartRead(&incoming_);
  }

  void OnWriteDone(bool) override {
    std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    WriteIfIdle();
    if (reads_ended_ && !writing_) this->Finish(grpc::Status::OK);
  }

  void OnDone() override { delete this; }

 private:
  void WriteIfIdle() {
    if (writing_ || pending_.empty()) return;
    writing_ = true;
    Codec::FillAcks(std::exchange(pending_, {}), &outgoing_);
    this->StartWrite(&outgoing_);
  }

  typename Codec::BatchFrame incoming_;
  typename Codec::AckFrame outgoing_;
  // OnReadDone and OnWriteDone run on different threads at once.
  std::mutex mutex_;
  std::vector<uint64_t> pending_;
  bool writing_ = false;
  bool reads_ended_ = false;
};

template <class Codec, class Frame>
grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const Frame* request,
                                 typename Codec::AckFrame* response) {
  Codec::FillAcks({Codec::ReadItem(*request)}, response);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

class ProtobufService final : public shapes::Shapes::CallbackService {
  grpc::ServerUnaryReactor* Put(grpc::CallbackServerContext* context, const shapes::Item* request,
                                shapes::Acks* response) override {
    return Answer<ProtobufCodec>(context, request, response);
  }
  grpc::ServerBidiReactor<shapes::Batch, shapes::Acks>* Stream(
      grpc::CallbackServerContext*) override {
    return new StreamReactor<ProtobufCodec>;
  }
};

class SliceService final
    : public shapes::Shapes::WithRawCallbackMethod_Put<
          shapes::Shapes::WithRawCallbackMethod_Stream<shapes::Shapes::Service>> {
  grpc::ServerUnaryReactor* Put(grpc::CallbackServerContext* context,
                                const grpc::ByteBuffer* request,
                                grpc::ByteBuffer* response) override {
    return Answer<SliceCodec>(context, request, response);
  }
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Stream(
      grpc::CallbackServerContext*) override {
    return new StreamReactor<SliceCodec>;
  }
};

// One stream after another; one thread, so no lock.
class QueueStream final : public TagHandler {
 public:
  QueueStream(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue)
      : service_(service), queue_(queue) {
    Request();
  }

  void Handle(int tag, bool ok) override {
    switch (tag) {
      case kCall:
        if (ok) stream_->Read(&incoming_, Tag(kRead));
        return;
      case kRead:
        if (!ok) {
          reads_ended_ = true;
        } else {
          SliceCodec::ReadBatch(incoming_, &pending_);
          WriteIfIdle();
          stream_->Read(&incoming_, Tag(kRead));
        }
        break;
      case kWrite:
        writing_ = false;
        WriteIfIdle();
        break;
      case kFinish:
        Request();
        return;
    }
    if (reads_ended_ && !writing_) {
      stream_->Finish(grpc::Status::OK, Tag(kFinish));
    }
  }

  void Stop() override {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }

 private:
  enum { kCall = kServerTags, kRead, kWrite, kFinish };

  static void* Tag(int tag) { return reinterpret_cast<void*>(intptr_t{tag}); }

  void Request() {
    // RequestCall aborts the process on a server that was shut down.
    std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) return;
    stream_.reset();
    context_ = std::make_unique<grpc::GenericServerContext>();
    stream_ = std::make_unique<grpc::GenericServerAsyncReaderWriter>(context_.get());
    reads_ended_ = writing_ = false;
    service_->RequestCall(context_.get(), stream_.get(), queue_, queue_, Tag(kCall));
  }

  void WriteIfIdle() {
    if (writing_ || pending_.empty()) return;
    writing_ = true;
    SliceCodec::FillAcks(std::exchange(pending_, {}), &outgoing_);
    stream_->Write(outgoing_, Tag(kWrite));
  }

  grpc::AsyncGenericService* service_;
  grpc::ServerCompletionQueue* queue_;
  std::unique_ptr<grpc::GenericServerContext> context_;
  std::unique_ptr<grpc::GenericServerAsyncReaderWriter> stream_;
  grpc::ByteBuffer incoming_, outgoing_;
  std::vector<uint64_t> pending_;
  bool writing_ = false;
  bool reads_ended_ = false;
  std::mutex mutex_;
  bool stopping_ = false;
};

}  // namespace

BenchServer::BenchServer(ServerKind kind, const std::string& address) {
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(-1);
  if (!address.empty()) {
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
  }
  switch (kind) {
    case ServerKind::kProtobuf:
      service_ = std::make_unique<ProtobufService>();
      builder.RegisterService(service_.get());
      break;
    case ServerKind::kSlices:
      service_ = std::make_unique<SliceService>();
      builder.RegisterService(service_.get());
      break;
    case ServerKind::kQueue:
    case ServerKind::kSharedQueue:
      builder.RegisterAsyncGenericService(&generic_);
      queue_ = builder.AddCompletionQueue();
      break;
  }
  server_ = builder.BuildAndStart();
  BENCH_CHECK(server_ != nullptr);
  if (queue_ == nullptr) return;
  handler_ = std::make_unique<QueueStream>(&generic_, queue_.get());
  if (kind == ServerKind::kSharedQueue) return;
  thread_ = std::thread([this] {
    void* tag;
    bool ok;
    while (queue_->Next(&tag, &ok)) {
      handler_->Handle(static_cast<int>(reinterpret_cast<intptr_t>(tag)), ok);
    }
  });
}

BenchServer::~BenchServer() {
  if (handler_ != nullptr) handler_->Stop();
  server_->Shutdown(std::chrono::system_clock::now());
  if (queue_ == nullptr) return;
  queue_->Shutdown();
  if (thread_.joinable()) thread_.join();
  void* tag;
  bool ok;
  while (queue_->Next(&tag, &ok)) {
  }
}

}  // namespace postfleet::bench
