#include "services/lookup/lookup_service.h"

#include <utility>

#include "libs/base/maillog.h"
#include "libs/rpc/payload.h"

namespace postfleet::lookup {

class LookupService::ResolveStream : public std::enable_shared_from_this<ResolveStream> {
 public:
  explicit ResolveStream(LookupService* service) : service_(service) {}

  rpc::StreamCallbacks Open(std::shared_ptr<rpc::Stream> stream) {
    stream_ = std::move(stream);
    return {.next_frame = [self = this](grpc::ByteBuffer* frame) { return self->NextFrame(frame); },
            .on_frame =
                [self = shared_from_this()](grpc::ByteBuffer frame) {
                  self->service_->loop_.Post(
                      [self, frame = std::move(frame)] { self->OnFrame(frame); });
                },
            .on_closed = [self = shared_from_this()](const grpc::Status&) {}};
  }

 private:
  void OnFrame(const grpc::ByteBuffer& frame) {
    v1::ResolveRequest request;
    rpc::Payload none;
    if (!rpc::DecodeFrame(frame, &request, &none)) return stream_->Cancel();
    for (const v1::Query& query : request.queries()) outbox_.Add(service_->Answer(query));
    stream_->Kick();
  }

  bool NextFrame(grpc::ByteBuffer* frame) {
    v1::ResolveResponse response;
    for (v1::Answer& answer : outbox_.TakeAll()) response.add_answers()->Swap(&answer);
    if (response.answers_size() == 0) return false;
    *frame = rpc::EncodeFrame(response, {});
    return true;
  }

  LookupService* const service_;
  std::shared_ptr<rpc::Stream> stream_;
  rpc::Outbox<v1::Answer> outbox_;
};

LookupService::LookupService(std::unique_ptr<Resolver> resolver, metrics::Registry* metrics)
    : resolver_(std::move(resolver)) {
  if (metrics == nullptr) return;
  auto counter = [metrics](const char* result) {
    return &metrics->AddCounter("table_lookups_total", "Addresses resolved, by result.",
                                {{"type", "resolve"}, {"result", result}});
  };
  answered_ = counter("ok");
  failed_ = counter("error");
}

LookupService::~LookupService() { Stop(); }

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
