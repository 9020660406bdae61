// The lookup service: the resolver (core/resolver.h) behind the Resolve stream.
//
// Tables are read on a thread of this service's own: a slow table delays answers, not sessions.
// Queries that a stream sends faster than they are answered wait here; a client bounds what it has
// outstanding.
//
// Another resolver takes over between two frames of queries; every stream is told that the
// configuration has changed (lookup.proto).
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>

#include "absl/status/statusor.h"
#include "libs/config/config.h"
#include "libs/metrics/metrics.h"
#include "libs/rpc/outbox.h"
#include "libs/rpc/stream.h"
#include "libs/runtime/event_loop.h"
#include "proto/postfleet/lookup/v1/lookup.grpc.pb.h"
#include "services/lookup/core/resolver.h"

namespace postfleet::lookup {

class LookupService final : public v1::Lookup::WithRawCallbackMethod_Resolve<v1::Lookup::Service> {
 public:
  explicit LookupService(std::unique_ptr<Resolver> resolver, metrics::Registry* metrics = nullptr);
  ~LookupService() override;

  void Start() { loop_.Start(); }
  // The server must be down.
  void Stop() { loop_.Stop(); }

  // The tables of another configuration, open; what it gives puts them into force. Errors: as
  // Resolver::Open. Any thread.
  absl::StatusOr<std::function<void()>> Prepare(const config::Config& config);

  rpc::ServerReactor* Resolve(grpc::CallbackServerContext* context) override;

 private:
  class ResolveStream;

  void Replace(std::unique_ptr<Resolver> resolver);
  void Join(const std::shared_ptr<ResolveStream>& stream);
  void Tell(ResolveStream& stream) const;
  v1::Answer Answer(const v1::Query& query);

  runtime::EventLoop loop_{"lookup"};
  // On the loop only.
  std::unique_ptr<Resolver> resolver_;
  uint64_t configuration_;
  std::list<std::weak_ptr<ResolveStream>> streams_;
  metrics::Counter* answered_ = nullptr;
  metrics::Counter* failed_ = nullptr;
};

}  // namespace postfleet::lookup
