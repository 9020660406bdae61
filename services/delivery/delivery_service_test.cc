// The service between a scheduler and a queue that the test plays, in one process.
#include "services/delivery/delivery_service.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <future>
#include <thread>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"
#include "proto/postfleet/scheduler/v1/scheduler.grpc.pb.h"
#include "services/delivery/bounce/bounce_agent.h"

namespace postfleet::delivery {
namespace {

using mail::v1::Outcome;
using ::testing::HasSubstr;

constexpr char kContents[] = "Subject: x\n\nbody\n";

// Holds each attempt until it is cancelled, or reads its contents first: whoever is not served is
// deferred with the reason.
class TestAgent : public Agent {
 public:
  explicit TestAgent(bool reads) : reads_(reads) {}

  void Start(std::unique_ptr<Attempt> attempt) override {
    const uint64_t id = attempt->delivery.id();
    attempts_[id] = std::move(attempt);
    if (reads_) Read(id);
  }
  void Cancel(uint64_t id) override {
    if (attempts_.contains(id)) Answer(id, Outcome::ACTION_DEFERRED, "4.3.2", "called off");
  }
  void CloseIdle() override {}

 private:
  void Read(uint64_t id) {
    attempts_.at(id)->contents->Next([this, id](const absl::Status& status, rpc::Payload piece) {
      if (!status.ok()) {
        return Answer(id, Outcome::ACTION_DEFERRED, "4.3.0", std::string(status.message()));
      }
      if (!piece.empty()) return Read(id);
      Answer(id, Outcome::ACTION_SENT, "2.0.0", "ok");
    });
  }

  void Answer(uint64_t id, Outcome::Action action, const std::string& status,
              const std::string& text) {
    const std::unique_ptr<Attempt> attempt = std::move(attempts_.extract(id).mapped());
    AttemptResult answer;
    for (const mail::v1::Recipient& recipient : attempt->delivery.recipients()) {
      Outcome* outcome = answer.result.add_outcomes();
      outcome->set_recipient_number(recipient.number());
      outcome->set_action(action);
      outcome->set_status(status);
      outcome->set_text(text);
    }
    attempt->done(std::move(answer));
  }

  const bool reads_;
  std::map<uint64_t, std::unique_ptr<Attempt>> attempts_;
};

// Answers when the test says so, whatever is cancelled.
class StubbornAgent : public Agent {
 public:
  explicit StubbornAgent(std::shared_ptr<std::function<void()>> end) : end_(std::move(end)) {}

  void Start(std::unique_ptr<Attempt> attempt) override {
    *end_ = [done = attempt->done] { done({}); };
  }
  void Cancel(uint64_t) override {}
  void CloseIdle() override {}

 private:
  const std::shared_ptr<std::function<void()>> end_;
};

// Decides the first recipient, and passes the others on to the transport that the nexthop names.
class PassingAgent : public Agent {
 public:
  void Start(std::unique_ptr<Attempt> attempt) override {
    const auto done = std::move(attempt->done);
    scheduler::v1::Delivery& delivery = attempt->delivery;
    AttemptResult answer;
    Outcome* outcome = answer.result.add_outcomes();
    outcome->set_recipient_number(delivery.recipients(0).number());
    outcome->set_action(Outcome::ACTION_BOUNCED);
    outcome->set_status("5.1.1");
    delivery.mutable_recipients()->DeleteSubrange(0, 1);
    delivery.set_transport(delivery.nexthop());
    answer.passed_on = std::move(attempt);
    done(std::move(answer));
  }
  bool ServesProbes() const override { return true; }
  void Cancel(uint64_t) override {}
  void CloseIdle() override {}
};

class FakeScheduler : public scheduler::v1::Scheduler::WithRawCallbackMethod_Work<
                          scheduler::v1::Scheduler::Service> {
 public:
  rpc::ServerReactor* Work(grpc::CallbackServerContext*) override {
    return rpc::AcceptStream([this](std::shared_ptr<rpc::Stream> stream) {
      stream_ = std::move(stream);
      return rpc::StreamCallbacks{
          .next_frame =
              [this](grpc::ByteBuffer* frame) {
                auto out = outbox_.Take(0, [](const auto&) { return size_t{1}; });
                if (out.empty()) return false;
                *frame = rpc::EncodeFrame(out.front().first, out.front().second);
                return true;
              },
          .on_frame = [this](const grpc::ByteBuffer& frame) { Take(frame); },
          .on_closed = [](const grpc::Status&) {}};
    });
  }

  // After a first frame came.
  void Send(scheduler::v1::WorkResponse response, rpc::Payload payload = {}) {
    outbox_.Add({std::move(response), std::move(payload)});
    stream_->Kick();
  }

  // Reads no more while it is held.
  std::unique_lock<std::mutex> Hold() { return std::unique_lock(mutex_); }

  void Break() { stream_->Cancel(); }

  scheduler::v1::WorkRequest Next() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(20), [&] { return !frames_.empty(); })) {
      ADD_FAILURE() << "no frame came";
      return {};
    }
    scheduler::v1::WorkRequest request = std::move(frames_.front());
    frames_.pop_front();
    return request;
  }

 private:
  void Take(const grpc::ByteBuffer& frame) {
    scheduler::v1::WorkRequest request;
    rpc::Payload payload;
    EXPECT_TRUE(rpc::DecodeFrame(frame, &request, &payload));
    std::lock_guard lock(mutex_);
    frames_.push_back(std::move(request));
    changed_.notify_all();
  }

  std::shared_ptr<rpc::Stream> stream_;
  rpc::Outbox<std::pair<scheduler::v1::WorkResponse, rpc::Payload>> outbox_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<scheduler::v1::WorkRequest> frames_;
};

// Answers each Fetch by the id: "corrupt", "gone", else the contents.
class FakeQueue : public queue::v1::Queue::WithRawCallbackMethod_Fetch<queue::v1::Queue::Service> {
 public:
  rpc::ServerReactor* Fetch(grpc::CallbackServerContext*) override {
    return rpc::AcceptStream([this](std::shared_ptr<rpc::Stream> stream) {
      stream_ = std::move(stream);
      return rpc::StreamCallbacks{.next_frame =
                                      [this](grpc::ByteBuffer* frame) {
                                        auto out =
                                            outbox_.Take(0, [](const auto&) { return size_t{1}; });
                                        if (out.empty()) return false;
                                        *frame = std::move(out.front());
                                        return true;
                                      },
                                  .on_frame =
                                      [this](const grpc::ByteBuffer& frame) {
                                        Answer(frame);
                                        stream_->Kick();
                                      },
                                  .on_closed = [](const grpc::Status&) {}};
    });
  }

 private:
  void Answer(const grpc::ByteBuffer& frame) {
    queue::v1::FetchRequest request;
    rpc::Payload payload;
    EXPECT_TRUE(rpc::DecodeFrame(frame, &request, &payload));
    queue::v1::FetchResponse response;
    response.set_queue_id(request.queue_id());
    response.set_chunk(request.chunk());
    response.set_found(request.queue_id() != "gone");
    response.set_corrupt(request.queue_id() == "corrupt");
    if (response.found() && !response.corrupt()) payload = {grpc::Slice(kContents)};
    outbox_.Add(rpc::EncodeFrame(response, payload));
  }

  std::shared_ptr<rpc::Stream> stream_;
  rpc::Outbox<grpc::ByteBuffer> outbox_;
};

class DeliveryServiceTest : public testing::Test {
 protected:
  DeliveryServiceTest() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&scheduler_);
    builder.RegisterService(&queue_);
    server_ = builder.BuildAndStart();
    const std::shared_ptr<grpc::Channel> channel = server_->InProcessChannel({});
    DeliveryOptions options{.scheduler = channel,
                            .queue = channel,
                            .orphan_grace = std::chrono::milliseconds(1),
                            .metrics = &registry_};
    for (const char* transport : {"holds", "reads"}) {
      const bool reads = transport == std::string_view("reads");
      options.transports.push_back({.transport = transport, .make = [reads](runtime::EventLoop&) {
                                      return std::make_unique<TestAgent>(reads);
                                    }});
    }
    options.transports.push_back({.transport = "passes", .make = [](runtime::EventLoop&) {
                                    return std::make_unique<PassingAgent>();
                                  }});
    options.transports.push_back({.transport = "bounce", .make = [](runtime::EventLoop&) {
                                    return std::make_unique<BounceAgent>(BounceOptions{});
                                  }});
    service_ = std::make_unique<DeliveryService>(std::move(options));
    service_->Start();
    EXPECT_EQ(scheduler_.Next().hello().transports_size(), 4);
  }

  ~DeliveryServiceTest() override {
    service_->Stop();
    server_->Shutdown(std::chrono::system_clock::now());
  }

  static scheduler::v1::Delivery* Add(const std::string& transport, const std::string& queue_id,
                                      scheduler::v1::WorkResponse* work) {
    scheduler::v1::Delivery* delivery = work->add_deliveries();
    delivery->set_id(++last_id_);
    delivery->set_transport(transport);
    delivery->set_queue_id(queue_id);
    delivery->mutable_envelope()->set_sender("a@b");
    delivery->set_content_bytes(sizeof(kContents) - 1);
    delivery->set_chunks(1);
    delivery->add_recipients()->set_address("x@d");
    return delivery;
  }

  // The one result of the next frame.
  scheduler::v1::DeliveryResult Result() {
    const scheduler::v1::WorkRequest request = scheduler_.Next();
    EXPECT_EQ(request.results_size(), 1);
    return request.results_size() == 1 ? request.results(0) : scheduler::v1::DeliveryResult();
  }

  scheduler::v1::DeliveryResult Deliver(const std::string& transport, const std::string& queue_id) {
    scheduler::v1::WorkResponse work;
    const uint64_t id = Add(transport, queue_id, &work)->id();
    scheduler_.Send(work);
    const scheduler::v1::DeliveryResult result = Result();
    EXPECT_EQ(result.id(), id);
    return result;
  }

  static bool Begun(runtime::EventLoop* loop, const std::function<void()>& end) {
    bool begun = false;
    loop->RunAndWait([&] { begun = end != nullptr; });
    return begun;
  }

  static inline uint64_t last_id_ = 100;
  metrics::Registry registry_;
  FakeScheduler scheduler_;
  FakeQueue queue_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<DeliveryService> service_;
};

TEST_F(DeliveryServiceTest, ACancelledDeliveryIsAnsweredAndTheOthersGoOn) {
  scheduler::v1::WorkResponse work;
  Add("holds", "Q1", &work);
  const uint64_t wanted = Add("holds", "Q2", &work)->id();
  scheduler_.Send(work);
  scheduler::v1::WorkResponse cancel;
  cancel.add_cancelled(wanted);
  cancel.add_cancelled(4711);
  scheduler_.Send(cancel);
  const scheduler::v1::DeliveryResult result = Result();
  EXPECT_EQ(result.id(), wanted);
  ASSERT_EQ(result.outcomes_size(), 1);
  EXPECT_EQ(result.outcomes(0).status(), "4.3.2");
  EXPECT_FALSE(result.contents_damaged());
  EXPECT_EQ(Deliver("reads", "Q3").outcomes(0).action(), Outcome::ACTION_SENT);
}

TEST_F(DeliveryServiceTest, ADeliveryAndItsCancelInOneFrameAreAnswered) {
  scheduler::v1::WorkResponse work;
  const uint64_t id = Add("holds", "Q1", &work)->id();
  work.add_cancelled(id);
  scheduler_.Send(work);
  EXPECT_EQ(Result().id(), id);
}

TEST_F(DeliveryServiceTest, WhatAnAgentPassesOnIsOneDeliveryStill) {
  const auto deliver = [&](const char* nexthop) {
    scheduler::v1::WorkResponse work;
    scheduler::v1::Delivery* delivery = Add("passes", "Q1", &work);
    delivery->set_nexthop(nexthop);
    delivery->add_recipients()->set_number(1);
    scheduler_.Send(work);
    const scheduler::v1::DeliveryResult result = Result();
    std::map<uint32_t, std::string> statuses;
    for (const Outcome& outcome : result.outcomes()) {
      statuses[outcome.recipient_number()] = outcome.status();
    }
    EXPECT_EQ(result.id(), delivery->id());
    return statuses;
  };
  using Statuses = std::map<uint32_t, std::string>;
  EXPECT_EQ(deliver("reads"), (Statuses{{0, "5.1.1"}, {1, "2.0.0"}}));
  EXPECT_EQ(deliver("nowhere"), (Statuses{{0, "5.1.1"}, {1, "4.3.0"}}));
}

TEST_F(DeliveryServiceTest, AProbeIsNeverGivenToAnAgentThatKnowsNone) {
  scheduler::v1::WorkResponse work;
  Add("reads", "Q1", &work)->mutable_envelope()->set_probe(true);
  scheduler_.Send(work);
  const scheduler::v1::DeliveryResult result = Result();
  ASSERT_EQ(result.outcomes_size(), 1);
  EXPECT_EQ(result.outcomes(0).action(), Outcome::ACTION_DEFERRED);
  EXPECT_EQ(result.outcomes(0).text(), "this transport cannot verify an address");
}

TEST_F(DeliveryServiceTest, AProbeIsPassedOnOnlyToAnAgentThatKnowsProbes) {
  scheduler::v1::WorkResponse work;
  scheduler::v1::Delivery* delivery = Add("passes", "Q1", &work);
  delivery->set_nexthop("reads");
  delivery->add_recipients()->set_number(1);
  delivery->mutable_envelope()->set_probe(true);
  scheduler_.Send(work);
  const scheduler::v1::DeliveryResult result = Result();
  ASSERT_EQ(result.outcomes_size(), 2);
  for (const Outcome& outcome : result.outcomes()) {
    EXPECT_NE(outcome.action(), Outcome::ACTION_SENT) << outcome.recipient_number();
  }
}

TEST_F(DeliveryServiceTest, WhatWasPassedOnCanBeCancelled) {
  scheduler::v1::WorkResponse work;
  scheduler::v1::Delivery* delivery = Add("passes", "Q1", &work);
  delivery->set_nexthop("holds");
  delivery->add_recipients()->set_number(1);
  work.add_cancelled(delivery->id());
  scheduler_.Send(work);
  EXPECT_EQ(Result().outcomes_size(), 2);
}

TEST_F(DeliveryServiceTest, OnlyFirstAttemptsCountForTheirDelay) {
  const std::string count = "postfleet_first_attempt_delay_seconds_count{transport=\"reads\"} ";
  scheduler::v1::WorkResponse work;
  Add("reads", "Q1", &work)->set_first_attempt(true);
  scheduler_.Send(work);
  Result();
  EXPECT_THAT(registry_.Expose(), HasSubstr(count + "1\n"));
  Deliver("reads", "Q1");
  EXPECT_THAT(registry_.Expose(), HasSubstr(count + "1\n"));
}

TEST_F(DeliveryServiceTest, DamagedContentsAreDeferredAndMarked) {
  const scheduler::v1::DeliveryResult result = Deliver("reads", "corrupt");
  ASSERT_EQ(result.outcomes_size(), 1);
  EXPECT_EQ(result.outcomes(0).action(), Outcome::ACTION_DEFERRED);
  EXPECT_EQ(result.outcomes(0).text(), "message contents are damaged");
  EXPECT_TRUE(result.contents_damaged());
  // Only the message that it is about.
  EXPECT_FALSE(Deliver("reads", "Q1").contents_damaged());
}

TEST_F(DeliveryServiceTest, AttachedContentsThatDoNotMatchAreDeferredAndMarked) {
  scheduler::v1::WorkResponse work;
  scheduler::v1::Delivery* delivery = Add("reads", "Q1", &work);
  delivery->set_payload_bytes(sizeof(kContents) - 1);
  delivery->set_payload_crc32c(Crc32c(kContents) ^ 1);
  scheduler_.Send(work, {grpc::Slice(kContents)});
  const scheduler::v1::DeliveryResult result = Result();
  EXPECT_EQ(result.outcomes(0).action(), Outcome::ACTION_DEFERRED);
  EXPECT_THAT(result.outcomes(0).text(), HasSubstr("checksum"));
  EXPECT_TRUE(result.contents_damaged());
}

TEST_F(DeliveryServiceTest, AMessageThatIsGoneIsNotDamaged) {
  const scheduler::v1::DeliveryResult result = Deliver("reads", "gone");
  EXPECT_EQ(result.outcomes(0).action(), Outcome::ACTION_DEFERRED);
  EXPECT_FALSE(result.contents_damaged());
}

TEST_F(DeliveryServiceTest, ADamagedMessageIsNotReturned) {
  scheduler::v1::WorkResponse work;
  scheduler::v1::Delivery* delivery = Add("bounce", "corrupt", &work);
  delivery->clear_recipients();
  delivery->add_bounced()->mutable_recipient()->set_address("x@d");
  delivery->set_notice_queue_id("N1");
  scheduler_.Send(work);
  const scheduler::v1::DeliveryResult result = Result();
  EXPECT_TRUE(result.notice_failed());
  EXPECT_FALSE(result.has_notice());
  EXPECT_TRUE(result.contents_damaged());
}

TEST_F(DeliveryServiceTest, WhatRunsEndsWithItsAgentWhileOtherTransportsTakeOver) {
  scheduler::v1::WorkResponse work;
  const uint64_t running = Add("holds", "Q1", &work)->id();
  Add("reads", "Q2", &work);
  scheduler_.Send(work);
  EXPECT_EQ(Result().outcomes_size(), 1) << "of Q2: the other one has begun, too";
  service_->Reconfigure({{.transport = "reads", .slots = 7, .make = [](runtime::EventLoop&) {
                            return std::make_unique<TestAgent>(true);
                          }}});
  const scheduler::v1::WorkRequest told = scheduler_.Next();
  ASSERT_EQ(told.offer().transports_size(), 1);
  EXPECT_EQ(told.offer().transports(0).transport(), "reads");
  EXPECT_EQ(told.offer().transports(0).slots(), 7u);
  EXPECT_EQ(Deliver("reads", "Q3").outcomes(0).action(), Outcome::ACTION_SENT);
  EXPECT_EQ(Deliver("holds", "Q4").outcomes(0).text(), "mail transport unavailable");
  scheduler::v1::WorkResponse cancel;
  cancel.add_cancelled(running);
  scheduler_.Send(cancel);
  const scheduler::v1::DeliveryResult result = Result();
  EXPECT_EQ(result.id(), running);
  EXPECT_EQ(result.outcomes(0).text(), "called off");
}

TEST_F(DeliveryServiceTest, OfOffersThatGatheredOnlyTheLastIsMade) {
  std::unique_lock<std::mutex> slow = scheduler_.Hold();
  std::promise<void> begun;
  constexpr int kLast = 20;
  for (int i = 0; i <= kLast; ++i) {
    service_->Reconfigure({{.transport = Concat("t", i), .make = [&, i](runtime::EventLoop&) {
                              if (i == kLast) begun.set_value();
                              return std::make_unique<TestAgent>(true);
                            }}});
  }
  begun.get_future().wait();
  slow.unlock();
  std::string offered;
  while (offered != Concat("t", kLast)) {
    const scheduler::v1::WorkRequest told = scheduler_.Next();
    ASSERT_EQ(told.offer().transports_size(), 1);
    offered = told.offer().transports(0).transport();
  }
}

TEST_F(DeliveryServiceTest, TheSlotOfAnAttemptThatOutlivedItsSchedulerIsOfferedWhenItEnds) {
  runtime::EventLoop* loop = nullptr;
  const auto end = std::make_shared<std::function<void()>>();
  service_->Reconfigure({{.transport = "stays", .slots = 1, .make = [&](runtime::EventLoop& its) {
                            loop = &its;
                            return std::make_unique<StubbornAgent>(end);
                          }}});
  EXPECT_EQ(scheduler_.Next().offer().transports(0).slots(), 1u);
  scheduler::v1::WorkResponse work;
  Add("stays", "Q1", &work);
  scheduler_.Send(work);
  while (!Begun(loop, *end)) std::this_thread::yield();
  scheduler_.Break();
  const scheduler::v1::WorkRequest again = scheduler_.Next();
  ASSERT_EQ(again.hello().transports_size(), 1);
  EXPECT_EQ(again.hello().transports(0).slots(), 0u);
  loop->Post([end] { (*end)(); });
  const scheduler::v1::WorkRequest told = scheduler_.Next();
  ASSERT_EQ(told.offer().transports_size(), 1);
  EXPECT_EQ(told.offer().transports(0).slots(), 1u);
}

TEST_F(DeliveryServiceTest, TheSchedulerIsToldOfADrainAndGetsTheResultsThatAreOut) {
  scheduler::v1::WorkResponse work;
  const uint64_t id = Add("holds", "Q1", &work)->id();
  Add("reads", "Q2", &work);
  scheduler_.Send(work);
  EXPECT_EQ(Result().outcomes_size(), 1) << "of Q2: the other one has begun, too";
  std::thread drain([&] { service_->Drain(std::chrono::seconds(20)); });
  const scheduler::v1::WorkRequest told = scheduler_.Next();
  EXPECT_TRUE(told.draining());
  EXPECT_EQ(told.results_size(), 0);
  scheduler::v1::WorkResponse cancel;
  cancel.add_cancelled(id);
  scheduler_.Send(cancel);
  EXPECT_EQ(Result().id(), id);
  drain.join();
}

}  // namespace
}  // namespace postfleet::delivery
