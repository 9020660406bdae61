#include "libs/submission/enqueue_client.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "libs/submission/queue_leader.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"

namespace postfleet::submission {

using queue::v1::EnqueueResult;

EnqueueClient::EnqueueClient(runtime::EventLoop& loop, Options options, BufferBudget& budget)
    : loop_(loop),
      options_(std::move(options)),
      budget_(budget),
      stream_(loop, "/postfleet.queue.v1.Queue/Enqueue",
              {.prepare = [this](std::function<void(bool)> done) { Prepare(std::move(done)); },
               .open = [this] { return Open(); },
               .opened = [this] { options_.on_change(); },
               .lost = [this](const grpc::Status&) { Lost(); }}) {}

void EnqueueClient::Start() { stream_.Start(options_.channel); }

void EnqueueClient::Stop() {
  stream_.Stop();
  {
    std::unique_lock lock(flushes_.mutex);
    flushes_.stopped = true;
    for (const auto& [flush, context] : flushes_.open) context->TryCancel();
    flushes_.changed.wait(lock, [this] { return flushes_.open.empty(); });
  }
  loop_.RunAndWait([this] {
    outbox_.TakeAll();
    unanswered_.clear();
  });
}

void EnqueueClient::Flush(std::string site, std::shared_ptr<Requester> requester) {
  const auto deadline = std::chrono::system_clock::now() + kFlushMax;
  std::unique_lock lock(flushes_.mutex);
  const uint64_t flush = flushes_.next++;
  lock.unlock();
  queue::v1::FlushRequest request;
  request.set_site(std::move(site));
  rpc::CallLeader<queue::v1::Queue>(
      options_.channel, &queue::v1::Queue::StubInterface::async_interface::Flush,
      std::move(request), [this, flush, deadline] { return FlushContext(flush, deadline); },
      [this, flush, requester = std::move(requester)](const rpc::LeaderAnswer& answer,
                                                      queue::v1::FlushResponse&) {
        loop_.Post([requester, ok = answer.status.ok()] { requester->OnFlushed(ok); });
        std::lock_guard lock(flushes_.mutex);
        flushes_.open.erase(flush);
        flushes_.changed.notify_all();
      });
}

// For the next replica that is asked.
std::shared_ptr<grpc::ClientContext> EnqueueClient::FlushContext(
    uint64_t flush, std::chrono::system_clock::time_point deadline) {
  auto context = std::make_shared<grpc::ClientContext>();
  context->set_deadline(deadline);
  std::lock_guard lock(flushes_.mutex);
  flushes_.open[flush] = context;
  if (flushes_.stopped) context->TryCancel();
  return context;
}

// An incarnation outlives streams and leaders; with one, the sign of life is Stat.
void EnqueueClient::Prepare(std::function<void(bool)> done) {
  if (incarnation_ != 0) {
    return FindLeader(options_.channel, [done = std::move(done)](const rpc::LeaderAnswer& answer) {
      done(answer.status.ok());
    });
  }
  Register(options_.channel, options_.name,
           [this, done = std::move(done)](const queue::v1::RegisterResponse* response) {
             if (response != nullptr) {
               // Runs before what `done` posts.
               loop_.Post([this, incarnation = response->incarnation(), shard = response->shard()] {
                 incarnation_ = incarnation;
                 next_sequence_ = 1;
                 minter_.emplace(shard, incarnation_, *options_.clock);
               });
             }
             done(response != nullptr);
           });
}

rpc::StreamCallbacks EnqueueClient::Open() {
  std::vector<std::shared_ptr<Entry>> again;
  again.reserve(unanswered_.size());
  for (const auto& [key, entry] : unanswered_) again.push_back(entry);
  std::sort(again.begin(), again.end(), [](const auto& a, const auto& b) {
    return KeyOf(a->submission.id()) < KeyOf(b->submission.id());
  });
  outbox_.TakeAll();  // of the stream before
  wait_ = was_told_to_wait_ = false;
  for (auto& entry : again) outbox_.Add(std::move(entry));
  return {.next_frame = [this](grpc::ByteBuffer* frame) { return NextFrame(frame); },
          .on_frame =
              [this](grpc::ByteBuffer frame) {
                auto response = std::make_shared<queue::v1::EnqueueResponse>();
                rpc::Payload none;
                if (!rpc::DecodeFrame(frame, response.get(), &none)) return;
                wait_ = response->wait();
                loop_.Post([this, response] { OnResponse(*response); });
              },
          .on_closed = nullptr};
}

void EnqueueClient::Lost() {
  disk_nearly_full_ = false;  // of the queue that was; the next one says it anew
  behind_at_.reset();
  const auto now = options_.clock->Monotonic();
  for (const auto& [key, entry] : unanswered_) {
    if (!entry->cut_off_at) entry->cut_off_at = now;
  }
  GiveUpOld();  // a stream that comes and goes is no reason to wait for ever
  options_.on_change();
}

bool EnqueueClient::behind() const {
  return behind_at_ && options_.clock->Monotonic() - *behind_at_ < kBehindAgeMax;
}

std::string EnqueueClient::NextQueueId() { return minter_ ? minter_->Next() : ""; }

queue::v1::SubmissionId EnqueueClient::ReserveId() {
  queue::v1::SubmissionId id;
  id.set_incarnation(incarnation_);
  if (incarnation_ != 0) id.set_sequence(next_sequence_++);
  return id;
}

void EnqueueClient::Send(queue::v1::Submission submission, std::string content,
                         std::shared_ptr<Requester> requester) {
  auto entry = std::make_shared<Entry>();
  entry->submission = std::move(submission);
  const bool has_id = entry->submission.has_id();
  if (incarnation_ == 0) {
    // Its queue id is of an incarnation that is gone. Posted: requesters expect answers later.
    budget_.Add(static_cast<int64_t>(content.size()));
    entry->requester = std::move(requester);
    const auto code = has_id ? EnqueueResult::FAILED : EnqueueResult::EXPIRED;
    loop_.Post([this, entry, code] { Answer(entry, code); });
    return;
  }
  if (!has_id) *entry->submission.mutable_id() = ReserveId();
  budget_.Add(static_cast<int64_t>(content.size()));
  if (!content.empty()) entry->payload.push_back(rpc::OwningSlice(std::move(content)));
  entry->requester = std::move(requester);
  unanswered_.insert_or_assign(KeyOf(entry->submission.id()), entry);
  if (!stream_.is_open()) {
    entry->cut_off_at = options_.clock->Monotonic();
    return;
  }
  outbox_.Add(std::move(entry));
  KickSoon();
}

// Once for each turn of the loop, so that what sessions send in one turn shares a frame.
void EnqueueClient::KickSoon() {
  if (kick_posted_) return;
  kick_posted_ = true;
  loop_.Post([this] {
    kick_posted_ = false;
    stream_.Kick();
  });
}

bool EnqueueClient::NextFrame(grpc::ByteBuffer* frame) {
  if (wait_) return false;
  const auto entries = outbox_.Take(kFramePayloadBytesMax, [](const auto& entry) {
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
  behind_at_.reset();
  if (response.behind()) behind_at_ = options_.clock->Monotonic();
  if (std::exchange(was_told_to_wait_, response.wait()) && !response.wait()) KickSoon();
  bool expired = false;
  for (const EnqueueResult& result : response.results()) {
    const auto it = unanswered_.find(KeyOf(result.id()));
    if (it == unanswered_.end()) continue;
    const std::shared_ptr<Entry> entry = std::move(it->second);
    unanswered_.erase(it);
    expired |= result.code() == EnqueueResult::EXPIRED && result.id().incarnation() == incarnation_;
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
  for (const auto& [key, entry] : orphans) Answer(entry, EnqueueResult::EXPIRED);
  stream_.Break();
}

void EnqueueClient::GiveUpOld() {
  if (stream_.is_open()) return;
  const auto now = options_.clock->Monotonic();
  std::vector<std::shared_ptr<Entry>> old;
  for (const auto& [key, entry] : unanswered_) {
    if (entry->cut_off_at && now - *entry->cut_off_at >= options_.resend_max) old.push_back(entry);
  }
  for (const auto& entry : old) {
    unanswered_.erase(KeyOf(entry->submission.id()));
    Answer(entry, EnqueueResult::FAILED);
  }
}

}  // namespace postfleet::submission
