// The lookup service's answers for agents (core/routes.h). The connection has a loop of its own.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "libs/base/clock.h"
#include "libs/routing/resolve_client.h"
#include "libs/runtime/event_loop.h"
#include "services/delivery/core/routes.h"

namespace postfleet::delivery {

class LookupRoutes : public Routes {
 public:
  // Callers live on `agents`, which must outlive this. Destroy it there, or once that loop has
  // ended. What is asked then is answered no more. While lookup is away, a question waits
  // ResolveClient::kAnswerMax.
  LookupRoutes(runtime::EventLoop& agents, std::shared_ptr<grpc::Channel> lookup,
               const Clock& clock = SystemClock());
  ~LookupRoutes() override;

  void Find(std::string sender, std::string address, Done done) override;

 private:
  struct Question;

  void Sweep();

  runtime::EventLoop& agents_;
  const std::shared_ptr<char> alive_ = std::make_shared<char>();  // the agents' loop's
  runtime::EventLoop loop_{"routes"};
  // On loop_.
  routing::ResolveClient resolve_;
  runtime::Timer sweep_;
};

}  // namespace postfleet::delivery
