#include "libs/rpc/stream.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <mutex>
#include <thread>

#include "libs/rpc/leader.h"
#include "libs/rpc/outbox.h"
#include "libs/rpc/payload.h"

namespace postfleet::rpc {
namespace {

grpc::ByteBuffer FrameOf(const std::string& text) {
  const grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

std::string TextOf(const grpc::ByteBuffer& frame) {
  Payload slices;
  EXPECT_TRUE(frame.Dump(&slices).ok());
  std::string text;
  for (const grpc::Slice& slice : slices) text += AsView(slice);
  return text;
}

// Sends strings one a frame, keeps what it received.
struct Peer {
  std::shared_ptr<Stream> stream;
  Outbox<std::string> outbox;
  std::atomic<int> received{0};
  std::mutex mutex;
  std::vector<std::string> frames;
  int awaited = -1;
  std::promise<void> complete;
  std::promise<grpc::Status> closed;
  bool echo = false;

  StreamCallbacks Callbacks() {
    return {.next_frame =
                [this](grpc::ByteBuffer* frame) {
                  std::string text;
                  for (const std::string& item : outbox.TakeAll()) text += item;
                  if (text.empty()) return false;
                  *frame = FrameOf(text);
                  return true;
                },
            .on_frame =
                [this](grpc::ByteBuffer frame) {
                  std::unique_lock lock(mutex);
                  frames.push_back(TextOf(frame));
                  received += static_cast<int>(frames.back().size());
                  const std::string text = frames.back();
                  if (received == awaited) complete.set_value();
                  lock.unlock();
                  if (echo) Say(text);
                },
            .on_closed = [this](const grpc::Status& status) { closed.set_value(status); }};
  }

  void Say(const std::string& text) {
    outbox.Add(text);
    stream->Kick();
  }

  std::string All() {
    std::lock_guard lock(mutex);
    std::string text;
    for (const std::string& frame : frames) text += frame;
    return text;
  }
};

class EchoService : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    peer.echo = true;
    return AcceptStream([this](std::shared_ptr<Stream> stream) {
      peer.stream = std::move(stream);
      return peer.Callbacks();
    });
  }
  Peer peer;
};

class StreamTest : public testing::Test {
 protected:
  StreamTest() {
    grpc::ServerBuilder builder;
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
    channel_ = server_->InProcessChannel({});
  }

  EchoService service_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  Peer client_;
};

TEST_F(StreamTest, EverythingComesOnceAndInOrder) {
  constexpr int kItems = 5000;
  client_.awaited = kItems;
  client_.stream = OpenStream(channel_, "/test/Echo", client_.Callbacks());
  std::string said;
  for (int i = 0; i < kItems; ++i) {
    said.push_back(static_cast<char>('a' + i % 26));
    client_.Say(said.substr(said.size() - 1));
  }
  client_.complete.get_future().get();
  EXPECT_EQ(client_.All(), said);
  client_.stream->Cancel();
  client_.closed.get_future().get();
}

TEST_F(StreamTest, WhatGathersDuringAWriteSharesAFrame) {
  constexpr int kItems = 5000;
  client_.awaited = kItems;
  client_.stream = OpenStream(channel_, "/test/Echo", client_.Callbacks());
  for (int i = 0; i < kItems; ++i) client_.outbox.Add("x");
  client_.stream->Kick();
  client_.complete.get_future().get();
  EXPECT_EQ(service_.peer.frames.size(), 1u);
  client_.stream->Cancel();
  client_.closed.get_future().get();
}

TEST_F(StreamTest, ManyThreadsMayKick) {
  constexpr int kThreads = 4;
  constexpr int kItems = 2000;
  client_.awaited = kThreads * kItems;
  client_.stream = OpenStream(channel_, "/test/Echo", client_.Callbacks());
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this] {
      for (int i = 0; i < kItems; ++i) client_.Say("x");
    });
  }
  for (std::thread& thread : threads) thread.join();
  client_.complete.get_future().get();
  client_.stream->Cancel();
  client_.closed.get_future().get();
}

TEST_F(StreamTest, CancelByTheServerIsSeenByTheClient) {
  client_.awaited = 1;
  client_.stream = OpenStream(channel_, "/test/Echo", client_.Callbacks());
  client_.Say("x");
  client_.complete.get_future().get();
  service_.peer.stream->Cancel();
  client_.closed.get_future().get();
  client_.Say("after the end: no effect");
}

TEST_F(StreamTest, ServerShutdownEndsStreams) {
  client_.awaited = 1;
  client_.stream = OpenStream(channel_, "/test/Echo", client_.Callbacks());
  client_.Say("x");
  client_.complete.get_future().get();
  server_->Shutdown(std::chrono::system_clock::now());
  client_.closed.get_future().get();
  service_.peer.closed.get_future().get();
}

// Names a leader: at once ("/test/Refuse"), or when it is told anything.
class FollowerService : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    const auto refusal = [context] { return NotLeader(context, "q2:7001"); };
    if (context->method() == "/test/Refuse") return RefuseStream(refusal());
    return AcceptStream(
        [](std::shared_ptr<Stream> stream) {
          return StreamCallbacks{.next_frame = [](grpc::ByteBuffer*) { return false; },
                                 .on_frame = [stream](grpc::ByteBuffer) { stream->Cancel(); },
                                 .on_closed = [](const grpc::Status&) {}};
        },
        refusal);
  }
};

TEST(Stream, WhoDoesNotLeadNamesTheLeaderWhenItRefusesAndWhenItEnds) {
  constexpr int kTimes = 100;
  FollowerService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const auto remote =
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials());
  for (const auto& channel : {server->InProcessChannel({}), remote}) {
    for (int i = 0; i < 2 * kTimes; ++i) {
      Peer client;
      std::string told;
      StreamCallbacks callbacks = client.Callbacks();
      callbacks.on_not_leader = [&told](std::string address) { told = std::move(address); };
      client.stream =
          OpenStream(channel, i % 2 == 0 ? "/test/Refuse" : "/test/End", std::move(callbacks));
      client.Say("x");
      ASSERT_EQ(client.closed.get_future().get().error_code(), grpc::StatusCode::UNAVAILABLE);
      ASSERT_EQ(told, "q2:7001");
    }
  }
  server->Shutdown(std::chrono::system_clock::now());
}

TEST(Stream, WithoutAServerIsUnavailable) {
  Peer client;
  client.stream = OpenStream(
      grpc::CreateChannel("unix:/nonexistent/socket", grpc::InsecureChannelCredentials()),
      "/test/Echo", client.Callbacks());
  client.Say("x");
  EXPECT_EQ(client.closed.get_future().get().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace postfleet::rpc
