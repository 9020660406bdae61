#include "libs/submission/enqueue_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <vector>

#include "libs/base/clock.h"
#include "libs/runtime/event_loop.h"
#include "libs/submission/fake_services.h"

namespace postfleet::submission {
namespace {

using queue::v1::EnqueueResult;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::chrono::milliseconds kResendMax{5000};

// Keeps the answers.
class Client : public Requester {
 public:
  void OnFlushed(bool) override {}
  void OnEnqueued(const std::string&, bool, EnqueueResult::Code code) override {
    {
      std::lock_guard lock(mutex_);
      codes_.push_back(code);
    }
    changed_.notify_all();
  }
  std::vector<EnqueueResult::Code> codes() {
    std::lock_guard lock(mutex_);
    return codes_;
  }
  EnqueueResult::Code WaitForAnswer() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !codes_.empty(); });
    return codes_.front();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<EnqueueResult::Code> codes_;
};

class EnqueueClientTest : public testing::Test {
 protected:
  EnqueueClientTest()
      : enqueue_(loop_,
                 {.name = "test",
                  .channel = services_.channel(),
                  .clock = &clock_,
                  .resend_max = kResendMax,
                  .on_change = [this] { OnChange(); }},
                 budget_) {
    loop_.Start();
    loop_.RunAndWait([this] { enqueue_.Start(); });
    ComeBack();
  }
  ~EnqueueClientTest() override {
    enqueue_.Stop();
    loop_.Stop();
  }

  void OnChange() {
    {
      std::lock_guard lock(mutex_);
      connected_ = enqueue_.connected();
    }
    changed_.notify_all();
  }
  void WaitForLink(bool connected) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return connected_ == connected; });
  }
  void GoAway() {
    services_.queue_away = true;
    services_.CutEnqueueStreams();
    WaitForLink(false);
  }
  void ComeBack() {
    services_.queue_away = false;
    WaitForLink(true);
    services_.WaitForEnqueueStreams(++streams_);
  }
  std::shared_ptr<Client> Send() {
    auto client = std::make_shared<Client>();
    loop_.RunAndWait([&] {
      queue::v1::Submission submission;
      submission.set_queue_id(enqueue_.NextQueueId());
      submission.mutable_message();
      enqueue_.Send(std::move(submission), "", client);
    });
    return client;
  }
  // The clock is the loop's: it moves there.
  void Pass(std::chrono::milliseconds time) {
    loop_.RunAndWait([&] {
      clock_.AdvanceMillis(time.count());
      enqueue_.GiveUpOld();
    });
  }

  FakeServices services_;
  FakeClock clock_;
  runtime::EventLoop loop_{"test"};
  BufferBudget budget_{1 << 20};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool connected_ = false;
  int streams_ = 0;
  EnqueueClient enqueue_;
};

TEST_F(EnqueueClientTest, TheQueueIsToldAgainUnderTheSameIdAndAnswersOnce) {
  services_.hold_results = true;
  const auto client = Send();
  const queue::v1::SubmissionId first = services_.WaitForSubmission();
  GoAway();
  Pass(kResendMax - std::chrono::milliseconds(1));
  EXPECT_THAT(client->codes(), IsEmpty());
  ComeBack();
  const queue::v1::SubmissionId second = services_.WaitForSubmission();
  EXPECT_EQ(first.sequence(), second.sequence());
  EXPECT_EQ(first.incarnation(), second.incarnation());
  services_.Release();
  EXPECT_EQ(client->WaitForAnswer(), EnqueueResult::COMMITTED);
  EXPECT_THAT(client->codes(), ElementsAre(EnqueueResult::COMMITTED));
}

TEST_F(EnqueueClientTest, AQueueThatStaysAwayFailsWhatWaitsForItAfterTheLimit) {
  services_.hold_results = true;
  const auto told = Send();
  services_.WaitForSubmission();
  GoAway();
  Pass(std::chrono::milliseconds(1000));
  const auto untold = Send();
  Pass(kResendMax - std::chrono::milliseconds(1001));
  EXPECT_THAT(told->codes(), IsEmpty());
  Pass(std::chrono::milliseconds(1));
  EXPECT_THAT(told->codes(), ElementsAre(EnqueueResult::FAILED));
  EXPECT_THAT(untold->codes(), IsEmpty());
  Pass(std::chrono::milliseconds(1000));
  EXPECT_THAT(untold->codes(), ElementsAre(EnqueueResult::FAILED));
}

TEST_F(EnqueueClientTest, WhatWasGivenUpIsNotSentLater) {
  GoAway();
  const auto given_up = Send();
  Pass(kResendMax);
  EXPECT_THAT(given_up->codes(), ElementsAre(EnqueueResult::FAILED));
  ComeBack();
  const auto client = Send();
  EXPECT_EQ(client->WaitForAnswer(), EnqueueResult::COMMITTED);
  EXPECT_EQ(services_.messages().size(), 1u);
  EXPECT_EQ(budget_.bytes(), 0u);
}

TEST_F(EnqueueClientTest, AStreamThatComesAndGoesIsNoReasonToWaitLonger) {
  services_.hold_results = true;
  const auto client = Send();
  services_.WaitForSubmission();
  GoAway();
  ComeBack();
  Pass(kResendMax);
  EXPECT_THAT(client->codes(), IsEmpty());
  GoAway();
  EXPECT_THAT(client->codes(), ElementsAre(EnqueueResult::FAILED));
}

TEST_F(EnqueueClientTest, AQueueIsBehindUntilItSaysNothingOfItOrNothingAtAll) {
  const auto is_behind = [&] {
    bool behind = false;
    loop_.RunAndWait([&] { behind = enqueue_.behind(); });
    return behind;
  };
  Send()->WaitForAnswer();
  EXPECT_FALSE(is_behind());
  services_.queue_behind = true;
  Send()->WaitForAnswer();
  EXPECT_TRUE(is_behind());
  Pass(EnqueueClient::kBehindAgeMax);
  EXPECT_FALSE(is_behind());
  Send()->WaitForAnswer();
  EXPECT_TRUE(is_behind());
  services_.queue_behind = false;
  Send()->WaitForAnswer();
  EXPECT_FALSE(is_behind());
}

TEST_F(EnqueueClientTest, NothingIsSentWhileTheQueueAsksToWait) {
  services_.queue_wait = true;
  Send()->WaitForAnswer();
  const auto first = Send();
  const auto second = Send();
  services_.SendFlags();
  loop_.RunAndWait([] {});
  EXPECT_EQ(services_.messages().size(), 1u);
  EXPECT_THAT(first->codes(), IsEmpty());
  services_.queue_wait = false;
  services_.SendFlags();
  EXPECT_EQ(first->WaitForAnswer(), EnqueueResult::COMMITTED);
  EXPECT_EQ(second->WaitForAnswer(), EnqueueResult::COMMITTED);
}

TEST_F(EnqueueClientTest, TheWishOfAQueueThatWentIsForgotten) {
  services_.queue_wait = true;
  Send()->WaitForAnswer();
  const auto client = Send();
  GoAway();
  services_.queue_wait = false;
  ComeBack();
  EXPECT_EQ(client->WaitForAnswer(), EnqueueResult::COMMITTED);
}

TEST_F(EnqueueClientTest, ASlowQueueThatIsThereIsWaitedFor) {
  services_.hold_results = true;
  const auto client = Send();
  services_.WaitForSubmission();
  GoAway();
  ComeBack();
  Pass(10 * kResendMax);
  EXPECT_THAT(client->codes(), IsEmpty());
  services_.Release();
  EXPECT_EQ(client->WaitForAnswer(), EnqueueResult::COMMITTED);
}

}  // namespace
}  // namespace postfleet::submission
