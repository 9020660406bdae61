#include "services/queue/membership/cluster_start.h"

#include <utility>

namespace postfleet::queue::membership {

namespace v1 = cluster::v1;

ClusterStart::ClusterStart(Options options)
    : options_(std::move(options)), founding_(options_.founding), calls_(&loop_, options_.connect) {
  loop_.Start();
  loop_.Post([this] { Act(founding_.Step(Now())); });
}

ClusterStart::~ClusterStart() {
  // What is cut off now says nothing of the others.
  stopped_ = true;
  calls_.Stop();
  loop_.Stop();
}

std::optional<absl::StatusOr<Identity>> ClusterStart::result() {
  std::lock_guard lock(mutex_);
  return result_;
}

void ClusterStart::Decide(absl::StatusOr<Identity> result) {
  std::lock_guard lock(mutex_);
  if (!result_) result_ = std::move(result);
}

void ClusterStart::Act(Founding::Actions actions) {
  if (stopped_) return;
  for (const std::string& line : actions.say) options_.say(line);
  if (!actions.refused.ok()) return Decide(actions.refused);
  Identity identity = options_.identity;
  if (actions.found) {
    identity.cluster_id = options_.new_cluster_id;
    identity.stage = Stage::kFounding;
    return Decide(identity);
  }
  if (actions.joined_cluster_id) {
    identity.cluster_id = *actions.joined_cluster_id;
    identity.stage = Stage::kJoining;
    return Decide(identity);
  }
  for (const config::ClusterMember& member : actions.introduce) Introduce(member);
  if (actions.join) Join(*actions.join);
  timer_.Set(Founding::kStepInterval, [this] { Act(founding_.Step(Now())); });
}

void ClusterStart::Introduce(const config::ClusterMember& member) {
  v1::IntroduceRequest request;
  request.set_name(options_.identity.name);
  calls_.Introduce(member.address, request,
                   [this, name = member.name](absl::StatusOr<v1::IntroduceResponse> answer) {
                     Act(founding_.OnIntroduction(name, answer, Now()));
                   });
}

void ClusterStart::Join(const std::string& address) {
  v1::JoinRequest request;
  request.mutable_member()->set_id(options_.identity.id);
  request.mutable_member()->set_name(options_.identity.name);
  request.mutable_member()->set_address(options_.founding.own.address);
  request.set_version(options_.versions.version);
  request.set_version_min(options_.versions.version_min);
  calls_.Join(address, request,
              [this](const absl::StatusOr<v1::JoinResponse>& answer, const std::string& leader) {
                Act(founding_.OnJoinAnswer(answer, leader, Now()));
              });
}

}  // namespace postfleet::queue::membership
