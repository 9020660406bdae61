// Through the socket, in front of a queue of the test's own.
#include "services/queue/public_queue.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>

#include "proto/postfleet/queue/v1/queue.grpc.pb.h"

namespace postfleet::queue {
namespace {

using testing::HasSubstr;

// Answers everything.
class Behind final : public v1::Queue::Service {
 public:
  grpc::Status List(grpc::ServerContext*, const v1::ListRequest* request,
                    v1::ListResponse* response) override {
    response->add_messages()->set_queue_id("after " + request->after_queue_id());
    return grpc::Status::OK;
  }
  grpc::Status Flush(grpc::ServerContext*, const v1::FlushRequest* request,
                     v1::FlushResponse* response) override {
    *response->mutable_missing() = request->queue_ids();
    return grpc::Status::OK;
  }
  grpc::Status Delete(grpc::ServerContext*, const v1::DeleteRequest*,
                      v1::DeleteResponse*) override {
    ++deletions_;
    return grpc::Status::OK;
  }
  grpc::Status Register(grpc::ServerContext*, const v1::RegisterRequest*,
                        v1::RegisterResponse*) override {
    return grpc::Status::OK;
  }
  grpc::Status Stat(grpc::ServerContext*, const v1::StatRequest*, v1::StatResponse*) override {
    return grpc::Status::OK;
  }
  int deletions_ = 0;
};

class PublicQueueTest : public testing::Test {
 protected:
  // Not in TEST_TMPDIR: the path of a socket must be short.
  PublicQueueTest() : folder_("/tmp/public_queue_XXXXXX") {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    grpc::ServerBuilder builder;
    builder.RegisterService(&behind_);
    builder.AddListeningPort("unix:" + folder_ + "/behind", grpc::InsecureServerCredentials());
    server_ = builder.BuildAndStart();
  }
  ~PublicQueueTest() override { std::filesystem::remove_all(folder_); }

  void Serve(PublicQueueOptions options) {
    options.queue_directory = folder_;
    auto serving = PublicQueue::Serve(options, server_->InProcessChannel({}));
    ASSERT_TRUE(serving.ok()) << serving.status();
    serving_ = *std::move(serving);
    stub_ = v1::Queue::NewStub(grpc::CreateChannel("unix:" + folder_ + "/postfleet-public/queue",
                                                   grpc::InsecureChannelCredentials()));
  }
  grpc::Status List(v1::ListResponse* response) {
    grpc::ClientContext context;
    v1::ListRequest request;
    request.set_after_queue_id("Q1");
    return stub_->List(&context, request, response);
  }
  grpc::Status Flush(v1::FlushResponse* response) {
    grpc::ClientContext context;
    v1::FlushRequest request;
    request.add_queue_ids("Q9");
    return stub_->Flush(&context, request, response);
  }

  std::string folder_;
  Behind behind_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<PublicQueue> serving_;
  std::unique_ptr<v1::Queue::Stub> stub_;
};

TEST_F(PublicQueueTest, ListsAndFlushes) {
  Serve({});
  v1::ListResponse list;
  ASSERT_TRUE(List(&list).ok());
  ASSERT_EQ(list.messages_size(), 1);
  EXPECT_EQ(list.messages(0).queue_id(), "after Q1");
  v1::FlushResponse flush;
  ASSERT_TRUE(Flush(&flush).ok());
  ASSERT_EQ(flush.missing_size(), 1);
  EXPECT_EQ(flush.missing(0), "Q9");
}

TEST_F(PublicQueueTest, HasNoOtherPower) {
  Serve({});
  v1::DeleteRequest deletion;
  deletion.add_queue_ids("Q1");
  v1::DeleteResponse deleted;
  grpc::ClientContext one, two, three, four, five, six;
  EXPECT_EQ(stub_->Delete(&one, deletion, &deleted).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(behind_.deletions_, 0);
  v1::RegisterResponse registered;
  EXPECT_EQ(stub_->Register(&two, {}, &registered).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  v1::StatResponse stat;
  EXPECT_EQ(stub_->Stat(&three, {}, &stat).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(stub_->Fetch(&four)->Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(stub_->Enqueue(&five)->Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(stub_->Schedule(&six)->Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(PublicQueueTest, EverybodyMayConnectAndOnlyTheOwnerMayReplaceIt) {
  Serve({});
  struct stat socket, folder;
  ASSERT_EQ(stat((folder_ + "/postfleet-public/queue").c_str(), &socket), 0);
  EXPECT_TRUE(S_ISSOCK(socket.st_mode));
  EXPECT_EQ(socket.st_mode & 07777, 0666u);
  ASSERT_EQ(stat((folder_ + "/postfleet-public").c_str(), &folder), 0);
  EXPECT_EQ(folder.st_mode & 022, 0u);
}

TEST_F(PublicQueueTest, OtherUsersThanAnyoneCloseThatCallAlone) {
  Serve({.queue_directory = {}, .authorized_mailq_users = "root"});
  v1::ListResponse list;
  const grpc::Status status = List(&list);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(), HasSubstr("authorized_mailq_users = root"));
  v1::FlushResponse flush;
  EXPECT_TRUE(Flush(&flush).ok());
}

TEST_F(PublicQueueTest, SocketThatACrashLeftIsReplaced) {
  Serve({});
  std::filesystem::create_directories(folder_ + "/kept");
  std::filesystem::rename(folder_ + "/postfleet-public/queue", folder_ + "/kept/queue");
  serving_.reset();
  std::filesystem::rename(folder_ + "/kept/queue", folder_ + "/postfleet-public/queue");
  Serve({});
  v1::ListResponse list;
  EXPECT_TRUE(List(&list).ok());
}

TEST_F(PublicQueueTest, PathThatIsTooLongIsAnErrorThatSaysWhatToDo) {
  const auto serving = PublicQueue::Serve({.queue_directory = "/" + std::string(90, 'q')},
                                          server_->InProcessChannel({}));
  EXPECT_EQ(serving.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(serving.status().message()), HasSubstr("set a shorter queue_directory"));
}

}  // namespace
}  // namespace postfleet::queue
