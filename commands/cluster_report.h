// What `postfleet cluster status` shows, made of what each node says of itself.
//
// A node knows its own state; of the others only the leader knows how far they are. So the members
// and their progress are the leader's (of two that say they lead, the one of the higher term), and
// without a leader those of whoever knows the latest membership. Nodes that are not members (yet)
// follow behind.
//
// Pure. Names and addresses come from peers: what is shown of them is Showable.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/config/cluster_members.h"
#include "proto/postfleet/cluster/v1/cluster.pb.h"

namespace postfleet::commands {

// The one shard that there is today.
inline constexpr uint32_t kShownShard = 0;

// What was asked at an address; no status: no answer.
struct NodeAnswer {
  config::ClusterMember asked;
  std::optional<cluster::v1::GetStatusResponse> status;
};

struct ClusterRow {
  std::string name;
  std::string address;
  std::string_view role = "unknown";  // "leader", "follower", "learner"
  bool member = false;
  bool learner = false;
  bool answers = false;
  bool snapshot = false;          // one is on its way to it
  std::optional<uint64_t> match;  // the last entry that the leader knows to be there
  std::optional<uint64_t> applied;
  uint32_t version = 0;
};

struct ClusterView {
  uint64_t cluster_id = 0;  // 0: none is founded
  uint64_t term = 0;
  std::string leader;          // empty: none
  std::string leader_address;  // where it answered
  uint64_t last_index = 0;     // of the leader
  std::vector<ClusterRow> rows;

  const ClusterRow* Find(std::string_view name) const;
};

ClusterView ViewOf(const std::vector<NodeAnswer>& answers);

// Lines for people.
std::string ClusterTable(const ClusterView& view);
// One object and a newline: {"cluster", "leader" (a name or null), "term", "shard", "members":
// [{"name", "address", "role", "member", "match" (or null), "applied" (or null), "active",
// "version"}]}.
std::string ClusterJson(const ClusterView& view);

}  // namespace postfleet::commands
