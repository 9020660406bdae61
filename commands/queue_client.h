// The queue's administration calls, for commands: each blocks until the answer is there.
//
// Of several replicas the leader is asked (queue_leader.h); one that leads no more ends the call.
//
// Errors keep gRPC's code, and its text where a server of ours wrote it: Unavailable ("mail system
// is down") when nothing listens at the address or it went away, also when no replica leads
// (kNoLeader), DeadlineExceeded after
// kCallSecondsMax (AdministerAll and Verify have no deadline: they answer as long as they work),
// Unimplemented when what listens there is no queue; PermissionDenied and others as the queue says
// them.
#pragma once

#include <grpcpp/channel.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "commands/console.h"
#include "commands/direct_queue.h"
#include "commands/queue_address.h"
#include "libs/config/config.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"

namespace postfleet::commands {

inline constexpr int kCallSecondsMax = 300;
// Of one List or Administer.
inline constexpr size_t kCallIdsMax = 1'000;

// With good values of what leads to the queue, whatever else main.cf holds.
absl::StatusOr<config::Config> LoadQueueConfig(const std::string& directory, Console& console);

class QueueClient {
 public:
  explicit QueueClient(std::shared_ptr<grpc::Channel> channel);
  // At the address that gives this user that power (queue_address.h). Connects only to find the
  // leader of several.
  static absl::StatusOr<QueueClient> At(const config::Config& config, QueuePower power);
  // The same; and the queue itself when the mail system is down (direct_queue.h).
  static absl::StatusOr<QueueClient> AtOrDirect(const config::Config& config, QueuePower power,
                                                const Console& console);
  // The same for commands that need nothing else of the configuration in `directory`; loads it.
  static absl::StatusOr<QueueClient> Open(const std::string& directory, QueuePower power,
                                          Console& console);
  // The queue is in this process.
  bool direct() const { return direct_ != nullptr; }

  // At most kCallIdsMax ids. Durable.
  absl::StatusOr<queue::v1::AdministerResponse> Administer(
      const queue::v1::AdministerRequest& request);
  // `progress` sees every answer, the last one too.
  absl::Status AdministerAll(
      const queue::v1::AdministerAllRequest& request,
      const std::function<void(const queue::v1::AdministerAllProgress&)>& progress);
  absl::StatusOr<queue::v1::ListJobsResponse> ListJobs();
  absl::StatusOr<queue::v1::StopJobResponse> StopJob(uint64_t id);
  // Empty: all deferred mail. Durable.
  absl::StatusOr<queue::v1::FlushResponse> Flush(std::string_view site);
  absl::StatusOr<queue::v1::InspectResponse> Inspect(std::string_view queue_id,
                                                     uint32_t from_recipient);
  absl::StatusOr<queue::v1::ShapeResponse> Shape(const queue::v1::ShapeRequest& request);
  // `progress` sees every answer, the last one too.
  absl::Status Verify(const std::function<void(const queue::v1::VerifyProgress&)>& progress);

  // For calls with more than one answer (queue_pages.h, queue_contents.h).
  queue::v1::Queue::Stub& stub() { return *stub_; }

 private:
  std::shared_ptr<DirectQueue> direct_;  // outlives the stub
  std::unique_ptr<queue::v1::Queue::Stub> stub_;
};

absl::Status ToStatus(const grpc::Status& status);
// Of the call of `context`, which has ended.
absl::Status ToStatus(const grpc::Status& status, const grpc::ClientContext& context);
void SetCallDeadline(grpc::ClientContext* context);

// Says why a call failed, and gives the exit status. `what` is "Cannot flush mail queue"; it is
// left out for who is not allowed: "User NAME(UID) is not allowed to flush the mail queue".
int CallFailed(Console& console, std::string_view what, const absl::Status& status);

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address);

// True if a server at the channel's other end says that its start is over (libs/server/instance.h,
// kUpService). Waits at most `wait_ms` for it.
bool IsUp(const std::shared_ptr<grpc::Channel>& channel, int wait_ms);

}  // namespace postfleet::commands
