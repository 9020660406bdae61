#include "services/queue/transport/peer_links.h"

#include <gmock/gmock.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <condition_variable>

#include "services/queue/membership/cluster_service.h"
#include "services/queue/transport/peer_receiver.h"

namespace postfleet::queue::transport {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// What came to a test, from any thread.
template <typename T>
class Arrivals {
 public:
  void Add(T item) {
    std::lock_guard lock(mutex_);
    items_.push_back(std::move(item));
    changed_.notify_all();
  }
  std::vector<T> Await(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return items_.size() >= count; });
    return items_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<T> items_;
};

// A replica that takes messages.
class Receiving : public membership::RawClusterService {
 public:
  explicit Receiving(uint64_t cluster_id)
      : receiver_({.cluster_id = cluster_id,
                   .own_id = 2,
                   .version = 3,
                   .version_min = 2,
                   .receive = [this](PeerMessage message) { messages.Add(std::move(message)); },
                   .on_caller = [this](const auto& caller) { callers.Add(caller.address()); }}) {
    grpc::ServerBuilder builder;
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Receiving() override { Shutdown(); }
  void Shutdown() {
    if (server_) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }
  std::shared_ptr<grpc::Channel> channel() { return server_->InProcessChannel({}); }

  rpc::ServerReactor* Exchange(grpc::CallbackServerContext* context) override {
    return receiver_.Accept(context);
  }

  Arrivals<PeerMessage> messages;
  Arrivals<std::string> callers;

 private:
  PeerReceiver receiver_;
  std::unique_ptr<grpc::Server> server_;
};

cluster::v1::Member Own() {
  cluster::v1::Member own;
  own.set_id(1);
  own.set_name("q1");
  own.set_address("h:1");
  return own;
}

class PeerLinksTest : public testing::Test {
 protected:
  void Open(Receiving* peer, uint32_t version = 3, uint32_t version_min = 1) {
    links_ = std::make_unique<PeerLinks>(
        PeerLinks::World{.cluster_id = 7,
                         .own = Own(),
                         .version = version,
                         .version_min = version_min,
                         .connect = [peer](const cluster::v1::Member&) { return peer->channel(); },
                         .on_unreachable = nullptr,
                         .say = [this](const std::string& line) { said_.Add(line); }});
    links_->Start([this](uint64_t id) { unreachable_.Add(id); });
    cluster::v1::Membership membership;
    membership.add_members()->set_id(1);
    membership.add_members()->set_id(2);
    membership.mutable_members(1)->set_name("q2");
    membership.mutable_members(1)->set_address("h:2");
    links_->SetPeers(membership);
  }
  // Until the first one comes through: what is said before the stream is there is dropped.
  void SendUntilItArrives(Receiving* peer, PeerMessage message) {
    std::atomic<bool> arrived = false;
    std::thread sender([&] {
      while (!arrived) {
        links_->Send({message});
        std::this_thread::yield();
      }
    });
    peer->messages.Await(1);
    arrived = true;
    sender.join();
  }

  Arrivals<uint64_t> unreachable_;
  Arrivals<std::string> said_;
  std::unique_ptr<PeerLinks> links_;
};

PeerMessage Message(std::string raft, const std::string& payload = {}) {
  PeerMessage message{.shard = 4, .from = 1, .to = 2, .raft = std::move(raft)};
  if (!payload.empty()) message.payload.push_back(grpc::Slice(payload));
  return message;
}

TEST_F(PeerLinksTest, AMessageArrivesWithItsPayload) {
  Receiving peer(7);
  Open(&peer);
  SendUntilItArrives(&peer, Message("append", "payload"));
  const PeerMessage got = peer.messages.Await(1).front();
  EXPECT_EQ(got.raft, "append");
  EXPECT_EQ(got.shard, 4);
  EXPECT_EQ(got.from, 1u);
  EXPECT_EQ(got.to, 2u);
  EXPECT_EQ(rpc::PayloadBytes(got.payload), 7u);
}

TEST_F(PeerLinksTest, WhoSpeaksSaysWhereItIsAnswered) {
  Receiving peer(7);
  Open(&peer);
  EXPECT_THAT(peer.callers.Await(1), ElementsAre("h:1"));
}

TEST_F(PeerLinksTest, ACallerThatIsNoMemberIsAnswered) {
  Receiving peer(7);
  Open(&peer);
  links_->SetPeers({});
  cluster::v1::Member caller;
  caller.set_id(2);
  caller.set_address("h:2");
  links_->OnCaller(caller);
  SendUntilItArrives(&peer, Message("answer"));
  EXPECT_EQ(peer.messages.Await(1).front().raft, "answer");
}

TEST_F(PeerLinksTest, APeerOfAnotherClusterIsNamedAndToldNothing) {
  Receiving peer(8);
  Open(&peer);
  EXPECT_THAT(said_.Await(1),
              ElementsAre(HasSubstr("q2 (h:2) takes no messages: this replica is of another")));
}

TEST_F(PeerLinksTest, VersionsThatDoNotMeetAreNamed) {
  Receiving peer(7);
  Open(&peer, /*version=*/1, /*version_min=*/1);
  EXPECT_THAT(said_.Await(1),
              ElementsAre(HasSubstr("the sender speaks versions 1 to 1, this replica 2 to 3")));
}

TEST_F(PeerLinksTest, ALostStreamIsToldOnce) {
  Receiving peer(7);
  Open(&peer);
  SendUntilItArrives(&peer, Message("heartbeat"));
  peer.Shutdown();
  EXPECT_EQ(unreachable_.Await(1).front(), 2u);
}

TEST_F(PeerLinksTest, WhoIsNoMemberAnyMoreIsToldNothing) {
  Receiving peer(7);
  Open(&peer);
  SendUntilItArrives(&peer, Message("heartbeat"));
  links_->SetPeers({});
  unreachable_.Await(1);
  EXPECT_EQ(links_->ChannelTo(2), nullptr);
}

}  // namespace
}  // namespace postfleet::queue::transport
