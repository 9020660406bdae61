// The lookup service: the resolver (core/resolver.h) behind the Resolve stream.
//
// Tables are read on a thread of this service's own: a slow table delays answers, not sessions.
// Queries that a stream sends faster than they are answered wait here; a client bounds what it has
// outstanding.
#pragma once

#include <functional>
#include <memory>

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

  rpc::ServerReactor* Resolve(grpc::CallbackServerContext* context) override;

 private:
  class ResolveStream;

  v1::Answer Answer(const v1::Query& query);

  runtime::EventLoop loop_{"lookup"};
  std::unique_ptr<Resolver> resolver_;  // on the loop only
  metrics::Counter* answered_ = nullptr;
  metrics::Counter* failed_ = nullptr;
};

}  // namespace postfleet::lookup
