// What a message goes through while it is out: more of its recipients, recipients that are put off,
// and notices that are owed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/queue/dispatch/partition_under_test.h"

namespace postfleet::queue {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kMinuteMs = 60'000;

DispatchLimits OfTwo() {
  DispatchLimits limits;
  limits.activation_recipients_max = 2;
  return limits;
}

// A1 of five recipients, in pages of two, with a credit of one.
class More : public ::testing::Test {
 protected:
  More() {
    partition.dispatcher.AddCredit(1);
    partition.TakeIds();
  }

  v1::Activation TakeOne() {
    const DispatchBatch batch = partition.Take();
    EXPECT_THAT(batch.activations, SizeIs(1));
    return batch.activations.empty() ? v1::Activation() : batch.activations[0].activation;
  }
  v1::Activation TakeMore() {
    partition.dispatcher.OnMoreWanted("A1");
    return TakeOne();
  }
  void ExpectNoMore() {
    partition.dispatcher.OnMoreWanted("A1");
    EXPECT_THAT(partition.Take().activations, IsEmpty());
  }
  // All five wait, in three jobs, and are due.
  void DeferAll() {
    partition.Enqueue("A1", 5);
    TakeOne();
    partition.Report("A1", {{0, kDeferred}, {1, kDeferred}}, kMinuteMs);
    partition.Report("A1", {{2, kDeferred}, {3, kDeferred}}, kMinuteMs);
    partition.Report("A1", {{4, kDeferred}}, kMinuteMs);
    partition.dispatcher.OnReleased("A1");
    EXPECT_THAT(partition.Take().activations, IsEmpty());
    partition.queue.now_ms += kMinuteMs;
  }

  Partition partition{OfTwo()};
};

TEST_F(More, ComesInPagesWhileTheMessageIsOutAndCostsNoCredit) {
  partition.Enqueue("A1", 5, "hello");
  const v1::Activation first = TakeOne();
  EXPECT_THAT(Numbers(first), ElementsAre(0, 1));
  EXPECT_EQ(first.recipients_left(), 3u);
  EXPECT_EQ(first.payload_bytes(), 5u);
  EXPECT_EQ(partition.dispatcher.credit(), 0u);
  const v1::Activation second = TakeMore();
  EXPECT_THAT(Numbers(second), ElementsAre(2, 3));
  EXPECT_EQ(second.recipients_left(), 1u);
  EXPECT_EQ(second.payload_bytes(), 0u);
  EXPECT_EQ(second.source(), v1::Activation::SOURCE_INCOMING);
  EXPECT_EQ(second.envelope().sender(), "sender@example.org");
  EXPECT_EQ(second.recipients_total(), 5u);
  const v1::Activation third = TakeMore();
  EXPECT_THAT(Numbers(third), ElementsAre(4));
  EXPECT_EQ(third.recipients_left(), 0u);
  ExpectNoMore();
  partition.Report("A1", {{0, kSent}, {1, kSent}, {2, kSent}, {3, kSent}, {4, kSent}});
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  EXPECT_EQ(partition.dispatcher.credit(), 1u);
  EXPECT_EQ(partition.dispatcher.attached_bytes(), 0u);
}

TEST_F(More, ComesOfWhatWasInTheStore) {
  partition.Enqueue("A1", 5);
  partition.Reopen();
  partition.dispatcher.AddCredit(1);
  const v1::Activation first = TakeOne();
  EXPECT_THAT(Numbers(first), ElementsAre(0, 1));
  EXPECT_EQ(first.recipients_left(), 3u);
  EXPECT_THAT(Numbers(TakeMore()), ElementsAre(2, 3));
  EXPECT_THAT(Numbers(TakeMore()), ElementsAre(4));
}

TEST_F(More, ThatIsAskedForTwiceComesOnce) {
  partition.Enqueue("A1", 5);
  TakeOne();
  partition.dispatcher.OnMoreWanted("A1");
  EXPECT_THAT(Numbers(TakeMore()), ElementsAre(2, 3));
}

TEST_F(More, ComesOfNothingThatIsNotOut) {
  partition.dispatcher.OnMoreWanted("A1");
  partition.Enqueue("A1", 5);
  partition.dispatcher.OnMoreWanted("A1");
  EXPECT_THAT(Numbers(TakeOne()), ElementsAre(0, 1)) << "it was not out yet";
  partition.dispatcher.OnMoreWanted("A1");
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(Numbers(TakeOne()), ElementsAre(2, 3)) << "released: the usual page";
}

TEST_F(More, DoesNotComeOfWhatIsRecalled) {
  partition.Enqueue("A1", 5);
  TakeOne();
  partition.dispatcher.OnMoreWanted("A1");
  partition.Hold("A1");
  const DispatchBatch batch = partition.Take();
  EXPECT_THAT(batch.recalled, ElementsAre("A1"));
  EXPECT_THAT(batch.activations, IsEmpty());
  partition.Unhold("A1");
  ExpectNoMore();
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(Numbers(TakeOne()), ElementsAre(2, 3));
}

TEST_F(More, DoesNotComeOfWhatIsDeleted) {
  partition.Enqueue("A1", 5);
  TakeOne();
  partition.dispatcher.OnMoreWanted("A1");
  partition.Tell(Delete(partition.queue, {"A1"}));
  const DispatchBatch batch = partition.Take();
  EXPECT_THAT(batch.deleted, ElementsAre("A1"));
  EXPECT_THAT(batch.activations, IsEmpty());
}

TEST_F(More, ComesOfJobsThatAreDue) {
  DeferAll();
  const v1::Activation first = TakeOne();
  EXPECT_THAT(Numbers(first), ElementsAre(0, 1));
  EXPECT_EQ(first.recipients_left(), 3u);
  EXPECT_EQ(first.source(), v1::Activation::SOURCE_DEFERRED);
  const v1::Activation second = TakeMore();
  EXPECT_THAT(Numbers(second), ElementsAre(2, 3));
  EXPECT_EQ(second.recipients_left(), 1u);
  const v1::Activation third = TakeMore();
  EXPECT_THAT(Numbers(third), ElementsAre(4));
  EXPECT_EQ(third.recipients_left(), 0u);
  ExpectNoMore();
}

TEST_F(More, ComesOfDeferredRecipientsBehindPendingOnes) {
  partition.Enqueue("A1", 3);
  TakeOne();
  partition.Report("A1", {{0, kDeferred}}, kMinuteMs);
  partition.queue.now_ms += kMinuteMs;
  partition.dispatcher.OnReleased("A1");
  const v1::Activation first = TakeOne();
  EXPECT_THAT(Numbers(first), ElementsAre(2, 0));
  EXPECT_EQ(first.recipients_left(), 0u) << "1 got no outcome: the release finds it";
}

TEST_F(More, HasNobodyTwiceWhoIsDeferredWhileOut) {
  DeferAll();
  TakeOne();
  partition.Report("A1", {{0, kDeferred}, {1, kDeferred}}, 0);
  EXPECT_THAT(Numbers(TakeMore()), ElementsAre(2, 3));
  EXPECT_THAT(Numbers(TakeMore()), ElementsAre(4));
  ExpectNoMore();
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(Numbers(TakeOne()), ElementsAre(2, 3)) << "after the release all that is due";
}

TEST_F(More, ComesAlsoWhenTheClockGoesBack) {
  DeferAll();
  const v1::Activation first = TakeOne();
  EXPECT_GT(first.recipients_left(), 0u);
  partition.queue.now_ms -= 60 * kMinuteMs;
  EXPECT_THAT(Numbers(TakeMore()), ElementsAre(2, 3));
  EXPECT_THAT(Numbers(TakeMore()), ElementsAre(4));
}

TEST_F(More, IsSaidToBeLeftWhileThereIsSome) {
  partition.Enqueue("A1", 6);
  TakeOne();
  // Of nobody who is out: no scheduler does that, but the bound has to hold.
  partition.Report("A1", {{5, kSent}});
  const v1::Activation second = TakeMore();
  EXPECT_THAT(Numbers(second), ElementsAre(2, 3));
  EXPECT_GE(second.recipients_left(), 1u);
  const v1::Activation third = TakeMore();
  EXPECT_THAT(Numbers(third), ElementsAre(4));
  EXPECT_EQ(third.recipients_left(), 0u);
}

TEST_F(More, HasNoNoticesThatAreOwed) {
  partition.Enqueue("A1", 5);
  TakeOne();
  partition.Report("A1", {{0, kBounced}});
  const v1::Activation second = TakeMore();
  EXPECT_THAT(Numbers(second), ElementsAre(2, 3));
  EXPECT_EQ(second.bounced_size(), 0);
}

TEST_F(More, OfAFlushedMessageSaysSo) {
  DeferAll();
  partition.queue.now_ms -= kMinuteMs;
  partition.Tell(Flush(partition.queue, {}));
  EXPECT_TRUE(TakeOne().flushed());
  EXPECT_TRUE(TakeMore().flushed());
}

TEST_F(More, OfADamagedMessageIsTold) {
  partition.Enqueue("A1", 5);
  TakeOne();
  rocksdb::WriteOptions write;
  write.disableWAL = true;
  Store& store = partition.queue.store();
  ASSERT_TRUE(store.db()
                  ->Put(write, store.family(Family::kRecipient), NumberedKey("A1", 2), "\xff\xff")
                  .ok());
  partition.dispatcher.OnMoreWanted("A1");
  const DispatchBatch batch = partition.Take();
  EXPECT_THAT(batch.activations, IsEmpty());
  ASSERT_THAT(batch.damaged, SizeIs(1));
  EXPECT_EQ(batch.damaged[0].queue_id, "A1");
}

// ---- Put off

class PutOffTest : public ::testing::Test {
 protected:
  PutOffTest() {
    partition.dispatcher.AddCredit(5);
    partition.TakeIds();
    partition.Enqueue("A1", 2);
    partition.TakeIds();
  }
  void PutOffBoth(int64_t wait_ms) {
    partition.Tell(PutOff(partition.queue, "A1", {0, 1}, partition.queue.now_ms + wait_ms));
    partition.dispatcher.OnReleased("A1");
  }

  Partition partition;
};

TEST_F(PutOffTest, MailIsGivenOutAgainAtItsTime) {
  PutOffBoth(kMinuteMs);
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  EXPECT_EQ(partition.dispatcher.NextDueMs(), partition.queue.now_ms + kMinuteMs);
  partition.queue.now_ms += kMinuteMs - 1;
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  partition.queue.now_ms += 1;
  const DispatchBatch batch = partition.Take();
  ASSERT_THAT(batch.activations, SizeIs(1));
  EXPECT_THAT(Numbers(batch.activations[0].activation), ElementsAre(0, 1));
  EXPECT_EQ(batch.activations[0].activation.source(), v1::Activation::SOURCE_INCOMING)
      << "it was never tried";
}

TEST_F(PutOffTest, MailThatIsDueBeforeItsReleaseIsGivenOutAtOnce) {
  PutOffBoth(0);
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
}

TEST_F(PutOffTest, MailThatWasTriedIsDeferredMail) {
  partition.Report("A1", {{0, kDeferred}, {1, kDeferred}}, kMinuteMs);
  PutOffBoth(2 * kMinuteMs);
  partition.queue.now_ms += kMinuteMs;
  EXPECT_THAT(partition.TakeIds(), IsEmpty()) << "the time of the deferral is past";
  partition.queue.now_ms += kMinuteMs;
  const DispatchBatch batch = partition.Take();
  ASSERT_THAT(batch.activations, SizeIs(1));
  EXPECT_EQ(batch.activations[0].activation.source(), v1::Activation::SOURCE_DEFERRED);
}

TEST_F(PutOffTest, MailIsGivenOutByAFlush) {
  PutOffBoth(kMinuteMs);
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  partition.Tell(Flush(partition.queue, {}));
  const DispatchBatch batch = partition.Take();
  ASSERT_THAT(batch.activations, SizeIs(1));
  EXPECT_TRUE(batch.activations[0].activation.flushed());
}

// ---- Notices of success

TEST(NoticeOfSuccess, IsOwedUntilItsNotifyAlsoInTheNextRound) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.TakeIds();
  partition.Enqueue("A1");
  partition.TakeIds();
  partition.Tell(
      partition.queue.Apply(OweNotices(OutcomeCommand(partition.queue, "A1", {{0, kSent}}))));
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  partition.Reopen();
  partition.dispatcher.AddCredit(5);
  const DispatchBatch batch = partition.Take();
  ASSERT_THAT(batch.activations, SizeIs(1));
  const v1::Activation& activation = batch.activations[0].activation;
  EXPECT_THAT(activation.recipients(), IsEmpty());
  ASSERT_EQ(activation.bounced_size(), 1);
  EXPECT_EQ(activation.bounced(0).outcome().action(), kSent);
  EXPECT_EQ(activation.bounced(0).outcome().success(), mail::v1::Outcome::SUCCESS_RELAYED);
  EXPECT_TRUE(activation.bounced(0).outcome().notice_owed());
  EXPECT_EQ(activation.bounced(0).recipient().address(), "r0@example.com");
  partition.Tell(Notify(partition.queue, "A1", {0}, "B1", "B2"));
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("B1", "B2"));
}

// ---- Messages that rest ----

class Rest : public testing::Test {
 protected:
  // A1 is out, and a notice is owed.
  void SetUp() override {
    partition.dispatcher.AddCredit(1);
    partition.Enqueue("A1");
    EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
    partition.Report("A1", {{0, kBounced}});
  }
  void LetRest() { partition.dispatcher.OnResting("A1", partition.queue.now_ms + kMinuteMs); }

  Partition partition;
};

TEST_F(Rest, GivesItsCreditBackAndComesWhenItsTimeHasCome) {
  LetRest();
  EXPECT_EQ(partition.dispatcher.credit(), 1u);
  EXPECT_EQ(partition.dispatcher.active_messages(), 0u);
  EXPECT_FALSE(partition.dispatcher.IsActive("A1"));
  partition.Enqueue("A2");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A2"));
  partition.Report("A2", {{0, kSent}});
  partition.dispatcher.OnReleased("A2");
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  EXPECT_EQ(partition.dispatcher.NextDueMs(), partition.queue.now_ms + kMinuteMs);
  partition.queue.now_ms += kMinuteMs;
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
  EXPECT_EQ(partition.dispatcher.active_messages(), 1u);
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1")) << "a release is one again";
}

TEST_F(Rest, EndsWithAFlush) {
  LetRest();
  state::Command flush;
  flush.mutable_flush();
  partition.Tell(partition.queue.Apply(flush));
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
}

TEST_F(Rest, EndsWithItsHolder) {
  LetRest();
  partition.Reopen();
  partition.dispatcher.AddCredit(1);
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
}

TEST_F(Rest, OfWhatIsDeletedIsForgotten) {
  LetRest();
  partition.Tell(Delete(partition.queue, {"A1"}));
  partition.queue.now_ms += kMinuteMs;
  const DispatchBatch batch = partition.Take();
  EXPECT_THAT(batch.activations, IsEmpty());
  EXPECT_THAT(batch.deleted, IsEmpty()) << "it was not out";
  EXPECT_EQ(partition.dispatcher.credit(), 1u);
  EXPECT_EQ(partition.dispatcher.NextDueMs(), std::nullopt);
}

TEST_F(Rest, OfWhatIsHeldEndsWithItsRelease) {
  LetRest();
  partition.Hold("A1");
  partition.queue.now_ms += kMinuteMs;
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  partition.Unhold("A1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
}

TEST_F(Rest, OfWhatIsWithheldLastsUntilItsTimeAtLeast) {
  LetRest();
  EXPECT_EQ(partition.dispatcher.Withhold("A1"), Dispatcher::Whereabouts::kFree);
  partition.queue.now_ms += kMinuteMs;
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  partition.dispatcher.Restore("A1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
}

TEST_F(Rest, IsBounded) {
  Partition few({.resting_max = 1});
  few.dispatcher.AddCredit(2);
  few.Enqueue("A1");
  few.Enqueue("A2");
  EXPECT_EQ(few.TakeIds().size(), 2u);
  few.dispatcher.OnResting("A1", few.queue.now_ms + kMinuteMs);
  EXPECT_THAT(few.TakeIds(), IsEmpty());
  few.dispatcher.OnResting("A2", few.queue.now_ms + 2 * kMinuteMs);
  EXPECT_THAT(few.TakeIds(), ElementsAre("A1"));
}

TEST_F(Rest, OfWhatIsNotOutIsNothing) {
  partition.dispatcher.OnResting("B1", 0);
  EXPECT_EQ(partition.dispatcher.credit(), 0u);
}

// ---- Recipients that are not due ----

TEST(Waiting, ComesWithAMessageThatNobodyWasWarnedOf) {
  Partition partition;
  partition.dispatcher.Open(partition.dispatcher.epoch(), 0, /*with_waiting=*/true);
  partition.dispatcher.AddCredit(1);
  partition.Enqueue("A1", 3);
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
  partition.Report("A1", {{0, kDeferred}, {2, kDeferred}}, kMinuteMs);
  partition.Report("A1", {{1, kDeferred}});
  partition.dispatcher.OnReleased("A1");
  const DispatchBatch batch = partition.Take();
  ASSERT_EQ(batch.activations.size(), 1u);
  const v1::Activation& activation = batch.activations[0].activation;
  EXPECT_THAT(Numbers(activation), ElementsAre(1));
  ASSERT_EQ(activation.waiting_size(), 2);
  EXPECT_EQ(activation.waiting(0).recipient().number(), 0u);
  EXPECT_EQ(activation.waiting(0).outcome().action(), mail::v1::Outcome::ACTION_DEFERRED);
  EXPECT_EQ(activation.waiting(1).outcome().recipient_number(), 2u);
  EXPECT_EQ(activation.recipients_left(), 0u);
  state::Command warned;
  v1::Notify& notify = *warned.mutable_outcomes()->add_notifies();
  warned.mutable_outcomes()->set_epoch(partition.dispatcher.epoch());
  notify.set_queue_id("A1");
  notify.set_delay_warning(true);
  partition.Tell(partition.queue.Apply(warned));
  partition.dispatcher.OnReleased("A1");
  const DispatchBatch again = partition.Take();
  ASSERT_EQ(again.activations.size(), 1u);
  EXPECT_EQ(again.activations[0].activation.waiting_size(), 0);
}

TEST(Waiting, DoesNotComeUnasked) {
  Partition partition;
  partition.dispatcher.AddCredit(1);
  partition.Enqueue("A1", 2);
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
  partition.Report("A1", {{0, kDeferred}}, kMinuteMs);
  partition.Report("A1", {{1, kDeferred}});
  partition.dispatcher.OnReleased("A1");
  EXPECT_EQ(partition.Take().activations.at(0).activation.waiting_size(), 0);
}

// A flush that is applied before the deferral does not see it: its job is younger. The holder knows
// of both, and makes it due before the release.
TEST(Flush, BeforeTheDeferralIsAppliedIsMadeGoodByPuttingOff) {
  Partition partition;
  partition.dispatcher.AddCredit(1);
  partition.Enqueue("A1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
  state::Command flush;
  flush.mutable_flush();
  partition.Tell(partition.queue.Apply(flush));
  EXPECT_TRUE(partition.Take().flushed);
  partition.Report("A1", {{0, kDeferred}}, kMinuteMs);
  state::Command due;
  due.mutable_outcomes()->set_epoch(partition.dispatcher.epoch());
  v1::PutOff& put_off = *due.mutable_outcomes()->add_put_offs();
  put_off.set_queue_id("A1");
  put_off.add_recipient_numbers(0);
  put_off.set_retry_at_ms(partition.queue.now_ms);
  partition.Tell(partition.queue.Apply(due));
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
}

}  // namespace
}  // namespace postfleet::queue
