#include "services/queue/membership/cluster_service.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <mutex>
#include <thread>

#include "libs/base/concat.h"
#include "libs/rpc/leader.h"

namespace postfleet::queue::membership {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

namespace v1 = cluster::v1;

constexpr uint64_t kClusterId = 7;

v1::Member MemberNumbered(uint64_t id) {
  v1::Member member;
  member.set_id(id);
  member.set_name(Concat("q", id));
  member.set_address(Concat("h:", id));
  member.set_version(1);
  return member;
}

// A group whose changes are applied as soon as they are proposed.
class FakeGroup {
 public:
  FakeGroup() {
    status_.set_role(v1::ShardStatus::ROLE_LEADER);
    status_.set_leader(1);
    status_.set_last_index(10);
    Add(MemberNumbered(1));
  }

  Group AsGroup() {
    return {.status = [this] { return status(); },
            .change = [this](const Change& change, Group::Done done) { done(Apply(change)); },
            .transfer =
                [this](uint64_t to, Group::Done done) {
                  Edit([to](v1::ShardStatus& shard) {
                    shard.set_role(v1::ShardStatus::ROLE_FOLLOWER);
                    shard.set_leader(to);
                  });
                  done(absl::OkStatus());
                }};
  }
  v1::ShardStatus status() {
    std::lock_guard lock(mutex_);
    return status_;
  }
  template <typename Editing>
  void Edit(Editing edit) {
    std::lock_guard lock(mutex_);
    edit(status_);
  }
  void Add(const v1::Member& member) {
    std::lock_guard lock(mutex_);
    *status_.mutable_membership()->add_members() = member;
    v1::MemberProgress* progress = status_.add_progress();
    progress->set_id(member.id());
    progress->set_active(true);
    progress->set_match_index(10);
  }
  void FailNextChange() { fails_ = true; }

 private:
  absl::Status Apply(const Change& change) {
    if (fails_.exchange(false)) return absl::AbortedError("not the leader");
    Edit([&](v1::ShardStatus& shard) {
      auto* members = shard.mutable_membership()->mutable_members();
      for (int i = members->size() - 1; i >= 0; --i) {
        if (members->Get(i).id() == change.member.id()) members->DeleteSubrange(i, 1);
      }
    });
    if (change.kind != ChangeKind::kRemove) Add(change.member);
    return absl::OkStatus();
  }

  std::mutex mutex_;
  v1::ShardStatus status_;
  std::atomic<bool> fails_ = false;
};

class ClusterServiceTest : public testing::Test {
 protected:
  void Serve(bool in_cluster = true) {
    service_ = std::make_unique<ClusterService>(ClusterService::World{
        .own = MemberNumbered(1),
        .cluster_id = in_cluster ? kClusterId : 0,
        .member_names = {"q1", "q2"},
        .address_of = [](const v1::Member& member) { return member.address(); },
        .say = [](const std::string&) {}});
    if (in_cluster) {
      service_->Attach(group_.AsGroup(), {});
      service_->Start();
    }
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = v1::Cluster::NewStub(server_->InProcessChannel({}));
  }
  void TearDown() override {
    service_->CloseCalls();
    server_->Shutdown();
    service_->Stop();
  }

  // The answer to a call; in told_leader_ whom it names.
  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (v1::Cluster::Stub::*method)(grpc::ClientContext*, const Request&,
                                                              Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    const grpc::Status status = (stub_.get()->*method)(&context, request, response);
    told_leader_ = rpc::LeaderToldBy(context);
    return status;
  }
  grpc::Status Join(uint64_t id, v1::JoinResponse* response) {
    v1::JoinRequest request;
    *request.mutable_member() = MemberNumbered(id);
    request.set_version(1);
    return Call(&v1::Cluster::Stub::Join, request, response);
  }
  grpc::Status Remove(const std::string& name) {
    v1::RemoveRequest request;
    v1::RemoveResponse response;
    request.set_name(name);
    return Call(&v1::Cluster::Stub::Remove, request, &response);
  }

  FakeGroup group_;
  std::unique_ptr<ClusterService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::Cluster::Stub> stub_;
  std::string told_leader_;
};

TEST_F(ClusterServiceTest, ANodeThatWaitsSaysWhoItIsAndThatItHasNoCluster) {
  Serve(/*in_cluster=*/false);
  v1::IntroduceResponse response;
  ASSERT_TRUE(Call(&v1::Cluster::Stub::Introduce, v1::IntroduceRequest(), &response).ok());
  EXPECT_EQ(response.name(), "q1");
  EXPECT_EQ(response.cluster_id(), 0u);
  EXPECT_THAT(response.members(), ElementsAre("q1", "q2"));
  v1::JoinResponse joined;
  EXPECT_EQ(Join(2, &joined).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ClusterServiceTest, AMemberNamesItsClusterAndItsLeader) {
  Serve();
  v1::IntroduceResponse response;
  ASSERT_TRUE(Call(&v1::Cluster::Stub::Introduce, v1::IntroduceRequest(), &response).ok());
  EXPECT_EQ(response.cluster_id(), kClusterId);
  EXPECT_EQ(response.leader(), 1u);
  EXPECT_EQ(response.leader_address(), "h:1");
}

TEST_F(ClusterServiceTest, AJoinAnswersOnceTheNodeIsAMember) {
  Serve();
  v1::JoinResponse response;
  const grpc::Status status = Join(2, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.cluster_id(), kClusterId);
  ASSERT_EQ(response.membership().members_size(), 2);
  EXPECT_TRUE(response.membership().members(1).learner());
}

TEST_F(ClusterServiceTest, AChangeThatCameToNothingIsProposedAgain) {
  group_.FailNextChange();
  Serve();
  v1::JoinResponse response;
  EXPECT_TRUE(Join(2, &response).ok());
}

TEST_F(ClusterServiceTest, ARemovalAnswersOnceTheMemberIsGone) {
  group_.Add(MemberNumbered(2));
  group_.Add(MemberNumbered(3));
  Serve();
  const grpc::Status status = Remove("q3");
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(group_.status().membership().members_size(), 2);
}

TEST_F(ClusterServiceTest, WhatTheLeaderRefusesIsAnsweredWithTheReason) {
  Serve();
  const grpc::Status unknown = Remove("q9");
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
  const grpc::Status leader = Remove("q1");
  EXPECT_EQ(leader.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(leader.error_message(), HasSubstr("q1 leads"));
}

TEST_F(ClusterServiceTest, WhoDoesNotLeadNamesTheLeader) {
  group_.Add(MemberNumbered(2));
  group_.Edit([](v1::ShardStatus& shard) {
    shard.set_role(v1::ShardStatus::ROLE_FOLLOWER);
    shard.set_leader(2);
  });
  Serve();
  EXPECT_EQ(Remove("q2").error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(told_leader_, "h:2");
}

TEST_F(ClusterServiceTest, ATransferAnswersOnceTheOtherLeads) {
  group_.Add(MemberNumbered(2));
  Serve();
  v1::TransferResponse response;
  const grpc::Status status = Call(&v1::Cluster::Stub::Transfer, v1::TransferRequest(), &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.name(), "q2");
  EXPECT_EQ(group_.status().leader(), 2u);
}

TEST_F(ClusterServiceTest, ACallThatWaitsEndsWithTheService) {
  // A replica of that name is away, and is replaced only after a while.
  v1::Member older = MemberNumbered(22);
  older.set_name("q2");
  group_.Add(older);
  group_.Edit([](v1::ShardStatus& shard) { shard.mutable_progress(1)->set_active(false); });
  Serve();
  v1::JoinResponse response;
  grpc::Status status;
  std::thread caller([&] { status = Join(2, &response); });
  service_->CloseCalls();
  caller.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace postfleet::queue::membership
