#include "services/queue/membership/member_changes.h"

#include <algorithm>

namespace postfleet::queue::membership {
namespace {

using cluster::v1::Member;
using cluster::v1::Membership;
using Type = raft::ConfChange::Type;

Type TypeOf(ChangeKind kind) {
  switch (kind) {
    case ChangeKind::kAddLearner:
      return Type::kAddLearner;
    case ChangeKind::kPromote:
      return Type::kAddVoter;
    case ChangeKind::kRemove:
      return Type::kRemove;
  }
  return Type::kRemove;
}

bool SomeVote(const Membership& membership) {
  return std::any_of(membership.members().begin(), membership.members().end(),
                     [](const Member& member) { return !member.learner(); });
}

}  // namespace

absl::StatusOr<Membership> ParseMembers(std::string_view members) {
  Membership membership;
  if (!membership.ParseFromArray(members.data(), static_cast<int>(members.size()))) {
    return absl::DataLossError("the members of the group cannot be read");
  }
  return membership;
}

std::string EncodeMembers(const Membership& membership) { return membership.SerializeAsString(); }

std::string MembersOf(const Member& only_voter) {
  Membership membership;
  *membership.add_members() = only_voter;
  membership.mutable_members(0)->set_learner(false);
  return EncodeMembers(membership);
}

absl::StatusOr<raft::ConfState> ConfStateOf(std::string_view members) {
  const absl::StatusOr<Membership> membership = ParseMembers(members);
  if (!membership.ok()) return membership.status();
  raft::ConfState state;
  for (const Member& member : membership->members()) {
    (member.learner() ? state.learners : state.voters).push_back(member.id());
  }
  std::sort(state.voters.begin(), state.voters.end());
  std::sort(state.learners.begin(), state.learners.end());
  return state;
}

std::string Changed(std::string_view members, const raft::ConfChange& change, uint64_t index) {
  const std::string before(members);
  absl::StatusOr<Membership> membership = ParseMembers(members);
  if (!membership.ok() || change.node == 0) return before;
  auto& list = *membership->mutable_members();
  const auto known = std::find_if(list.begin(), list.end(),
                                  [&](const Member& member) { return member.id() == change.node; });
  if (change.type == Type::kRemove) {
    if (known != list.end()) list.erase(known);
  } else {
    cluster::v1::MemberChange said;
    said.ParseFromString(change.context);
    Member& member = known != list.end() ? *known : *list.Add();
    if (said.has_member()) member = said.member();
    member.set_id(change.node);
    member.set_learner(change.type == Type::kAddLearner);
  }
  if (!SomeVote(*membership)) return before;
  membership->set_index(index);
  return EncodeMembers(*membership);
}

raft::ConfChange ConfChangeOf(const Change& change) {
  cluster::v1::MemberChange said;
  *said.mutable_member() = change.member;
  return {
      .type = TypeOf(change.kind), .node = change.member.id(), .context = said.SerializeAsString()};
}

}  // namespace postfleet::queue::membership
