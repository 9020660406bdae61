#include "services/ingress/adapters/enqueue_client.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace postfleet::ingress {

using queue::v1::EnqueueResult;

EnqueueClient::EnqueueClient(runtime::EventLoop& loop, Options options, BufferBudget& budget)
    : loop_(loop),
      options_(std::move(options)),
      budget_(budget),
      stub_(queue::v1::Queue::NewStub(options_.channel)),
      link_(loop, options_.channel, "/postfleet.queue.v1.Queue/Enqueue",
            {.probe = [this](std::function<void(bool)> done) { Register(std::move(done)); },
             .open = [this] { return Open(); },
             .opened = [this](std::shared_ptr<rpc::Stream> stream) { Opened(std::move(stream)); },
             .lost = [this] { Lost(); }}),
      give_up_(loop) {}

void EnqueueClient::Start() {
  lost_at_ = options_.clock->Monotonic();
  link_.Start();
  GiveUpOld();
}

void EnqueueClient::Stop() {
  link_.Stop();
  loop_.RunAndWait([this] {
    give_up_.Cancel();
    unanswered_.clear();
  });
}

// An incarnation outlives streams; with one, the sign of life is Stat.
void EnqueueClient::Register(std::function<void(bool)> done) {
  struct Call {
    grpc::ClientContext context;
    queue::v1::RegisterRequest request;
    queue::v1::RegisterResponse response;
    queue::v1::StatRequest stat_request;
    queue::v1::StatResponse stat_response;
  };
  auto call = std::make_shared<Call>();
  call->context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  if (incarnation_ != 0) {
    stub_->async()->Stat(
        &call->context, &call->stat_request, &call->stat_response,
        [call, done = std::move(done)](const grpc::Status& status) { done(status.ok()); });
    return;
  }
  call->request.set_name(options_.name);
  stub_->async()->Register(&call->context, &call->request, &call->response,
                           [this, call, done = std::move(done)](const grpc::Status& status) {
                             const bool ok = status.ok() && call->response.incarnation() != 0;
                             if (ok) {
                               // Runs before what `done` posts.
                               loop_.Post([this, call] {
                                 incarnation_ = call->response.incarnation();
                                 next_sequence_ = 1;
                                 minter_.emplace(call->response.shard(), incarnation_,
                                                 *options_.clock);
                               });
                             }
                             done(ok);
                           });
}

rpc::StreamCallbacks EnqueueClient::Open() {
  opening_ = std::make_shared<Outgoing>();
  return {.next_frame = [outgoing = opening_](
                            grpc::ByteBuffer* frame) { return NextFrame(*outgoing, frame); },
          .on_frame =
              [this](grpc::ByteBuffer frame) {
                auto response = std::make_shared<queue::v1::EnqueueResponse>();
                rpc::Payload none;
                if (!rpc::DecodeFrame(frame, response.get(), &none)) return;
                loop_.Post([this, response] { OnResponse(*response); });
              },
          .on_closed = nullptr};
}

void EnqueueClient::Opened(std::shared_ptr<rpc::Stream> stream) {
  outgoing_ = std::move(opening_);
  outgoing_->stream = std::move(stream);
  std::vector<std::shared_ptr<Entry>> again;
  again.reserve(unanswered_.size());
  for (const auto& [sequence, entry] : unanswered_) again.push_back(entry);
  std::sort(again.begin(), again.end(), [](const auto& a, const auto& b) {
    return a->submission.id().sequence() < b->submission.id().sequence();
  });
  for (auto& entry : again) outgoing_->outbox.Add(std::move(entry));
  KickSoon();
  options_.on_change();
}

void EnqueueClient::Lost() {
  outgoing_.reset();
  disk_nearly_full_ = false;  // of the queue that was; the next one says it anew
  lost_at_ = options_.clock->Monotonic();
  options_.on_change();
}

std::string EnqueueClient::NextQueueId() { return minter_ ? minter_->Next() : ""; }

void EnqueueClient::Send(Submit submit, std::shared_ptr<Requester> requester) {
  auto entry = std::make_shared<Entry>();
  entry->submission = std::move(submit.submission);
  if (incarnation_ == 0) {
    // Its queue id is of an incarnation that is gone. Posted: sessions expect answers later.
    budget_.Add(static_cast<int64_t>(submit.content.size()));
    entry->requester = std::move(requester);
    loop_.Post([this, entry] { Answer(entry, EnqueueResult::EXPIRED); });
    return;
  }
  entry->submission.mutable_id()->set_incarnation(incarnation_);
  entry->submission.mutable_id()->set_sequence(next_sequence_);
  budget_.Add(static_cast<int64_t>(submit.content.size()));
  if (!submit.content.empty())
    entry->payload.push_back(rpc::OwningSlice(std::move(submit.content)));
  entry->requester = std::move(requester);
  entry->since = options_.clock->Monotonic();
  unanswered_.emplace(next_sequence_++, entry);
  if (outgoing_ == nullptr) return;
  outgoing_->outbox.Add(std::move(entry));
  KickSoon();
}

// Once for each turn of the loop, so that what sessions send in one turn shares a frame.
void EnqueueClient::KickSoon() {
  if (kick_posted_) return;
  kick_posted_ = true;
  loop_.Post([this] {
    kick_posted_ = false;
    if (outgoing_ != nullptr) outgoing_->stream->Kick();
  });
}

bool EnqueueClient::NextFrame(Outgoing& outgoing, grpc::ByteBuffer* frame) {
  const auto entries = outgoing.outbox.Take(kFramePayloadBytesMax, [](const auto& entry) {
    return entry->submission.ByteSizeLong() + entry->submission.payload_bytes();
  });
  if (entries.empty()) return false;
  queue::v1::EnqueueRequest request;
  rpc::Payload payload;
  // Lent to the request for the time of serializing, not copied.
  for (const auto& entry : entries) {
    request.mutable_submissions()->UnsafeArenaAddAllocated(&entry->submission);
    payload.insert(payload.end(), entry->payload.begin(), entry->payload.end());
  }
  *frame = rpc::EncodeFrame(request, payload);
  while (request.submissions_size() > 0) {
    request.mutable_submissions()->UnsafeArenaReleaseLast();
  }
  return true;
}

void EnqueueClient::OnResponse(const queue::v1::EnqueueResponse& response) {
  disk_nearly_full_ = response.disk_nearly_full();
  bool expired = false;
  for (const EnqueueResult& result : response.results()) {
    if (result.id().incarnation() != incarnation_) continue;
    const auto it = unanswered_.find(result.id().sequence());
    if (it == unanswered_.end()) continue;
    const std::shared_ptr<Entry> entry = std::move(it->second);
    unanswered_.erase(it);
    expired |= result.code() == EnqueueResult::EXPIRED;
    Answer(entry, result.code());
  }
  if (expired) ForgetIncarnation();
}

void EnqueueClient::Answer(const std::shared_ptr<Entry>& entry, EnqueueResult::Code code) {
  budget_.Add(-static_cast<int64_t>(entry->submission.payload_bytes()));
  if (entry->requester == nullptr) return;
  entry->requester->OnEnqueued(entry->submission.queue_id(), entry->submission.has_message(), code);
}

// The queue does not know us any more (its state was replaced): what it was told is void.
void EnqueueClient::ForgetIncarnation() {
  incarnation_ = 0;
  minter_.reset();
  const auto orphans = std::exchange(unanswered_, {});
  for (const auto& [sequence, entry] : orphans) Answer(entry, EnqueueResult::EXPIRED);
  if (outgoing_ != nullptr) outgoing_->stream->Cancel();
}

void EnqueueClient::GiveUpOld() {
  give_up_.Set(std::min(options_.resend_max, std::chrono::milliseconds(1000)),
               [this] { GiveUpOld(); });
  if (outgoing_ != nullptr) return;
  const auto now = options_.clock->Monotonic();
  std::vector<std::shared_ptr<Entry>> old;
  for (const auto& [sequence, entry] : unanswered_) {
    if (now - std::max(entry->since, lost_at_) >= options_.resend_max) old.push_back(entry);
  }
  for (const auto& entry : old) {
    unanswered_.erase(entry->submission.id().sequence());
    Answer(entry, EnqueueResult::FAILED);
  }
}

}  // namespace postfleet::ingress
