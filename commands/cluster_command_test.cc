// postfleet cluster, against three nodes on loopback whose state the test says.
#include "commands/cluster_command.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <mutex>
#include <utility>

#include "commands/command_run.h"
#include "libs/base/concat.h"
#include "proto/postfleet/cluster/v1/cluster.grpc.pb.h"

namespace postfleet::commands {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

namespace v1 = cluster::v1;

// What the nodes have in common; the test moves it.
struct World {
  std::mutex mutex;
  uint64_t leader = 1;
  uint64_t term = 1;
  v1::Membership membership;
  std::vector<std::string> asked;  // "1: remove q3"
  bool steps_down = false;         // once it is asked to remove somebody
  // Run before each GetStatus of the leader.
  std::function<void(World&)> before_status;
};

class FakeNode final : public v1::Cluster::Service {
 public:
  FakeNode(World* world, uint64_t id) : world_(world), id_(id) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeNode() override { server_->Shutdown(); }
  std::string address() const { return Concat("127.0.0.1:", port_); }

 private:
  grpc::Status GetStatus(grpc::ServerContext*, const v1::GetStatusRequest*,
                         v1::GetStatusResponse* response) override {
    std::lock_guard lock(world_->mutex);
    if (world_->leader == id_ && world_->before_status) world_->before_status(*world_);
    response->set_id(id_);
    response->set_name(Concat("q", id_));
    response->set_cluster_id(7);
    v1::ShardStatus* shard = response->add_shards();
    shard->set_role(world_->leader == id_ ? v1::ShardStatus::ROLE_LEADER
                                          : v1::ShardStatus::ROLE_FOLLOWER);
    shard->set_leader(world_->leader);
    shard->set_term(world_->term);
    shard->set_last_index(10);
    *shard->mutable_membership() = world_->membership;
    for (const v1::Member& member : world_->membership.members()) {
      v1::MemberProgress* progress = shard->add_progress();
      progress->set_id(member.id());
      progress->set_match_index(9);
    }
    return grpc::Status::OK;
  }
  grpc::Status Remove(grpc::ServerContext*, const v1::RemoveRequest* request,
                      v1::RemoveResponse*) override {
    std::lock_guard lock(world_->mutex);
    world_->asked.push_back(Concat(id_, ": remove ", request->name()));
    if (std::exchange(world_->steps_down, false)) {
      world_->leader = 2;
      ++world_->term;
    }
    if (world_->leader != id_) return {grpc::StatusCode::UNAVAILABLE, "another leads"};
    if (request->name() == "q9") return {grpc::StatusCode::NOT_FOUND, "no member is called q9"};
    return grpc::Status::OK;
  }
  grpc::Status Transfer(grpc::ServerContext*, const v1::TransferRequest* request,
                        v1::TransferResponse* response) override {
    std::lock_guard lock(world_->mutex);
    world_->asked.push_back(Concat(id_, ": transfer ", request->name()));
    world_->leader = 2;
    ++world_->term;
    response->set_name("q2");
    return grpc::Status::OK;
  }

  World* const world_;
  const uint64_t id_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

class ClusterCommandTest : public testing::Test {
 protected:
  ClusterCommandTest() {
    char path[] = "/tmp/cluster_command_test.XXXXXX";
    folder_ = mkdtemp(path);
    std::string members;
    for (uint64_t id = 1; id <= 3; ++id) {
      nodes_.push_back(std::make_unique<FakeNode>(&world_, id));
      v1::Member* member = world_.membership.add_members();
      member->set_id(id);
      member->set_name(Concat("q", id));
      member->set_address(nodes_.back()->address());
      ConcatTo(&members, " q", id, "=", nodes_.back()->address());
    }
    WriteMainCf(Concat("postfleet_cluster_members =", members, "\n"));
  }
  ~ClusterCommandTest() override { std::filesystem::remove_all(folder_); }

  void WriteMainCf(const std::string& text) {
    std::ofstream(folder_ + "/main.cf") << "compatibility_level = 3.6\n" << text;
  }
  CommandResult RunCluster(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"postfleet", "-c", folder_, "cluster"});
    return Capture("", [&](const Streams& streams) {
      return RunCommandLine(arguments, "/nonexistent", streams);
    });
  }

  World world_;
  std::vector<std::unique_ptr<FakeNode>> nodes_;
  std::string folder_;
};

TEST_F(ClusterCommandTest, StatusShowsEveryMember) {
  const CommandResult result = RunCluster({"status"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("cluster 0000000000000007, term 1, leader q1\n"));
  for (const char* line : {"q1    leader    ", "q2    follower  ", "q3    follower  "}) {
    EXPECT_THAT(result.out, HasSubstr(line));
  }
}

TEST_F(ClusterCommandTest, StatusIsAnObjectForPrograms) {
  const CommandResult result = RunCluster({"status", "--json"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\"leader\": \"q1\", \"term\": 1, \"shard\": 0"));
}

TEST_F(ClusterCommandTest, ANodeThatIsDownIsUnknownAndTheRestIsShown) {
  nodes_[2].reset();
  const CommandResult result = RunCluster({"status"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("q3    unknown   "));
  EXPECT_THAT(result.out, HasSubstr("does not answer"));
}

TEST_F(ClusterCommandTest, AMemberThatIsNotListedIsAskedToo) {
  WriteMainCf(Concat("postfleet_cluster_members = q1=", nodes_[0]->address(), "\n"));
  const CommandResult result = RunCluster({"status"});
  EXPECT_THAT(result.out, HasSubstr("q3    follower  "));
}

TEST_F(ClusterCommandTest, NobodyWhoAnswersIsAnError) {
  nodes_.clear();
  const CommandResult result = RunCluster({"status"});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.err,
            "postfleet: fatal: Cluster report unavailable - no member of the cluster answers\n");
}

TEST_F(ClusterCommandTest, WithoutMembersThereIsNoCluster) {
  WriteMainCf("");
  const CommandResult result = RunCluster({"status"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("postfleet_cluster_members in main.cf names no members"));
}

TEST_F(ClusterCommandTest, TheLeaderIsAskedToRemove) {
  const CommandResult result = RunCluster({"remove", "q3"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(world_.asked, ElementsAre("1: remove q3"));
  EXPECT_THAT(result.err, HasSubstr("q3: removed"));
}

TEST_F(ClusterCommandTest, ALeaderHandsOverBeforeItIsRemoved) {
  const CommandResult result = RunCluster({"remove", "q1"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(world_.asked, ElementsAre("1: transfer ", "2: remove q1"));
}

TEST_F(ClusterCommandTest, WhatTheLeaderRefusesIsSaidInItsWords) {
  const CommandResult result = RunCluster({"remove", "q9"});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.err, "postfleet: fatal: Cannot remove q9 - no member is called q9\n");
}

TEST_F(ClusterCommandTest, ALeaderWhoSteppedDownMeanwhileIsNotTheEnd) {
  world_.steps_down = true;
  const CommandResult result = RunCluster({"remove", "q3"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(world_.asked, ElementsAre("1: remove q3", "2: remove q3"));
}

TEST_F(ClusterCommandTest, TransferSaysWhoLeads) {
  const CommandResult result = RunCluster({"transfer", "q2"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "postfleet: q2 leads\n");
  EXPECT_THAT(world_.asked, ElementsAre("1: transfer q2"));
}

TEST_F(ClusterCommandTest, TransferToWhoLeadsAlreadyIsDone) {
  const CommandResult result = RunCluster({"transfer", "q1"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(world_.asked, IsEmpty());
}

TEST_F(ClusterCommandTest, AddWaitsUntilTheNodeVotes) {
  world_.membership.mutable_members(2)->set_learner(true);
  int looked = 0;
  world_.before_status = [&looked](World& world) {
    if (++looked == 3) world.membership.mutable_members(2)->set_learner(false);
  };
  const CommandResult result = RunCluster({"add", "q3"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(looked, 3);
  EXPECT_THAT(result.err, HasSubstr("q3: votes\n"));
}

TEST_F(ClusterCommandTest, AddOfANameThatIsNotListedSaysWhereToListIt) {
  const CommandResult result = RunCluster({"add", "q4"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("q4 is not in postfleet_cluster_members"));
}

TEST_F(ClusterCommandTest, AWrongWordIsTheUsage) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{},
                                                    {"sing"},
                                                    {"status", "now"},
                                                    {"remove"},
                                                    {"transfer", "a", "b"}}) {
    const CommandResult result = RunCluster(arguments);
    EXPECT_EQ(result.status, 1);
    EXPECT_THAT(result.err, HasSubstr("usage: postfleet [-c config_dir] cluster status"));
  }
}

}  // namespace
}  // namespace postfleet::commands
