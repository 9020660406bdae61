// The questions that a node asks others of its cluster by single calls: who they are, and to be
// taken in.
//
// Answers come on the loop. Each call ends within its bound: a peer that hangs is one that is away.
// Errors keep gRPC's code; of Join also the leader's address that whoever does not lead has named.
#pragma once

#include <grpcpp/channel.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "libs/rpc/pending_calls.h"
#include "libs/runtime/event_loop.h"
#include "proto/postfleet/cluster/v1/cluster.grpc.pb.h"

namespace postfleet::queue::membership {

class PeerCalls {
 public:
  static constexpr std::chrono::seconds kIntroduceSecondsMax{2};
  // Longer than the leader lets a call wait (ClusterService::kWaitMax).
  static constexpr std::chrono::seconds kJoinSecondsMax{10};
  // Connections that are kept; a cluster has fewer addresses.
  static constexpr size_t kChannelsMax = 64;

  using Connect = std::function<std::shared_ptr<grpc::Channel>(const std::string& address)>;
  PeerCalls(runtime::EventLoop* loop, Connect connect);
  ~PeerCalls();  // Stops

  // On the loop.
  void Introduce(const std::string& address, const cluster::v1::IntroduceRequest& request,
                 std::function<void(absl::StatusOr<cluster::v1::IntroduceResponse>)> done);
  void Join(
      const std::string& address, const cluster::v1::JoinRequest& request,
      std::function<void(absl::StatusOr<cluster::v1::JoinResponse>, std::string leader_address)>
          done);

  // Not from the loop. Ends what is under way; no `done` comes that was not posted by then.
  void Stop();

 private:
  template <typename Request, typename Response>
  struct Call;
  // What is under way, so that it can be ended. Outlives this.
  struct Open;

  template <typename Request, typename Response>
  std::shared_ptr<Call<Request, Response>> Begin(const std::string& address, const Request& request,
                                                 std::chrono::seconds bound);

  runtime::EventLoop* const loop_;
  const Connect connect_;
  const std::shared_ptr<Open> open_;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_;
};

}  // namespace postfleet::queue::membership
