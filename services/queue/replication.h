// What carries a replica's messages and snapshots to and from the others, around a queue:
//
//   Replication replication(world);
//   options.peers = replication.sender(); options.snapshots = replication.snapshots();
//   options.on_members = [&](auto& membership) { replication.SetMembers(membership); };
//   queue = Queue::Open(options);
//   replication.Attach(queue.get());
//   ... serve replication.streams() ...
//   replication.Stop();    // after the server, before queue.Stop()
//
// It outlives the queue.
#pragma once

#include <grpcpp/channel.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "services/queue/membership/cluster_service.h"
#include "services/queue/membership/versions.h"
#include "services/queue/queue.h"
#include "services/queue/transport/peer_links.h"
#include "services/queue/transport/peer_receiver.h"
#include "services/queue/transport/snapshot_receiver.h"
#include "services/queue/transport/snapshot_sender.h"

namespace postfleet::queue {

class Replication {
 public:
  struct World {
    uint64_t cluster_id = 0;
    cluster::v1::Member own;
    membership::VersionRange versions;
    // The queue's.
    std::string directory;
    uint64_t snapshot_rate_bytes = 0;  // a second; 0: unlimited
    std::function<std::shared_ptr<grpc::Channel>(const cluster::v1::Member&)> connect;
    std::function<void(const std::string&)> say;  // a line for the log
    // A snapshot is there, durably: the process is to start anew, and takes it over.
    std::function<void()> on_received;
  };
  explicit Replication(const World& world);

  PeerSender* sender() { return &links_; }
  SnapshotPort* snapshots() { return &snapshot_sender_; }
  void SetMembers(const cluster::v1::Membership& membership) { links_.SetPeers(membership); }
  void Attach(Queue* queue);
  membership::PeerStreams streams();
  void Stop();

 private:
  std::atomic<Queue*> queue_ = nullptr;
  transport::PeerLinks links_;
  transport::PeerReceiver peer_receiver_;
  transport::SnapshotSender snapshot_sender_;
  transport::SnapshotReceiver snapshot_receiver_;
};

}  // namespace postfleet::queue
