// The first part of a replica's life: from its folder to an identity in a cluster. What is not in a
// cluster yet founds one or is taken in (services/queue/membership/founding.h); meanwhile it serves
// at its address that it is there, and whoever wants the queue is told UNAVAILABLE.
#pragma once

#include <grpcpp/channel.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/cluster_members.h"
#include "libs/server/process.h"
#include "proto/postfleet/cluster/v1/cluster.pb.h"
#include "services/queue/membership/identity.h"
#include "services/queue/membership/versions.h"

namespace postfleet::queue {

struct ClusterEntry {
  std::string directory;
  config::ClusterMember own;
  std::vector<config::ClusterMember> members;
  membership::VersionRange versions;
  std::function<std::shared_ptr<grpc::Channel>(const std::string& address)> connect;
};

// What the others are to know of it, under that id.
cluster::v1::Member OwnMember(const ClusterEntry& entry, uint64_t id);
// Where a member is asked: the own configuration is newer than what the group was told.
std::string AddressIn(const std::vector<config::ClusterMember>& members,
                      const cluster::v1::Member& member);
std::vector<std::string> NamesOf(const std::vector<config::ClusterMember>& members);

// The identity, which is durable, kFounding, kJoining or kMember; nullopt: the process was told to
// stop. Errors: the folder is not this member's, the others refuse it, or the disk says no.
absl::StatusOr<std::optional<membership::Identity>> EnterCluster(server::Process& process,
                                                                 const ClusterEntry& entry);

}  // namespace postfleet::queue
