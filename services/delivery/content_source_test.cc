// Fetch from a queue of two replicas.
#include "services/delivery/content_source.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <vector>

#include "libs/base/concat.h"
#include "libs/rpc/leader.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"

namespace postfleet::delivery {
namespace {

using testing::ElementsAre;

// Leads and answers each Fetch with the chunk's number, or names `leader`. After `answers_max`
// answers its leadership ends.
class Replica : public queue::v1::Queue::WithRawCallbackMethod_Fetch<
                    queue::v1::Queue::WithCallbackMethod_Stat<queue::v1::Queue::Service>> {
 public:
  explicit Replica(std::string other) : other_(std::move(other)) {
    grpc::ServerBuilder builder;
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Replica() override { server_->Shutdown(std::chrono::system_clock::now()); }
  rpc::Replica At(const std::string& address) { return {address, server_->InProcessChannel({})}; }

  grpc::ServerUnaryReactor* Stat(grpc::CallbackServerContext* context,
                                 const queue::v1::StatRequest*, queue::v1::StatResponse*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(StatusFor(context));
    return reactor;
  }
  rpc::ServerReactor* Fetch(grpc::CallbackServerContext* context) override {
    if (!leads) return rpc::RefuseStream(StatusFor(context));
    struct Peer {
      std::shared_ptr<rpc::Stream> stream;
      rpc::Outbox<grpc::ByteBuffer> outbox;
    };
    auto peer = std::make_shared<Peer>();
    return rpc::AcceptStream(
        [this, peer](std::shared_ptr<rpc::Stream> stream) {
          peer->stream = std::move(stream);
          return rpc::StreamCallbacks{
              .next_frame =
                  [peer](grpc::ByteBuffer* frame) {
                    auto out = peer->outbox.Take(0, [](const auto&) { return size_t{1}; });
                    if (out.empty()) return false;
                    *frame = std::move(out.front());
                    return true;
                  },
              .on_frame =
                  [this, peer](const grpc::ByteBuffer& frame) {
                    if (Answer(frame, &peer->outbox)) return peer->stream->Kick();
                    peer->stream->Cancel();
                  },
              .on_closed = [peer](const grpc::Status&) { peer->stream = nullptr; }};
        },
        [this, context] { return StatusFor(context); });
  }

  std::atomic<bool> leads{false};
  std::atomic<int> answers_max{1000};
  std::function<void()> on_end = [] {};

 private:
  grpc::Status StatusFor(grpc::CallbackServerContext* context) {
    return leads ? grpc::Status::OK : rpc::NotLeader(context, other_);
  }
  bool Answer(const grpc::ByteBuffer& frame, rpc::Outbox<grpc::ByteBuffer>* outbox) {
    if (answers_max-- == 0) {
      leads = false;
      on_end();
    }
    if (!leads) return false;
    queue::v1::FetchRequest request;
    rpc::Payload payload;
    EXPECT_TRUE(rpc::DecodeFrame(frame, &request, &payload));
    queue::v1::FetchResponse response;
    response.set_found(true);
    payload = {grpc::Slice(Concat(request.chunk()))};
    outbox->Add(rpc::EncodeFrame(response, payload));
    return true;
  }

  const std::string other_;
  std::unique_ptr<grpc::Server> server_;
};

class FetchOfReplicas : public testing::Test {
 protected:
  static constexpr int kTries = 2;

  FetchOfReplicas() { loop_.Start(); }
  ~FetchOfReplicas() override {
    loop_.RunAndWait([this] { fetch_->Stop(); });
    pending_->WaitForNone();
    loop_.RunAndWait([] {});
    loop_.Stop();
  }

  // What each chunk's contents are, or why it has none.
  std::vector<std::string> Fetch(int chunks) {
    std::vector<std::string> results;
    std::promise<void> complete;
    loop_.RunAndWait([&] {
      for (int i = 0; i < chunks; ++i) {
        fetch_->Fetch("Q1", static_cast<uint32_t>(i),
                      [&, chunks](const absl::Status& status, rpc::Payload payload) {
                        results.push_back(status.ok() ? std::string(rpc::AsView(payload.at(0)))
                                                      : std::string(status.message()));
                        if (results.size() == static_cast<size_t>(chunks)) complete.set_value();
                      });
      }
    });
    complete.get_future().get();
    return results;
  }

  Replica first_{"q2"}, second_{"q1"};
  runtime::EventLoop loop_{"test"};
  const std::shared_ptr<rpc::PendingCalls> pending_ = std::make_shared<rpc::PendingCalls>();
  const std::shared_ptr<FetchClient> fetch_ = std::make_shared<FetchClient>(
      rpc::LeaderChannel(std::vector<rpc::Replica>{first_.At("q1"), second_.At("q2")}), &loop_,
      pending_, kTries);
};

TEST_F(FetchOfReplicas, IsMadeAtTheOneThatLeads) {
  second_.leads = true;
  EXPECT_THAT(Fetch(1), ElementsAre("0"));
}

TEST_F(FetchOfReplicas, GoesOnAtTheNextLeaderWithWhatWasNotAnswered) {
  first_.leads = true;
  first_.answers_max = 2;
  first_.on_end = [this] { second_.leads = true; };
  EXPECT_THAT(Fetch(5), ElementsAre("0", "1", "2", "3", "4"));
  EXPECT_FALSE(first_.leads);
}

TEST_F(FetchOfReplicas, FailsWhenNoneLeads) {
  EXPECT_THAT(Fetch(2), ElementsAre("the queue is away", "the queue is away"));
  second_.leads = true;
  EXPECT_THAT(Fetch(1), ElementsAre("0"));
}

}  // namespace
}  // namespace postfleet::delivery
