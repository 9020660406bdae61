// The cluster's administration calls (proto/postfleet/cluster/v1), for commands: to all members at
// once, and to whoever leads.
//
// Errors: FailedPrecondition when main.cf names no members; Unavailable when nobody answers, or
// nobody leads for kLeaderSecondsMax; otherwise what the leader says, in its words.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "commands/cluster_report.h"
#include "libs/config/cluster_members.h"
#include "libs/config/config.h"
#include "proto/postfleet/cluster/v1/cluster.grpc.pb.h"

namespace postfleet::commands {

class ClusterClient {
 public:
  // Who does not answer within this is away.
  static constexpr int kStatusSecondsMax = 2;
  // A change of members is decided within this, or asked for again.
  static constexpr int kChangeSecondsMax = 15;
  static constexpr int kLeaderSecondsMax = 30;

  explicit ClusterClient(std::vector<config::ClusterMember> members)
      : members_(std::move(members)) {}
  static absl::StatusOr<ClusterClient> Of(const config::Config& config);

  const std::vector<config::ClusterMember>& members() const { return members_; }

  // What every listed member says, and every other one that they know. Unavailable: nobody answers.
  absl::StatusOr<ClusterView> AskAll();

  // Durable when it returns. The leader itself hands over first.
  absl::Status Remove(std::string_view name);
  // An empty name: to whom the leader chooses. The name of who leads now.
  absl::StatusOr<std::string> Transfer(std::string_view name);

 private:
  using Stub = cluster::v1::Cluster::Stub;

  // Calls the leader, the next one too, until one answers. `call` gives Unavailable to be repeated.
  absl::Status CallLeader(
      const std::function<absl::Status(Stub& leader, const ClusterView& view)>& call);

  std::vector<config::ClusterMember> members_;
};

}  // namespace postfleet::commands
