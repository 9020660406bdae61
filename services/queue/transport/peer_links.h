// What this replica says to the others: one stream to each of them (Cluster.Exchange), for all
// shards.
//
//   PeerLinks links(world);
//   links.SetPeers(membership);    // at the start and whenever it changes; any thread
//   links.Send(messages);          // the log thread; never blocks
//   links.Stop();
//
// A stream begins with a greeting each way: cluster, sender, receiver and versions. Without it
// nothing is said; a peer that refuses it is asked again, and named in the log when its reason is
// new. What is for a peer without a stream is dropped, as is what its outbox has no room for
// (peer_frames.h): raft says it again. A stream that is lost, and a full outbox, are told as
// on_unreachable, so that raft probes before it sends much.
//
// A replica that speaks to this one and is no member as far as is known here (this one is new, or
// lags) is answered all the same, at the address that it names: OnCaller. At most kCallersMax.
//
// Threads: the streams live on a loop; another one opens and ends them, since ending waits.
#pragma once

#include <grpcpp/channel.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "libs/rpc/lasting_stream.h"
#include "libs/runtime/event_loop.h"
#include "proto/postfleet/cluster/v1/cluster.pb.h"
#include "services/queue/replica/peer_message.h"
#include "services/queue/transport/peer_frames.h"

namespace postfleet::queue::transport {

class PeerLinks final : public PeerSender {
 public:
  struct World {
    uint64_t cluster_id = 0;
    // With name and address.
    cluster::v1::Member own;
    uint32_t version = 1;
    uint32_t version_min = 1;
    // To a member's services.
    std::function<std::shared_ptr<grpc::Channel>(const cluster::v1::Member&)> connect;
    // Any thread. Null until Start.
    std::function<void(uint64_t id)> on_unreachable;
    // A line for the log.
    std::function<void(const std::string&)> say;
  };
  explicit PeerLinks(World world);
  ~PeerLinks() override;  // Stops

  // What hears of peers that cannot be reached; before SetPeers.
  void Start(std::function<void(uint64_t id)> on_unreachable);
  static constexpr size_t kCallersMax = 16;
  void SetPeers(const cluster::v1::Membership& membership);
  // Any thread.
  void OnCaller(const cluster::v1::Member& caller);
  void Send(std::vector<PeerMessage> messages) override;
  // Where the member is asked; nullptr: it is none.
  std::shared_ptr<grpc::Channel> ChannelTo(uint64_t id);
  void Stop();

 private:
  // One stream of one peer, from its opening to its loss.
  struct Session {
    std::atomic<bool> greeted = false;   // by us
    std::atomic<bool> welcomed = false;  // by the peer
  };
  struct Peer {
    cluster::v1::Member member;
    std::shared_ptr<grpc::Channel> channel;
    PeerOutbox outbox;
    std::atomic<bool> is_open = false;
    std::atomic<bool> kick_posted = false;
    std::string last_refusal;  // on the loop
    std::unique_ptr<rpc::LastingStream> stream;
  };

  void Change();
  std::shared_ptr<Peer> Open(const cluster::v1::Member& member);
  void End(const std::shared_ptr<Peer>& peer);
  rpc::StreamCallbacks OpenSession(Peer* peer);
  bool NextFrame(Peer* peer, Session* session, grpc::ByteBuffer* frame) const;
  void OnFrame(Peer* peer, Session* session, const grpc::ByteBuffer& frame);
  void OnLost(Peer* peer, const grpc::Status& status);
  void Kick(const std::shared_ptr<Peer>& peer);

  World world_;
  runtime::EventLoop loop_{"queue-links"};
  runtime::EventLoop changes_{"queue-peers"};
  bool stopped_ = false;  // by the owner

  // On the loop of changes.
  cluster::v1::Membership membership_;
  std::map<uint64_t, cluster::v1::Member> callers_;

  std::mutex mutex_;
  std::map<uint64_t, std::shared_ptr<Peer>> peers_;  // guarded by mutex_
};

}  // namespace postfleet::queue::transport
