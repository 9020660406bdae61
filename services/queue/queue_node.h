// For tests: a whole queue service over an in-process channel and a real folder, and its peers.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <set>

#include "libs/base/clock.h"
#include "libs/base/crc32c.h"
#include "libs/metrics/metrics.h"
#include "libs/rpc/payload.h"
#include "libs/rpc/stream.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"
#include "services/queue/queue.h"

namespace postfleet::queue {

// A queue service and a server around it, in a folder that outlives them.
class Node {
 public:
  explicit Node(const std::string& directory, uint64_t queue_minfree_bytes = 0)
      : Node(QueueOptions{.directory = directory, .queue_minfree_bytes = queue_minfree_bytes}) {}
  explicit Node(QueueOptions options) {
    options.metrics = &registry_;
    options.on_fatal = [](const absl::Status& status) { ADD_FAILURE() << status; };
    absl::StatusOr<std::unique_ptr<Queue>> opened = Queue::Open(std::move(options));
    EXPECT_TRUE(opened.ok()) << opened.status();
    queue_ = *std::move(opened);
    grpc::ServerBuilder builder;
    builder.RegisterService(queue_->service());
    server_ = builder.BuildAndStart();
    channel_ = server_->InProcessChannel({});
    stub_ = v1::Queue::NewStub(channel_);
  }
  ~Node() {
    queue_->CloseStreams();
    server_->Shutdown();
    queue_->Stop();
  }

  std::shared_ptr<grpc::Channel> channel() const { return channel_; }

  uint64_t Register() {
    grpc::ClientContext context;
    v1::RegisterResponse response;
    EXPECT_TRUE(stub_->Register(&context, {}, &response).ok());
    return response.incarnation();
  }
  v1::Queue::Stub& stub() { return *stub_; }
  Queue& queue() { return *queue_; }
  metrics::Registry& registry() { return registry_; }

  v1::ListResponse List(const v1::ListRequest& request = {}) {
    grpc::ClientContext context;
    v1::ListResponse response;
    EXPECT_TRUE(stub_->List(&context, request, &response).ok());
    return response;
  }
  v1::StatResponse Stat() {
    grpc::ClientContext context;
    v1::StatResponse response;
    EXPECT_TRUE(stub_->Stat(&context, {}, &response).ok());
    return response;
  }
  v1::AdministerResponse Administer(v1::Action action, const std::vector<std::string>& queue_ids,
                                    const std::vector<v1::QueueName>& queues = {}) {
    grpc::ClientContext context;
    v1::AdministerRequest request;
    v1::AdministerResponse response;
    request.set_action(action);
    for (const std::string& queue_id : queue_ids) request.add_queue_ids(queue_id);
    for (const v1::QueueName queue : queues) request.add_queues(queue);
    const grpc::Status status = stub_->Administer(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  v1::ListJobsResponse ListJobs() {
    grpc::ClientContext context;
    v1::ListJobsResponse response;
    EXPECT_TRUE(stub_->ListJobs(&context, {}, &response).ok());
    return response;
  }
  bool StopJob(uint64_t id) {
    grpc::ClientContext context;
    v1::StopJobRequest request;
    request.set_id(id);
    v1::StopJobResponse response;
    EXPECT_TRUE(stub_->StopJob(&context, request, &response).ok());
    return response.stopped();
  }
  // To the end; the last progress.
  v1::AdministerAllProgress AdministerAll(v1::Action action,
                                          const std::vector<v1::QueueName>& queues = {},
                                          bool dry_run = false) {
    grpc::ClientContext context;
    v1::AdministerAllRequest request;
    request.set_action(action);
    request.set_dry_run(dry_run);
    for (const v1::QueueName queue : queues) request.add_queues(queue);
    const auto reader = stub_->AdministerAll(&context, request);
    v1::AdministerAllProgress progress;
    while (reader->Read(&progress)) {
    }
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_TRUE(progress.done());
    return progress;
  }

 private:
  metrics::Registry registry_;
  std::unique_ptr<Queue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Queue::Stub> stub_;
};

// One stream of the contract: frames out on demand, frames in waited for.
template <typename Request, typename Response>
class Client {
 public:
  Client(const std::shared_ptr<grpc::Channel>& channel, const std::string& method) {
    stream_ = rpc::OpenStream(channel, "/postfleet.queue.v1.Queue/" + method,
                              {.next_frame =
                                   [this](grpc::ByteBuffer* frame) {
                                     std::lock_guard lock(mutex_);
                                     if (out_.empty()) return false;
                                     *frame = std::move(out_.front());
                                     out_.erase(out_.begin());
                                     return true;
                                   },
                               .on_frame =
                                   [this](const grpc::ByteBuffer& frame) {
                                     Response response;
                                     rpc::Payload payload;
                                     EXPECT_TRUE(rpc::DecodeFrame(frame, &response, &payload));
                                     std::lock_guard lock(mutex_);
                                     in_.push_back(std::move(response));
                                     for (const grpc::Slice& slice : payload)
                                       payload_ += rpc::AsView(slice);
                                     arrived_.notify_all();
                                   },
                               .on_closed =
                                   [this](const grpc::Status&) {
                                     std::lock_guard lock(mutex_);
                                     closed_ = true;
                                     arrived_.notify_all();
                                   }});
  }
  ~Client() {
    stream_->Cancel();
    WaitClosed();
  }

  void Send(const Request& request, const rpc::Payload& payload = {}) {
    {
      std::lock_guard lock(mutex_);
      out_.push_back(rpc::EncodeFrame(request, payload));
    }
    stream_->Kick();
  }

  // The next frame that `wanted` accepts; others are dropped.
  template <typename Wanted>
  Response Await(const Wanted& wanted) {
    std::unique_lock lock(mutex_);
    while (true) {
      while (!in_.empty()) {
        Response response = std::move(in_.front());
        in_.erase(in_.begin());
        if (wanted(response)) return response;
      }
      if (closed_) return {};
      arrived_.wait(lock);
    }
  }

  void WaitClosed() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return closed_; });
  }
  std::string payload() {
    std::lock_guard lock(mutex_);
    return payload_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<grpc::ByteBuffer> out_;
  std::vector<Response> in_;
  std::string payload_;
  bool closed_ = false;
  std::shared_ptr<rpc::Stream> stream_;
};

using EnqueueClient = Client<v1::EnqueueRequest, v1::EnqueueResponse>;
using ScheduleClient = Client<v1::ScheduleRequest, v1::ScheduleResponse>;

inline constexpr std::string_view kContents = "Subject: x\n\nhello\n";

inline v1::EnqueueRequest OneMessage(uint64_t incarnation, uint64_t sequence,
                                     const std::string& queue_id) {
  v1::EnqueueRequest request;
  v1::Submission* submission = request.add_submissions();
  submission->mutable_id()->set_incarnation(incarnation);
  submission->mutable_id()->set_sequence(sequence);
  submission->set_queue_id(queue_id);
  submission->set_payload_bytes(kContents.size());
  submission->set_payload_crc32c(Crc32c(kContents));
  submission->mutable_message()->mutable_envelope()->set_sender("a@b");
  submission->mutable_message()->add_recipients()->set_address("x@d");
  submission->mutable_message()->set_content_bytes(kContents.size());
  return request;
}

inline v1::EnqueueResult Enqueue(Node* node, uint64_t incarnation, uint64_t sequence,
                                 const std::string& queue_id) {
  EnqueueClient client(node->channel(), "Enqueue");
  client.Send(OneMessage(incarnation, sequence, queue_id),
              {rpc::OwningSlice(std::string(kContents))});
  return client.Await([](const v1::EnqueueResponse& r) { return r.results_size() > 0; }).results(0);
}

// "0000001", "0000002": below every id that is made from a clock.
inline std::string NumberedId(int number) {
  std::string digits = std::to_string(number);
  return std::string(7 - digits.size(), '0') + digits;
}

// Messages NumberedId(1) to NumberedId(count), one recipient each.
inline void EnqueueMany(Node* node, int count) {
  const uint64_t incarnation = node->Register();
  EnqueueClient client(node->channel(), "Enqueue");
  v1::EnqueueRequest request;
  rpc::Payload payload;
  for (int number = 1; number <= count; ++number) {
    request.MergeFrom(OneMessage(incarnation, static_cast<uint64_t>(number), NumberedId(number)));
    payload.push_back(rpc::OwningSlice(std::string(kContents)));
    if (number % 500 != 0 && number != count) continue;
    client.Send(request, payload);
    request.Clear();
    payload.clear();
  }
  int committed = 0;
  client.Await([&](const v1::EnqueueResponse& response) {
    for (const auto& result : response.results()) {
      committed += result.code() == v1::EnqueueResult::COMMITTED;
    }
    return committed >= count;
  });
  EXPECT_EQ(committed, count);
}

// A scheduler that does what it is told. What frames bring is gathered; nothing is lost by waiting
// for one thing before another.
class TestScheduler {
 public:
  explicit TestScheduler(Node* node, uint32_t credit = 1'000)
      : client_(node->channel(), "Schedule") {
    v1::ScheduleRequest open;
    open.mutable_open()->set_name("test");
    open.set_credit_messages(credit);
    client_.Send(open);
    Await([&] { return epoch_ != 0; });
  }

  // False: the stream ended before.
  template <typename Condition>
  bool Await(const Condition& condition) {
    if (condition()) return true;
    client_.Await([&](const v1::ScheduleResponse& response) {
      Gather(response);
      return condition();
    });
    return condition();
  }
  void AwaitGiven(const std::string& queue_id) {
    EXPECT_TRUE(Await([&] { return given_.contains(queue_id); })) << queue_id;
  }
  void AwaitRecalled(const std::string& queue_id) {
    EXPECT_TRUE(Await([&] { return recalled_.contains(queue_id); })) << queue_id;
  }

  void Report(const std::string& queue_id, mail::v1::Outcome::Action action,
              int64_t retry_ms = 3'600'000) {
    v1::ScheduleRequest work;
    v1::MessageOutcome* outcome = work.add_outcomes();
    outcome->set_queue_id(queue_id);
    outcome->set_transport("smtp");
    outcome->set_nexthop("d");
    outcome->set_retry_at_ms(SystemClock().WallMillis() + retry_ms);
    outcome->add_outcomes()->set_action(action);
    outcome->mutable_outcomes(0)->set_text("try later");
    committed_.erase(queue_id);
    client_.Send(work);
    EXPECT_TRUE(Await([&] { return committed_.contains(queue_id); })) << queue_id;
  }
  void Release(const std::string& queue_id) {
    given_.erase(queue_id);
    recalled_.erase(queue_id);
    v1::ScheduleRequest work;
    work.add_released(queue_id);
    client_.Send(work);
  }
  // Given out, deferred for long, and let go.
  void Defer(const std::string& queue_id) {
    AwaitGiven(queue_id);
    Report(queue_id, mail::v1::Outcome::ACTION_DEFERRED);
    Release(queue_id);
  }

  const std::set<std::string>& given() const { return given_; }
  const std::set<std::string>& late() const { return late_; }

 private:
  void Gather(const v1::ScheduleResponse& response) {
    if (response.epoch() != 0) epoch_ = response.epoch();
    for (const auto& activation : response.activations()) given_.insert(activation.queue_id());
    for (const std::string& queue_id : response.recalled()) recalled_.insert(queue_id);
    for (const auto& committed : response.committed()) {
      committed_.insert(committed.queue_id());
      if (committed.late()) late_.insert(committed.queue_id());
    }
  }

  ScheduleClient client_;
  uint64_t epoch_ = 0;
  std::set<std::string> given_;
  std::set<std::string> recalled_;
  std::set<std::string> committed_;
  std::set<std::string> late_;
};

class QueueTest : public testing::Test {
 protected:
  QueueTest() : directory_(testing::TempDir() + "/" + Name()) {
    std::filesystem::remove_all(directory_);
  }
  static std::string Name() {
    return testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  const std::string directory_;
};

}  // namespace postfleet::queue
