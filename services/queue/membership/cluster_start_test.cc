// Nodes that find each other over real servers on loopback, until one has founded and all are in.
#include "services/queue/membership/cluster_start.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <condition_variable>

#include "libs/base/concat.h"
#include "services/queue/membership/cluster_service.h"

namespace postfleet::queue::membership {
namespace {

using testing::HasSubstr;

namespace v1 = cluster::v1;

constexpr std::chrono::seconds kDecisionWaitMax{20};

// The service of a node, which may be of a cluster that one leader makes up.
class Node {
 public:
  explicit Node(std::string name) : name_(std::move(name)) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&router_);
    server_ = builder.BuildAndStart();
    address_ = Concat("127.0.0.1:", port);
  }
  ~Node() {
    start_.reset();
    if (service_ != nullptr) service_->CloseCalls();
    server_->Shutdown();
  }

  config::ClusterMember member() const { return {name_, address_}; }

  void Wait(const std::vector<config::ClusterMember>& members) {
    ServeAs(0, members, std::nullopt);
    Identity identity = {.name = name_, .volume = std::string(32, '0')};
    identity.id = MemberId(name_, identity.volume);
    start_ = std::make_unique<ClusterStart>(ClusterStart::Options{
        .founding = {.own = member(), .members = members},
        .identity = identity,
        .connect =
            [](const std::string& address) {
              return grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
            },
        .say = [](const std::string&) {},
        .new_cluster_id = 0xf00d});
  }
  // Leads a cluster of its own and takes in whoever asks.
  void Lead(uint64_t cluster_id, const std::vector<config::ClusterMember>& members,
            uint32_t version = 1) {
    version_ = version;
    ServeAs(cluster_id, members,
            Group{.status = [this] { return Shard(); },
                  .change =
                      [this](const Change& change, Group::Done done) {
                        {
                          std::lock_guard lock(mutex_);
                          joined_.push_back(change.member);
                        }
                        done(absl::OkStatus());
                      },
                  .transfer = [](uint64_t, Group::Done) {}});
  }
  std::optional<absl::StatusOr<Identity>> result() { return start_->result(); }

 private:
  // Lets the service be replaced while the server runs, as a process does by serving twice.
  class Router final : public RawClusterService {
   public:
    void Set(ClusterService* service) { service_ = service; }
    grpc::ServerUnaryReactor* Introduce(grpc::CallbackServerContext* context,
                                        const v1::IntroduceRequest* request,
                                        v1::IntroduceResponse* response) override {
      return service_.load()->Introduce(context, request, response);
    }
    grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext* context,
                                   const v1::JoinRequest* request,
                                   v1::JoinResponse* response) override {
      return service_.load()->Join(context, request, response);
    }

   private:
    std::atomic<ClusterService*> service_ = nullptr;
  };

  void ServeAs(uint64_t cluster_id, const std::vector<config::ClusterMember>& members,
               std::optional<Group> group) {
    v1::Member own;
    own.set_id(1);
    own.set_name(name_);
    own.set_address(address_);
    own.set_version(version_);
    ClusterService::World world = {.own = own,
                                   .cluster_id = cluster_id,
                                   .address_of = [](const v1::Member& it) { return it.address(); },
                                   .say = [](const std::string&) {}};
    for (const config::ClusterMember& member : members) world.member_names.push_back(member.name);
    auto next = std::make_unique<ClusterService>(std::move(world));
    if (group) next->Attach(*std::move(group), {});
    if (cluster_id != 0) next->Start();
    router_.Set(next.get());
    if (service_ != nullptr) before_.push_back(std::move(service_));
    service_ = std::move(next);
  }
  v1::ShardStatus Shard() {
    v1::ShardStatus shard;
    shard.set_role(v1::ShardStatus::ROLE_LEADER);
    shard.set_leader(1);
    v1::Member* own = shard.mutable_membership()->add_members();
    own->set_id(1);
    own->set_name(name_);
    own->set_address(address_);
    own->set_version(version_);
    std::lock_guard lock(mutex_);
    for (const v1::Member& member : joined_) *shard.mutable_membership()->add_members() = member;
    return shard;
  }

  const std::string name_;
  std::string address_;
  uint32_t version_ = 1;
  std::mutex mutex_;
  std::vector<v1::Member> joined_;  // guarded by mutex_
  Router router_;
  std::unique_ptr<ClusterService> service_;
  std::vector<std::unique_ptr<ClusterService>> before_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<ClusterStart> start_;
};

Identity Decided(Node& node) {
  std::mutex mutex;
  std::condition_variable never;
  const auto end = std::chrono::steady_clock::now() + kDecisionWaitMax;
  while (!node.result() && std::chrono::steady_clock::now() < end) {
    std::unique_lock lock(mutex);
    never.wait_for(lock, std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(node.result().has_value()) << node.member().name << " has not decided";
  if (!node.result() || !node.result()->ok()) return {};
  return **node.result();
}

TEST(ClusterStart, TheFirstFoundsAndTheOthersAreTakenIn) {
  Node q1("q1"), q2("q2"), q3("q3");
  const std::vector<config::ClusterMember> members = {q1.member(), q2.member(), q3.member()};
  for (Node* node : {&q3, &q1, &q2}) node->Wait(members);
  const Identity founder = Decided(q1);
  EXPECT_EQ(founder.stage, Stage::kFounding);
  EXPECT_EQ(founder.cluster_id, 0xf00du);
  EXPECT_FALSE(q2.result().has_value());
  q1.Lead(founder.cluster_id, members);
  for (Node* node : {&q2, &q3}) {
    const Identity joined = Decided(*node);
    EXPECT_EQ(joined.stage, Stage::kJoining);
    EXPECT_EQ(joined.cluster_id, 0xf00du);
  }
}

TEST(ClusterStart, WhatTheLeaderRefusesIsTheResult) {
  Node q1("q1"), q2("q2");
  const std::vector<config::ClusterMember> members = {q1.member(), q2.member()};
  q1.Lead(7, members, /*version=*/2);
  q2.Wait(members);
  Decided(q2);
  EXPECT_TRUE(absl::IsFailedPrecondition(q2.result()->status()));
  EXPECT_THAT(std::string(q2.result()->status().message()), HasSubstr("q2 is of version 1"));
}

}  // namespace
}  // namespace postfleet::queue::membership
