#include "services/lookup/lookup_service.h"

#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/maillog.h"
#include "libs/rpc/payload.h"
#include "services/lookup/core/resolver_parameters.h"

namespace postfleet::lookup {

class LookupService::ResolveStream : public std::enable_shared_from_this<ResolveStream> {
 public:
  explicit ResolveStream(LookupService* service) : service_(service) {}

  rpc::StreamCallbacks Open(std::shared_ptr<rpc::Stream> stream) {
    stream_ = std::move(stream);
    service_->loop_.Post([self = shared_from_this()] { self->service_->Join(self); });
    return {.next_frame = [self = this](grpc::ByteBuffer* frame) { return self->NextFrame(frame); },
            .on_frame =
                [self = shared_from_this()](grpc::ByteBuffer frame) {
                  self->service_->loop_.Post(
                      [self, frame = std::move(frame)] { self->OnFrame(frame); });
                },
            .on_closed = [self = shared_from_this()](const grpc::Status&) {}};
  }

  void Send(v1::ResolveResponse response) {
    outbox_.Add(std::move(response));
    stream_->Kick();
  }

 private:
  void OnFrame(const grpc::ByteBuffer& frame) {
    v1::ResolveRequest request;
    rpc::Payload none;
    if (!rpc::DecodeFrame(frame, &request, &none)) return stream_->Cancel();
    v1::ResolveResponse response;
    response.set_configuration(service_->configuration_);
    for (const v1::Query& query : request.queries()) {
      *response.add_answers() = service_->Answer(query);
    }
    Send(std::move(response));
  }

  bool NextFrame(grpc::ByteBuffer* frame) {
    std::vector<v1::ResolveResponse> responses = outbox_.TakeAll();
    if (responses.empty()) return false;
    v1::ResolveResponse response = std::move(responses.front());
    for (size_t i = 1; i < responses.size(); ++i) response.MergeFrom(responses[i]);
    *frame = rpc::EncodeFrame(response, {});
    return true;
  }

  LookupService* const service_;
  std::shared_ptr<rpc::Stream> stream_;
  rpc::Outbox<v1::ResolveResponse> outbox_;
};

LookupService::LookupService(std::unique_ptr<Resolver> resolver, metrics::Registry* metrics)
    : resolver_(std::move(resolver)),
      // Another one than that of a service which ran here before.
      configuration_(static_cast<uint64_t>(SystemClock().WallMillis())) {
  if (metrics == nullptr) return;
  auto counter = [metrics](const char* result) {
    return &metrics->AddCounter("table_lookups_total", "Addresses resolved, by result.",
                                {{"type", "resolve"}, {"result", result}});
  };
  answered_ = counter("ok");
  failed_ = counter("error");
}

LookupService::~LookupService() { Stop(); }

void LookupService::Join(const std::shared_ptr<ResolveStream>& stream) {
  std::erase_if(streams_, [](const auto& one) { return one.expired(); });
  streams_.push_back(stream);
  Tell(*stream);
}

void LookupService::Tell(ResolveStream& stream) const {
  v1::ResolveResponse response;
  response.set_configuration(configuration_);
  stream.Send(std::move(response));
}

absl::StatusOr<std::function<void()>> LookupService::Prepare(const config::Config& config) {
  absl::StatusOr<std::unique_ptr<Resolver>> opened =
      Resolver::Open(ResolverParameters::From(config));
  if (!opened.ok()) return opened.status();
  // std::function holds only what can be copied.
  auto resolver = std::make_shared<std::unique_ptr<Resolver>>(*std::move(opened));
  return [this, resolver] { loop_.Post([this, resolver] { Replace(std::move(*resolver)); }); };
}

// On the loop.
void LookupService::Replace(std::unique_ptr<Resolver> resolver) {
  resolver_ = std::move(resolver);
  ++configuration_;
  for (const std::weak_ptr<ResolveStream>& one : streams_) {
    if (const std::shared_ptr<ResolveStream> stream = one.lock()) Tell(*stream);
  }
}

rpc::ServerReactor* LookupService::Resolve(grpc::CallbackServerContext*) {
  return rpc::AcceptStream([this](std::shared_ptr<rpc::Stream> stream) {
    return std::make_shared<ResolveStream>(this)->Open(std::move(stream));
  });
}

v1::Answer LookupService::Answer(const v1::Query& query) {
  v1::Answer answer = resolver_->Resolve(query.recipient(), query.sender(), query.check_listed());
  answer.set_id(query.id());
  if (!answer.failure().empty()) {
    maillog::Warning("trivial-rewrite", answer.failure());
    if (failed_ != nullptr) failed_->Increment();
  } else if (answered_ != nullptr) {
    answered_->Increment();
  }
  return answer;
}

}  // namespace postfleet::lookup
