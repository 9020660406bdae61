#include "libs/submission/queue_leader.h"

#include <memory>
#include <utility>

#include "proto/postfleet/queue/v1/queue.grpc.pb.h"

namespace postfleet::submission {
namespace {

using Calls = queue::v1::Queue::StubInterface::async_interface;

auto Within(std::chrono::milliseconds answer_max) {
  return [answer_max] {
    auto context = std::make_shared<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + answer_max);
    return context;
  };
}

}  // namespace

void FindLeader(const rpc::LeaderChannel& queue,
                std::function<void(const rpc::LeaderAnswer&)> done) {
  rpc::CallLeader<queue::v1::Queue>(
      queue, &Calls::Stat, queue::v1::StatRequest(),
      Within(queue.replicas() == 1 ? kAnswerMax : kSignOfLifeMax),
      [done = std::move(done)](const rpc::LeaderAnswer& answer, queue::v1::StatResponse&) {
        done(answer);
      });
}

void Register(const rpc::LeaderChannel& queue, const std::string& name,
              std::function<void(const queue::v1::RegisterResponse*)> done) {
  queue::v1::RegisterRequest request;
  request.set_name(name);
  rpc::CallLeader<queue::v1::Queue>(
      queue, &Calls::Register, std::move(request), Within(kAnswerMax),
      [done = std::move(done)](const rpc::LeaderAnswer& answer,
                               queue::v1::RegisterResponse& response) {
        done(answer.status.ok() && response.incarnation() != 0 ? &response : nullptr);
      });
}

}  // namespace postfleet::submission
