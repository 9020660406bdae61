#include "services/queue/membership/member_watch.h"

#include <utility>

namespace postfleet::queue::membership {

namespace v1 = cluster::v1;

MemberWatch::MemberWatch(Options options)
    : options_(std::move(options)),
      returning_(options_.returning),
      calls_(&loop_, options_.connect) {
  loop_.Start();
  loop_.Post([this] { Step(); });
}

MemberWatch::~MemberWatch() {
  calls_.Stop();
  loop_.Stop();
}

void MemberWatch::Step() {
  Act(returning_.Step(options_.group.status(), options_.clock->Monotonic()));
  if (!over_) timer_.Set(kStepInterval, [this] { Step(); });
}

void MemberWatch::Act(const Returning::Actions& actions) {
  if (over_) return;
  if (!actions.say.empty()) options_.say(actions.say);
  if (!actions.removed.ok()) {
    over_ = true;
    return options_.removed(actions.removed);
  }
  if (!actions.ask) return;
  v1::JoinRequest request;
  *request.mutable_member() = options_.returning.own;
  request.set_version(options_.versions.version);
  request.set_version_min(options_.versions.version_min);
  request.set_returning(true);
  request.set_cluster_id(options_.cluster_id);
  calls_.Join(*actions.ask, request,
              [this](const absl::StatusOr<v1::JoinResponse>& answer, const std::string&) {
                Act(returning_.OnAnswer(answer, options_.clock->Monotonic()));
              });
}

}  // namespace postfleet::queue::membership
