#include "services/queue/membership/founding.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"
#include "services/queue/membership/identity.h"

namespace postfleet::queue::membership {
namespace {

namespace v1 = cluster::v1;

template <typename Items, typename NameOf>
std::string Joined(const Items& items, NameOf name_of) {
  std::string text;
  for (const auto& item : items) ConcatTo(&text, text.empty() ? "" : ", ", name_of(item));
  return text;
}

std::string_view Text(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

}  // namespace

Founding::Founding(Options options) : options_(std::move(options)) {
  for (const config::ClusterMember& member : options_.members) {
    if (member.name != options_.own.name) others_.push_back({.member = member});
  }
}

Founding::Actions Founding::Step(TimePoint now) { return Decide(now); }

Founding::Actions Founding::OnIntroduction(const std::string& name,
                                           const absl::StatusOr<v1::IntroduceResponse>& answer,
                                           TimePoint now) {
  for (Other& other : others_) {
    if (other.member.name != name) continue;
    other.asking = false;
    other.ask_at = now + kAskInterval;
    // Who has answered and is away now may have been taken into a cluster meanwhile.
    other.answer.reset();
    other.wrong.clear();
    other.again = other.again && answer.ok();
    if (answer.ok()) other.wrong = WrongIn(other, *answer);
    if (answer.ok() && other.wrong.empty()) other.answer = *answer;
    second_round_ = second_round_ && other.answer.has_value();
  }
  return Decide(now);
}

Founding::Actions Founding::OnJoinAnswer(const absl::StatusOr<v1::JoinResponse>& answer,
                                         const std::string& leader_address, TimePoint now) {
  joining_ = false;
  leader_address_ = leader_address;
  join_at_ = leader_address.empty() ? now + kAskInterval : now;
  Actions actions;
  if (over_) return actions;
  if (answer.ok() && answer->cluster_id() != 0) {
    over_ = true;
    actions.joined_cluster_id = answer->cluster_id();
    return actions;
  }
  if (absl::IsFailedPrecondition(answer.status())) {
    over_ = true;
    actions.refused = absl::FailedPreconditionError(
        Concat(options_.own.name, " is not taken into the cluster: ", Text(answer.status())));
    return actions;
  }
  const bool hinted = !leader_address.empty();
  if (!hinted && !answer.ok()) {
    Say(Concat("waiting to be taken into the cluster: ", Text(answer.status())), &actions, now);
  }
  Actions next = Decide(now);
  next.say.insert(next.say.begin(), actions.say.begin(), actions.say.end());
  return next;
}

Founding::Actions Founding::Decide(TimePoint now) {
  Actions actions;
  if (over_) return actions;
  const auto clusters = Clusters();
  if (clusters.empty()) {
    DecideFounding(&actions, now);
  } else {
    DecideJoining(clusters, &actions, now);
  }
  over_ = actions.found || !actions.refused.ok();
  if (!over_) AskOthers(&actions, now);
  return actions;
}

std::string Founding::WrongIn(const Other& other, const v1::IntroduceResponse& answer) const {
  if (answer.name() != other.member.name) {
    return Concat("who answers at ", other.member.address, " is ", answer.name(), ", not ",
                  other.member.name);
  }
  // A cluster that is there may have other members by now than the lists say.
  if (answer.cluster_id() != 0) return "";
  const bool same = std::equal(options_.members.begin(), options_.members.end(),
                               answer.members().begin(), answer.members().end(),
                               [](const config::ClusterMember& member, const std::string& name) {
                                 return member.name == name;
                               });
  if (same) return "";
  return Concat("postfleet_cluster_members of ", other.member.name, " lists ",
                Joined(answer.members(), [](const std::string& name) { return name; }),
                ", and here it lists ",
                Joined(options_.members, [](const auto& member) { return member.name; }),
                ": make them equal");
}

std::map<uint64_t, std::vector<const Founding::Other*>> Founding::Clusters() const {
  std::map<uint64_t, std::vector<const Other*>> clusters;
  for (const Other& other : others_) {
    if (other.answer && other.answer->cluster_id() != 0) {
      clusters[other.answer->cluster_id()].push_back(&other);
    }
  }
  return clusters;
}

void Founding::DecideFounding(Actions* actions, TimePoint now) {
  std::vector<std::string> silent;
  for (const Other& other : others_) {
    if (!other.wrong.empty()) return Say(other.wrong, actions, now);
    if (!other.answer) silent.push_back(other.member.name);
  }
  if (!IsFirst()) {
    const std::string& first = options_.members.front().name;
    return Say(Concat("waiting for ", first, " to found the cluster"), actions, now);
  }
  if (silent.empty() && second_round_) {
    actions->found = std::all_of(others_.begin(), others_.end(),
                                 [](const Other& other) { return other.again && !other.asking; });
    return;
  }
  if (silent.empty()) return AskAgain(actions, now);
  Say(Concat("the cluster is founded once all members have answered; waiting for ",
             Joined(silent, [](const std::string& name) { return name; })),
      actions, now);
}

void Founding::AskAgain(Actions* actions, TimePoint now) {
  second_round_ = true;
  for (Other& other : others_) {
    other.again = false;
    other.ask_at = now;
  }
  if (others_.empty()) actions->found = true;
}

void Founding::DecideJoining(const std::map<uint64_t, std::vector<const Other*>>& clusters,
                             Actions* actions, TimePoint now) {
  const auto has_leader = [](const auto& entry) {
    return std::any_of(entry.second.begin(), entry.second.end(),
                       [](const Other* other) { return other->answer->leader() != 0; });
  };
  const auto led = std::count_if(clusters.begin(), clusters.end(), has_leader);
  const auto chosen = std::find_if(clusters.begin(), clusters.end(), has_leader);
  const std::string list = Joined(clusters, [](const auto& entry) {
    return Concat(IdText(entry.first), " (",
                  Joined(entry.second, [](const Other* other) { return other->member.name; }), ")");
  });
  if (options_.has_queue) {
    actions->refused = absl::FailedPreconditionError(
        Concat("the folder holds a queue of its own, and there is a cluster already: ", list,
               "; two queues cannot be made one. Let this mail go out first, without "
               "postfleet_cluster_members, then move the folder away"));
    return;
  }
  if (led > 1) {
    actions->refused = absl::FailedPreconditionError(
        Concat("the members of postfleet_cluster_members belong to different clusters: ", list,
               "; list those of one"));
    return;
  }
  if (led == 0) return Say(Concat("waiting for a leader of cluster ", list), actions, now);
  Join(chosen->second, actions, now);
}

void Founding::Join(const std::vector<const Other*>& members, Actions* actions, TimePoint now) {
  if (joining_ || now < join_at_) return;
  std::string address = std::exchange(leader_address_, "");
  if (address.empty()) {
    const Other& asked = *members[join_next_++ % members.size()];
    address = asked.answer->leader_address().empty() ? asked.member.address
                                                     : asked.answer->leader_address();
  }
  joining_ = true;
  actions->join = std::move(address);
}

void Founding::AskOthers(Actions* actions, TimePoint now) {
  for (Other& other : others_) {
    if (other.asking || now < other.ask_at) continue;
    other.asking = true;
    other.again = second_round_;
    actions->introduce.push_back(other.member);
  }
}

void Founding::Say(std::string line, Actions* actions, TimePoint now) {
  if (line == said_ && now < say_at_) return;
  said_ = line;
  say_at_ = now + kSayInterval;
  actions->say.push_back(std::move(line));
}

}  // namespace postfleet::queue::membership
