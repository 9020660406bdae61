// The service between a queue, a lookup service and a worker that the test plays, in one process.
#include "services/scheduler/scheduler_service.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <deque>

#include "libs/rpc/leader.h"
#include "proto/postfleet/lookup/v1/lookup.grpc.pb.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"

namespace postfleet::scheduler {
namespace {

using mail::v1::Outcome;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The test's end of one stream: frames of `In` come, frames of `Out` go.
template <typename In, typename Out>
class Peer {
 public:
  rpc::StreamCallbacks Open(std::shared_ptr<rpc::Stream> stream) {
    std::lock_guard lock(mutex_);
    stream_ = std::move(stream);
    changed_.notify_all();
    return Callbacks();
  }

  rpc::StreamCallbacks Callbacks() {
    return {.next_frame =
                [this](grpc::ByteBuffer* frame) {
                  std::vector<Outgoing> out =
                      outbox_.Take(0, [](const Outgoing&) { return size_t{1}; });
                  if (out.empty()) return false;
                  *frame = rpc::EncodeFrame(out.front().first, out.front().second);
                  return true;
                },
            .on_frame =
                [this](const grpc::ByteBuffer& frame) {
                  In in;
                  rpc::Payload payload;
                  EXPECT_TRUE(rpc::DecodeFrame(frame, &in, &payload));
                  std::lock_guard lock(mutex_);
                  frames_.emplace_back(std::move(in), std::move(payload));
                  changed_.notify_all();
                },
            .on_closed =
                [this](const grpc::Status&) {
                  std::lock_guard lock(mutex_);
                  closed_ = true;
                  changed_.notify_all();
                }};
  }

  void Connect(const std::shared_ptr<grpc::Channel>& channel, const std::string& method) {
    auto stream = rpc::OpenStream(channel, method, Callbacks());
    std::lock_guard lock(mutex_);
    stream_ = std::move(stream);
  }

  // Waits for the stream if it is not there yet.
  void Send(Out out, rpc::Payload payload = {}) {
    outbox_.Add({std::move(out), std::move(payload)});
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, kPatience, [&] { return stream_ != nullptr; }));
    const std::shared_ptr<rpc::Stream> stream = stream_;
    lock.unlock();
    stream->Kick();
  }

  // `payload`: that of the frame, if it is wanted.
  In Next(std::string* payload = nullptr) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [&] { return !frames_.empty(); })) {
      ADD_FAILURE() << "no frame came";
      return {};
    }
    In in = std::move(frames_.front().first);
    if (payload != nullptr) {
      for (const grpc::Slice& slice : frames_.front().second) {
        payload->append(reinterpret_cast<const char*>(slice.begin()), slice.size());
      }
    }
    frames_.pop_front();
    return in;
  }

  void Close() {
    std::unique_lock lock(mutex_);
    if (stream_ == nullptr) return;
    const std::shared_ptr<rpc::Stream> stream = stream_;
    lock.unlock();
    stream->Cancel();
    lock.lock();
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return closed_; }));
  }

 private:
  using Outgoing = std::pair<Out, rpc::Payload>;
  static constexpr std::chrono::seconds kPatience{20};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<rpc::Stream> stream_;
  std::deque<std::pair<In, rpc::Payload>> frames_;
  bool closed_ = false;
  rpc::Outbox<Outgoing> outbox_;
};

using QueuePeer = Peer<queue::v1::ScheduleRequest, queue::v1::ScheduleResponse>;
using LookupPeer = Peer<lookup::v1::ResolveRequest, lookup::v1::ResolveResponse>;
using WorkerPeer = Peer<v1::WorkResponse, v1::WorkRequest>;

class FakeQueue : public queue::v1::Queue::WithRawCallbackMethod_Schedule<
                      queue::v1::Queue::WithCallbackMethod_Register<
                          queue::v1::Queue::WithCallbackMethod_Stat<queue::v1::Queue::Service>>> {
 public:
  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context,
                                     const queue::v1::RegisterRequest*,
                                     queue::v1::RegisterResponse* response) override {
    if (leads) ++registrations;
    response->set_incarnation(1);
    return Finish(context);
  }
  grpc::ServerUnaryReactor* Stat(grpc::CallbackServerContext* context,
                                 const queue::v1::StatRequest*, queue::v1::StatResponse*) override {
    return Finish(context);
  }
  rpc::ServerReactor* Schedule(grpc::CallbackServerContext* context) override {
    if (!leads) return rpc::RefuseStream(StatusFor(context));
    return rpc::AcceptStream(
        [this](std::shared_ptr<rpc::Stream> stream) { return peer.Open(std::move(stream)); },
        [this, context] { return StatusFor(context); });
  }

  QueuePeer peer;
  // Of several replicas.
  std::atomic<bool> leads{true};
  std::atomic<int> registrations{0};

 private:
  grpc::Status StatusFor(grpc::CallbackServerContext* context) {
    return leads ? grpc::Status::OK : rpc::NotLeader(context, "");
  }
  grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(StatusFor(context));
    return reactor;
  }
};

class FakeLookup
    : public lookup::v1::Lookup::WithRawCallbackMethod_Resolve<lookup::v1::Lookup::Service> {
 public:
  rpc::ServerReactor* Resolve(grpc::CallbackServerContext*) override {
    return rpc::AcceptStream(
        [this](std::shared_ptr<rpc::Stream> stream) { return peer.Open(std::move(stream)); });
  }
  LookupPeer peer;
};

class SchedulerServiceTest : public testing::Test {
 protected:
  explicit SchedulerServiceTest(std::chrono::milliseconds lookup_patience = std::chrono::hours(1),
                                int replicas = 1) {
    config_.transports["smtp"] = {};
    scheduler_ = std::make_unique<SchedulerService>(SchedulerOptions{
        .config = config_, .metrics = &registry_, .lookup_patience = lookup_patience});
    grpc::ServerBuilder builder;
    builder.RegisterService(&queue_);
    builder.RegisterService(&lookup_);
    builder.RegisterService(scheduler_->service());
    server_ = builder.BuildAndStart();
    channel_ = server_->InProcessChannel({});
    grpc::ServerBuilder other;
    other.RegisterService(&other_queue_);
    other_server_ = other.BuildAndStart();
    other_queue_.leads = false;
    scheduler_->Start(Replicas(replicas), channel_);
    Open(&queue_.peer, 1);
  }

  rpc::LeaderChannel Replicas(int replicas) {
    if (replicas == 1) return channel_;
    return rpc::LeaderChannel(
        std::vector<rpc::Replica>{{"q1", channel_}, {"q2", other_server_->InProcessChannel({})}});
  }

  void Open(QueuePeer* peer, uint64_t epoch) {
    EXPECT_TRUE(peer->Next().has_open());
    queue::v1::ScheduleResponse opened;
    opened.set_epoch(epoch);
    peer->Send(opened);
    EXPECT_EQ(peer->Next().credit_messages(), config_.active_messages_max);
  }

  ~SchedulerServiceTest() override {
    worker_.Close();
    scheduler_->Stop();
    server_->Shutdown(std::chrono::system_clock::now());
    other_server_->Shutdown(std::chrono::system_clock::now());
  }

  void Join() { Join(&worker_); }

  void Join(WorkerPeer* worker) {
    v1::WorkRequest hello;
    hello.mutable_hello()->set_name("w1");
    v1::TransportSlots* slots = hello.mutable_hello()->add_transports();
    slots->set_transport("smtp");
    slots->set_slots(1);
    slots = hello.mutable_hello()->add_transports();
    slots->set_transport("bounce");
    slots->set_slots(1);
    worker->Connect(channel_, "/postfleet.scheduler.v1.Scheduler/Work");
    worker->Send(hello);
  }

  static void Activate(const std::string& queue_id, queue::v1::ScheduleResponse* response) {
    queue::v1::Activation* activation = response->add_activations();
    activation->set_queue_id(queue_id);
    activation->mutable_envelope()->set_sender("a@b");
    activation->set_create_ms(SystemClock().WallMillis());
    activation->add_recipients()->set_address("x@d");
  }

  void Recall(const std::string& queue_id) {
    queue::v1::ScheduleResponse response;
    response.add_recalled(queue_id);
    queue_.peer.Send(response);
  }

  // The next queries go to `transports`, one each.
  void AnswerLookups(const std::vector<std::string>& transports) {
    lookup::v1::ResolveRequest asked;
    while (asked.queries_size() < static_cast<int>(transports.size()) && !HasFailure()) {
      asked.MergeFrom(lookup_.peer.Next());
    }
    lookup::v1::ResolveResponse response;
    for (const lookup::v1::Query& query : asked.queries()) {
      lookup::v1::Answer* answer = response.add_answers();
      answer->set_id(query.id());
      answer->set_transport(transports[response.answers_size() - 1]);
      answer->set_nexthop("d");
      answer->set_recipient(query.recipient());
    }
    lookup_.peer.Send(response);
  }

  Config config_;
  metrics::Registry registry_;
  FakeQueue queue_;
  FakeLookup lookup_;
  std::unique_ptr<SchedulerService> scheduler_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  FakeQueue other_queue_;
  std::unique_ptr<grpc::Server> other_server_;
  WorkerPeer worker_;
};

TEST_F(SchedulerServiceTest, ARecalledMessageIsReleasedOnceWhatItsAttemptDidIsDurable) {
  Join();
  queue::v1::ScheduleResponse given;
  Activate("Q1", &given);
  queue_.peer.Send(given);
  AnswerLookups({"smtp"});
  const v1::WorkResponse work = worker_.Next();
  ASSERT_EQ(work.deliveries_size(), 1);

  Recall("Q1");
  EXPECT_THAT(worker_.Next().cancelled(), ElementsAre(work.deliveries(0).id()));

  v1::WorkRequest answer;
  v1::DeliveryResult* result = answer.add_results();
  result->set_id(work.deliveries(0).id());
  result->add_outcomes()->set_action(Outcome::ACTION_DEFERRED);
  result->mutable_outcomes(0)->set_status("4.3.2");
  worker_.Send(answer);
  const queue::v1::ScheduleRequest said = queue_.peer.Next();
  ASSERT_EQ(said.outcomes_size(), 1);
  EXPECT_EQ(said.outcomes(0).outcomes(0).status(), "4.3.2");
  EXPECT_THAT(said.released(), IsEmpty());

  queue::v1::ScheduleResponse committed;
  committed.add_committed()->set_queue_id("Q1");
  queue_.peer.Send(committed);
  EXPECT_THAT(queue_.peer.Next().released(), ElementsAre("Q1"));
}

TEST_F(SchedulerServiceTest, AMessageAndItsRecallInOneFrameIsReleasedAtOnce) {
  Join();
  queue::v1::ScheduleResponse given;
  Activate("Q1", &given);
  given.add_recalled("Q1");
  queue_.peer.Send(given);
  const queue::v1::ScheduleRequest said = queue_.peer.Next();
  EXPECT_THAT(said.released(), ElementsAre("Q1"));
  EXPECT_EQ(said.outcomes_size(), 0);
}

TEST_F(SchedulerServiceTest, AnotherConfigurationOfTheLookupServiceRoutesWhatWaitsAnew) {
  queue::v1::ScheduleResponse given;
  Activate("Q1", &given);
  queue_.peer.Send(given);
  const lookup::v1::Query asked = lookup_.peer.Next().queries(0);
  lookup::v1::ResolveResponse response;
  response.set_configuration(1);
  lookup::v1::Answer* answer = response.add_answers();
  answer->set_id(asked.id());
  answer->set_transport("none");
  lookup_.peer.Send(response);

  response.clear_answers();
  lookup_.peer.Send(response);  // the same: nothing is asked
  response.set_configuration(2);
  lookup_.peer.Send(response);
  AnswerLookups({"smtp"});
  Join();
  const v1::WorkResponse work = worker_.Next();
  ASSERT_EQ(work.deliveries_size(), 1);
  EXPECT_EQ(work.deliveries(0).transport(), "smtp");
}

TEST_F(SchedulerServiceTest, NewParametersHoldForWhatWaits) {
  Join();
  Config config = config_;
  config.deferred_transports.insert("smtp");
  scheduler_->Reconfigure(config);
  queue::v1::ScheduleResponse given;
  Activate("Q1", &given);
  queue_.peer.Send(given);
  AnswerLookups({"smtp"});
  EXPECT_EQ(queue_.peer.Next().outcomes(0).outcomes(0).text(), "deferred transport");
}

TEST_F(SchedulerServiceTest, AWorkersNewOfferTakesMailThatWaitedForIt) {
  Join();
  queue::v1::ScheduleResponse given;
  Activate("Q1", &given);
  queue_.peer.Send(given);
  AnswerLookups({"new"});
  v1::WorkRequest changed;
  v1::TransportSlots* slots = changed.mutable_offer()->add_transports();
  slots->set_transport("new");
  slots->set_slots(1);
  worker_.Send(changed);
  EXPECT_EQ(worker_.Next().deliveries(0).transport(), "new");
}

class SchedulerOfReplicas : public SchedulerServiceTest {
 protected:
  SchedulerOfReplicas() : SchedulerServiceTest(std::chrono::hours(1), /*replicas=*/2) {}

  v1::WorkResponse GiveOut(QueuePeer* peer, const std::string& queue_id) {
    queue::v1::ScheduleResponse given;
    Activate(queue_id, &given);
    peer->Send(given);
    AnswerLookups({"smtp"});
    return worker_.Next();
  }
};

TEST_F(SchedulerOfReplicas, GoesOnAtTheNextLeaderUnderTheSameIncarnation) {
  Join();
  const v1::WorkResponse work = GiveOut(&queue_.peer, "Q1");
  ASSERT_EQ(work.deliveries_size(), 1);
  queue_.leads = false;
  other_queue_.leads = true;
  queue_.peer.Close();
  Open(&other_queue_.peer, 2);
  v1::WorkRequest answer;
  v1::DeliveryResult* result = answer.add_results();
  result->set_id(work.deliveries(0).id());
  result->add_outcomes()->set_action(Outcome::ACTION_SENT);
  worker_.Send(answer);
  const queue::v1::ScheduleRequest said = other_queue_.peer.Next();
  ASSERT_EQ(said.outcomes_size(), 1);
  EXPECT_EQ(said.outcomes(0).queue_id(), "Q1");
  EXPECT_EQ(GiveOut(&other_queue_.peer, "Q2").deliveries_size(), 1);
  EXPECT_EQ(queue_.registrations + other_queue_.registrations, 1);
}

TEST_F(SchedulerServiceTest, CountsWhatExpired) {
  EXPECT_THAT(registry_.Expose(),
              HasSubstr("postfleet_delivery_in_doubt_total{transport=\"smtp\"} 0"));
  queue::v1::ScheduleResponse given;
  Activate("Q1", &given);
  given.mutable_activations(0)->set_forced_expire(true);
  queue_.peer.Send(given);
  const queue::v1::ScheduleRequest said = queue_.peer.Next();
  ASSERT_EQ(said.outcomes_size(), 1);
  EXPECT_EQ(said.outcomes(0).outcomes(0).action(), Outcome::ACTION_BOUNCED);
  const std::string text = registry_.Expose();
  EXPECT_THAT(text, HasSubstr("postfleet_expired_total{reason=\"forced\"} 1"));
  EXPECT_THAT(text, HasSubstr("postfleet_expired_total{reason=\"lifetime\"} 0"));
  EXPECT_THAT(text, HasSubstr("postfleet_dsn_sent_total{kind=\"delay\"} 0"));
}

TEST_F(SchedulerServiceTest, ANoticeAndItsCopyArePassedOnWithTheirContents) {
  Join();
  queue::v1::ScheduleResponse given;
  Activate("Q1", &given);
  given.mutable_activations(0)->set_forced_expire(true);
  queue_.peer.Send(given);
  EXPECT_EQ(queue_.peer.Next().outcomes_size(), 1);
  const v1::Delivery delivery = worker_.Next().deliveries(0);
  EXPECT_EQ(delivery.transport(), "bounce");
  EXPECT_NE(delivery.copy_queue_id(), delivery.notice_queue_id());

  v1::WorkRequest answer;
  v1::DeliveryResult* result = answer.add_results();
  result->set_id(delivery.id());
  result->mutable_notice()->set_queue_id(delivery.notice_queue_id());
  result->mutable_notice()->set_payload_bytes(6);
  result->mutable_copy()->set_queue_id(delivery.copy_queue_id());
  result->mutable_copy()->set_payload_bytes(4);
  worker_.Send(answer, {grpc::Slice("noticecopy")});
  std::string payload;
  const queue::v1::ScheduleRequest said = queue_.peer.Next(&payload);
  ASSERT_EQ(said.notifies_size(), 1);
  EXPECT_EQ(said.notifies(0).notice().queue_id(), delivery.notice_queue_id());
  EXPECT_EQ(said.notifies(0).copy().queue_id(), delivery.copy_queue_id());
  EXPECT_EQ(payload, "noticecopy");
  const std::string text = registry_.Expose();
  EXPECT_THAT(text, HasSubstr("postfleet_dsn_sent_total{kind=\"failure\"} 1"));
  EXPECT_THAT(text, HasSubstr("postfleet_dsn_sent_total{kind=\"postmaster\"} 1"));
}

TEST_F(SchedulerServiceTest, MoreOfAMessageIsAskedForOnce) {
  queue::v1::ScheduleResponse given;
  Activate("Q1", &given);
  given.mutable_activations(0)->set_recipients_left(5);
  queue_.peer.Send(given);
  EXPECT_THAT(queue_.peer.Next().more(), ElementsAre("Q1"));
  Recall("Q1");
  const queue::v1::ScheduleRequest said = queue_.peer.Next();
  EXPECT_THAT(said.more(), IsEmpty());
  EXPECT_THAT(said.released(), ElementsAre("Q1"));
}

TEST_F(SchedulerServiceTest, WhatOneStepEndsGoesInFramesOfABoundedSize) {
  constexpr int kMessages = 300;
  const std::string text(8'000, 'x');
  queue::v1::ScheduleResponse given;
  for (int i = 0; i < kMessages; ++i) Activate("Q" + std::to_string(i), &given);
  queue_.peer.Send(given);
  lookup::v1::ResolveRequest asked;
  while (asked.queries_size() < kMessages && !HasFailure()) {
    asked.MergeFrom(lookup_.peer.Next());
  }
  lookup::v1::ResolveResponse response;
  for (const lookup::v1::Query& query : asked.queries()) {
    lookup::v1::Answer* answer = response.add_answers();
    answer->set_id(query.id());
    answer->set_transport("retry");
    answer->set_nexthop(text);
    answer->set_recipient(query.recipient());
  }
  lookup_.peer.Send(response);
  int ended = 0;
  int frames = 0;
  while (ended < kMessages && !HasFailure()) {
    const queue::v1::ScheduleRequest frame = queue_.peer.Next();
    EXPECT_LE(frame.ByteSizeLong(), 2 * rpc::kFrameBytes);
    ended += frame.outcomes_size();
    ++frames;
  }
  EXPECT_EQ(ended, kMessages);
  EXPECT_GT(frames, 1);
}

TEST_F(SchedulerServiceTest, RecipientsWithoutAWorkerAreRunnable) {
  queue::v1::ScheduleResponse given;
  Activate("Q1", &given);
  Activate("Q2", &given);
  queue_.peer.Send(given);
  AnswerLookups({"smtp", "error"});
  // What bounced at once tells that the answers were taken.
  EXPECT_EQ(queue_.peer.Next().outcomes(0).queue_id(), "Q2");
  EXPECT_THAT(registry_.Expose(), HasSubstr("postfleet_queue_runnable_recipients 1"));
  Join();
  EXPECT_EQ(worker_.Next().deliveries(0).queue_id(), "Q1");
  EXPECT_THAT(registry_.Expose(), HasSubstr("postfleet_queue_runnable_recipients 0"));
}

TEST_F(SchedulerServiceTest, AWorkerThatDrainsGetsNothingMore) {
  Join();
  queue::v1::ScheduleResponse given;
  Activate("Q1", &given);
  queue_.peer.Send(given);
  AnswerLookups({"smtp"});
  v1::WorkRequest last;
  last.add_results()->set_id(worker_.Next().deliveries(0).id());
  last.set_draining(true);
  worker_.Send(last);
  EXPECT_EQ(queue_.peer.Next().outcomes_size(), 1);
  queue::v1::ScheduleResponse another;
  Activate("Q2", &another);
  queue_.peer.Send(another);
  AnswerLookups({"smtp"});
  WorkerPeer other;
  Join(&other);
  const v1::WorkResponse work = other.Next();
  ASSERT_EQ(work.deliveries_size(), 1);
  EXPECT_EQ(work.deliveries(0).queue_id(), "Q2");
  other.Close();
}

TEST_F(SchedulerServiceTest, AMessageWhoseNoticeFailsRestsWithTheQueue) {
  Join();
  queue::v1::ScheduleResponse given;
  Activate("Q1", &given);
  given.mutable_activations(0)->set_forced_expire(true);
  queue_.peer.Send(given);
  EXPECT_EQ(queue_.peer.Next().outcomes_size(), 1);
  queue::v1::ScheduleResponse committed;
  committed.add_committed()->set_queue_id("Q1");
  queue_.peer.Send(committed);
  v1::WorkRequest answer;
  answer.add_results()->set_id(worker_.Next().deliveries(0).id());
  answer.mutable_results(0)->set_notice_failed(true);
  const int64_t before_ms = SystemClock().WallMillis();
  worker_.Send(answer);
  const queue::v1::ScheduleRequest said = queue_.peer.Next();
  ASSERT_EQ(said.resting_size(), 1);
  EXPECT_EQ(said.resting(0).queue_id(), "Q1");
  EXPECT_GE(said.resting(0).until_ms(), before_ms + config_.minimal_backoff_ms);
  EXPECT_THAT(said.released(), IsEmpty());
}

class LookupThatHangs : public SchedulerServiceTest {
 protected:
  LookupThatHangs() : SchedulerServiceTest(std::chrono::milliseconds(1)) {}
};

TEST_F(LookupThatHangs, CostsItsRecipientsThisAttemptAndNotTheirMessagesPlace) {
  queue::v1::ScheduleResponse given;
  Activate("Q1", &given);
  queue_.peer.Send(given);
  const queue::v1::ScheduleRequest said = queue_.peer.Next();
  ASSERT_EQ(said.outcomes_size(), 1);
  EXPECT_EQ(said.outcomes(0).outcomes(0).action(), Outcome::ACTION_DEFERRED);
  EXPECT_EQ(said.outcomes(0).outcomes(0).status(), "4.3.0");
  EXPECT_EQ(said.outcomes(0).outcomes(0).text(), "address resolver does not answer");
  queue::v1::ScheduleResponse committed;
  committed.add_committed()->set_queue_id("Q1");
  queue_.peer.Send(committed);
  EXPECT_THAT(queue_.peer.Next().released(), ElementsAre("Q1"));
}

}  // namespace
}  // namespace postfleet::scheduler
