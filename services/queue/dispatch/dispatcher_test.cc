#include "services/queue/dispatch/dispatcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "libs/base/concat.h"
#include "services/queue/dispatch/partition_under_test.h"

namespace postfleet::queue {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kMinuteMs = 60'000;

TEST(Dispatcher, NewMailGoesOutFromTheEffectsWithItsContents) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.TakeIds();
  partition.Enqueue("A1", 2, "hello");
  const DispatchBatch batch = partition.Take();
  ASSERT_THAT(batch.activations, SizeIs(1));
  const v1::Activation& activation = batch.activations[0].activation;
  EXPECT_EQ(activation.queue_id(), "A1");
  EXPECT_EQ(activation.source(), v1::Activation::SOURCE_INCOMING);
  EXPECT_THAT(Numbers(activation), ElementsAre(0, 1));
  EXPECT_EQ(activation.recipients(1).address(), "r1@example.com");
  EXPECT_EQ(activation.payload_bytes(), 5u);
  EXPECT_EQ(PayloadText(batch.activations[0].payload), "hello");
  EXPECT_TRUE(partition.dispatcher.IsActive("A1"));
  EXPECT_EQ(partition.dispatcher.credit(), 4u);
}

TEST(Dispatcher, WhatWasInTheStoreGoesOutInOrderWithItsContents) {
  Partition partition;
  for (const char* id : {"B1", "A1", "C1"}) partition.Enqueue(id, 1, "hello");
  partition.dispatcher.AddCredit(2);
  const DispatchBatch batch = partition.Take();
  ASSERT_THAT(batch.activations, SizeIs(2));
  EXPECT_EQ(batch.activations[0].activation.queue_id(), "B1");
  EXPECT_EQ(batch.activations[1].activation.queue_id(), "A1");
  EXPECT_EQ(PayloadText(batch.activations[0].payload), "hello");
  EXPECT_THAT(partition.TakeIds(), IsEmpty()) << "no credit";
  partition.dispatcher.AddCredit(1);
  EXPECT_THAT(partition.TakeIds(), ElementsAre("C1"));
}

TEST(Dispatcher, MailThatCameWithoutCreditKeepsItsPlace) {
  Partition partition;
  partition.dispatcher.AddCredit(1);
  partition.TakeIds();
  for (const char* id : {"A1", "A2", "A3"}) partition.Enqueue(id);
  partition.dispatcher.AddCredit(1);
  partition.Enqueue("A4");
  partition.dispatcher.AddCredit(5);
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1", "A2", "A3", "A4"));
}

TEST(Dispatcher, ANewHolderGetsEverythingAgain) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.TakeIds();
  partition.Enqueue("A1");
  partition.Enqueue("A2");
  partition.TakeIds();
  partition.Report("A2", {{0, kDeferred}}, -1);
  partition.Reopen();
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  partition.dispatcher.AddCredit(5);
  EXPECT_THAT(partition.TakeIds(), ::testing::UnorderedElementsAre("A1", "A2"));
}

TEST(Dispatcher, DeferredMailGoesOutWhenItIsDue) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.Enqueue("A1");
  partition.TakeIds();
  partition.Report("A1", {{0, kDeferred}}, kMinuteMs);
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  EXPECT_EQ(partition.dispatcher.NextDueMs(), partition.queue.now_ms + kMinuteMs);
  partition.queue.now_ms += kMinuteMs;
  const DispatchBatch batch = partition.Take();
  ASSERT_THAT(batch.activations, SizeIs(1));
  EXPECT_EQ(batch.activations[0].activation.source(), v1::Activation::SOURCE_DEFERRED);
  EXPECT_EQ(batch.activations[0].activation.payload_bytes(), 0u);
}

TEST(Dispatcher, WithoutCreditNothingIsDue) {
  Partition partition;
  partition.dispatcher.AddCredit(1);
  partition.Enqueue("A1");
  partition.TakeIds();
  partition.Report("A1", {{0, kDeferred}}, 1'000);
  partition.dispatcher.OnReleased("A1");
  partition.Enqueue("A2");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A2"));
  partition.queue.now_ms += 1'000;
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  EXPECT_FALSE(partition.dispatcher.NextDueMs().has_value()) << "its time would never be over";
  partition.dispatcher.AddCredit(1);
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
}

TEST(Dispatcher, AJobThatIsDueBeforeOthersIsNotPassedOver) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  for (const char* id : {"A0", "A1", "A2"}) partition.Enqueue(id);
  partition.TakeIds();
  partition.Report("A0", {{0, kDeferred}}, 1'000);
  partition.dispatcher.OnReleased("A0");
  partition.Report("A1", {{0, kDeferred}}, 10 * kMinuteMs);
  partition.dispatcher.OnReleased("A1");
  partition.TakeIds();
  partition.queue.now_ms += 1'000;
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A0"));
  partition.Report("A2", {{0, kDeferred}}, kMinuteMs);
  partition.dispatcher.OnReleased("A2");
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  EXPECT_EQ(partition.dispatcher.NextDueMs(), partition.queue.now_ms + kMinuteMs);
  partition.queue.now_ms += kMinuteMs;
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A2"));
}

TEST(Dispatcher, DueJobsOfOneMessageGoOutTogether) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.Enqueue("A1", 3);
  partition.TakeIds();
  partition.Report("A1", {{0, kDeferred}}, 1'000);
  partition.Report("A1", {{1, kDeferred}}, 2'000);
  partition.Report("A1", {{2, kDeferred}}, kMinuteMs);
  partition.dispatcher.OnReleased("A1");
  partition.TakeIds();
  partition.queue.now_ms += 2'000;
  const DispatchBatch batch = partition.Take();
  ASSERT_THAT(batch.activations, SizeIs(1));
  EXPECT_THAT(Numbers(batch.activations[0].activation), ElementsAre(0, 1));
}

TEST(Dispatcher, AJobThatBecomesDueWhileItsMessageIsOutGoesOutAfterTheRelease) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.Enqueue("A1", 2);
  partition.TakeIds();
  partition.Report("A1", {{0, kDeferred}}, 1'000);
  partition.queue.now_ms += 1'000;
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  partition.Report("A1", {{1, kSent}});
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
}

TEST(Dispatcher, NewAndDeferredMailGoInTurn) {
  Partition partition;
  partition.dispatcher.AddCredit(100);
  for (int i = 0; i < 4; ++i) partition.Enqueue(Concat("D", i));
  partition.TakeIds();
  for (int i = 0; i < 4; ++i) {
    partition.Report(Concat("D", i), {{0, kDeferred}}, 1'000 + i);
    partition.dispatcher.OnReleased(Concat("D", i));
  }
  partition.TakeIds();
  for (int i = 0; i < 4; ++i) partition.Enqueue(Concat("N", i));
  partition.queue.now_ms += kMinuteMs;
  const std::vector<std::string> ids = partition.TakeIds();
  ASSERT_THAT(ids, SizeIs(8));
  for (size_t i = 1; i < ids.size(); ++i) EXPECT_NE(ids[i][0], ids[i - 1][0]);
}

TEST(Dispatcher, AFlushMakesAllThatWaitsDue) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.Enqueue("A1");
  partition.Enqueue("A2");
  partition.TakeIds();
  partition.Report("A1", {{0, kDeferred}}, kMinuteMs);
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  partition.Tell(Flush(partition.queue, {}));
  DispatchBatch batch = partition.Take();
  EXPECT_TRUE(batch.flushed);
  ASSERT_THAT(batch.activations, SizeIs(1));
  EXPECT_TRUE(batch.activations[0].activation.flushed());
  // Deferred again, after the flush: waits for its time.
  partition.Report("A1", {{0, kDeferred}}, kMinuteMs);
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
}

TEST(Dispatcher, OnlyTheAttemptAfterAFlushIsMarkedAsFlushed) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.Enqueue("A1");
  EXPECT_FALSE(partition.Take().activations.at(0).activation.flushed());
  partition.Report("A1", {{0, kDeferred}}, kMinuteMs);
  partition.dispatcher.OnReleased("A1");
  partition.Tell(Flush(partition.queue, {"A1"}));
  EXPECT_TRUE(partition.Take().activations.at(0).activation.flushed());
  partition.Report("A1", {{0, kDeferred}}, kMinuteMs);
  partition.dispatcher.OnReleased("A1");
  partition.queue.now_ms += kMinuteMs;
  EXPECT_FALSE(partition.Take().activations.at(0).activation.flushed());
}

TEST(Dispatcher, AFlushOutlivesTheHolder) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.Enqueue("A1");
  partition.TakeIds();
  partition.Report("A1", {{0, kDeferred}}, kMinuteMs);
  partition.Tell(Flush(partition.queue, {}));
  partition.Reopen();
  partition.dispatcher.AddCredit(5);
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
}

TEST(Dispatcher, AFlushWhileOutCountsAfterTheRelease) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.Enqueue("A1", 2);
  partition.TakeIds();
  partition.Report("A1", {{0, kDeferred}}, kMinuteMs);
  partition.Tell(Flush(partition.queue, {}));
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  partition.Report("A1", {{1, kSent}});
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
}

TEST(Dispatcher, AFlushOfOneMessageGivesOnlyThat) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  for (const char* id : {"A1", "A2"}) {
    partition.Enqueue(id);
    partition.TakeIds();
    partition.Report(id, {{0, kDeferred}}, kMinuteMs);
    partition.dispatcher.OnReleased(id);
  }
  partition.TakeIds();
  partition.Tell(Flush(partition.queue, {"A2"}));
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A2"));
}

TEST(Dispatcher, ABouncedRecipientIsGivenOutUntilItsNotice) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.Enqueue("A1");
  partition.TakeIds();
  partition.Report("A1", {{0, kBounced}});
  partition.dispatcher.OnReleased("A1");
  const DispatchBatch batch = partition.Take();
  ASSERT_THAT(batch.activations, SizeIs(1));
  const v1::Activation& activation = batch.activations[0].activation;
  EXPECT_THAT(activation.recipients(), IsEmpty());
  ASSERT_EQ(activation.bounced_size(), 1);
  EXPECT_EQ(activation.bounced(0).outcome().text(), "attempt for 0");
  EXPECT_EQ(activation.bounced(0).recipient().address(), "r0@example.com");
  partition.Tell(Notify(partition.queue, "A1", {0}, "B1"));
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("B1"));
}

TEST(Dispatcher, ABounceThatComesAfterTheReleaseIsGivenOut) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.Enqueue("A1");
  partition.TakeIds();
  partition.Report("A1", {{0, kDeferred}}, kMinuteMs);
  partition.dispatcher.OnReleased("A1");
  partition.TakeIds();
  partition.Report("A1", {{0, kBounced}});
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
}

TEST(Dispatcher, ManyRecipientsComeInPages) {
  DispatchLimits limits;
  limits.activation_recipients_max = 2;
  Partition partition(limits);
  partition.dispatcher.AddCredit(5);
  partition.TakeIds();
  partition.Enqueue("A1", 5);
  EXPECT_THAT(Numbers(partition.Take().activations.at(0).activation), ElementsAre(0, 1));
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  partition.Report("A1", {{0, kSent}});
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(Numbers(partition.Take().activations.at(0).activation), ElementsAre(2, 3));
  partition.Report("A1", {{2, kSent}, {3, kSent}});
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(Numbers(partition.Take().activations.at(0).activation), ElementsAre(4));
  partition.Report("A1", {{4, kSent}});
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(Numbers(partition.Take().activations.at(0).activation), ElementsAre(1))
      << "it got no outcome";
}

TEST(Dispatcher, MessagesComeWithFewRecipientsWhileManyAreOut) {
  DispatchLimits limits;
  limits.activation_recipients_max = 4;
  limits.recipients_out_max = 6;
  limits.activation_recipients_min = 1;
  Partition partition(limits);
  partition.dispatcher.AddCredit(9);
  partition.TakeIds();
  const auto given = [&](const char* queue_id) {
    partition.Enqueue(queue_id, 4);
    const auto activation = partition.Take().activations.at(0).activation;
    EXPECT_EQ(activation.recipients_size() + activation.recipients_left(), 4u);
    return activation.recipients_size();
  };
  EXPECT_EQ(given("A1"), 4);
  EXPECT_EQ(given("A2"), 4);
  EXPECT_EQ(given("A3"), 1) << "8 are out";
  partition.Report("A1", {{0, kSent}, {1, kSent}, {2, kSent}, {3, kSent}});
  partition.dispatcher.OnReleased("A1");
  partition.Take();
  EXPECT_EQ(given("A4"), 4) << "5 were out";
}

TEST(Dispatcher, AFlushOfOneMessageRevivesNothingElse) {
  Partition partition;
  partition.dispatcher.AddCredit(2);
  partition.Enqueue("A1");
  partition.TakeIds();
  partition.Report("A1", {{0, kDeferred}}, kMinuteMs);
  partition.dispatcher.OnReleased("A1");
  partition.TakeIds();
  partition.Tell(Flush(partition.queue, {"A1"}));
  const DispatchBatch batch = partition.Take();
  ASSERT_EQ(batch.activations.size(), 1u);
  EXPECT_TRUE(batch.activations[0].activation.flushed());
  EXPECT_FALSE(batch.flushed);
}

TEST(Dispatcher, ADeletedMessageIsToldToItsHolderOnly) {
  Partition partition;
  partition.dispatcher.AddCredit(2);
  partition.TakeIds();
  partition.Enqueue("A1");
  partition.TakeIds();
  partition.Enqueue("A2");
  partition.Tell(Delete(partition.queue, {"A1", "A2"}));
  const DispatchBatch batch = partition.Take();
  EXPECT_THAT(batch.deleted, ElementsAre("A1"));
  EXPECT_THAT(batch.activations, IsEmpty());
  EXPECT_FALSE(partition.dispatcher.IsActive("A1"));
  EXPECT_EQ(partition.dispatcher.credit(), 1u);
  partition.dispatcher.OnReleased("A1");
  EXPECT_EQ(partition.dispatcher.credit(), 2u);
  EXPECT_EQ(partition.dispatcher.attached_bytes(), 0u);
}

TEST(Dispatcher, OnlyOutMessagesGiveCreditBackAndOnlyOnce) {
  Partition partition;
  partition.dispatcher.AddCredit(1);
  partition.Enqueue("A1");
  partition.TakeIds();
  partition.Report("A1", {{0, kSent}});
  partition.dispatcher.OnReleased("A1");
  partition.dispatcher.OnReleased("A1");
  partition.dispatcher.OnReleased("never");
  EXPECT_EQ(partition.dispatcher.credit(), 1u);
}

TEST(Dispatcher, ContentsStayBehindPastTheBounds) {
  DispatchLimits limits;
  limits.attached_message_bytes_max = 10;
  limits.attached_body_bytes_max = 15;
  Partition partition(limits);
  partition.dispatcher.AddCredit(9);
  partition.TakeIds();
  partition.Enqueue("A1", 1, std::string(11, 'x'));
  partition.Enqueue("A2", 1, std::string(10, 'x'));
  partition.Enqueue("A3", 1, std::string(10, 'x'));
  const DispatchBatch batch = partition.Take();
  ASSERT_THAT(batch.activations, SizeIs(3));
  EXPECT_EQ(batch.activations[0].activation.payload_bytes(), 0u);
  EXPECT_EQ(batch.activations[1].activation.payload_bytes(), 10u);
  EXPECT_EQ(batch.activations[2].activation.payload_bytes(), 0u);
  partition.Report("A2", {{0, kSent}});
  partition.dispatcher.OnReleased("A2");
  partition.Enqueue("A4", 1, std::string(10, 'x'));
  EXPECT_EQ(partition.Take().activations.at(0).activation.payload_bytes(), 10u);
}

TEST(Dispatcher, ABatchEndsAtItsBudget) {
  Partition partition;
  partition.dispatcher.AddCredit(9);
  for (const char* id : {"A1", "A2", "A3"}) partition.Enqueue(id, 1, std::string(1'000, 'x'));
  DispatchBatch batch = partition.Take(1'500);
  EXPECT_THAT(batch.activations, SizeIs(2));
  EXPECT_TRUE(batch.more);
  batch = partition.Take(1'500);
  EXPECT_THAT(batch.activations, SizeIs(1));
  EXPECT_FALSE(batch.more);
}

TEST(Dispatcher, AHeldMessageIsRecalledOnceAndStaysAfterItsRelease) {
  Partition partition;
  partition.dispatcher.AddCredit(2);
  partition.Enqueue("A1");
  partition.TakeIds();
  partition.Hold("A1");
  EXPECT_FALSE(partition.dispatcher.IsActive("A1"));
  EXPECT_EQ(partition.dispatcher.active_messages(), 0u);
  EXPECT_THAT(partition.Take().recalled, ElementsAre("A1"));
  partition.Unhold("A1");
  EXPECT_TRUE(partition.dispatcher.IsActive("A1"));
  partition.Hold("A1");
  EXPECT_THAT(partition.Take().recalled, IsEmpty()) << "it was told";
  partition.dispatcher.OnReleased("A1");
  EXPECT_EQ(partition.dispatcher.credit(), 2u);
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  partition.Unhold("A1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
  EXPECT_TRUE(partition.dispatcher.IsActive("A1"));
}

TEST(Dispatcher, AMessageThatIsReleasedFromHoldWhileOutIsGivenOutAgain) {
  Partition partition;
  partition.dispatcher.AddCredit(2);
  partition.Enqueue("A1");
  partition.TakeIds();
  partition.Hold("A1");
  partition.TakeIds();
  partition.Unhold("A1");
  EXPECT_THAT(partition.TakeIds(), IsEmpty()) << "it is still out";
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
}

TEST(Dispatcher, AFreshMessageThatIsHeldIsDroppedWithItsCredit) {
  Partition partition;
  partition.dispatcher.AddCredit(2);
  partition.TakeIds();
  partition.Enqueue("A1");
  partition.Enqueue("A2");
  partition.Hold("A1");
  EXPECT_EQ(partition.dispatcher.credit(), 1u);
  const DispatchBatch batch = partition.Take();
  EXPECT_THAT(batch.recalled, IsEmpty());
  ASSERT_THAT(batch.activations, SizeIs(1));
  EXPECT_EQ(batch.activations[0].activation.queue_id(), "A2");
  EXPECT_EQ(partition.dispatcher.attached_bytes(), std::string("contents").size());
}

TEST(Dispatcher, AHeldMessageThatWaitsForItsSecondLookStays) {
  Partition partition;
  partition.dispatcher.AddCredit(1);
  partition.Enqueue("A1");
  partition.TakeIds();
  partition.dispatcher.OnReleased("A1");
  partition.Hold("A1");
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  EXPECT_EQ(partition.dispatcher.active_messages(), 0u);
}

TEST(Dispatcher, AWithheldMessageIsNotGivenOutUntilItIsRestored) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  EXPECT_EQ(partition.dispatcher.Withhold("A1"), Dispatcher::Whereabouts::kFree);
  partition.Enqueue("A1");
  partition.Reopen();
  partition.dispatcher.AddCredit(5);
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  partition.dispatcher.Withhold("A1");
  partition.dispatcher.Restore("A1");
  EXPECT_THAT(partition.TakeIds(), IsEmpty()) << "it is withheld by another one";
  partition.dispatcher.Restore("A1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
  EXPECT_EQ(partition.dispatcher.withheld_messages(), 0u);
}

TEST(Dispatcher, NewMailThatIsWithheldIsDroppedWithItsCredit) {
  Partition partition;
  partition.dispatcher.AddCredit(1);
  partition.TakeIds();
  partition.Enqueue("A1");
  EXPECT_EQ(partition.dispatcher.Withhold("A1"), Dispatcher::Whereabouts::kFree);
  EXPECT_EQ(partition.dispatcher.credit(), 1u);
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  partition.dispatcher.Restore("A1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
}

TEST(Dispatcher, AnOutMessageThatIsWithheldIsRecalledAndSettledByItsRelease) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.Enqueue("A1");
  partition.TakeIds();
  EXPECT_EQ(partition.dispatcher.Withhold("A1"), Dispatcher::Whereabouts::kOut);
  EXPECT_THAT(partition.Take().recalled, ElementsAre("A1"));
  EXPECT_THAT(partition.dispatcher.TakeSettled(), IsEmpty());
  partition.dispatcher.OnReleased("A1");
  EXPECT_THAT(partition.dispatcher.TakeSettled(), ElementsAre("A1"));
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  const Effects& effects = partition.Act(v1::ACTION_REQUEUE, {"A1"});
  ASSERT_THAT(effects.new_queue_ids, SizeIs(1));
  const std::string new_id = effects.new_queue_ids[0];
  partition.dispatcher.Restore("A1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre(new_id));
}

TEST(Dispatcher, AWithheldMessageIsSettledByItsEnd) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  for (const char* id : {"A1", "A2", "A3"}) partition.Enqueue(id);
  partition.TakeIds();
  for (const char* id : {"A1", "A2", "A3"}) partition.dispatcher.Withhold(id);
  partition.Report("A1", {{0, kSent}});
  EXPECT_THAT(partition.dispatcher.TakeSettled(), ElementsAre("A1"));
  partition.Tell(Delete(partition.queue, {"A2"}));
  EXPECT_THAT(partition.dispatcher.TakeSettled(), ElementsAre("A2"));
  partition.dispatcher.Close();
  EXPECT_THAT(partition.dispatcher.TakeSettled(), ElementsAre("A3"));
  for (const char* id : {"A1", "A2", "A3"}) partition.dispatcher.Restore(id);
  EXPECT_EQ(partition.dispatcher.withheld_messages(), 0u);
}

TEST(Dispatcher, RestoringTooManyReadsTheIndexesAgain) {
  DispatchLimits limits;
  limits.restored_max = 2;
  Partition partition(limits);
  for (int i = 0; i < 6; ++i) partition.Enqueue(Concat("A", i));
  for (int i = 0; i < 5; ++i) partition.dispatcher.Withhold(Concat("A", i));
  partition.dispatcher.AddCredit(9);
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A5"));
  for (int i = 0; i < 5; ++i) partition.dispatcher.Restore(Concat("A", i));
  EXPECT_THAT(partition.TakeIds(), ::testing::UnorderedElementsAre("A0", "A1", "A2", "A3", "A4"));
}

TEST(Dispatcher, APurgeLeavesNothingToGiveOutAndNewMailGoesOn) {
  Partition partition;
  partition.dispatcher.AddCredit(3);
  for (const char* id : {"A1", "A2", "A3", "A4"}) partition.Enqueue(id);
  partition.TakeIds();
  partition.dispatcher.OnReleased("A3");
  partition.dispatcher.Withhold("A2");
  partition.Purge();
  EXPECT_THAT(partition.dispatcher.TakeSettled(), ElementsAre("A2"));
  const DispatchBatch batch = partition.Take();
  EXPECT_THAT(batch.deleted, ::testing::UnorderedElementsAre("A1", "A2"));
  EXPECT_THAT(batch.activations, IsEmpty());
  EXPECT_EQ(partition.dispatcher.active_messages(), 0u);
  partition.Enqueue("B1");
  EXPECT_THAT(partition.TakeIds(), ElementsAre("B1"));
  partition.dispatcher.OnReleased("A1");
  partition.dispatcher.OnReleased("A2");
  EXPECT_EQ(partition.dispatcher.credit(), 2u);
  EXPECT_EQ(partition.dispatcher.attached_bytes(), std::string("contents").size());
}

TEST(Dispatcher, ADamagedMessageIsToldAndNotGivenOut) {
  Partition partition;
  partition.Enqueue("A1");
  partition.Enqueue("A2");
  partition.DamageContents("A1");
  partition.dispatcher.AddCredit(5);
  const DispatchBatch batch = partition.Take();
  ASSERT_THAT(batch.damaged, SizeIs(1));
  EXPECT_EQ(batch.damaged[0].queue_id, "A1");
  EXPECT_EQ(batch.damaged[0].reason, "chunk 0 does not match its checksum");
  ASSERT_THAT(batch.activations, SizeIs(1));
  EXPECT_EQ(batch.activations[0].activation.queue_id(), "A2");
  EXPECT_EQ(partition.dispatcher.credit(), 4u);
}

TEST(Dispatcher, MailBehindADamagedIntakeRowIsFoundAllTheSame) {
  Partition partition;
  for (const char* id : {"A1", "A2"}) partition.Enqueue(id);
  partition.DamageIndex(Family::kIntake);
  partition.dispatcher.AddCredit(5);
  const DispatchBatch batch = partition.Take();
  EXPECT_THAT(batch.activations, SizeIs(2));
  EXPECT_FALSE(batch.index_damage.empty());
  partition.Enqueue("A3");
  const DispatchBatch second = partition.Take();
  EXPECT_THAT(second.activations, SizeIs(1));
  EXPECT_TRUE(second.index_damage.empty()) << "it was told";
}

TEST(Dispatcher, MailBehindADamagedDueRowIsFoundAllTheSame) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.TakeIds();
  partition.DamageIndex(Family::kDue);
  for (const char* id : {"A1", "A2"}) {
    partition.Enqueue(id);
    partition.TakeIds();
    partition.Report(id, {{0, kDeferred}}, id[1] == '1' ? 1'000 : kMinuteMs);
    partition.dispatcher.OnReleased(id);
  }
  EXPECT_THAT(partition.TakeIds(), IsEmpty());
  partition.queue.now_ms += 1'000;
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A1"));
  EXPECT_EQ(partition.dispatcher.NextDueMs(), partition.queue.now_ms + kSalvageIntervalMs);
  partition.queue.now_ms += kSalvageIntervalMs;
  EXPECT_THAT(partition.TakeIds(), ElementsAre("A2"));
}

TEST(Dispatcher, AMessageThatIsForcedToExpireSaysSo) {
  Partition partition;
  partition.Enqueue("A1");
  partition.Enqueue("A2");
  partition.Act(v1::ACTION_EXPIRE, {"A1"});
  partition.dispatcher.AddCredit(5);
  const DispatchBatch batch = partition.Take();
  ASSERT_THAT(batch.activations, SizeIs(2));
  EXPECT_TRUE(batch.activations[0].activation.forced_expire());
  EXPECT_FALSE(batch.activations[1].activation.forced_expire());
  EXPECT_THAT(batch.activations[0].activation.last(), IsEmpty()) << "it was never tried";
}

TEST(Dispatcher, AMessageThatIsForcedToExpireSaysWhyItWaited) {
  Partition partition;
  partition.dispatcher.AddCredit(5);
  partition.Enqueue("A1");
  partition.TakeIds();
  partition.Report("A1", {{0, kDeferred}}, 1'000);
  partition.dispatcher.OnReleased("A1");
  partition.Act(v1::ACTION_EXPIRE, {"A1"});
  partition.queue.now_ms += 1'000;
  const DispatchBatch batch = partition.Take();
  ASSERT_THAT(batch.activations, SizeIs(1));
  const v1::Activation& activation = batch.activations[0].activation;
  ASSERT_EQ(activation.last_size(), 1);
  EXPECT_EQ(activation.last(0).recipient_number(), 0u);
  EXPECT_EQ(activation.last(0).text(), "attempt for 0");
}

TEST(Dispatcher, TheOldestActiveMessageIsKnown) {
  Partition partition;
  EXPECT_EQ(partition.dispatcher.OldestActiveMs(), 0);
  partition.dispatcher.AddCredit(5);
  const int64_t first_ms = partition.queue.now_ms - 500;
  for (const char* id : {"A1", "A2"}) {
    partition.Enqueue(id);
    partition.queue.now_ms += 1'000;
  }
  partition.TakeIds();
  EXPECT_EQ(partition.dispatcher.OldestActiveMs(), first_ms);
  partition.Report("A1", {{0, kSent}});
  partition.dispatcher.OnReleased("A1");
  EXPECT_EQ(partition.dispatcher.OldestActiveMs(), first_ms + 1'000);
  EXPECT_THAT(partition.dispatcher.ActiveIds(), ElementsAre("A2"));
}

// ---- Random

// A scheduler that does what it likes. Everything it may not do is checked.
class RandomHolder {
 public:
  RandomHolder(unsigned seed, const DispatchLimits& limits) : random_(seed), partition_(limits) {}

  void Step() {
    partition_.queue.now_ms += static_cast<int64_t>(Pick(500));
    switch (Pick(20)) {
      case 0:
        return partition_.Enqueue(Concat("Q", ++ids_), static_cast<int>(1 + Pick(5)));
      case 1:
        return partition_.dispatcher.AddCredit(static_cast<uint32_t>(Pick(11)));
      case 2:
      case 3:
      case 4:
      case 5:
        return ReportOne();
      case 6:
      case 7:
      case 8:
      case 9:
        return ReleaseOne();
      case 10:
      case 11:
        if (Pick(10) == 0) partition_.Tell(Delete(partition_.queue, {AnyId()}));
        return NotifyOne();
      case 12:
        return FlushSome();
      case 13:
        if (Pick(60) != 0) return WithholdOrRestore();
        partition_.Reopen();
        out_.clear();
        recalled_.clear();
        wanted_.clear();
        return;
      case 14:
        return ParkOrUnpark();
      case 15:
        return PutOffSome();
      case 16:
      case 17:
        return WantMore();
      default:
        return TakeAll();
    }
  }

  void TakeAll() {
    for (bool more = true; more;) {
      const DispatchBatch batch = partition_.Take(2'000);
      for (const std::string& queue_id : batch.recalled) {
        EXPECT_TRUE(out_.contains(queue_id)) << queue_id << " was recalled and is not out";
        EXPECT_TRUE(recalled_.insert(queue_id).second) << queue_id << " was recalled twice";
      }
      for (const Activated& activated : batch.activations) {
        const v1::Activation& activation = activated.activation;
        EXPECT_FALSE(withheld_.contains(activation.queue_id()))
            << activation.queue_id() << " is withheld";
        if (out_.insert(activation.queue_id()).second) {
          EXPECT_GT(activation.recipients_size() + activation.bounced_size(), 0);
          given_[activation.queue_id()].clear();
        } else {
          ExpectWanted(activation);
        }
        for (uint32_t number : Numbers(activation)) {
          EXPECT_TRUE(given_[activation.queue_id()].insert(number).second)
              << activation.queue_id() << " recipient " << number << " was given out twice";
        }
        left_[activation.queue_id()] = activation.recipients_left();
      }
      more = batch.more;
    }
    // Nothing comes later of what was wanted before.
    wanted_.clear();
    if (partition_.dispatcher.credit() > 0) ExpectNothingForgotten();
  }

  // Everything is delivered in the end.
  void Drain() {
    while (!withheld_.empty()) RestoreOne();
    EXPECT_EQ(partition_.dispatcher.withheld_messages(), 0u);
    for (size_t id = 1; id <= ids_; ++id) partition_.Unhold(Concat("Q", id));
    partition_.dispatcher.AddCredit(10);
    for (int round = 0; round < 10'000; ++round) {
      partition_.queue.now_ms += 1'000;
      TakeAll();
      if (out_.empty() && Remaining() == 0) return;
      recalled_.clear();
      const std::set<std::string> batch = std::exchange(out_, {});
      for (const std::string& queue_id : batch) FinishWhole(queue_id);
    }
    ADD_FAILURE() << Remaining() << " messages were never given out";
  }

  // How often all that had something to do was to be out.
  int checks() const { return checks_; }
  // How often more of a message came.
  int pages() const { return pages_; }

 private:
  size_t Pick(size_t below) { return random_() % below; }
  // A young one, out or not, gone or not.
  std::string AnyId() { return Concat("Q", ids_ - Pick(std::min<size_t>(ids_ + 1, 20))); }
  std::string OutId() {
    if (out_.empty()) return "Q1";
    auto id = out_.begin();
    std::advance(id, static_cast<std::ptrdiff_t>(Pick(out_.size())));
    return *id;
  }
  size_t Remaining() {
    const state::Counts& counts = partition_.queue.machine().counts();
    return counts.incoming_messages() + counts.deferred_messages();
  }

  void ReportOne() {
    std::vector<std::pair<uint32_t, Action>> outcomes;
    for (uint32_t number = 0; number < 7; ++number) {
      if (Pick(3) == 0) continue;
      outcomes.push_back(
          {number, std::array{kSent, kSent, kDeferred, kDeferred, kBounced}[Pick(5)]});
    }
    // Now and then for one that is not out any more.
    partition_.Report(Pick(4) == 0 ? AnyId() : OutId(), outcomes,
                      static_cast<int64_t>(Pick(20'000)) - 100);
  }

  void PutOffSome() {
    const int64_t retry_at_ms = partition_.queue.now_ms + static_cast<int64_t>(Pick(5'000));
    partition_.Tell(
        PutOff(partition_.queue, Pick(4) == 0 ? AnyId() : OutId(), {0, 1, 2}, retry_at_ms));
  }

  void WantMore() {
    const std::string queue_id = Pick(10) == 0 ? AnyId() : OutId();
    partition_.dispatcher.OnMoreWanted(queue_id);
    if (out_.contains(queue_id)) wanted_.insert(queue_id);
  }

  void ExpectWanted(const v1::Activation& activation) {
    const std::string& queue_id = activation.queue_id();
    EXPECT_EQ(wanted_.erase(queue_id), 1u) << queue_id << " was given out twice";
    EXPECT_FALSE(recalled_.contains(queue_id)) << queue_id;
    EXPECT_GT(activation.recipients_size(), 0) << queue_id;
    EXPECT_EQ(activation.bounced_size(), 0) << queue_id;
    EXPECT_GE(left_[queue_id], static_cast<uint32_t>(activation.recipients_size())) << queue_id;
    ++pages_;
  }

  void NotifyOne() {
    const std::string notice = Pick(2) == 0 ? "" : Concat("Q", ++ids_);
    partition_.Tell(Notify(partition_.queue, OutId(), {0, 1, 2, 3}, notice));
  }

  void FlushSome() {
    if (Pick(6) != 0) return;
    const bool all = Pick(2) == 0;
    partition_.Tell(Flush(partition_.queue, all ? std::vector<std::string>()
                                                : std::vector<std::string>{AnyId(), AnyId()}));
  }

  void ReleaseOne() {
    std::string queue_id = Pick(10) == 0 ? AnyId() : OutId();
    if (!recalled_.empty() && Pick(2) == 0) queue_id = *recalled_.begin();
    partition_.dispatcher.OnReleased(queue_id);
    out_.erase(queue_id);
    recalled_.erase(queue_id);
    wanted_.erase(queue_id);
    ExpectSettled();
  }

  void ParkOrUnpark() {
    if (Pick(40) == 0) return partition_.Purge();
    if (Pick(2) == 0) return partition_.Hold(Pick(2) == 0 ? AnyId() : OutId());
    partition_.Unhold(AnyId());
  }

  void WithholdOrRestore() {
    if (withheld_.size() > 4 || (Pick(2) == 0 && !withheld_.empty())) return RestoreOne();
    const std::string queue_id = Pick(2) == 0 ? AnyId() : OutId();
    // Only what there is: the end of an id is for good.
    if (!partition_.queue.reader().ReadMessage(queue_id)->has_value()) return;
    const bool is_out = partition_.dispatcher.Withhold(queue_id) == Dispatcher::Whereabouts::kOut;
    EXPECT_TRUE(!is_out || out_.contains(queue_id)) << queue_id << " is not out";
    withheld_.insert(queue_id);
    if (is_out) unsettled_.insert(queue_id);
  }

  // Sometimes with a requeue before, as its only users do.
  void RestoreOne() {
    ExpectSettled();
    const std::string queue_id = *withheld_.begin();
    withheld_.erase(withheld_.begin());
    if (!unsettled_.contains(queue_id) && Pick(3) == 0) {
      partition_.Act(v1::ACTION_REQUEUE, {queue_id});
    }
    if (!withheld_.contains(queue_id)) unsettled_.erase(queue_id);
    partition_.dispatcher.Restore(queue_id);
  }

  void ExpectSettled() {
    for (const std::string& queue_id : partition_.dispatcher.TakeSettled()) {
      unsettled_.erase(queue_id);
    }
    for (const std::string& queue_id : unsettled_) {
      EXPECT_TRUE(out_.contains(queue_id)) << queue_id << " is not out, and was not settled";
    }
  }

  void FinishWhole(const std::string& queue_id) {
    std::vector<std::pair<uint32_t, Action>> all;
    std::vector<uint32_t> numbers;
    for (uint32_t number = 0; number < 7; ++number) {
      all.push_back({number, kSent});
      numbers.push_back(number);
    }
    partition_.Report(queue_id, all);
    partition_.Tell(Notify(partition_.queue, queue_id, numbers, ""));
    partition_.dispatcher.OnReleased(queue_id);
  }

  // With credit left, whatever has something to do is out.
  void ExpectNothingForgotten() {
    ++checks_;
    v1::ListRequest request;
    const auto page =
        partition_.queue.reader().List(request, [](std::string_view) { return false; });
    ASSERT_TRUE(page.ok());
    for (const v1::ListedMessage& message : page->messages()) {
      if (out_.contains(message.queue_id()) || withheld_.contains(message.queue_id())) continue;
      const auto row = partition_.queue.reader().ReadMessage(message.queue_id());
      OpenRecipientsQuery query;
      query.queue_id = message.queue_id();
      query.now_ms = partition_.queue.now_ms;
      query.flush_index = partition_.queue.machine().flush_index();
      const auto open = partition_.queue.reader().ReadOpenRecipients(**row, query);
      EXPECT_TRUE(open->open.empty() && open->bounced.empty())
          << message.queue_id() << " was forgotten";
    }
  }

  std::mt19937 random_;
  Partition partition_;
  size_t ids_ = 0;
  int checks_ = 0;
  int pages_ = 0;
  // As the holder sees it.
  std::set<std::string> out_;
  std::set<std::string> wanted_;
  // Since it is out; and of its last page.
  std::map<std::string, std::set<uint32_t>> given_;
  std::map<std::string, uint32_t> left_;
  std::set<std::string> recalled_;
  // As who withholds sees it.
  std::multiset<std::string> withheld_;
  std::set<std::string> unsettled_;
};

class RandomDispatch : public ::testing::TestWithParam<unsigned> {};

unsigned SeedOfRun() {
  const char* seed = std::getenv("POSTFLEET_TEST_SEED");
  return seed != nullptr ? static_cast<unsigned>(std::atoi(seed)) : std::random_device()();
}

TEST_P(RandomDispatch, GivesEachMessageOutOnceAtATimeAndForgetsNone) {
  const unsigned seed = GetParam() != 0 ? GetParam() : SeedOfRun();
  SCOPED_TRACE(Concat("POSTFLEET_TEST_SEED=", seed));
  DispatchLimits limits;
  limits.activation_recipients_max = 3;
  limits.attached_body_bytes_max = 100;
  limits.rows_scanned_max = 5;
  RandomHolder holder(seed, limits);
  for (int step = 0; step < 10'000 && !HasFailure(); ++step) holder.Step();
  EXPECT_GT(holder.checks(), 50);
  EXPECT_GT(holder.pages(), 10);
  if (!HasFailure()) holder.Drain();
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomDispatch, ::testing::Values(1u, 2u, 3u, 4u, 5u, 0u));

}  // namespace
}  // namespace postfleet::queue
