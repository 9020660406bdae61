// The queue service: the log, the state, and the contract on top of them, in one data folder.
//
//   queue = Queue::Open(options);           // recovers: cuts a torn tail, replays the log
//   builder.RegisterService(queue->service());
//   ... server->Shutdown(); queue->Stop();
//
// Errors of Open name the file, what is wrong with it, and what to do. Errors later on end the
// process by `on_fatal`: what is not known to be durable is never acknowledged, and the next start
// finds out from the disk.
#pragma once

#include <grpcpp/impl/codegen/service_type.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/config/config.h"
#include "libs/metrics/metrics.h"
#include "services/queue/membership/group.h"
#include "services/queue/membership/identity.h"

namespace postfleet::queue {

struct QueueOptions {
  // Holds log/ and state/; made when missing.
  std::string directory;
  // Acceptance stops while less is free: max(queue_minfree, 1.5 x message_size_limit) and room for
  // outcomes.
  uint64_t queue_minfree_bytes = 0;
  uint64_t message_size_limit_bytes = 10'240'000;
  uint64_t write_buffer_bytes = 32u << 20;
  uint64_t segment_bytes = 64u << 20;
  // Goes on with durable jobs at once; else when the next one is asked for.
  bool resume_jobs = true;
  // Goes on without records of the log that are damaged, which otherwise keep it from opening; a
  // line for each says what is lost. Null: refuses.
  std::vector<std::string>* repaired = nullptr;
  // Whose replica it is. A folder that belongs to a cluster is opened as that member's only.
  membership::NodeIdentity identity;
  const Clock* clock = &SystemClock();
  metrics::Registry* metrics = nullptr;
  // Any thread. Writes the reason and ends the process.
  std::function<void(const absl::Status&)> on_fatal;

  // The folder is $queue_directory/postfleet: queue_directory itself may belong to root.
  static QueueOptions From(const config::Config& config);
};

class Queue {
 public:
  static absl::StatusOr<std::unique_ptr<Queue>> Open(QueueOptions options);
  ~Queue();

  grpc::Service* service();

  // What takes over the bounds of free space of another configuration. Any thread.
  absl::StatusOr<std::function<void()>> Prepare(const config::Config& config);

  // Its raft group, in which `own` is this node. It is the only voter, and takes no changes:
  // Unimplemented.
  membership::Group group(const cluster::v1::Member& own);

  // Ends all streams of the contract, and takes no more commands.
  void CloseStreams();
  // Commits what was proposed and stops. The server must be down.
  void Stop();

  // The log and the store take commands and the disk has room: a message would be accepted durably.
  bool Ready() const;

 private:
  struct Parts;
  explicit Queue(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace postfleet::queue
