#include "services/queue/membership/admission.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "libs/config/cluster_members.h"
#include "services/queue/membership/identity.h"

namespace postfleet::queue::membership {
namespace {

namespace v1 = cluster::v1;

constexpr size_t kAddressBytesMax = 512;

const v1::MemberProgress* ProgressOf(const v1::ShardStatus& shard, uint64_t id) {
  const auto found = std::find_if(shard.progress().begin(), shard.progress().end(),
                                  [id](const auto& progress) { return progress.id() == id; });
  return found == shard.progress().end() ? nullptr : &*found;
}

bool IsActive(const v1::ShardStatus& shard, uint64_t id) {
  if (id == shard.leader()) return true;
  const v1::MemberProgress* progress = ProgressOf(shard, id);
  return progress != nullptr && progress->active();
}

std::string NamesOf(const v1::Membership& membership) {
  std::string names;
  for (const v1::Member& member : membership.members()) {
    ConcatTo(&names, names.empty() ? "" : ", ", member.name());
  }
  return names;
}

absl::Status NoMember(std::string_view name, const v1::Membership& membership) {
  return absl::NotFoundError(
      Concat("no member is called ", name, "; there are ", NamesOf(membership)));
}

absl::Status CheckRequest(const v1::JoinRequest& request) {
  const v1::Member& member = request.member();
  if (member.id() == 0 || !config::IsClusterName(member.name()) || member.address().empty() ||
      member.address().size() > kAddressBytesMax) {
    return absl::InvalidArgumentError("a member has an id, a name and an address");
  }
  return absl::OkStatus();
}

Change Rewritten(const v1::Member& as_is, v1::Member wanted) {
  wanted.set_learner(as_is.learner());
  return {as_is.learner() ? ChangeKind::kAddLearner : ChangeKind::kPromote, std::move(wanted)};
}

}  // namespace

const v1::Member* FindMember(const v1::Membership& membership, uint64_t id) {
  const auto found = std::find_if(membership.members().begin(), membership.members().end(),
                                  [id](const auto& member) { return member.id() == id; });
  return found == membership.members().end() ? nullptr : &*found;
}

const v1::Member* FindMember(const v1::Membership& membership, std::string_view name) {
  const auto found = std::find_if(membership.members().begin(), membership.members().end(),
                                  [name](const auto& member) { return member.name() == name; });
  return found == membership.members().end() ? nullptr : &*found;
}

v1::Member MemberOf(const v1::JoinRequest& request) {
  v1::Member member;
  member.set_id(request.member().id());
  member.set_name(request.member().name());
  member.set_address(request.member().address());
  member.set_version(std::max(request.version(), 1u));
  return member;
}

bool IsIn(const v1::Membership& membership, const v1::Member& member) {
  const v1::Member* found = FindMember(membership, member.id());
  return found != nullptr && found->name() == member.name() &&
         found->address() == member.address() && found->version() == member.version();
}

absl::Status Admission::AskJoin(const v1::JoinRequest& request, const v1::ShardStatus& shard,
                                TimePoint now) {
  if (absl::Status bad = CheckRequest(request); !bad.ok()) return bad;
  const v1::Membership& membership = shard.membership();
  const v1::Member member = MemberOf(request);
  const v1::Member* known = FindMember(membership, member.id());
  if (request.returning() && request.cluster_id() != cluster_id_) {
    return absl::PermissionDeniedError(
        Concat(member.name(), " is of cluster ", IdText(request.cluster_id()), ", and this is ",
               IdText(cluster_id_), ": delete its folder, and it joins this one"));
  }
  if (request.returning() && known == nullptr) {
    return absl::FailedPreconditionError(
        Concat(member.name(), " (", IdText(member.id()),
               ") was removed from the cluster: to have it join again, delete its folder and start "
               "it; otherwise take it out of postfleet_cluster_members"));
  }
  const VersionRange versions = {member.version(), std::max(request.version_min(), 1u)};
  if (absl::Status bad = CheckVersions(membership, member.name(), versions); !bad.ok()) return bad;
  if (IsIn(membership, member)) return absl::OkStatus();
  const v1::Member* older = FindMember(membership, member.name());
  if (older != nullptr && older != known && IsActive(shard, older->id())) {
    return absl::AlreadyExistsError(Concat("another replica called ", older->name(),
                                           " is alive at ", older->address(),
                                           ": stop it, or give this one another name"));
  }
  if (older == nullptr && known == nullptr && membership.members_size() >= kMembersMax) {
    return absl::ResourceExhaustedError(
        Concat("the cluster has ", kMembersMax, " members already"));
  }
  if (joiners_.size() >= kJoinersMax && !joiners_.contains(member.id())) {
    return absl::ResourceExhaustedError("too many nodes ask to join at once");
  }
  Joiner& joiner = joiners_.try_emplace(member.id(), Joiner{member, now, now}).first->second;
  joiner.member = member;
  joiner.asked_at = now;
  return absl::OkStatus();
}

absl::Status Admission::AskRemoval(std::string_view name, const v1::ShardStatus& shard) {
  const v1::Membership& membership = shard.membership();
  const v1::Member* leaving = FindMember(membership, name);
  if (leaving == nullptr) return NoMember(name, membership);
  if (leaving->id() == shard.leader()) {
    return absl::FailedPreconditionError(Concat(name, " leads; let another one lead first"));
  }
  int voters = 0, active = 0;
  for (const v1::Member& member : membership.members()) {
    if (member.learner() || member.id() == leaving->id()) continue;
    ++voters;
    active += IsActive(shard, member.id()) ? 1 : 0;
  }
  if (!leaving->learner() && active < voters / 2 + 1) {
    return absl::FailedPreconditionError(Concat(
        "without ", name, " there are ", voters, " voters, and ", active,
        " of them alive, which is no majority: no mail could be accepted any more. Start the "
        "others first"));
  }
  removals_.emplace(name);
  return absl::OkStatus();
}

std::optional<Change> Admission::Step(const v1::ShardStatus& shard, TimePoint now) {
  if (shard.role() != v1::ShardStatus::ROLE_LEADER) {
    joiners_.clear();
    removals_.clear();
    caught_up_since_.clear();
    return std::nullopt;
  }
  // Counts on while a change is under way.
  std::optional<Change> promotion = Promotion(shard, now);
  if (changing_ || now < change_at_) return std::nullopt;
  std::optional<Change> change = Removal(shard);
  if (!change) {
    v1::Member own = own_;
    const v1::Member* as_is = FindMember(shard.membership(), own.id());
    if (as_is != nullptr && !IsIn(shard.membership(), own)) change = Rewritten(*as_is, own);
  }
  if (!change) change = Joining(shard, now);
  if (!change) change = std::move(promotion);
  changing_ = change.has_value();
  return change;
}

void Admission::OnChanged(const absl::Status& applied, TimePoint now) {
  changing_ = false;
  if (!applied.ok()) change_at_ = now + kRetryAfter;
}

std::optional<Change> Admission::Removal(const v1::ShardStatus& shard) {
  while (!removals_.empty()) {
    const std::string name = *removals_.begin();
    // What was asked for may have become wrong meanwhile: somebody else has died.
    if (AskRemoval(name, shard).ok()) {
      return Change{ChangeKind::kRemove, *FindMember(shard.membership(), name)};
    }
    removals_.erase(name);
  }
  return std::nullopt;
}

std::optional<Change> Admission::Joining(const v1::ShardStatus& shard, TimePoint now) {
  for (auto at = joiners_.begin(); at != joiners_.end();) {
    const v1::Member& member = at->second.member;
    if (IsIn(shard.membership(), member) || now - at->second.asked_at > kJoinerAgeMax) {
      at = joiners_.erase(at);
      continue;
    }
    if (const v1::Member* known = FindMember(shard.membership(), member.id())) {
      return Rewritten(*known, member);
    }
    const v1::Member* older = FindMember(shard.membership(), member.name());
    if (older == nullptr) {
      Change change = {ChangeKind::kAddLearner, member};
      change.member.set_learner(true);
      return change;
    }
    if (IsActive(shard, older->id())) at->second.older_seen_at = now;
    if (now - at->second.older_seen_at >= kGoneFor) return Change{ChangeKind::kRemove, *older};
    ++at;
  }
  return std::nullopt;
}

std::optional<Change> Admission::Promotion(const v1::ShardStatus& shard, TimePoint now) {
  std::map<uint64_t, TimePoint> since;
  std::optional<Change> change;
  for (const v1::Member& member : shard.membership().members()) {
    const v1::MemberProgress* progress = ProgressOf(shard, member.id());
    if (!member.learner() || progress == nullptr || !progress->active() || progress->snapshot() ||
        progress->match_index() == 0 ||
        progress->match_index() + kCaughtUpEntriesMax < shard.last_index()) {
      continue;
    }
    const auto before = caught_up_since_.find(member.id());
    since[member.id()] = before == caught_up_since_.end() ? now : before->second;
    if (change || now - since[member.id()] < kCaughtUpFor) continue;
    change = Change{ChangeKind::kPromote, member};
    change->member.set_learner(false);
  }
  caught_up_since_ = std::move(since);
  return change;
}

absl::StatusOr<v1::Member> Successor(const v1::ShardStatus& shard, std::string_view name) {
  const v1::Membership& membership = shard.membership();
  if (!name.empty()) {
    const v1::Member* member = FindMember(membership, name);
    if (member == nullptr) return NoMember(name, membership);
    const std::string_view wrong = member->id() == shard.leader()   ? "leads already"
                                   : member->learner()              ? "has no vote yet"
                                   : !IsActive(shard, member->id()) ? "does not answer"
                                                                    : "";
    if (wrong.empty()) return *member;
    return absl::FailedPreconditionError(Concat(name, " ", wrong));
  }
  const v1::Member* best = nullptr;
  uint64_t best_match = 0;
  for (const v1::Member& member : membership.members()) {
    if (member.learner() || member.id() == shard.leader() || !IsActive(shard, member.id()))
      continue;
    const uint64_t match = ProgressOf(shard, member.id())->match_index();
    if (best != nullptr && match <= best_match) continue;
    best = &member;
    best_match = match;
  }
  if (best != nullptr) return *best;
  return absl::FailedPreconditionError("no other voter is alive");
}

}  // namespace postfleet::queue::membership
