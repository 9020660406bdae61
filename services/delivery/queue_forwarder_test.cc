#include "services/delivery/queue_forwarder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <vector>

#include "libs/submission/fake_services.h"

namespace postfleet::delivery {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// Gives its pieces, then the end or a failure.
class Pieces : public ContentReader {
 public:
  Pieces(runtime::EventLoop& loop, std::vector<std::string> pieces, absl::Status end = {})
      : loop_(loop), pieces_(std::move(pieces)), end_(std::move(end)) {}

  void Next(Done done) override {
    loop_.Post([this, done = std::move(done)] {
      if (next_ == pieces_.size()) return done(end_, {});
      done(absl::OkStatus(), {rpc::OwningSlice(pieces_[next_++])});
    });
  }

 private:
  runtime::EventLoop& loop_;
  const std::vector<std::string> pieces_;
  const absl::Status end_;
  size_t next_ = 0;
};

class QueueForwarderTest : public testing::Test {
 protected:
  QueueForwarderTest() {
    agents_.Start();
    agents_.RunAndWait([this] {
      forwarder_ =
          std::make_unique<QueueForwarder>(agents_, ForwarderOptions{.name = "test",
                                                                     .myhostname = "here.example",
                                                                     .queue = services_.channel(),
                                                                     .clock = &clock_});
    });
  }
  ~QueueForwarderTest() override {
    agents_.RunAndWait([this] { forwarder_.reset(); });
    agents_.Stop();
  }

  struct Answer {
    absl::Status status;
    std::string queue_id;
  };
  std::future<Answer> Submit(std::vector<std::string> pieces, absl::Status end = {}) {
    auto promise = std::make_shared<std::promise<Answer>>();
    agents_.Post([this, promise, pieces = std::move(pieces), end = std::move(end)] {
      ForwardedMail mail;
      mail.envelope.set_sender("from@here.example");
      mail.recipients.emplace_back().set_address("to@there.example");
      mail.header = "Delivered-To: alias@here.example\n";
      mail.contents = std::make_unique<Pieces>(agents_, pieces, end);
      forwarder_->Submit(std::move(mail),
                         [promise](const absl::Status& status, std::string queue_id) {
                           promise->set_value({status, std::move(queue_id)});
                         });
    });
    return promise->get_future();
  }

  submission::FakeServices services_;
  FakeClock clock_;
  runtime::EventLoop agents_{"agents"};
  std::unique_ptr<QueueForwarder> forwarder_;
};

TEST_F(QueueForwarderTest, AMailHasReceivedWithItsNewIdInFrontOfTheCallersFields) {
  const Answer answer = Submit({"Subject: x\n", "\nbody\n"}).get();
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  const auto messages = services_.messages();
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].queue_id, answer.queue_id);
  EXPECT_THAT(messages[0].content,
              StartsWith("Received: by here.example (Postfix)\n\tid " + answer.queue_id + "; "));
  EXPECT_THAT(messages[0].content,
              HasSubstr("\nDelivered-To: alias@here.example\nSubject: x\n\nbody\n"));
  EXPECT_EQ(messages[0].message.content_bytes(), messages[0].content.size());
  EXPECT_EQ(messages[0].message.envelope().sender(), "from@here.example");
  EXPECT_EQ(messages[0].message.envelope().content_lines(), 6u);
  EXPECT_EQ(messages[0].message.envelope().arrival_ms(), clock_.WallMillis());
  EXPECT_EQ(messages[0].message.recipients(0).address(), "to@there.example");
}

TEST_F(QueueForwarderTest, ABigMailGoesInChunksAndArrivesWhole) {
  std::vector<std::string> pieces;
  std::string all;
  for (int i = 0; i < 5; ++i) {
    pieces.emplace_back(QueueForwarder::kChunkBytes - 7, static_cast<char>('a' + i));
    all += pieces.back();
  }
  ASSERT_TRUE(Submit(pieces).get().status.ok());
  const auto messages = services_.messages();
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_THAT(messages[0].content, testing::EndsWith("\n" + all));
}

TEST_F(QueueForwarderTest, NothingIsInTheQueueWhenTheContentsCannotBeRead) {
  const auto status =
      Submit({std::string(QueueForwarder::kChunkBytes, 'x')}, absl::DataLossError("damaged"))
          .get()
          .status;
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_TRUE(services_.messages().empty());
}

TEST_F(QueueForwarderTest, WhatTheQueueDoesNotTakeFails) {
  services_.next_code = queue::v1::EnqueueResult::DISK_FULL;
  const Answer answer = Submit({"Subject: x\n\n"}).get();
  EXPECT_TRUE(absl::IsUnavailable(answer.status)) << answer.status;
  EXPECT_EQ(answer.queue_id, "");
}

}  // namespace
}  // namespace postfleet::delivery
