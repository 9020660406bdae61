// What the other replicas say to this one: the serving side of Cluster.Exchange.
//
// A stream must begin with a greeting for this replica, of its cluster and of versions that it
// understands: FAILED_PRECONDITION says what does not fit. Who may be greeted so is the transport's
// security to prove; ids are random, and raft itself judges whether a sender is a member. Frames
// after it are checked (peer_frames.h); one that is wrong ends the stream with INVALID_ARGUMENT.
// What is said the other way is the welcome only: each side has a stream of its own.
//
// Threads: gRPC's.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "libs/rpc/stream.h"
#include "proto/postfleet/cluster/v1/cluster.pb.h"
#include "services/queue/replica/peer_message.h"

namespace postfleet::queue::transport {

class PeerReceiver {
 public:
  struct World {
    uint64_t cluster_id = 0;
    uint64_t own_id = 0;
    uint32_t version = 1;
    uint32_t version_min = 1;
    std::function<void(PeerMessage)> receive;
    // Who speaks, before what it says.
    std::function<void(const cluster::v1::Member&)> on_caller;
  };
  // Outlives its streams.
  explicit PeerReceiver(World world) : world_(std::move(world)) {}

  rpc::ServerReactor* Accept(grpc::CallbackServerContext* context);

 private:
  struct Session;

  absl::Status OnFrame(Session* session, const grpc::ByteBuffer& frame);
  absl::Status CheckHello(const cluster::v1::Hello& hello) const;

  const World world_;
};

}  // namespace postfleet::queue::transport
