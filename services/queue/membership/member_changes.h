// Who is in a raft group, as the log has it: an encoded v1::Membership, changed by conf changes
// whose context is a v1::MemberChange. All replicas come to the same bytes.
//
// Errors: DataLoss: that is no membership.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "proto/postfleet/cluster/v1/cluster.pb.h"
#include "services/queue/membership/admission.h"
#include "services/queue/raft/sequencer.h"

namespace postfleet::queue::membership {

absl::StatusOr<cluster::v1::Membership> ParseMembers(std::string_view members);
std::string EncodeMembers(const cluster::v1::Membership& membership);
// A group that begins with one voter.
std::string MembersOf(const cluster::v1::Member& only_voter);

absl::StatusOr<raft::ConfState> ConfStateOf(std::string_view members);
// `members` after a change that raft took. One that would leave nobody to vote changes nothing, as
// in raft.
std::string Changed(std::string_view members, const raft::ConfChange& change, uint64_t index);

// The change as it is proposed.
raft::ConfChange ConfChangeOf(const Change& change);

}  // namespace postfleet::queue::membership
