#include "libs/submission/fake_services.h"

#include <grpcpp/server_builder.h>

#include <utility>

#include "libs/rpc/payload.h"

namespace postfleet::submission {
namespace {

using queue::v1::EnqueueResult;

template <typename Response, typename Item, typename Add>
bool NextFrame(rpc::Outbox<Item>& outbox, grpc::ByteBuffer* frame, const Add& add) {
  auto items = outbox.TakeAll();
  if (items.empty()) return false;
  Response response;
  for (Item& item : items) *add(response) = std::move(item);
  *frame = rpc::EncodeFrame(response, {});
  return true;
}

}  // namespace

struct FakeServices::EnqueuePeer {
  std::shared_ptr<rpc::Stream> stream;
  rpc::Outbox<EnqueueResult> outbox;
  rpc::Outbox<EnqueueResult> held;
};

struct FakeServices::ResolvePeer {
  std::shared_ptr<rpc::Stream> stream;
  rpc::Outbox<lookup::v1::Answer> outbox;
  rpc::Outbox<lookup::v1::Answer> held;
};

struct FakeServices::Services {
  class Queue
      : public queue::v1::Queue::WithRawCallbackMethod_Enqueue<
            queue::v1::Queue::WithCallbackMethod_Register<queue::v1::Queue::WithCallbackMethod_Stat<
                queue::v1::Queue::WithCallbackMethod_Flush<queue::v1::Queue::Service>>>> {
   public:
    explicit Queue(FakeServices& owner) : owner_(owner) {}

    grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context,
                                       const queue::v1::RegisterRequest*,
                                       queue::v1::RegisterResponse* response) override {
      const grpc::Status status = owner_.Call();
      if (status.ok()) {
        std::lock_guard lock(owner_.mutex_);
        response->set_incarnation(static_cast<uint64_t>(++owner_.registrations_));
      }
      owner_.changed_.notify_all();
      auto* reactor = context->DefaultReactor();
      reactor->Finish(status);
      return reactor;
    }
    grpc::ServerUnaryReactor* Stat(grpc::CallbackServerContext* context,
                                   const queue::v1::StatRequest*,
                                   queue::v1::StatResponse*) override {
      auto* reactor = context->DefaultReactor();
      reactor->Finish(owner_.Call());
      return reactor;
    }
    grpc::ServerUnaryReactor* Flush(grpc::CallbackServerContext* context,
                                    const queue::v1::FlushRequest* request,
                                    queue::v1::FlushResponse*) override {
      const grpc::Status status = owner_.Call();
      if (status.ok()) {
        std::lock_guard lock(owner_.mutex_);
        owner_.flushed_sites_.push_back(request->site());
      }
      auto* reactor = context->DefaultReactor();
      reactor->Finish(status);
      return reactor;
    }
    rpc::ServerReactor* Enqueue(grpc::CallbackServerContext*) override {
      auto peer = std::make_shared<EnqueuePeer>();
      return rpc::AcceptStream([this, peer](std::shared_ptr<rpc::Stream> stream) {
        peer->stream = std::move(stream);
        {
          std::lock_guard lock(owner_.mutex_);
          owner_.enqueue_peers_.push_back(peer);
          ++owner_.enqueue_streams_;
        }
        owner_.changed_.notify_all();
        return rpc::StreamCallbacks{
            .next_frame =
                [this, peer](grpc::ByteBuffer* frame) {
                  return NextFrame<queue::v1::EnqueueResponse>(
                      peer->outbox, frame, [this](auto& response) {
                        response.set_behind(owner_.queue_behind);
                        response.set_wait(owner_.queue_wait);
                        return response.add_results();
                      });
                },
            .on_frame =
                [this, peer](grpc::ByteBuffer frame) { owner_.OnEnqueue(*peer, std::move(frame)); },
            .on_closed = [](const grpc::Status&) {}};
      });
    }

   private:
    FakeServices& owner_;
  };

  class Lookup
      : public lookup::v1::Lookup::WithRawCallbackMethod_Resolve<lookup::v1::Lookup::Service> {
   public:
    explicit Lookup(FakeServices& owner) : owner_(owner) {}
    rpc::ServerReactor* Resolve(grpc::CallbackServerContext*) override {
      auto peer = std::make_shared<ResolvePeer>();
      return rpc::AcceptStream([this, peer](std::shared_ptr<rpc::Stream> stream) {
        peer->stream = std::move(stream);
        {
          std::lock_guard lock(owner_.mutex_);
          owner_.resolve_peers_.push_back(peer);
        }
        return rpc::StreamCallbacks{
            .next_frame =
                [peer](grpc::ByteBuffer* frame) {
                  return NextFrame<lookup::v1::ResolveResponse>(
                      peer->outbox, frame, [](auto& response) { return response.add_answers(); });
                },
            .on_frame =
                [this, peer](grpc::ByteBuffer frame) { owner_.OnResolve(*peer, std::move(frame)); },
            .on_closed = [](const grpc::Status&) {}};
      });
    }

   private:
    FakeServices& owner_;
  };

  explicit Services(FakeServices& owner) : queue(owner), lookup(owner) {}
  Queue queue;
  Lookup lookup;
};

FakeServices::FakeServices(bool keep) : keep_(keep), services_(new Services(*this)) {
  grpc::ServerBuilder builder;
  builder.RegisterService(&services_->queue);
  builder.RegisterService(&services_->lookup);
  server_ = builder.BuildAndStart();
  channel_ = server_->InProcessChannel({});
}

FakeServices::~FakeServices() { server_->Shutdown(std::chrono::system_clock::now()); }

grpc::Status FakeServices::Call() {
  if (!queue_away) return grpc::Status::OK;
  {
    std::lock_guard lock(mutex_);
    ++refusals_;
  }
  changed_.notify_all();
  return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the queue is away");
}

void FakeServices::OnEnqueue(EnqueuePeer& peer, grpc::ByteBuffer frame) {
  queue::v1::EnqueueRequest request;
  rpc::Payload payload;
  if (!rpc::DecodeFrame(frame, &request, &payload)) return;
  rpc::PayloadReader reader(payload);
  {
    std::lock_guard lock(mutex_);
    for (const queue::v1::Submission& submission : request.submissions()) {
      rpc::Payload mine;
      reader.Take(submission.payload_bytes(), &mine);
      EnqueueResult result;
      *result.mutable_id() = submission.id();
      result.set_code(next_code);
      (hold_results ? peer.held : peer.outbox).Add(std::move(result));
      if (!keep_) continue;
      submissions_.push_back(submission.id());
      std::string& upload = uploads_[submission.queue_id()];
      for (const grpc::Slice& slice : mine) upload += rpc::AsView(slice);
      if (submission.has_message()) {
        messages_.push_back({submission.queue_id(), std::move(upload), submission.message()});
        uploads_.erase(submission.queue_id());
      }
    }
  }
  changed_.notify_all();
  peer.stream->Kick();
}

void FakeServices::OnResolve(ResolvePeer& peer, grpc::ByteBuffer frame) {
  lookup::v1::ResolveRequest request;
  rpc::Payload none;
  if (!rpc::DecodeFrame(frame, &request, &none)) return;
  for (const lookup::v1::Query& query : request.queries()) {
    lookup::v1::Answer answer;
    answer.set_id(query.id());
    answer.set_recipient(query.recipient());
    const bool ours =
        query.recipient().ends_with("@here.example") || query.recipient().ends_with("@localhost");
    answer.set_address_class(ours ? lookup::v1::ADDRESS_CLASS_LOCAL
                                  : lookup::v1::ADDRESS_CLASS_DEFAULT);
    answer.set_listed(lookup::v1::Answer::LISTED_NO_TABLE);
    (hold_answers ? peer.held : peer.outbox).Add(std::move(answer));
  }
  {
    std::lock_guard lock(mutex_);
    queries_ += request.queries_size();
  }
  changed_.notify_all();
  peer.stream->Kick();
}

std::vector<FakeServices::Message> FakeServices::messages() {
  std::lock_guard lock(mutex_);
  return messages_;
}

std::vector<std::string> FakeServices::flushed_sites() {
  std::lock_guard lock(mutex_);
  return flushed_sites_;
}

int FakeServices::registrations() {
  std::lock_guard lock(mutex_);
  return registrations_;
}

queue::v1::SubmissionId FakeServices::WaitForSubmission() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return submissions_.size() > waited_for_; });
  return submissions_[waited_for_++];
}

void FakeServices::WaitForRegistrations(int count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return registrations_ >= count; });
}

void FakeServices::WaitForQueries(int count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return queries_ >= count; });
}

void FakeServices::WaitForEnqueueStreams(int count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return enqueue_streams_ >= count; });
}

void FakeServices::WaitForRefusals(int count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return refusals_ >= count; });
}

void FakeServices::CutEnqueueStreams() {
  std::vector<std::shared_ptr<EnqueuePeer>> peers;
  {
    std::lock_guard lock(mutex_);
    peers = std::exchange(enqueue_peers_, {});
  }
  for (const auto& peer : peers) peer->stream->Cancel();
}

void FakeServices::CutResolveStreams() {
  std::vector<std::shared_ptr<ResolvePeer>> peers;
  {
    std::lock_guard lock(mutex_);
    peers = std::exchange(resolve_peers_, {});
  }
  for (const auto& peer : peers) peer->stream->Cancel();
}

void FakeServices::Release() {
  std::vector<std::shared_ptr<EnqueuePeer>> peers;
  {
    std::lock_guard lock(mutex_);
    hold_results = false;
    peers = enqueue_peers_;
    for (const auto& peer : peers) {
      for (EnqueueResult& result : peer->held.TakeAll()) peer->outbox.Add(std::move(result));
    }
  }
  for (const auto& peer : peers) peer->stream->Kick();
}

void FakeServices::SendFlags() {
  std::vector<std::shared_ptr<EnqueuePeer>> peers;
  {
    std::lock_guard lock(mutex_);
    peers = enqueue_peers_;
  }
  for (const auto& peer : peers) {
    peer->outbox.Add(EnqueueResult());
    peer->stream->Kick();
  }
}

void FakeServices::ReleaseAnswers() {
  std::vector<std::shared_ptr<ResolvePeer>> peers;
  {
    std::lock_guard lock(mutex_);
    hold_answers = false;
    peers = resolve_peers_;
    for (const auto& peer : peers) {
      for (lookup::v1::Answer& answer : peer->held.TakeAll()) peer->outbox.Add(std::move(answer));
    }
  }
  for (const auto& peer : peers) peer->stream->Kick();
}

}  // namespace postfleet::submission
