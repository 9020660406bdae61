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

#include <chrono>
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
#include "services/queue/replica/peer_message.h"
#include "services/queue/transport/snapshot_sender.h"

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
  // As the group knows this replica; its id is identity's.
  cluster::v1::Member own;
  // What carries messages and snapshots to the other replicas; null without any. Both outlive the
  // queue.
  PeerSender* peers = nullptr;
  SnapshotPort* snapshots = nullptr;
  // At the start, and whenever they change, on the log thread.
  std::function<void(const cluster::v1::Membership&)> on_members = nullptr;
  // Where a member's services are asked; null: where the group was told.
  std::function<std::string(const cluster::v1::Member&)> address_of = nullptr;
  std::chrono::milliseconds tick_interval{100};
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

  // Its raft group.
  membership::Group group();
  // The state as of now in files of a folder of its own, which the caller removes; with what the
  // log says of it. Not on the log thread.
  absl::StatusOr<transport::PreparedSnapshot> MakeSnapshot(uint16_t shard);
  uint64_t committed_index() const;
  // What the transport tells. Any thread.
  void Receive(PeerMessage message);
  void ReportUnreachable(uint64_t id);
  void ReportSnapshot(uint16_t shard, uint64_t to, bool delivered);

  // Ends all streams of the contract, and takes no more commands.
  void CloseStreams();
  // Commits what was proposed and stops. The server must be down.
  void Stop();

  // It leads its group, the log and the store take commands and the disk has room: a message would
  // be accepted durably.
  bool Ready() const;

 private:
  struct Parts;
  explicit Queue(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace postfleet::queue
