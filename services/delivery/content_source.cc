#include "services/delivery/content_source.h"

#include <utility>

#include "libs/base/crc32c.h"

namespace postfleet::delivery {
namespace {

class AttachedReader : public ContentReader {
 public:
  AttachedReader(runtime::EventLoop& loop, rpc::Payload payload, uint32_t crc32c)
      : loop_(loop), payload_(std::move(payload)), crc32c_(crc32c) {}

  void Next(Done done) override {
    loop_.Post([alive = std::weak_ptr(alive_), this, done = std::move(done)] {
      if (alive.expired()) return;
      if (!std::exchange(checked_, true) && !Checks()) {
        done(absl::DataLossError("message contents do not match their checksum"), {});
      } else {
        done(absl::OkStatus(), std::exchange(given_, true) ? rpc::Payload() : payload_);
      }
    });
  }

  bool Restart() override {
    alive_ = std::make_shared<char>();
    given_ = false;
    return true;
  }

 private:
  bool Checks() const {
    uint32_t crc = 0;
    for (const grpc::Slice& slice : payload_) crc = Crc32c(rpc::AsView(slice), crc);
    return crc == crc32c_;
  }

  runtime::EventLoop& loop_;
  const rpc::Payload payload_;
  const uint32_t crc32c_;
  bool checked_ = false;
  bool given_ = false;
  // Of the open call.
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

class WatchedReader : public ContentReader {
 public:
  WatchedReader(std::unique_ptr<ContentReader> reader, std::function<void()> damaged)
      : reader_(std::move(reader)), damaged_(std::move(damaged)) {}

  // The inner reader ends with this one, and its open call with it.
  void Next(Done done) override {
    reader_->Next([this, done = std::move(done)](const absl::Status& status, rpc::Payload piece) {
      if (absl::IsDataLoss(status)) damaged_();
      done(status, std::move(piece));
    });
  }
  bool Restart() override { return reader_->Restart(); }

 private:
  const std::unique_ptr<ContentReader> reader_;
  const std::function<void()> damaged_;
};

// Has the next chunk under way while the agent works on the last one.
class FetchedReader : public ContentReader {
 public:
  FetchedReader(std::shared_ptr<FetchClient> client, runtime::EventLoop* loop, std::string queue_id,
                uint32_t chunks)
      : client_(std::move(client)), loop_(loop), queue_id_(std::move(queue_id)), chunks_(chunks) {
    Ask();
  }

  void Next(Done done) override {
    done_ = std::move(done);
    if (asking_) return;
    loop_->Post([alive = std::weak_ptr(alive_), this] {
      if (!alive.expired()) Give();
    });
  }

  bool Restart() override {
    alive_ = std::make_shared<char>();
    next_chunk_ = 0;
    asking_ = false;
    status_ = absl::OkStatus();
    chunk_.clear();
    done_ = nullptr;
    Ask();
    return true;
  }

 private:
  void Ask() {
    if (next_chunk_ == chunks_ || !status_.ok()) return;
    asking_ = true;
    client_->Fetch(
        queue_id_, next_chunk_++,
        [alive = std::weak_ptr(alive_), this](const absl::Status& status, rpc::Payload chunk) {
          if (alive.expired()) return;
          asking_ = false;
          status_ = status;
          chunk_ = std::move(chunk);
          if (done_) Give();
        });
  }

  void Give() {
    const Done done = std::exchange(done_, nullptr);
    rpc::Payload chunk = std::exchange(chunk_, {});
    const absl::Status status = status_;
    Ask();
    done(status, std::move(chunk));
  }

  const std::shared_ptr<FetchClient> client_;
  runtime::EventLoop* const loop_;
  const std::string queue_id_;
  const uint32_t chunks_;
  uint32_t next_chunk_ = 0;
  bool asking_ = false;
  absl::Status status_;
  rpc::Payload chunk_;
  Done done_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace

std::unique_ptr<ContentReader> ReadAttached(runtime::EventLoop& loop, rpc::Payload payload,
                                            uint32_t crc32c) {
  return std::make_unique<AttachedReader>(loop, std::move(payload), crc32c);
}

std::unique_ptr<ContentReader> Watched(std::unique_ptr<ContentReader> reader,
                                       std::function<void()> damaged) {
  return std::make_unique<WatchedReader>(std::move(reader), std::move(damaged));
}

FetchClient::FetchClient(std::shared_ptr<grpc::Channel> queue, runtime::EventLoop* loop,
                         std::shared_ptr<rpc::PendingCalls> pending)
    : queue_(std::move(queue)), loop_(loop), pending_(std::move(pending)) {}

std::unique_ptr<ContentReader> FetchClient::Read(std::string queue_id, uint32_t chunks) {
  return std::make_unique<FetchedReader>(shared_from_this(), loop_, std::move(queue_id), chunks);
}

void FetchClient::Fetch(const std::string& queue_id, uint32_t chunk, Done done) {
  if (stopped_) {
    loop_->Post([done = std::move(done)] { done(absl::UnavailableError("stopping"), {}); });
    return;
  }
  queue::v1::FetchRequest request;
  request.set_queue_id(queue_id);
  request.set_chunk(chunk);
  waiting_.push_back(std::move(done));
  outbox_.Add(std::move(request));
  if (stream_ == nullptr) {
    Open();  // asks for the request at once
  } else {
    stream_->Kick();
  }
}

void FetchClient::Open() {
  const uint64_t generation = ++generation_;
  pending_->Begin();
  stream_ =
      rpc::OpenStream(queue_, "/postfleet.queue.v1.Queue/Fetch",
                      {.next_frame =
                           [self = shared_from_this()](grpc::ByteBuffer* frame) {
                             const auto requests = self->outbox_.Take(
                                 0, [](const queue::v1::FetchRequest&) { return size_t{1}; });
                             if (requests.empty()) return false;
                             *frame = rpc::EncodeFrame(requests.front(), {});
                             return true;
                           },
                       .on_frame =
                           [self = shared_from_this(), generation](grpc::ByteBuffer frame) {
                             self->loop_->Post([self, generation, frame = std::move(frame)] {
                               self->OnFrame(generation, frame);
                             });
                           },
                       .on_closed =
                           [self = shared_from_this(), generation](const grpc::Status&) {
                             self->loop_->Post([self, generation] { self->OnClosed(generation); });
                             self->pending_->End();
                           }});
}

void FetchClient::OnFrame(uint64_t generation, const grpc::ByteBuffer& frame) {
  if (generation != generation_ || waiting_.empty()) return;
  queue::v1::FetchResponse response;
  rpc::Payload payload;
  const bool decoded = rpc::DecodeFrame(frame, &response, &payload);
  const Done done = std::move(waiting_.front());
  waiting_.pop_front();
  if (!decoded || response.corrupt()) {
    done(absl::DataLossError("message contents are damaged"), {});
  } else if (!response.found()) {
    done(absl::NotFoundError("no such message"), {});
  } else {
    done(absl::OkStatus(), std::move(payload));
  }
}

void FetchClient::OnClosed(uint64_t generation) {
  if (generation != generation_) return;
  ++generation_;
  stream_ = nullptr;
  outbox_.TakeAll();
  for (const Done& done : std::exchange(waiting_, {})) {
    done(absl::UnavailableError("the queue is away"), {});
  }
}

void FetchClient::Stop() {
  stopped_ = true;
  if (stream_ != nullptr) stream_->Cancel();
}

}  // namespace postfleet::delivery
