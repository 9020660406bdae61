// Replicas of different versions in one group, for an upgrade of one node after the other.
//
// Each member's newest version stands in the membership, which all replicas have alike: it says so
// when it joins and whenever it comes back. What the group speaks is the oldest of these: entries
// of a newer kind are proposed only once every member, learners too, has said that it understands
// them (MayPropose). Then the group is of that version for good: a node that knows less is refused,
// by name, since it could not apply what may be in the log.
//
// Errors: FailedPrecondition with both versions and what to do.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "proto/postfleet/cluster/v1/cluster.pb.h"

namespace postfleet::queue::membership {

// What a node understands.
struct VersionRange {
  uint32_t version = 1;
  uint32_t version_min = 1;
};

// The oldest of its members'. Of nobody: 1.
uint32_t GroupVersion(const cluster::v1::Membership& membership);

// Every member understands entries that came with `version`.
bool MayPropose(const cluster::v1::Membership& membership, uint32_t version);

// Whether a node of these versions can be in that group. `name` is the node's.
absl::Status CheckVersions(const cluster::v1::Membership& membership, std::string_view name,
                           const VersionRange& node);

}  // namespace postfleet::queue::membership
