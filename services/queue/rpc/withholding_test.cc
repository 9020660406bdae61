#include "services/queue/rpc/withholding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <optional>

#include "services/queue/state/queue_under_test.h"

namespace postfleet::queue {
namespace {

using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::UnorderedElementsAre;

using StillOut = Withholding::StillOut;

// A partition whose holder has all mail. Everything runs on the test's thread but the timers.
class WithholdingTest : public ::testing::Test {
 protected:
  WithholdingTest() : dispatcher_(&queue_.reader(), 0), withholding_(&dispatcher_, &loop_, [] {}) {
    state::Command command;
    command.mutable_open();
    dispatcher_.Open(queue_.Apply(command).open.epoch, 0);
    dispatcher_.AddCredit(100);
  }
  void Give(const std::string& queue_id) {
    dispatcher_.OnEffects(Enqueue(queue_, queue_id));
    ASSERT_TRUE(dispatcher_.Take(queue_.now_ms, 1 << 20).ok());
  }
  void Release(const std::string& queue_id) {
    dispatcher_.OnReleased(queue_id);
    withholding_.OnSettled();
  }
  Withholding::Ready Into(std::optional<StillOut>* out) {
    return [out](const StillOut& still_out) {
      EXPECT_FALSE(out->has_value()) << "called twice";
      *out = still_out;
    };
  }

  QueueUnderTest queue_;
  runtime::EventLoop loop_{"test"};
  Dispatcher dispatcher_;
  Withholding withholding_;
};

constexpr std::chrono::milliseconds kForEver{0};

TEST_F(WithholdingTest, WhatIsNotOutIsReadyAtOnce) {
  std::optional<StillOut> ready;
  withholding_.Begin({"A1", "A2"}, kForEver, Into(&ready));
  EXPECT_THAT(ready, Optional(IsEmpty()));
  EXPECT_EQ(dispatcher_.withheld_messages(), 2u);
  withholding_.End({"A1", "A2"});
  EXPECT_EQ(dispatcher_.withheld_messages(), 0u);
}

TEST_F(WithholdingTest, TheLastReleaseMakesItReady) {
  Give("A1");
  Give("A2");
  std::optional<StillOut> ready;
  withholding_.Begin({"A1", "A2", "A3"}, kForEver, Into(&ready));
  Release("A2");
  EXPECT_FALSE(ready.has_value());
  Release("A1");
  EXPECT_THAT(ready, Optional(IsEmpty()));
}

TEST_F(WithholdingTest, TwoMayWaitForOneMessage) {
  Give("A1");
  std::optional<StillOut> first;
  std::optional<StillOut> second;
  withholding_.Begin({"A1"}, kForEver, Into(&first));
  withholding_.Begin({"A1"}, kForEver, Into(&second));
  Release("A1");
  EXPECT_THAT(first, Optional(IsEmpty()));
  EXPECT_THAT(second, Optional(IsEmpty()));
  withholding_.End({"A1"});
  EXPECT_EQ(dispatcher_.withheld_messages(), 1u);
}

TEST_F(WithholdingTest, CloseTellsWhatIsStillOut) {
  Give("A1");
  std::optional<StillOut> ready;
  withholding_.Begin({"A1", "A2"}, kForEver, Into(&ready));
  withholding_.Close();
  EXPECT_THAT(ready, Optional(UnorderedElementsAre("A1")));
  Release("A1");  // is not told again
  std::optional<StillOut> late;
  withholding_.Begin({"A2"}, kForEver, Into(&late));
  EXPECT_TRUE(late.has_value());
}

TEST_F(WithholdingTest, PatienceEnds) {
  Give("A1");
  std::promise<StillOut> ready;
  withholding_.Begin({"A1"}, std::chrono::milliseconds(1),
                     [&](const StillOut& still_out) { ready.set_value(still_out); });
  loop_.Start();
  EXPECT_THAT(ready.get_future().get(), UnorderedElementsAre("A1"));
  loop_.Stop();
}

}  // namespace
}  // namespace postfleet::queue
