#include "services/ingress/adapters/resolve_client.h"

#include <utility>
#include <vector>

#include "libs/rpc/payload.h"

namespace postfleet::ingress {
namespace {

constexpr size_t kFrameQueriesMax = 1000;

}  // namespace

ResolveClient::ResolveClient(runtime::EventLoop& loop, std::shared_ptr<grpc::Channel> channel,
                             const Clock& clock, std::function<void()> on_change)
    : loop_(loop),
      clock_(clock),
      on_change_(std::move(on_change)),
      link_(loop, std::move(channel), "/postfleet.lookup.v1.Lookup/Resolve",
            {.open = [this] { return Open(); },
             .opened = [this](std::shared_ptr<rpc::Stream> stream) { Opened(std::move(stream)); },
             .lost = [this] { Lost(); }}),
      give_up_(loop) {}

void ResolveClient::Start() {
  link_.Start();
  GiveUpOld();
}

void ResolveClient::Stop() {
  link_.Stop();
  loop_.RunAndWait([this] {
    give_up_.Cancel();
    unanswered_.clear();
  });
}

void ResolveClient::Ask(const Resolve& resolve, std::shared_ptr<Requester> requester) {
  auto entry = std::make_shared<Entry>();
  entry->query.set_id(next_id_);
  entry->query.set_recipient(resolve.recipient);
  entry->query.set_sender(resolve.sender);
  entry->query.set_check_listed(resolve.check_listed);
  entry->requester = std::move(requester);
  entry->since = clock_.Monotonic();
  unanswered_.emplace(next_id_++, entry);
  if (outgoing_ == nullptr) return;
  outgoing_->outbox.Add(std::move(entry));
  KickSoon();
}

bool ResolveClient::NextFrame(Outgoing& outgoing, grpc::ByteBuffer* frame) {
  const auto entries =
      outgoing.outbox.Take(kFrameQueriesMax, [](const auto&) -> size_t { return 1; });
  if (entries.empty()) return false;
  lookup::v1::ResolveRequest request;
  for (const auto& entry : entries) {
    request.mutable_queries()->UnsafeArenaAddAllocated(&entry->query);
  }
  *frame = rpc::EncodeFrame(request, {});
  while (request.queries_size() > 0) request.mutable_queries()->UnsafeArenaReleaseLast();
  return true;
}

rpc::StreamCallbacks ResolveClient::Open() {
  opening_ = std::make_shared<Outgoing>();
  return {.next_frame = [outgoing = opening_](
                            grpc::ByteBuffer* frame) { return NextFrame(*outgoing, frame); },
          .on_frame =
              [this](grpc::ByteBuffer frame) {
                auto response = std::make_shared<lookup::v1::ResolveResponse>();
                rpc::Payload none;
                if (!rpc::DecodeFrame(frame, response.get(), &none)) return;
                loop_.Post([this, response] { OnResponse(*response); });
              },
          .on_closed = nullptr};
}

// The first query has no requester: its answer says that the service is there.
void ResolveClient::Opened(std::shared_ptr<rpc::Stream> stream) {
  outgoing_ = std::move(opening_);
  outgoing_->stream = std::move(stream);
  for (const auto& [id, entry] : unanswered_) outgoing_->outbox.Add(entry);
  Ask({.recipient = "postmaster"}, nullptr);
  KickSoon();
}

void ResolveClient::Lost() {
  outgoing_.reset();
  if (!std::exchange(answered_, false)) return;
  on_change_();
}

void ResolveClient::KickSoon() {
  if (kick_posted_) return;
  kick_posted_ = true;
  loop_.Post([this] {
    kick_posted_ = false;
    if (outgoing_ != nullptr) outgoing_->stream->Kick();
  });
}

void ResolveClient::OnResponse(const lookup::v1::ResolveResponse& response) {
  for (const lookup::v1::Answer& answer : response.answers()) {
    const auto it = unanswered_.find(answer.id());
    if (it == unanswered_.end()) continue;
    const std::shared_ptr<Entry> entry = std::move(it->second);
    unanswered_.erase(it);
    if (entry->requester != nullptr) entry->requester->OnResolved(answer);
  }
  if (outgoing_ == nullptr || std::exchange(answered_, true)) return;
  link_.Alive();
  on_change_();
}

void ResolveClient::GiveUpOld() {
  give_up_.Set(std::chrono::seconds(1), [this] { GiveUpOld(); });
  const auto now = clock_.Monotonic();
  std::vector<std::shared_ptr<Entry>> old;
  for (const auto& [id, entry] : unanswered_) {
    if (now - entry->since >= kAnswerMax) old.push_back(entry);
  }
  lookup::v1::Answer answer;
  answer.set_failure("the lookup service does not answer");
  for (const auto& entry : old) {
    unanswered_.erase(entry->query.id());
    if (entry->requester != nullptr) entry->requester->OnResolved(answer);
  }
}

}  // namespace postfleet::ingress
