#include "services/queue/membership/cluster_service.h"

#include <array>
#include <utility>

#include "libs/base/concat.h"
#include "libs/rpc/leader.h"
#include "services/queue/membership/identity.h"

namespace postfleet::queue::membership {
namespace {

namespace v1 = cluster::v1;

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

grpc::Status InNoCluster() {
  return {grpc::StatusCode::UNAVAILABLE, "this node is in no cluster yet"};
}

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const grpc::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

bool Leads(const v1::ShardStatus& shard) { return shard.role() == v1::ShardStatus::ROLE_LEADER; }

// For the log: "q2 (81f0c7d2a6b3e455, h:7002) is taken in as a learner".
std::string LineOf(const Change& change, bool known) {
  constexpr std::array<std::string_view, 3> kWords = {
      "is taken in as a learner", "has caught up and gets a vote", "is removed"};
  const std::string_view words =
      known ? "has another name, address or version" : kWords[static_cast<size_t>(change.kind)];
  return Concat("cluster: ", change.member.name(), " (", IdText(change.member.id()), ", ",
                change.member.address(), ") ", words);
}

// An RPC stream that is refused.
rpc::ServerReactor* RefuseStream() {
  class Refused final : public rpc::ServerReactor {
   public:
    Refused() {
      Finish({grpc::StatusCode::UNAVAILABLE, "this node takes no streams of peers yet"});
    }
    void OnDone() override { delete this; }
  };
  return new Refused;
}

}  // namespace

ClusterService::ClusterService(World world)
    : world_(std::move(world)), admission_(world_.own, world_.cluster_id) {}

ClusterService::~ClusterService() { Stop(); }

void ClusterService::Attach(Group group, PeerStreams streams) {
  group_ = std::move(group);
  streams_ = std::move(streams);
}

void ClusterService::Start() {
  loop_.Start();
  loop_.Post([this] { Step(); });
}

void ClusterService::CloseCalls() {
  loop_.Post([this] {
    closed_ = true;
    for (Waiting& call : waiting_) call.reactor->Finish(InNoCluster());
    waiting_.clear();
  });
}

void ClusterService::Stop() { loop_.Stop(); }

rpc::ServerReactor* ClusterService::Exchange(grpc::CallbackServerContext* context) {
  return streams_.exchange ? streams_.exchange(context) : RefuseStream();
}

rpc::ServerReactor* ClusterService::SendSnapshot(grpc::CallbackServerContext* context) {
  return streams_.send_snapshot ? streams_.send_snapshot(context) : RefuseStream();
}

v1::ShardStatus ClusterService::StatusNow() const {
  return group_ ? group_->status() : v1::ShardStatus();
}

std::string ClusterService::LeaderAddress(const v1::ShardStatus& shard) const {
  const v1::Member* leader = FindMember(shard.membership(), shard.leader());
  return leader == nullptr ? "" : world_.address_of(*leader);
}

grpc::ServerUnaryReactor* ClusterService::Introduce(grpc::CallbackServerContext* context,
                                                    const v1::IntroduceRequest*,
                                                    v1::IntroduceResponse* response) {
  const v1::ShardStatus shard = StatusNow();
  response->set_name(world_.own.name());
  response->set_id(world_.own.id());
  response->set_cluster_id(world_.cluster_id);
  response->set_leader(shard.leader());
  response->set_leader_address(LeaderAddress(shard));
  response->set_version(world_.own.version());
  for (const std::string& name : world_.member_names) response->add_members(name);
  return Answer(context, grpc::Status::OK);
}

grpc::ServerUnaryReactor* ClusterService::GetStatus(grpc::CallbackServerContext* context,
                                                    const v1::GetStatusRequest*,
                                                    v1::GetStatusResponse* response) {
  response->set_name(world_.own.name());
  response->set_id(world_.own.id());
  response->set_cluster_id(world_.cluster_id);
  response->set_version(world_.own.version());
  if (group_) *response->add_shards() = StatusNow();
  return Answer(context, grpc::Status::OK);
}

grpc::ServerUnaryReactor* ClusterService::Handle(grpc::CallbackServerContext* context,
                                                 Judge judge) {
  if (!group_) return Answer(context, InNoCluster());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.Post([this, context, reactor, judge = std::move(judge)] {
    const v1::ShardStatus shard = StatusNow();
    if (closed_) return reactor->Finish(InNoCluster());
    if (!Leads(shard)) return reactor->Finish(rpc::NotLeader(context, LeaderAddress(shard)));
    if (waiting_.size() >= kWaitingMax) {
      return reactor->Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many calls wait"});
    }
    absl::StatusOr<Wish> wish = judge(shard);
    if (!wish.ok()) return reactor->Finish(ToGrpc(wish.status()));
    waiting_.push_back({context, reactor, world_.clock->Monotonic() + kWaitMax, *std::move(wish)});
    Step();
  });
  return reactor;
}

grpc::ServerUnaryReactor* ClusterService::Join(grpc::CallbackServerContext* context,
                                               const v1::JoinRequest* request,
                                               v1::JoinResponse* response) {
  return Handle(context, [=, this](const v1::ShardStatus& shard) -> absl::StatusOr<Wish> {
    const absl::Status asked = admission_.AskJoin(*request, shard, world_.clock->Monotonic());
    if (!asked.ok()) return asked;
    return Wish{.is_so = [=, this](const v1::ShardStatus& now) {
      if (!IsIn(now.membership(), MemberOf(*request))) return false;
      response->set_cluster_id(world_.cluster_id);
      *response->mutable_membership() = now.membership();
      return true;
    }};
  });
}

grpc::ServerUnaryReactor* ClusterService::Remove(grpc::CallbackServerContext* context,
                                                 const v1::RemoveRequest* request,
                                                 v1::RemoveResponse*) {
  return Handle(context, [=, this](const v1::ShardStatus& shard) -> absl::StatusOr<Wish> {
    const absl::Status asked = admission_.AskRemoval(request->name(), shard);
    if (!asked.ok()) return asked;
    return Wish{.is_so = [request](const v1::ShardStatus& now) {
      return FindMember(now.membership(), request->name()) == nullptr;
    }};
  });
}

grpc::ServerUnaryReactor* ClusterService::Transfer(grpc::CallbackServerContext* context,
                                                   const v1::TransferRequest* request,
                                                   v1::TransferResponse* response) {
  return Handle(context, [=, this](const v1::ShardStatus& shard) -> absl::StatusOr<Wish> {
    const absl::StatusOr<v1::Member> to = Successor(shard, request->name());
    if (!to.ok()) return to.status();
    world_.say(Concat("cluster: ", to->name(), " is asked to lead"));
    group_->transfer(to->id(), [](const absl::Status&) {});
    response->set_name(to->name());
    return Wish{.is_so = [id = to->id()](const v1::ShardStatus& now) { return now.leader() == id; },
                .needs_leader = false};
  });
}

void ClusterService::Step() {
  if (!group_ || closed_) return;
  const v1::ShardStatus shard = StatusNow();
  AnswerWaiting(shard);
  if (const auto change = admission_.Step(shard, world_.clock->Monotonic())) {
    const v1::Member* as_is = FindMember(shard.membership(), change->member.id());
    const bool rewritten = change->kind != ChangeKind::kRemove && as_is != nullptr &&
                           as_is->learner() == change->member.learner();
    world_.say(LineOf(*change, rewritten));
    Propose(*change);
  }
  timer_.Set(kStepInterval, [this] { Step(); });
}

void ClusterService::Propose(const Change& change) {
  group_->change(change, [this, name = change.member.name()](const absl::Status& status) {
    loop_.Post([this, name, status] {
      admission_.OnChanged(status, world_.clock->Monotonic());
      if (!status.ok()) {
        world_.say(Concat("cluster: the change of ", name,
                          " came to nothing: ", std::string(status.message())));
      }
      Step();
    });
  });
}

void ClusterService::AnswerWaiting(const v1::ShardStatus& shard) {
  const auto now = world_.clock->Monotonic();
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    if (at->wish.is_so(shard)) {
      at->reactor->Finish(grpc::Status::OK);
    } else if (at->wish.needs_leader && !Leads(shard)) {
      at->reactor->Finish(rpc::NotLeader(at->context, LeaderAddress(shard)));
    } else if (now >= at->until) {
      at->reactor->Finish({grpc::StatusCode::UNAVAILABLE, "it is not done yet; ask again"});
    } else {
      ++at;
      continue;
    }
    at = waiting_.erase(at);
  }
}

}  // namespace postfleet::queue::membership
