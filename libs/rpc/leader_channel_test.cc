#include "libs/rpc/leader_channel.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <mutex>

#include "libs/rpc/leader.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"

namespace postfleet::rpc {
namespace {

namespace v1 = queue::v1;

using testing::ElementsAre;

LeaderChannel Named(const std::vector<std::string>& addresses) {
  std::vector<Replica> replicas;
  for (const std::string& address : addresses) replicas.push_back({address, nullptr});
  return LeaderChannel(std::move(replicas));
}

TEST(LeaderSearch, BeginsWithWhoLedLast) {
  const LeaderChannel queue = Named({"a", "b", "c"});
  queue.SetLeader(1);
  EXPECT_EQ(LeaderSearch(queue).asked(), 1u);
}

TEST(LeaderSearch, FollowsWhatItIsToldAndGoesThroughTheListOtherwise) {
  const LeaderChannel queue = Named({"a", "b", "c", "d"});
  LeaderSearch search(queue);
  ASSERT_TRUE(search.Next("c"));
  EXPECT_EQ(search.asked(), 2u);
  ASSERT_TRUE(search.Next(""));
  EXPECT_EQ(search.asked(), 3u);
  ASSERT_TRUE(search.Next(""));
  EXPECT_EQ(search.asked(), 1u);
}

TEST(LeaderSearch, NeverLeavesTheList) {
  const LeaderChannel queue = Named({"a", "b"});
  LeaderSearch search(queue);
  ASSERT_TRUE(search.Next("mail.evil.example:25"));
  EXPECT_EQ(search.asked(), 1u);
  EXPECT_FALSE(search.Next("mail.evil.example:25"));
}

TEST(LeaderSearch, AsksEachOnceHoweverTheyNameEachOther) {
  const LeaderChannel queue = Named({"a", "b", "c"});
  LeaderSearch search(queue);
  std::vector<size_t> asked = {search.asked()};
  const std::vector<std::string> lies = {"b", "a", "b"};
  for (size_t i = 0; search.Next(lies.at(i)); ++i) asked.push_back(search.asked());
  EXPECT_THAT(asked, ElementsAre(0u, 1u, 2u));
}

TEST(LeaderSearch, ThatFailedLetsTheNextBeginWithWhoWasNamedLast) {
  const LeaderChannel queue = Named({"a", "b", "c"});
  LeaderSearch search(queue);
  EXPECT_TRUE(search.Next("") && search.Next(""));
  EXPECT_FALSE(search.Next("b"));
  EXPECT_EQ(LeaderSearch(queue).asked(), 1u);
}

TEST(LeaderSearch, OfTheOnlyReplicaEndsAtOnce) {
  LeaderSearch search(Named({"a"}));
  EXPECT_FALSE(search.Next("a"));
  EXPECT_EQ(search.asked(), 0u);
}

TEST(LeaderChannel, WhatOthersFoundOutMeanwhileStays) {
  const LeaderChannel queue = Named({"a", "b", "c"});
  const LeaderChannel copy = queue;
  copy.SetLeader(2);
  queue.Turn(0, "b");
  EXPECT_EQ(queue.leader(), 2u);
  queue.Turn(2, "b");
  EXPECT_EQ(copy.leader(), 1u);
}

// Leads, or names `leader`; or does not answer at all.
class OneReplica : public v1::Queue::WithCallbackMethod_Stat<v1::Queue::Service> {
 public:
  OneReplica() {
    grpc::ServerBuilder builder;
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~OneReplica() override {
    Free();
    server_->Shutdown(std::chrono::system_clock::now());
  }

  Replica At(const std::string& address) { return {address, server_->InProcessChannel({})}; }

  grpc::ServerUnaryReactor* Stat(grpc::CallbackServerContext* context, const v1::StatRequest*,
                                 v1::StatResponse*) override {
    ++asked;
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    std::lock_guard lock(mutex_);
    if (hangs) {
      held_.push_back(reactor);
    } else if (leads) {
      reactor->Finish(status);
    } else {
      reactor->Finish(NotLeader(context, leader));
    }
    return reactor;
  }
  void Free() {
    std::lock_guard lock(mutex_);
    hangs = false;
    for (grpc::ServerUnaryReactor* held : std::exchange(held_, {})) {
      held->Finish(grpc::Status::CANCELLED);
    }
  }

  std::atomic<int> asked{0};
  bool leads = false;
  bool hangs = false;
  std::string leader;
  grpc::Status status;

 private:
  std::unique_ptr<grpc::Server> server_;
  std::mutex mutex_;
  std::vector<grpc::ServerUnaryReactor*> held_;
};

class AskLeaderTest : public testing::Test {
 protected:
  LeaderAnswer Ask(std::chrono::milliseconds answer_max = std::chrono::seconds(60)) {
    std::promise<LeaderAnswer> answered;
    CallLeader<v1::Queue>(
        queue_, &v1::Queue::StubInterface::async_interface::Stat, v1::StatRequest(),
        [answer_max] {
          auto context = std::make_shared<grpc::ClientContext>();
          context->set_deadline(std::chrono::system_clock::now() + answer_max);
          return context;
        },
        [&](const LeaderAnswer& answer, v1::StatResponse&) { answered.set_value(answer); });
    return answered.get_future().get();
  }
  std::vector<int> Asked() { return {a_.asked, b_.asked, c_.asked}; }

  OneReplica a_, b_, c_;
  const LeaderChannel queue_{std::vector<Replica>{a_.At("a"), b_.At("b"), c_.At("c")}};
};

TEST_F(AskLeaderTest, OneWhoIsNamedIsAskedNextAndFirstFromThenOn) {
  a_.leader = "c";
  c_.leads = true;
  EXPECT_TRUE(Ask().status.ok());
  EXPECT_TRUE(Ask().status.ok());
  EXPECT_THAT(Asked(), ElementsAre(1, 0, 2));
}

TEST_F(AskLeaderTest, WithoutALeaderAllAreAskedOnce) {
  a_.leader = "b";
  b_.leader = "a";
  c_.leader = "mail.evil.example:25";
  const LeaderAnswer answer = Ask();
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(answer.no_leader);
  EXPECT_THAT(Asked(), ElementsAre(1, 1, 1));
}

TEST_F(AskLeaderTest, ThatTheLeaderRefusesIsTheAnswer) {
  a_.leader = "b";
  b_.leads = true;
  b_.status = grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "full");
  const LeaderAnswer answer = Ask();
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_FALSE(answer.no_leader);
  EXPECT_THAT(Asked(), ElementsAre(1, 1, 0));
}

TEST_F(AskLeaderTest, WhoHangsIsNotAskedFirstAgain) {
  a_.hangs = true;
  b_.leads = true;
  EXPECT_EQ(Ask(std::chrono::milliseconds(1)).status.error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Ask().status.ok());
  EXPECT_EQ(b_.asked, 1);
}

TEST(LeaderChannel, AllThatAreDeadAreDownAndNotLeaderless) {
  std::vector<Replica> replicas;
  for (const char* address : {"unix:/nonexistent/a", "unix:/nonexistent/b"}) {
    replicas.push_back({address, grpc::CreateChannel(address, grpc::InsecureChannelCredentials())});
  }
  std::promise<LeaderAnswer> answered;
  CallLeader<v1::Queue>(
      LeaderChannel(std::move(replicas)), &v1::Queue::StubInterface::async_interface::Stat,
      v1::StatRequest(), [] { return std::make_shared<grpc::ClientContext>(); },
      [&](const LeaderAnswer& answer, v1::StatResponse&) { answered.set_value(answer); });
  const LeaderAnswer answer = answered.get_future().get();
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(answer.no_leader);
}

}  // namespace
}  // namespace postfleet::rpc
