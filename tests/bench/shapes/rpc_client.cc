#include "tests/bench/shapes/rpc_client.h"

#include <grpcpp/generic/generic_stub.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "tests/bench/shapes/rpc_codec.h"

namespace postfleet::bench {
namespace {

constexpr char kPut[] = "/postfleet.bench.shapes.Shapes/Put";
constexpr char kStream[] = "/postfleet.bench.shapes.Shapes/Stream";

// The items of a run in order; a fresh body each, as read from a socket.
class Source {
 public:
  explicit Source(const Load& load) : load_(load), body_(load.payload_bytes, 'x') {}

  bool Next(Submission* item) {
    if (made_ == load_.items) return false;
    *item = Submission{++made_, body_};
    return true;
  }

 private:
  const Load& load_;
  const std::string body_;
  uint64_t made_ = 0;
};

// Counts acknowledgements; each sequence must come exactly once.
class Receipt {
 public:
  void Add(const std::vector<uint64_t>& sequences) {
    count_ += sequences.size();
    for (uint64_t sequence : sequences) sum_ += sequence;
  }
  bool Complete(uint64_t items) const {
    if (count_ < items) return false;
    BENCH_CHECK(count_ == items && sum_ == items * (items + 1) / 2);
    return true;
  }

 private:
  uint64_t count_ = 0;
  uint64_t sum_ = 0;
};

std::vector<Submission> TakeFrame(const Load& load, std::deque<Submission>* pending) {
  std::vector<Submission> items;
  size_t bytes = 0;
  while (!pending->empty() && bytes < kFrameBytesMax &&
         items.size() < static_cast<size_t>(load.items_per_frame_max)) {
    bytes += pending->front().body.size();
    items.push_back(std::move(pending->front()));
    pending->pop_front();
  }
  return items;
}

template <class Codec>
class UnaryLoop {
 public:
  UnaryLoop(std::shared_ptr<grpc::Channel> channel, const Load& load)
      : stub_(std::move(channel)), load_(load), source_(load) {}

  void Run() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (int i = 0; i < load_.outstanding; ++i) Start();
    done_.wait(lock, [this] { return receipt_.Complete(load_.items); });
  }

 private:
  struct Call {
    grpc::ClientContext context;
    typename Codec::ItemFrame request;
    typename Codec::AckFrame response;
  };

  void Start() {
    Submission item;
    if (!source_.Next(&item)) return;
    auto* call = new Call;
    Codec::FillItem(std::move(item), &call->request);
    stub_.UnaryCall(&call->context, kPut, {}, &call->request, &call->response,
                    [this, call](grpc::Status status) {
                      BENCH_CHECK(status.ok());
                      std::vector<uint64_t> sequences;
                      Codec::ReadAcks(call->response, &sequences);
                      delete call;
                      std::lock_guard<std::mutex> lock(mutex_);
                      receipt_.Add(sequences);
                      if (receipt_.Complete(load_.items)) done_.notify_one();
                      Start();
                    });
  }

  grpc::TemplatedGenericStub<typename Codec::ItemFrame, typename Codec::AckFrame> stub_;
  const Load load_;
  std::mutex mutex_;
  std::condition_variable done_;
  Source source_;
  Receipt receipt_;
};

template <class Codec>
class StreamLoop final
    : public grpc::ClientBidiReactor<typename Codec::BatchFrame, typename Codec::AckFrame> {
 public:
  StreamLoop(std::shared_ptr<grpc::Channel> channel, const Load& load)
      : stub_(std::move(channel)), load_(load), source_(load) {}

  uint64_t Run() {
    stub_.PrepareBidiStreamingCall(&context_, kStream, {}, this);
    // Keeps the call open while a thread of ours may start writes.
    this->AddHold();
    this->StartRead(&incoming_);
    this->StartCall();
    std::unique_lock<std::mutex> lock(mutex_);
    Produce(load_.outstanding);
    while (!receipt_.Complete(load_.items)) {
      wake_.wait(lock, [this] { return to_produce_ > 0 || receipt_.Complete(load_.items); });
      Produce(std::exchange(to_produce_, 0));
    }
    lock.unlock();
    this->StartWritesDone();
    this->RemoveHold();
    lock.lock();
    wake_.wait(lock, [this] { return done_; });
    return frames_;
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    std::vector<uint64_t> sequences;
    Codec::ReadAcks(incoming_, &sequences);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      receipt_.Add(sequences);
      if (load_.producer_thread) {
        to_produce_ += static_cast<int>(sequences.size());
        wake_.notify_one();
      } else {
        Produce(static_cast<int>(sequences.size()));
        if (receipt_.Complete(load_.items)) wake_.notify_one();
      }
    }
    this->StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    BENCH_CHECK(ok);
    std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    WriteIfIdle();
  }

  void OnDone(const grpc::Status& status) override {
    BENCH_CHECK(status.ok());
    std::lock_guard<std::mutex> lock(mutex_);
    done_ = true;
    wake_.notify_one();
  }

 private:
  void Produce(int count) {
    Submission item;
    while (count-- > 0 && source_.Next(&item)) {
      pending_.push_back(std::move(item));
    }
    WriteIfIdle();
  }

  void WriteIfIdle() {
    if (writing_ || pending_.empty()) return;
    writing_ = true;
    ++frames_;
    Codec::FillBatch(TakeFrame(load_, &pending_), &outgoing_);
    this->StartWrite(&outgoing_);
  }

  grpc::TemplatedGenericStub<typename Codec::BatchFrame, typename Codec::AckFrame> stub_;
  const Load load_;
  grpc::ClientContext context_;
  typename Codec::BatchFrame outgoing_;
  typename Codec::AckFrame incoming_;

  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  Source source_;
  std::deque<Submission> pending_;
  Receipt receipt_;
  uint64_t frames_ = 0;
  int to_produce_ = 0;
  bool writing_ = false;
  bool done_ = false;
};

// The same loop driven by tags; one thread, so no lock.
class QueueLoop final : public TagHandler {
 public:
  QueueLoop(std::shared_ptr<grpc::Channel> channel, grpc::CompletionQueue* queue, const Load& load)
      : stub_(std::move(channel)), load_(load), source_(load) {
    stream_ = stub_.Call(&context_, kStream, queue, Tag(kStart));
  }

  bool done() const { return done_; }
  uint64_t frames() const { return frames_; }

  void Handle(int tag, bool ok) override {
    switch (tag) {
      case kStart:
        BENCH_CHECK(ok);
        stream_->Read(&incoming_, Tag(kRead));
        Produce(load_.outstanding);
        break;
      case kRead:
        if (!ok) {
          stream_->Finish(&status_, Tag(kFinish));
          break;
        }
        OnAcks();
        stream_->Read(&incoming_, Tag(kRead));
        break;
      case kWrite:
        writing_ = false;
        WriteIfIdle();
        break;
      case kWritesDone:
        break;
      case kFinish:
        BENCH_CHECK(status_.ok());
        done_ = true;
        break;
    }
    if (receipt_.Complete(load_.items) && !writing_ && !ending_) {
      ending_ = true;
      stream_->WritesDone(Tag(kWritesDone));
    }
  }

 private:
  enum { kStart = 1, kRead, kWrite, kWritesDone, kFinish };

  static void* Tag(int tag) { return reinterpret_cast<void*>(intptr_t{tag}); }

  void OnAcks() {
    std::vector<uint64_t> sequences;
    SliceCodec::ReadAcks(incoming_, &sequences);
    receipt_.Add(sequences);
    Produce(static_cast<int>(sequences.size()));
  }

  void Produce(int count) {
    Submission item;
    while (count-- > 0 && source_.Next(&item)) {
      pending_.push_back(std::move(item));
    }
    WriteIfIdle();
  }

  void WriteIfIdle() {
    if (writing_ || pending_.empty()) return;
    writing_ = true;
    ++frames_;
    SliceCodec::FillBatch(TakeFrame(load_, &pending_), &outgoing_);
    stream_->Write(outgoing_, Tag(kWrite));
  }

  grpc::GenericStub stub_;
  const Load load_;
  Source source_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  grpc::ByteBuffer outgoing_, incoming_;
  grpc::Status status_;
  std::deque<Submission> pending_;
  Receipt receipt_;
  uint64_t frames_ = 0;
  bool writing_ = false;
  bool ending_ = false;
  bool done_ = false;
};

}  // namespace

void RunUnary(std::shared_ptr<grpc::Channel> channel, ServerKind kind, const Load& load) {
  if (kind == ServerKind::kProtobuf) {
    UnaryLoop<ProtobufCodec>(std::move(channel), load).Run();
  } else {
    UnaryLoop<SliceCodec>(std::move(channel), load).Run();
  }
}

uint64_t RunStream(std::shared_ptr<grpc::Channel> channel, ServerKind kind, const Load& load) {
  if (kind == ServerKind::kProtobuf) {
    return StreamLoop<ProtobufCodec>(std::move(channel), load).Run();
  }
  return StreamLoop<SliceCodec>(std::move(channel), load).Run();
}

uint64_t RunQueueStream(std::shared_ptr<grpc::Channel> channel, BenchServer* shared,
                        const Load& load) {
  grpc::CompletionQueue own;
  grpc::CompletionQueue* queue = shared == nullptr ? &own : shared->queue();
  QueueLoop loop(std::move(channel), queue, load);
  void* tag;
  bool ok;
  while (!loop.done() && queue->Next(&tag, &ok)) {
    const int number = static_cast<int>(reinterpret_cast<intptr_t>(tag));
    if (number < kServerTags) {
      loop.Handle(number, ok);
    } else {
      shared->handler()->Handle(number, ok);
    }
  }
  own.Shutdown();
  while (own.Next(&tag, &ok)) {
  }
  return loop.frames();
}

}  // namespace postfleet::bench
