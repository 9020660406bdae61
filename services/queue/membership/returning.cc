#include "services/queue/membership/returning.h"

#include <utility>

#include "libs/base/concat.h"
#include "services/queue/membership/admission.h"

namespace postfleet::queue::membership {

namespace v1 = cluster::v1;

Returning::Actions Returning::Step(const v1::ShardStatus& shard, TimePoint now) {
  const v1::Membership& membership = shard.membership();
  // Who applies the log from its beginning sees times before it was a member.
  const bool member = FindMember(membership, options_.own.id()) != nullptr;
  was_member_ = was_member_ || member;
  if (was_member_ && !member) {
    return {.removed = absl::FailedPreconditionError(
                Concat(options_.own.name(), " was removed from the cluster"))};
  }
  if (shard.leader() == 0) {
    if (!leaderless_since_) leaderless_since_ = now;
    return now - *leaderless_since_ >= kLeaderlessMax ? AskOthers(now) : Actions();
  }
  leaderless_since_.reset();
  const v1::Member* leader = FindMember(membership, shard.leader());
  // A leader puts itself right (admission.h).
  if (leader == nullptr || leader->id() == options_.own.id() || asking_ || now < ask_at_ ||
      !member || IsIn(membership, options_.own)) {
    return {};
  }
  asking_ = true;
  return {.ask = options_.address_of(*leader)};
}

Returning::Actions Returning::AskOthers(TimePoint now) {
  Actions actions;
  actions.say = Said("cluster: no leader; the cluster needs a majority of its members", now);
  if (asking_ || now < ask_at_) return actions;
  for (size_t tried = 0; tried < options_.members.size(); ++tried) {
    const config::ClusterMember& member = options_.members[next_++ % options_.members.size()];
    if (member.name == options_.own.name()) continue;
    asking_ = true;
    actions.ask = member.address;
    break;
  }
  return actions;
}

Returning::Actions Returning::OnAnswer(const absl::StatusOr<v1::JoinResponse>& answer,
                                       TimePoint now) {
  asking_ = false;
  ask_at_ = now + kAskInterval;
  const std::string text(answer.status().message());
  if (absl::IsFailedPrecondition(answer.status())) {
    return {.removed = absl::FailedPreconditionError(text)};
  }
  // Of another cluster: where the two are mixed up, the one that has a majority goes on.
  if (absl::IsPermissionDenied(answer.status())) {
    return {.say = Said(Concat("cluster: a leader answers: ", text), now)};
  }
  return {};
}

std::string Returning::Said(std::string line, TimePoint now) {
  if (line == said_ && now < say_at_) return "";
  said_ = line;
  say_at_ = now + kSayInterval;
  return line;
}

}  // namespace postfleet::queue::membership
