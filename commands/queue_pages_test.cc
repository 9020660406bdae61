#include "commands/queue_pages.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <thread>

#include "libs/base/concat.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

constexpr std::chrono::seconds kWaitMax{30};

// Has pages for ever; the second one may be slow.
class EndlessQueue final : public v1::Queue::Service {
 public:
  grpc::Status List(grpc::ServerContext* context, const v1::ListRequest* request,
                    v1::ListResponse* response) override {
    response->set_more(true);
    response->set_next_queue_id(request->after_queue_id() + "Q");
    response->add_messages()->set_queue_id(response->next_queue_id());
    limits_.push_back(request->limit());
    if (request->after_queue_id() != "Q") return grpc::Status::OK;
    second_asked_.set_value();
    while (second_is_slow_ && !context->IsCancelled()) std::this_thread::yield();
    if (context->IsCancelled()) second_cancelled_.set_value();
    return grpc::Status::OK;
  }
  bool second_is_slow_ = false;
  std::vector<uint32_t> limits_;
  std::promise<void> second_asked_, second_cancelled_;
};

class QueuePagesTest : public testing::Test {
 protected:
  QueuePagesTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&queue_);
    server_ = builder.BuildAndStart();
    client_ = std::make_unique<QueueClient>(OpenChannel(Concat("127.0.0.1:", port)));
  }

  EndlessQueue queue_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<QueueClient> client_;
};

TEST_F(QueuePagesTest, TheNextPageIsAskedForWhileThePresentOneIsLookedAt) {
  QueuePages pages(*client_, {});
  const auto first = pages.Next();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ((*first)->messages(0).queue_id(), "Q");
  EXPECT_EQ(queue_.second_asked_.get_future().wait_for(kWaitMax), std::future_status::ready);
  EXPECT_EQ((*first)->messages(0).queue_id(), "Q") << "a page is valid until the next call";
  const auto second = pages.Next();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ((*second)->messages(0).queue_id(), "QQ");
}

TEST_F(QueuePagesTest, WhatIsUnderWayAtTheEndIsCancelled) {
  queue_.second_is_slow_ = true;
  {
    QueuePages pages(*client_, {});
    ASSERT_TRUE(pages.Next().ok());
    ASSERT_EQ(queue_.second_asked_.get_future().wait_for(kWaitMax), std::future_status::ready);
  }
  EXPECT_EQ(queue_.second_cancelled_.get_future().wait_for(kWaitMax), std::future_status::ready);
}

TEST_F(QueuePagesTest, TheFirstPageIsSmallToBeShownSoon) {
  {
    QueuePages pages(*client_, {});
    ASSERT_TRUE(pages.Next().ok());
    ASSERT_TRUE(pages.Next().ok());
  }
  server_->Shutdown();
  ASSERT_GE(queue_.limits_.size(), 2u);
  EXPECT_EQ(queue_.limits_[0], kFirstPageMessages);
  EXPECT_EQ(queue_.limits_[1], kPageMessages);
}

}  // namespace
}  // namespace postfleet::commands
