#include "commands/queue_leader.h"

#include <future>
#include <thread>

#include "commands/queue_client.h"
#include "libs/submission/queue_leader.h"

namespace postfleet::commands {
namespace {

rpc::LeaderAnswer Ask(const rpc::LeaderChannel& queue) {
  std::promise<rpc::LeaderAnswer> answered;
  submission::FindLeader(queue,
                         [&](const rpc::LeaderAnswer& answer) { answered.set_value(answer); });
  return answered.get_future().get();
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenLeader(const std::vector<std::string>& addresses,
                                                          std::chrono::milliseconds wait) {
  std::vector<rpc::Replica> replicas;
  for (const std::string& address : addresses) replicas.push_back({address, OpenChannel(address)});
  const rpc::LeaderChannel queue(std::move(replicas));
  if (queue.replicas() == 1) return queue.leader_channel();
  const auto end = std::chrono::steady_clock::now() + wait;
  while (true) {
    const rpc::LeaderAnswer answer = Ask(queue);
    const bool hangs = answer.status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
    if (!hangs && !answer.no_leader) return queue.leader_channel();
    if (std::chrono::steady_clock::now() >= end) {
      return hangs ? ToStatus(answer.status) : absl::UnavailableError(kNoLeader);
    }
    std::this_thread::sleep_for(kLeaderRetryInterval);
  }
}

}  // namespace postfleet::commands
