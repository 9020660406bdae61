// The whole queue service over an in-process channel and a real folder.
#include "services/queue/queue.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "libs/base/crc32c.h"
#include "libs/rpc/payload.h"
#include "libs/rpc/stream.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"

namespace postfleet::queue {
namespace {

using testing::HasSubstr;

// A queue service and a server around it, in a folder that outlives them.
class Node {
 public:
  explicit Node(const std::string& directory) {
    absl::StatusOr<std::unique_ptr<Queue>> opened =
        Queue::Open({.directory = directory,
                     .on_fatal = [](const absl::Status& status) { ADD_FAILURE() << status; }});
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
  v1::ListResponse List() {
    grpc::ClientContext context;
    v1::ListResponse response;
    EXPECT_TRUE(stub_->List(&context, {}, &response).ok());
    return response;
  }
  v1::StatResponse Stat() {
    grpc::ClientContext context;
    v1::StatResponse response;
    EXPECT_TRUE(stub_->Stat(&context, {}, &response).ok());
    return response;
  }
  std::vector<std::string> Delete(const std::string& queue_id) {
    grpc::ClientContext context;
    v1::DeleteRequest request;
    v1::DeleteResponse response;
    request.add_queue_ids(queue_id);
    EXPECT_TRUE(stub_->Delete(&context, request, &response).ok());
    return {response.deleted().begin(), response.deleted().end()};
  }

 private:
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

constexpr std::string_view kContents = "Subject: x\n\nhello\n";

v1::EnqueueRequest OneMessage(uint64_t incarnation, uint64_t sequence,
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

v1::EnqueueResult Enqueue(Node* node, uint64_t incarnation, uint64_t sequence,
                          const std::string& queue_id) {
  EnqueueClient client(node->channel(), "Enqueue");
  client.Send(OneMessage(incarnation, sequence, queue_id),
              {rpc::OwningSlice(std::string(kContents))});
  return client.Await([](const v1::EnqueueResponse& r) { return r.results_size() > 0; }).results(0);
}

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

TEST_F(QueueTest, AnAcknowledgedMessageIsThereAfterARestart) {
  {
    Node node(directory_);
    EXPECT_EQ(Enqueue(&node, node.Register(), 1, "Q1").code(), v1::EnqueueResult::COMMITTED);
  }
  Node node(directory_);
  const v1::ListResponse list = node.List();
  ASSERT_EQ(list.messages_size(), 1);
  EXPECT_EQ(list.messages(0).queue_id(), "Q1");
  EXPECT_EQ(list.messages(0).queue(), v1::QUEUE_NAME_INCOMING);
  EXPECT_EQ(list.messages(0).recipients(0).address(), "x@d");
}

TEST_F(QueueTest, ARepeatedSubmissionIsOneMessageAlsoAfterARestart) {
  uint64_t incarnation;
  {
    Node node(directory_);
    incarnation = node.Register();
    EXPECT_EQ(Enqueue(&node, incarnation, 1, "Q1").code(), v1::EnqueueResult::COMMITTED);
  }
  Node node(directory_);
  EXPECT_EQ(Enqueue(&node, incarnation, 1, "Q1").code(), v1::EnqueueResult::COMMITTED);
  EXPECT_EQ(node.List().messages_size(), 1);
}

TEST_F(QueueTest, AnIncarnationIsNeverGivenTwice) {
  uint64_t first;
  {
    Node node(directory_);
    first = node.Register();
  }
  Node node(directory_);
  EXPECT_GT(node.Register(), first);
}

TEST_F(QueueTest, ASchedulerGetsTheMessageWithItsContentsAndItsOutcomeRemovesIt) {
  Node node(directory_);
  ScheduleClient scheduler(node.channel(), "Schedule");
  v1::ScheduleRequest open;
  open.mutable_open()->set_name("test");
  open.set_credit_messages(10);
  scheduler.Send(open);
  EXPECT_GT(scheduler.Await([](const v1::ScheduleResponse& r) { return r.epoch() != 0; }).epoch(),
            0u);
  ASSERT_EQ(Enqueue(&node, node.Register(), 1, "Q1").code(), v1::EnqueueResult::COMMITTED);

  const v1::ScheduleResponse given =
      scheduler.Await([](const v1::ScheduleResponse& r) { return r.activations_size() > 0; });
  ASSERT_EQ(given.activations_size(), 1);
  EXPECT_EQ(given.activations(0).queue_id(), "Q1");
  EXPECT_EQ(scheduler.payload(), kContents);
  EXPECT_EQ(node.List().messages(0).queue(), v1::QUEUE_NAME_ACTIVE);

  v1::ScheduleRequest work;
  v1::MessageOutcome* outcome = work.add_outcomes();
  outcome->set_queue_id("Q1");
  outcome->add_outcomes()->set_action(mail::v1::Outcome::ACTION_SENT);
  scheduler.Send(work);
  const v1::ScheduleResponse committed =
      scheduler.Await([](const v1::ScheduleResponse& r) { return r.committed_size() > 0; });
  EXPECT_TRUE(committed.committed(0).removed());
  EXPECT_EQ(node.List().messages_size(), 0);
}

TEST_F(QueueTest, ASecondSchedulerTakesThePartitionOverAndTheFirstIsClosed) {
  Node node(directory_);
  v1::ScheduleRequest open;
  open.mutable_open()->set_name("test");
  open.set_credit_messages(10);
  ScheduleClient first(node.channel(), "Schedule");
  first.Send(open);
  first.Await([](const v1::ScheduleResponse& r) { return r.epoch() != 0; });
  ASSERT_EQ(Enqueue(&node, node.Register(), 1, "Q1").code(), v1::EnqueueResult::COMMITTED);
  first.Await([](const v1::ScheduleResponse& r) { return r.activations_size() > 0; });

  ScheduleClient second(node.channel(), "Schedule");
  second.Send(open);
  const v1::ScheduleResponse given =
      second.Await([](const v1::ScheduleResponse& r) { return r.activations_size() > 0; });
  EXPECT_EQ(given.activations(0).queue_id(), "Q1");
  first.WaitClosed();
}

TEST_F(QueueTest, DeleteIsDurable) {
  {
    Node node(directory_);
    const uint64_t incarnation = node.Register();
    Enqueue(&node, incarnation, 1, "Q1");
    Enqueue(&node, incarnation, 2, "Q2");
    EXPECT_THAT(node.Delete("Q1"), testing::ElementsAre("Q1"));
    EXPECT_THAT(node.Delete("Q1"), testing::IsEmpty());
  }
  Node node(directory_);
  ASSERT_EQ(node.List().messages_size(), 1);
  EXPECT_EQ(node.List().messages(0).queue_id(), "Q2");
  EXPECT_EQ(node.Stat().incoming_messages(), 1u);
}

TEST_F(QueueTest, AFolderThatCannotBeMadeIsNamed) {
  std::ofstream(directory_) << "a file";
  const absl::Status status =
      Queue::Open({.directory = directory_ + "/queue", .on_fatal = [](const absl::Status&) {}})
          .status();
  EXPECT_THAT(std::string(status.message()), HasSubstr(directory_ + "/queue"));
}

}  // namespace
}  // namespace postfleet::queue
