// A member, q2, and its leader, q1, over a real server on loopback.
#include "services/queue/membership/member_watch.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <future>

#include "libs/base/concat.h"
#include "services/queue/membership/cluster_service.h"

namespace postfleet::queue::membership {
namespace {

using testing::HasSubstr;

namespace v1 = cluster::v1;

constexpr uint64_t kClusterId = 7;
constexpr std::chrono::seconds kEventWaitMax{20};

v1::Member MemberAt(uint64_t id, const std::string& address) {
  v1::Member member;
  member.set_id(id);
  member.set_name(Concat("q", id));
  member.set_address(address);
  member.set_version(1);
  return member;
}

class MemberWatchTest : public testing::Test {
 protected:
  // q1 leads a group of `members`; what it changes is in changed_.
  void Lead(const std::vector<v1::Member>& members) {
    shard_.set_role(v1::ShardStatus::ROLE_LEADER);
    shard_.set_leader(1);
    for (const v1::Member& member : members) *shard_.mutable_membership()->add_members() = member;
    service_ = std::make_unique<ClusterService>(ClusterService::World{
        .own = members.front(),
        .cluster_id = kClusterId,
        .address_of = [](const v1::Member& member) { return member.address(); },
        .say = [](const std::string&) {}});
    service_->Attach(
        {.status = [this] { return shard_; },
         .change = [this](const Change& change, Group::Done) { changed_.set_value(change.member); },
         .transfer = [](uint64_t, Group::Done) {}},
        {});
    service_->Start();
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    leader_address_ = Concat("127.0.0.1:", port);
  }
  // q2, which was told that it is at "old:2".
  void WatchFrom(const std::string& address) {
    v1::ShardStatus seen;
    seen.set_leader(1);
    *seen.mutable_membership()->add_members() = MemberAt(1, leader_address_);
    *seen.mutable_membership()->add_members() = MemberAt(2, "old:2");
    watch_ = std::make_unique<MemberWatch>(MemberWatch::Options{
        .returning = {.own = MemberAt(2, address),
                      .members = {{"q1", leader_address_}, {"q2", address}},
                      .address_of = [](const v1::Member& member) { return member.address(); }},
        .cluster_id = kClusterId,
        .group = {.status = [seen] { return seen; }},
        .connect =
            [](const std::string& at) {
              return grpc::CreateChannel(at, grpc::InsecureChannelCredentials());
            },
        .say = [](const std::string&) {},
        .removed = [this](const absl::Status& why) { removed_.set_value(why); }});
  }
  void TearDown() override {
    watch_.reset();
    service_->CloseCalls();
    server_->Shutdown();
    service_->Stop();
  }

  v1::ShardStatus shard_;
  std::promise<v1::Member> changed_;
  std::promise<absl::Status> removed_;
  std::string leader_address_;
  std::unique_ptr<ClusterService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<MemberWatch> watch_;
};

TEST_F(MemberWatchTest, ANewAddressReachesTheGroup) {
  Lead({MemberAt(1, "h:1"), MemberAt(2, "old:2")});
  WatchFrom("new:2");
  std::future<v1::Member> changed = changed_.get_future();
  ASSERT_EQ(changed.wait_for(kEventWaitMax), std::future_status::ready);
  EXPECT_EQ(changed.get().address(), "new:2");
}

TEST_F(MemberWatchTest, WhoWasRemovedIsToldWhy) {
  Lead({MemberAt(1, "h:1")});
  WatchFrom("new:2");
  std::future<absl::Status> removed = removed_.get_future();
  ASSERT_EQ(removed.wait_for(kEventWaitMax), std::future_status::ready);
  EXPECT_THAT(std::string(removed.get().message()), HasSubstr("was removed from the cluster"));
}

}  // namespace
}  // namespace postfleet::queue::membership
