#include "services/delivery/lookup_routes.h"

#include <utility>

namespace postfleet::delivery {
namespace {

constexpr std::chrono::milliseconds kSweepEvery{1'000};

}  // namespace

struct LookupRoutes::Question : routing::Requester {
  Question(runtime::EventLoop& loop, std::weak_ptr<char> owner, Done function)
      : agents(loop), alive(std::move(owner)), done(std::move(function)) {}

  // On the connection's loop.
  void OnResolved(const lookup::v1::Answer& answer) override {
    absl::Status status;
    if (!answer.failure().empty()) status = absl::UnavailableError(answer.failure());
    Route route = {.transport = answer.transport(),
                   .nexthop = answer.nexthop(),
                   .recipient = answer.recipient()};
    agents.Post([alive = alive, done = std::move(done), status, route = std::move(route)] {
      if (!alive.expired()) done(status, route);
    });
  }

  runtime::EventLoop& agents;
  const std::weak_ptr<char> alive;
  Done done;
};

LookupRoutes::LookupRoutes(runtime::EventLoop& agents, std::shared_ptr<grpc::Channel> lookup,
                           const Clock& clock)
    : agents_(agents), resolve_(loop_, std::move(lookup), clock, [] {}), sweep_(loop_) {
  loop_.Start();
  loop_.RunAndWait([this] {
    resolve_.Start();
    Sweep();
  });
}

LookupRoutes::~LookupRoutes() {
  resolve_.Stop();
  loop_.RunAndWait([this] { sweep_.Cancel(); });
  loop_.Stop();
}

void LookupRoutes::Sweep() {
  sweep_.Set(kSweepEvery, [this] { Sweep(); });
  resolve_.GiveUpOld();
}

void LookupRoutes::Find(std::string sender, std::string address, Done done) {
  lookup::v1::Query query;
  query.set_sender(std::move(sender));
  query.set_recipient(std::move(address));
  loop_.Post([this, query = std::move(query),
              question = std::make_shared<Question>(agents_, alive_, std::move(done))]() mutable {
    resolve_.Ask(std::move(query), std::move(question));
  });
}

}  // namespace postfleet::delivery
