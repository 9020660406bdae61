// What the cluster's service and the node ask of a shard's raft group, whoever drives it.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "proto/postfleet/cluster/v1/cluster.pb.h"
#include "services/queue/membership/admission.h"

namespace postfleet::queue::membership {

struct Group {
  using Done = std::function<void(absl::Status)>;

  // As of now. Any thread; cheap.
  std::function<cluster::v1::ShardStatus()> status;
  // Proposes it. `done` once, on any thread: OK once it is applied here; otherwise it came to
  // nothing, or nobody knows.
  std::function<void(const Change& change, Done done)> change;
  // Begins to hand over. `done` once, on any thread.
  std::function<void(uint64_t to, Done done)> transfer;
};

}  // namespace postfleet::queue::membership
