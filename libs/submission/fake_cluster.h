// For tests: the three replicas of a queue in this process, "q0" to "q2", of which one leads, or
// none. What was committed is everybody's, as are the incarnations; a submission counts once for
// its id. Nothing is delivered: messages() has what came.
#pragma once

#include <grpcpp/server.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "libs/rpc/leader_channel.h"
#include "libs/rpc/payload.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"

namespace postfleet::submission {

class FakeCluster {
 public:
  static constexpr size_t kReplicas = 3;
  static constexpr size_t kNobody = kReplicas;

  struct Message {
    std::string queue_id;
    std::string content;
  };
  // What becomes of a submission that reaches the leader.
  enum class Fate {
    kAnswered,
    kLost,        // before it was proposed: the leadership ends
    kAnswerLost,  // it is committed, and the leadership ends before its answer
  };
  struct Arrival {
    int number = 0;  // of all that reached a leader, from 0
    queue::v1::SubmissionId id;
  };

  // q0 leads.
  FakeCluster();
  ~FakeCluster();

  static std::string AddressOf(size_t replica);
  // A handle of its own for each client.
  rpc::LeaderChannel channel() const;

  // Any thread. Ends the streams of the leader that was.
  void Lead(size_t replica);
  // What it names instead of the leader.
  void Lie(size_t replica, const std::string& address);
  // It refuses everything, as if nobody listened there; its streams are cut.
  void Die(size_t replica);
  // It takes calls and answers none; its streams are cut, as a connection is that is silent.
  void Hang(size_t replica);

  // To be set before submissions come; asked under the lock, it must not call back. Who leads after
  // a loss: `next_leader`.
  std::function<Fate(const Arrival&)> fate = [](const Arrival&) { return Fate::kAnswered; };
  std::function<size_t(size_t leader)> next_leader = [](size_t leader) {
    return (leader + 1) % kReplicas;
  };

  std::vector<Message> messages();
  std::vector<queue::v1::SubmissionId> arrivals();
  // Blocks until that replica has been asked so often.
  void WaitForAsked(size_t replica, int count);
  int registrations();
  int flushes();
  // Calls and streams that a replica was asked for.
  int asked(size_t replica);

 private:
  class Node;
  struct Peer;
  enum class Health { kUp, kDead, kHanging };
  struct Upload {
    uint32_t chunks = 0;
    std::string content;
  };

  grpc::Status StatusOf(size_t replica, grpc::CallbackServerContext* context);
  void OnEnqueue(const std::shared_ptr<Peer>& peer, grpc::ByteBuffer frame);
  bool TakeOne(Peer& peer, const queue::v1::Submission& submission, const rpc::Payload& content);
  queue::v1::EnqueueResult::Code Commit(const queue::v1::Submission& submission,
                                        const rpc::Payload& content);
  void Fall(size_t replica, Health health);
  void Cut(const std::function<bool(size_t replica)>& which);

  std::mutex mutex_;
  std::condition_variable changed_;
  size_t leader_ = 0;
  std::vector<Health> health_{kReplicas, Health::kUp};
  std::vector<int> asked_ = std::vector<int>(kReplicas, 0);
  std::map<size_t, std::string> lies_;
  uint64_t incarnations_ = 0;
  int flushes_ = 0;
  std::vector<queue::v1::SubmissionId> arrivals_;
  std::set<std::pair<uint64_t, uint64_t>> committed_;
  std::map<std::string, Upload> uploads_;
  std::vector<Message> messages_;
  std::set<std::shared_ptr<Peer>> peers_;
  std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace postfleet::submission
