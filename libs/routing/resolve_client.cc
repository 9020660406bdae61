#include "libs/routing/resolve_client.h"

#include <utility>
#include <vector>

#include "libs/rpc/payload.h"

namespace postfleet::routing {
namespace {

constexpr size_t kFrameQueriesMax = 1000;

}  // namespace

ResolveClient::ResolveClient(runtime::EventLoop& loop, std::shared_ptr<grpc::Channel> channel,
                             const Clock& clock, std::function<void()> on_change)
    : loop_(loop),
      clock_(clock),
      on_change_(std::move(on_change)),
      channel_(std::move(channel)),
      stream_(
          loop, "/postfleet.lookup.v1.Lookup/Resolve",
          {.open = [this] { return Open(); }, .lost = [this](const grpc::Status&) { Lost(); }}) {}

void ResolveClient::Start() { stream_.Start(channel_); }

void ResolveClient::Stop() {
  stream_.Stop();
  loop_.RunAndWait([this] {
    outbox_.TakeAll();
    unanswered_.clear();
  });
}

void ResolveClient::Ask(lookup::v1::Query query, std::shared_ptr<Requester> requester) {
  auto entry = std::make_shared<Entry>();
  entry->query = std::move(query);
  entry->query.set_id(next_id_);
  entry->requester = std::move(requester);
  entry->since = clock_.Monotonic();
  unanswered_.emplace(next_id_++, entry);
  if (!stream_.is_open()) return;
  outbox_.Add(std::move(entry));
  KickSoon();
}

bool ResolveClient::NextFrame(grpc::ByteBuffer* frame) {
  const auto entries = outbox_.Take(kFrameQueriesMax, [](const auto&) -> size_t { return 1; });
  if (entries.empty()) return false;
  lookup::v1::ResolveRequest request;
  for (const auto& entry : entries) {
    request.mutable_queries()->UnsafeArenaAddAllocated(&entry->query);
  }
  *frame = rpc::EncodeFrame(request, {});
  while (request.queries_size() > 0) request.mutable_queries()->UnsafeArenaReleaseLast();
  return true;
}

// The last query has no requester: its answer says that the service is there.
rpc::StreamCallbacks ResolveClient::Open() {
  lookup::v1::Query sign_of_life;
  sign_of_life.set_recipient("postmaster");
  Ask(std::move(sign_of_life), nullptr);
  outbox_.TakeAll();  // of the stream before
  for (const auto& [id, entry] : unanswered_) outbox_.Add(entry);
  return {.next_frame = [this](grpc::ByteBuffer* frame) { return NextFrame(frame); },
          .on_frame =
              [this](grpc::ByteBuffer frame) {
                auto response = std::make_shared<lookup::v1::ResolveResponse>();
                rpc::Payload none;
                if (!rpc::DecodeFrame(frame, response.get(), &none)) return;
                loop_.Post([this, response] { OnResponse(*response); });
              },
          .on_closed = nullptr};
}

void ResolveClient::Lost() {
  if (!std::exchange(answered_, false)) return;
  on_change_();
}

void ResolveClient::KickSoon() {
  if (kick_posted_) return;
  kick_posted_ = true;
  loop_.Post([this] {
    kick_posted_ = false;
    stream_.Kick();
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
  if (!stream_.is_open() || std::exchange(answered_, true)) return;
  on_change_();
}

void ResolveClient::GiveUpOld() {
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

}  // namespace postfleet::routing
