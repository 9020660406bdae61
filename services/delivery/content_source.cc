#include "services/delivery/content_source.h"

#include <algorithm>
#include <utility>

#include "libs/base/crc32c.h"
#include "libs/submission/queue_leader.h"

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

FetchClient::FetchClient(rpc::LeaderChannel queue, runtime::EventLoop* loop,
                         std::shared_ptr<rpc::PendingCalls> pending, int tries_max)
    : queue_(std::move(queue)),
      loop_(loop),
      pending_(std::move(pending)),
      tries_max_(tries_max),
      retry_(*loop) {}

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
  waiting_.push_back({request, std::move(done)});
  if (searching_) return;
  if (stream_ == nullptr) return Open();  // asks for all that wait at once
  outbox_.Add(std::move(request));
  stream_->Kick();
}

void FetchClient::Open() {
  const uint64_t generation = ++generation_;
  for (const Waiting& waiting : waiting_) outbox_.Add(waiting.request);
  auto told = std::make_shared<std::string>();
  pending_->Begin();
  replica_ = queue_.leader();
  stream_ = rpc::OpenStream(
      queue_.channel(replica_), "/postfleet.queue.v1.Queue/Fetch",
      {.next_frame =
           [self = shared_from_this()](grpc::ByteBuffer* frame) {
             const auto requests =
                 self->outbox_.Take(0, [](const queue::v1::FetchRequest&) { return size_t{1}; });
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
           [self = shared_from_this(), generation, told](const grpc::Status& status) {
             self->loop_->Post(
                 [self, generation, told, status] { self->OnClosed(generation, status, *told); });
             self->pending_->End();
           },
       .on_not_leader = [told](std::string address) { *told = std::move(address); }});
}

void FetchClient::OnFrame(uint64_t generation, const grpc::ByteBuffer& frame) {
  if (generation != generation_ || waiting_.empty()) return;
  queue::v1::FetchResponse response;
  rpc::Payload payload;
  const bool decoded = rpc::DecodeFrame(frame, &response, &payload);
  const Done done = std::move(waiting_.front().done);
  waiting_.pop_front();
  tries_ = 0;
  retry_after_ = rpc::LastingStream::kRetryFirst;
  if (!decoded || response.corrupt()) {
    done(absl::DataLossError("message contents are damaged"), {});
  } else if (!response.found()) {
    done(absl::NotFoundError("no such message"), {});
  } else {
    done(absl::OkStatus(), std::move(payload));
  }
}

void FetchClient::OnClosed(uint64_t generation, const grpc::Status& status,
                           std::string_view told_leader) {
  if (generation != generation_) return;
  ++generation_;
  stream_ = nullptr;
  outbox_.TakeAll();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) queue_.Turn(replica_, told_leader);
  TryAgainOrFail();
}

void FetchClient::TryAgainOrFail() {
  searching_ = queue_.replicas() > 1 && !stopped_ && !waiting_.empty() && tries_++ < tries_max_;
  if (!searching_) return Fail();
  const auto after = std::exchange(retry_after_, std::min(retry_after_ * 2, kRetryMax));
  retry_.Set(after, [this] { FindLeader(); });
}

void FetchClient::FindLeader() {
  pending_->Begin();
  submission::FindLeader(
      queue_, [self = shared_from_this(), pending = pending_](const rpc::LeaderAnswer& answer) {
        self->loop_->Post([self, ok = answer.status.ok()] {
          if (!ok || self->stopped_) return self->TryAgainOrFail();
          self->searching_ = false;
          self->Open();
        });
        pending->End();
      });
}

void FetchClient::Fail() {
  tries_ = 0;
  retry_after_ = rpc::LastingStream::kRetryFirst;
  for (const Waiting& waiting : std::exchange(waiting_, {})) {
    waiting.done(absl::UnavailableError("the queue is away"), {});
  }
}

void FetchClient::Stop() {
  stopped_ = true;
  retry_.Cancel();
  if (stream_ != nullptr) return stream_->Cancel();
  searching_ = false;
  Fail();
}

}  // namespace postfleet::delivery
