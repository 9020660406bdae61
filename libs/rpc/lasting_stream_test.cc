#include "libs/rpc/lasting_stream.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <optional>
#include <thread>
#include <vector>

#include "libs/rpc/leader.h"
#include "libs/rpc/outbox.h"
#include "libs/rpc/payload.h"

namespace postfleet::rpc {
namespace {

using std::chrono::milliseconds;

std::string TextOf(const grpc::ByteBuffer& frame) {
  Payload slices;
  EXPECT_TRUE(frame.Dump(&slices).ok());
  std::string text;
  for (const grpc::Slice& slice : slices) text += AsView(slice);
  return text;
}

bool NextFrame(Outbox<std::string>& outbox, grpc::ByteBuffer* frame) {
  std::string text;
  for (const std::string& item : outbox.TakeAll()) text += item;
  if (text.empty()) return false;
  const grpc::Slice slice(text);
  *frame = grpc::ByteBuffer(&slice, 1);
  return true;
}

// Answers each frame with the same; "break" ends the stream instead.
class BreakingService : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    struct Peer {
      std::shared_ptr<Stream> stream;
      Outbox<std::string> outbox;
    };
    return AcceptStream([](std::shared_ptr<Stream> stream) {
      auto peer = std::make_shared<Peer>();
      peer->stream = std::move(stream);
      return StreamCallbacks{
          .next_frame = [peer](grpc::ByteBuffer* frame) { return NextFrame(peer->outbox, frame); },
          .on_frame =
              [peer](grpc::ByteBuffer frame) {
                const std::string text = TextOf(frame);
                if (text == "break") return peer->stream->Cancel();
                peer->outbox.Add(text);
                peer->stream->Kick();
              },
          .on_closed = [peer](const grpc::Status&) { peer->stream.reset(); }};
    });
  }
};

// Refuses every stream and names that leader.
class Follower : public grpc::CallbackGenericService {
 public:
  explicit Follower(std::string leader) : leader_(std::move(leader)) {
    grpc::ServerBuilder builder;
    builder.RegisterCallbackGenericService(this);
    server_ = builder.BuildAndStart();
  }
  ~Follower() override { server_->Shutdown(std::chrono::system_clock::now()); }

  Replica At(const std::string& address) { return {address, server_->InProcessChannel({})}; }
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    return RefuseStream(NotLeader(context, leader_));
  }

 private:
  const std::string leader_;
  std::unique_ptr<grpc::Server> server_;
};

// The loop runs only while the test waits for something; time stands still but for its hand.
class LastingStreamTest : public testing::Test {
 protected:
  LastingStreamTest() {
    grpc::ServerBuilder builder;
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
    channel_ = server_->InProcessChannel({});
    Make({});
  }
  ~LastingStreamTest() override {
    prepared_.clear();
    Stop();
    server_->Shutdown(std::chrono::system_clock::now());
  }

  void Make(std::function<void(LastingStream::Prepared)> prepare) {
    stream_.emplace(
        loop_, "/test/Echo",
        LastingStream::Callbacks{
            .prepare = std::move(prepare),
            .open =
                [this] {
                  ++opens_;
                  return StreamCallbacks{
                      .next_frame =
                          [this](grpc::ByteBuffer* frame) { return NextFrame(outbox_, frame); },
                      .on_frame =
                          [this](grpc::ByteBuffer frame) {
                            loop_.Post([this, frame] { events_.push_back(TextOf(frame)); });
                          }};
                },
            .opened = [this] { events_.push_back("opened"); },
            .lost =
                [this](const grpc::Status& status) {
                  last_status_ = status;
                  events_.push_back("lost");
                }},
        LastingStream::Time{.clock = &clock_,
                            .after = [this](milliseconds after, std::function<void()> function) {
                              waits_.push_back(after);
                              retry_ = std::move(function);
                            }});
  }

  void PrepareByHand() {
    Make([this](LastingStream::Prepared done) { prepared_.push_back(std::move(done)); });
  }

  template <typename Condition>
  void RunUntil(const Condition& condition) {
    while (!condition()) loop_.io().run_one();
  }
  void Say(const std::string& text) {
    outbox_.Add(text);
    stream_->Kick();
  }
  std::string Ask(const std::string& text) {
    const size_t before = events_.size();
    Say(text);
    RunUntil([&] { return events_.size() > before; });
    return events_.back();
  }
  // The service breaks the stream after `lasted`, and the time to the next try comes to be known.
  milliseconds BreakAfter(milliseconds lasted) {
    clock_.AdvanceMillis(lasted.count());
    const size_t before = waits_.size();
    Say("break");
    RunUntil([&] { return waits_.size() > before; });
    return waits_.back();
  }
  void PassWait() { std::exchange(retry_, nullptr)(); }
  void Stop() {
    if (std::exchange(stopped_, true)) return;
    loop_.Start();
    stream_->Stop();
    loop_.Stop();
  }

  BreakingService service_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  runtime::EventLoop loop_{"test"};
  FakeClock clock_;
  Outbox<std::string> outbox_;
  std::optional<LastingStream> stream_;
  int opens_ = 0;
  bool stopped_ = false;
  std::vector<std::string> events_;
  std::vector<milliseconds> waits_;
  std::function<void()> retry_;
  std::vector<LastingStream::Prepared> prepared_;
  grpc::Status last_status_;
};

TEST_F(LastingStreamTest, IsOpenedAgainWhenTheServiceBreaksIt) {
  stream_->Start(channel_);
  EXPECT_TRUE(stream_->is_open());
  EXPECT_EQ(Ask("one"), "one");
  BreakAfter(milliseconds(0));
  EXPECT_FALSE(stream_->is_open());
  PassWait();
  EXPECT_TRUE(stream_->is_open());
  EXPECT_EQ(Ask("two"), "two");
  EXPECT_EQ(events_, (std::vector<std::string>{"opened", "one", "lost", "opened", "two"}));
}

TEST_F(LastingStreamTest, IsOpenedNextAtTheReplicaThatWasNamedAndStaysThere) {
  Follower first("third"), second("first");
  stream_->Start(LeaderChannel(
      std::vector<Replica>{first.At("first"), second.At("second"), {"third", channel_}}));
  RunUntil([&] { return waits_.size() == 1; });
  EXPECT_EQ(last_status_.error_code(), grpc::StatusCode::UNAVAILABLE);
  PassWait();
  EXPECT_EQ(Ask("a"), "a");
  BreakAfter(milliseconds(0));
  PassWait();
  EXPECT_EQ(Ask("b"), "b");
}

TEST_F(LastingStreamTest, IsOpenedNextAtAnotherReplicaWhenOneIsDead) {
  const std::string dead = "unix:/nonexistent/socket";
  stream_->Start(LeaderChannel(
      std::vector<Replica>{{dead, grpc::CreateChannel(dead, grpc::InsecureChannelCredentials())},
                           {"second", channel_}}));
  RunUntil([&] { return waits_.size() == 1; });
  PassWait();
  EXPECT_EQ(Ask("a"), "a");
}

TEST_F(LastingStreamTest, WaitsTwiceAsLongEachTimeUpToTheMaximum) {
  stream_->Start(
      grpc::CreateChannel("unix:/nonexistent/socket", grpc::InsecureChannelCredentials()));
  for (size_t tries = 1; tries <= 8; ++tries) {
    RunUntil([&] { return waits_.size() == tries; });
    EXPECT_EQ(last_status_.error_code(), grpc::StatusCode::UNAVAILABLE);
    PassWait();
  }
  RunUntil([&] { return waits_.size() == 9; });
  std::vector<milliseconds> expected;
  for (int ms : {20, 40, 80, 160, 250, 250, 250, 250, 250}) expected.emplace_back(ms);
  EXPECT_EQ(waits_, expected);
}

TEST_F(LastingStreamTest, OnlyAStreamThatLastedIsOpenedAgainAtOnce) {
  stream_->Start(channel_);
  EXPECT_EQ(BreakAfter(milliseconds(0)), milliseconds(20));
  PassWait();
  EXPECT_EQ(BreakAfter(LastingStream::kRetryMax - milliseconds(1)), milliseconds(40));
  PassWait();
  EXPECT_EQ(BreakAfter(LastingStream::kRetryMax), milliseconds(20));
}

TEST_F(LastingStreamTest, IsNotOpenedBeforeItIsPrepared) {
  PrepareByHand();
  stream_->Start(channel_);
  ASSERT_EQ(prepared_.size(), 1u);
  EXPECT_FALSE(stream_->is_open());
  prepared_[0](true);
  RunUntil([&] { return stream_->is_open(); });
  EXPECT_EQ(Ask("x"), "x");
  BreakAfter(milliseconds(0));
  PassWait();
  EXPECT_EQ(prepared_.size(), 2u);
  EXPECT_FALSE(stream_->is_open());
}

TEST_F(LastingStreamTest, IsPreparedAgainWhenThatFailed) {
  PrepareByHand();
  stream_->Start(channel_);
  prepared_[0](false);
  RunUntil([&] { return waits_.size() == 1; });
  EXPECT_EQ(opens_, 0);
  PassWait();
  ASSERT_EQ(prepared_.size(), 2u);
  prepared_[1](true);
  RunUntil([&] { return stream_->is_open(); });
  EXPECT_EQ(opens_, 1);
}

TEST_F(LastingStreamTest, WhatWasSentBeforeALossComesBeforeIt) {
  stream_->Start(channel_);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Ask(std::to_string(i)), std::to_string(i));
  stream_->Break();
  RunUntil([&] { return events_.back() == "lost"; });
  EXPECT_EQ(events_.size(), 102u);
}

TEST_F(LastingStreamTest, SayingSomethingWithoutAStreamHasNoEffect) {
  stream_->Kick();
  stream_->Break();
  stream_->Start(channel_);
  BreakAfter(milliseconds(0));
  stream_->Kick();
  stream_->Break();
  PassWait();
  EXPECT_EQ(Ask("x"), "x");
}

TEST_F(LastingStreamTest, StopTellsTheLossAndOpensNoMore) {
  stream_->Start(channel_);
  EXPECT_EQ(Ask("x"), "x");
  Stop();
  EXPECT_EQ(events_.back(), "lost");
  EXPECT_FALSE(stream_->is_open());
  EXPECT_TRUE(waits_.empty());
  EXPECT_EQ(opens_, 1);
}

TEST_F(LastingStreamTest, StopLeavesNothingOpenOfWhatIsPreparedMeanwhile) {
  PrepareByHand();
  stream_->Start(channel_);
  std::thread service([prepared = std::exchange(prepared_, {})] { prepared[0](true); });
  Stop();
  service.join();
  EXPECT_FALSE(stream_->is_open());
  EXPECT_TRUE(waits_.empty());
}

TEST_F(LastingStreamTest, StopDoesNotWaitForAPreparationThatWasDropped) {
  PrepareByHand();
  stream_->Start(channel_);
  prepared_.clear();
  Stop();
  EXPECT_EQ(opens_, 0);
}

}  // namespace
}  // namespace postfleet::rpc
