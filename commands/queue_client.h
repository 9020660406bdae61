// The queue's administration calls, for commands: each blocks until the answer is there.
//
// Errors keep gRPC's code, and its text where a server of ours wrote it: Unavailable ("mail system
// is down") when nothing listens at the address or it went away, DeadlineExceeded after
// kCallSecondsMax, Unimplemented when what listens there is no queue; PermissionDenied and others
// as the queue says them.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "commands/queue_address.h"
#include "libs/config/config.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"

namespace postfleet::commands {

inline constexpr int kCallSecondsMax = 300;
// Of one Delete or Flush.
inline constexpr size_t kCallIdsMax = 1'000;

class QueueClient {
 public:
  explicit QueueClient(std::shared_ptr<grpc::Channel> channel);
  // At the address that gives this user that power (queue_address.h). Does not connect yet.
  static absl::StatusOr<QueueClient> At(const config::Config& config, QueuePower power);

  // The page that follows `request`'s cursor.
  absl::StatusOr<queue::v1::ListResponse> List(const queue::v1::ListRequest& request);
  // Which of the ids (at most kCallIdsMax) existed. Durable.
  absl::StatusOr<std::vector<std::string>> Delete(const std::vector<std::string>& queue_ids);
  // Which of the ids are missing; no ids: all deferred mail. Durable.
  absl::StatusOr<std::vector<std::string>> Flush(const std::vector<std::string>& queue_ids);

 private:
  std::unique_ptr<queue::v1::Queue::Stub> stub_;
};

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address);

// True if a server at the channel's other end says that it serves (grpc.health.v1). Waits at most
// `wait_ms` for it.
bool IsServing(const std::shared_ptr<grpc::Channel>& channel, int wait_ms);

}  // namespace postfleet::commands
