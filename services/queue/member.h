// A replica of the queue in a cluster, around the queue that is open: what it serves beside the
// queue's own contract, and what it does to stay a member.
//
//   Member member(process, entry, identity, queue, replication);
//   process.Serve({queue->service(), member.service()}, {entry.own.address});
//   ... member.Close(); the server ends; then the queue may stop ...
#pragma once

#include <chrono>
#include <memory>

#include "libs/server/process.h"
#include "services/queue/cluster_entry.h"
#include "services/queue/membership/cluster_service.h"
#include "services/queue/membership/member_watch.h"
#include "services/queue/queue.h"
#include "services/queue/replication.h"

namespace postfleet::queue {

class Member {
 public:
  // The folder of `identity` is open as `queue`, which outlives this: from now on an empty log is a
  // lost one. Dies when that cannot be made durable, and later when this node was removed.
  Member(server::Process& process, const ClusterEntry& entry, membership::Identity identity,
         Queue& queue, Replication& replication);

  grpc::Service* service() { return &service_; }

  // It leads and takes mail, or it follows a leader, to whom it sends clients on. Any thread.
  bool Ready() const;

  // Before the server ends: who leads hands over, if another one can lead, for kHandOverMax at
  // most; no call waits any more.
  static constexpr std::chrono::milliseconds kHandOverMax{1000};
  void Close();
  // After the server, before the queue.
  void Stop();

 private:
  void HandOver();

  const Queue& queue_;
  Replication& replication_;
  membership::Group group_;
  membership::ClusterService service_;
  std::unique_ptr<membership::MemberWatch> watch_;
};

}  // namespace postfleet::queue
