// The contract of cluster.proto, of one node: who it is, how its group stands, and, while it leads,
// who is let in, leaves and leads next (admission.h). Streams between replicas are the transport's;
// they are only served here, since a gRPC service is one object.
//
//   ClusterService service(world);      // serves at once: Introduce, GetStatus
//   service.Attach(group, streams);     // once the node is in a cluster
//   service.Start();
//   ... the server shuts down ...
//   service.Stop();
//
// Join, Remove and Transfer answer once what they ask for is so, or UNAVAILABLE after kWaitMax: the
// caller asks again, and finds it done or under way. Asked of another than the leader they answer
// UNAVAILABLE with its address (libs/rpc/leader.h). At most kWaitingMax calls wait.
//
// Wishes are looked at every kStepInterval.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/rpc/stream.h"
#include "libs/runtime/event_loop.h"
#include "proto/postfleet/cluster/v1/cluster.grpc.pb.h"
#include "services/queue/membership/admission.h"
#include "services/queue/membership/group.h"
#include "services/queue/membership/versions.h"

namespace postfleet::queue::membership {

// Streams are taken as raw frames (libs/rpc), the rest as messages.
using RawClusterService = cluster::v1::Cluster::WithRawCallbackMethod_Exchange<
    cluster::v1::Cluster::WithRawCallbackMethod_SendSnapshot<
        cluster::v1::Cluster::WithCallbackMethod_Introduce<
            cluster::v1::Cluster::WithCallbackMethod_Join<
                cluster::v1::Cluster::WithCallbackMethod_GetStatus<
                    cluster::v1::Cluster::WithCallbackMethod_Remove<
                        cluster::v1::Cluster::WithCallbackMethod_Transfer<
                            cluster::v1::Cluster::Service>>>>>>>;

// The transport's, which accept the calls.
struct PeerStreams {
  std::function<rpc::ServerReactor*(grpc::CallbackServerContext*)> exchange;
  std::function<rpc::ServerReactor*(grpc::CallbackServerContext*)> send_snapshot;
};

class ClusterService final : public RawClusterService {
 public:
  static constexpr std::chrono::milliseconds kStepInterval{100};
  static constexpr std::chrono::seconds kWaitMax{8};
  static constexpr size_t kWaitingMax = 64;

  struct World {
    // With name, address and version.
    cluster::v1::Member own;
    uint64_t cluster_id = 0;  // 0: in none yet
    // Of postfleet_cluster_members, in its order.
    std::vector<std::string> member_names;
    // Where a member is asked, by what this node knows.
    std::function<std::string(const cluster::v1::Member&)> address_of;
    // Any thread: a line for the log.
    std::function<void(const std::string&)> say;
    const Clock* clock = &SystemClock();
  };
  explicit ClusterService(World world);
  ~ClusterService() override;  // Stops

  // Before the server starts.
  void Attach(Group group, PeerStreams streams);
  void Start();
  // After the server. Calls that wait were ended by CloseCalls.
  void Stop();
  // Answers all that wait, and lets none wait any more. Before the server shuts down. Any thread.
  void CloseCalls();

  rpc::ServerReactor* Exchange(grpc::CallbackServerContext* context) override;
  rpc::ServerReactor* SendSnapshot(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Introduce(grpc::CallbackServerContext* context,
                                      const cluster::v1::IntroduceRequest* request,
                                      cluster::v1::IntroduceResponse* response) override;
  grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext* context,
                                 const cluster::v1::JoinRequest* request,
                                 cluster::v1::JoinResponse* response) override;
  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const cluster::v1::GetStatusRequest* request,
                                      cluster::v1::GetStatusResponse* response) override;
  grpc::ServerUnaryReactor* Remove(grpc::CallbackServerContext* context,
                                   const cluster::v1::RemoveRequest* request,
                                   cluster::v1::RemoveResponse* response) override;
  grpc::ServerUnaryReactor* Transfer(grpc::CallbackServerContext* context,
                                     const cluster::v1::TransferRequest* request,
                                     cluster::v1::TransferResponse* response) override;

 private:
  struct Wish {
    // Fills in the response when it is so.
    std::function<bool(const cluster::v1::ShardStatus&)> is_so;
    // Only who leads brings it about: once this node does not, the next leader is to be asked.
    bool needs_leader = true;
  };
  // A call that waits.
  struct Waiting {
    grpc::CallbackServerContext* context;
    grpc::ServerUnaryReactor* reactor;
    std::chrono::steady_clock::time_point until;
    Wish wish;
  };

  // Judges a call on the loop: answers an error, or says what to wait for.
  using Judge = std::function<absl::StatusOr<Wish>(const cluster::v1::ShardStatus&)>;
  grpc::ServerUnaryReactor* Handle(grpc::CallbackServerContext* context, Judge judge);

  cluster::v1::ShardStatus StatusNow() const;
  std::string LeaderAddress(const cluster::v1::ShardStatus& shard) const;
  void Step();
  void Propose(const Change& change);
  void AnswerWaiting(const cluster::v1::ShardStatus& shard);

  const World world_;
  std::optional<Group> group_;
  PeerStreams streams_;
  runtime::EventLoop loop_{"queue-members"};

  // On the loop.
  runtime::Timer timer_{loop_};
  Admission admission_;
  std::list<Waiting> waiting_;
  bool closed_ = false;
};

}  // namespace postfleet::queue::membership
