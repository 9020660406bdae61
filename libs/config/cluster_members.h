// postfleet_cluster_members and postfleet_cluster_name: the replicas of the queue by name, and
// which of them this one is.
//
//   postfleet_cluster_members = q1=q1.example.com:7001, q2=q2.example.com:7001,
//   q3=[2001:db8::3]:7001
//
// The first one founds the cluster (services/queue/membership/founding.h); beyond that their order
// means nothing. A name is 1 to kClusterNameBytesMax letters, digits, '-', '_' and '.'. An address
// is HOST:PORT, [IPv6]:PORT or unix:/path: where that member serves.
//
// This is the one reader of both. Config::Load has read them, so that a service finds no error
// there. Errors: InvalidArgument with the reason, without the parameter's name.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/config.h"

namespace postfleet::config {

// More replicas make every message slower and bear no fault that these do not.
inline constexpr size_t kClusterMembersMax = 9;
inline constexpr size_t kClusterNameBytesMax = 63;

struct ClusterMember {
  std::string name;
  std::string address;

  friend bool operator==(const ClusterMember&, const ClusterMember&) = default;
};

// No members: no cluster.
absl::StatusOr<std::vector<ClusterMember>> ParseClusterMembers(std::string_view text);
// nullptr: it is none of them.
const ClusterMember* FindClusterMember(const std::vector<ClusterMember>& members,
                                       std::string_view name);

// Whether a replica could be called that. Names come from peers, too.
bool IsClusterName(std::string_view name);

// What main.cf says of the cluster. Empty members: there is none.
std::vector<ClusterMember> ClusterMembersOf(const Config& config);
// Which one this host is: postfleet_cluster_name, else the first label of myhostname. NotFound
// names both parameters.
absl::StatusOr<ClusterMember> OwnClusterMember(const Config& config);

}  // namespace postfleet::config
