// What administrators do to messages, one fact at a time; random_test.cc mixes them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"
#include "libs/base/queue_id.h"
#include "services/queue/state/queue_under_test.h"

namespace postfleet::queue {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kMinuteMs = 60'000;

class AdministerTest : public ::testing::Test {
 protected:
  AdministerTest() { Open(queue); }

  const state::Counts& counts() { return queue.machine().counts(); }
  state::MessageRow Row(const std::string& queue_id) {
    const auto row = queue.reader().ReadMessage(queue_id);
    EXPECT_TRUE(row.ok() && row->has_value()) << queue_id;
    return row.ok() && row->has_value() ? **row : state::MessageRow();
  }
  size_t DueRows() { return queue.reader().ScanDue({}, 100)->size(); }
  size_t IntakeRows() { return queue.reader().ScanIntake({}, 100)->size(); }
  void Defer(const std::string& queue_id, const std::vector<uint32_t>& numbers) {
    std::vector<std::pair<uint32_t, Action>> outcomes;
    for (uint32_t number : numbers) outcomes.push_back({number, kDeferred});
    Report(queue, queue_id, outcomes, queue.now_ms + kMinuteMs);
  }

  QueueUnderTest queue;
};

// ---- Hold and release

using Hold = AdministerTest;

TEST_F(Hold, TakesTheMessageOutOfIntakeAndDue) {
  Enqueue(queue, "A1", 2);
  Defer("A1", {0});
  const Effects& effects = Administer(queue, v1::ACTION_HOLD, {"A1"});
  EXPECT_THAT(effects.changed, ElementsAre("A1"));
  EXPECT_THAT(effects.parked, ElementsAre("A1"));
  EXPECT_EQ(DueRows(), 0u);
  EXPECT_EQ(IntakeRows(), 0u);
  EXPECT_EQ(counts().hold_messages(), 1u);
  EXPECT_EQ(counts().incoming_messages(), 0u);
  EXPECT_EQ(queue.Listed("A1").queue(), v1::QUEUE_NAME_HOLD);
  OpenRecipientsQuery query;
  query.queue_id = "A1";
  query.now_ms = queue.now_ms + 2 * kMinuteMs;
  EXPECT_THAT(queue.reader().ReadOpenRecipients(Row("A1"), query)->open, IsEmpty());
}

TEST_F(Hold, TwiceIsOnce) {
  Enqueue(queue, "A1");
  EXPECT_THAT(Administer(queue, v1::ACTION_HOLD, {"A1", "A1"}).changed, ElementsAre("A1"));
  EXPECT_THAT(Administer(queue, v1::ACTION_HOLD, {"A1"}).changed, IsEmpty());
  EXPECT_EQ(counts().hold_messages(), 1u);
}

TEST_F(Hold, OutcomesOfAttemptsThatRanCount) {
  Enqueue(queue, "A1", 4);
  Defer("A1", {0, 1});
  Administer(queue, v1::ACTION_HOLD, {"A1"});
  const Effects& effects = Report(
      queue, "A1", {{0, kSent}, {1, kDeferred}, {2, kBounced}, {3, kDeferred}}, queue.now_ms + 1);
  EXPECT_THAT(effects.due, IsEmpty());
  EXPECT_THAT(effects.intake_again, IsEmpty());
  EXPECT_EQ(DueRows(), 0u);
  EXPECT_EQ(IntakeRows(), 0u);
  EXPECT_EQ(Row("A1").deferred(), 2u);
  EXPECT_EQ(Row("A1").bounced(), 1u);
  const Effects& released = Administer(queue, v1::ACTION_RELEASE, {"A1"});
  EXPECT_THAT(released.due, SizeIs(1));
  EXPECT_THAT(released.intake_again, SizeIs(1)) << "for the bounce";
}

TEST_F(Hold, TheLastOutcomeRemovesTheMessage) {
  Enqueue(queue, "A1", 2);
  Defer("A1", {0});
  Administer(queue, v1::ACTION_HOLD, {"A1"});
  EXPECT_TRUE(Report(queue, "A1", {{0, kSent}, {1, kSent}}).outcomes[0].removed);
  EXPECT_EQ(queue.MessageRows(), 0u);
  EXPECT_EQ(counts().hold_messages(), 0u);
}

TEST_F(Hold, ReleaseMakesDeferredMailDueNow) {
  Enqueue(queue, "A1", 2);
  Defer("A1", {0});
  Administer(queue, v1::ACTION_HOLD, {"A1"});
  queue.now_ms += 1'000;
  const Effects& effects = Administer(queue, v1::ACTION_RELEASE, {"A1", "A1"});
  EXPECT_THAT(effects.changed, ElementsAre("A1"));
  ASSERT_THAT(effects.due, SizeIs(1));
  EXPECT_EQ(effects.due[0].due_ms, queue.now_ms);
  EXPECT_THAT(effects.intake_again, SizeIs(1)) << "for the pending one";
  EXPECT_THAT(effects.flushed, IsEmpty());
  EXPECT_EQ(counts().incoming_messages(), 1u);
  Delete(queue, {"A1"});
  EXPECT_EQ(queue.MessageRows(), 0u);
}

TEST_F(Hold, ReleaseOfWhatIsNotHeldIsNothing) {
  Enqueue(queue, "A1");
  Defer("A1", {0});
  const Effects& effects = Administer(queue, v1::ACTION_RELEASE, {"A1", "none"});
  EXPECT_THAT(effects.changed, IsEmpty());
  EXPECT_THAT(effects.due, IsEmpty());
}

TEST_F(Hold, AFlushLeavesHeldMailAlone) {
  Enqueue(queue, "A1");
  Defer("A1", {0});
  Administer(queue, v1::ACTION_HOLD, {"A1"});
  EXPECT_THAT(Administer(queue, v1::ACTION_FLUSH, {"A1"}).changed, IsEmpty());
  EXPECT_THAT(Flush(queue, {"A1"}).flushed, IsEmpty());
  EXPECT_EQ(DueRows(), 0u);
}

TEST_F(Hold, HeldMailCanBeDeleted) {
  Enqueue(queue, "A1", 3);
  Defer("A1", {0, 1});
  Administer(queue, v1::ACTION_HOLD, {"A1"});
  EXPECT_THAT(Delete(queue, {"A1"}).deleted, ElementsAre("A1"));
  EXPECT_EQ(queue.MessageRows(), 0u);
  EXPECT_EQ(counts().hold_messages(), 0u);
}

// ---- Requeue

using Requeue = AdministerTest;

TEST_F(Requeue, GivesANewIdAndTakesTheBodyOver) {
  Enqueue(queue, "A1", 3, "hello");
  Report(queue, "A1", {{0, kSent}, {1, kDeferred}}, queue.now_ms + kMinuteMs);
  const Effects& effects = Administer(queue, v1::ACTION_REQUEUE, {"A1", "A1", "none"});
  EXPECT_THAT(effects.changed, ElementsAre("A1"));
  EXPECT_THAT(effects.deleted, ElementsAre("A1"));
  ASSERT_THAT(effects.new_queue_ids, SizeIs(1));
  const std::string id = effects.new_queue_ids[0];
  EXPECT_EQ(id, FormatQueueId(queue.now_ms / 1'000, queue.now_ms % 1'000 * 1'000, 1ull << 32));
  ASSERT_THAT(effects.intake_again, SizeIs(1));
  EXPECT_EQ(effects.intake_again[0].queue_id, id);
  EXPECT_FALSE(queue.reader().ReadMessage("A1")->has_value());
  EXPECT_EQ(Row(id).pending(), 2u);
  EXPECT_EQ(Row(id).deferred(), 0u);
  EXPECT_EQ(Row(id).recipients_total(), 3u);
  EXPECT_EQ(queue.reader().ReadChunk(id, 0)->bytes, "hello");
  ASSERT_THAT(queue.Listed(id).recipients(), SizeIs(2));
  EXPECT_EQ(queue.Listed(id).recipients(0).address(), "r1@example.com");
  EXPECT_EQ(queue.Listed(id).recipients(0).reason(), "") << "what the attempt said is forgotten";
  EXPECT_EQ(DueRows(), 0u);
  EXPECT_EQ(counts().bytes(), 5u);
  EXPECT_TRUE(Report(queue, id, {{1, kSent}, {2, kSent}}).outcomes[0].removed);
  EXPECT_EQ(queue.MessageRows(), 0u);
  EXPECT_EQ(counts().borrowed_bodies(), 0u);
}

TEST_F(Requeue, BeginsItsAgeAnewButKeepsItsArrival) {
  Enqueue(queue, "A1");
  const int64_t arrival_ms = Row("A1").envelope().arrival_ms();
  WarnOfDelay(queue, "A1", "");
  Administer(queue, v1::ACTION_EXPIRE, {"A1"});
  queue.now_ms += kMinuteMs;
  const std::string id = Administer(queue, v1::ACTION_REQUEUE, {"A1"}).new_queue_ids.at(0);
  EXPECT_EQ(Row(id).create_ms(), queue.now_ms);
  EXPECT_EQ(Row(id).envelope().arrival_ms(), arrival_ms);
  EXPECT_FALSE(Row(id).delay_warned());
  EXPECT_FALSE(Row(id).forced_expire());
}

TEST_F(Requeue, KeepsBouncedRecipientsBounced) {
  Enqueue(queue, "A1", 2);
  Report(queue, "A1", {{0, kBounced}, {1, kSent}});
  const std::string id = Administer(queue, v1::ACTION_REQUEUE, {"A1"}).new_queue_ids.at(0);
  EXPECT_EQ(Row(id).bounced(), 1u);
  EXPECT_EQ(IntakeRows(), 1u) << "the notice is owed";
  EXPECT_THAT(Notify(queue, id, {0}, "B1").new_messages, SizeIs(1));
}

TEST_F(Requeue, TakesMailFromHoldAndCorrupt) {
  Enqueue(queue, "A1");
  Enqueue(queue, "A2");
  Defer("A1", {0});
  Administer(queue, v1::ACTION_HOLD, {"A1"});
  MarkCorrupt(queue, "A2", "bad");
  Administer(queue, v1::ACTION_REQUEUE, {"A1", "A2"});
  EXPECT_EQ(counts().incoming_messages(), 2u);
  EXPECT_EQ(counts().hold_messages() + counts().corrupt_messages(), 0u);
  EXPECT_EQ(IntakeRows(), 2u);
}

TEST_F(Requeue, AgainKeepsTheFirstBody) {
  Enqueue(queue, "A1", 1, "hello");
  std::string id = Administer(queue, v1::ACTION_REQUEUE, {"A1"}).new_queue_ids.at(0);
  id = Administer(queue, v1::ACTION_REQUEUE, {id}).new_queue_ids.at(0);
  EXPECT_EQ(Row(id).body_id(), "A1");
  EXPECT_EQ(queue.reader().ReadChunk(id, 0)->bytes, "hello");
  EXPECT_EQ(counts().borrowed_bodies(), 1u);
  Delete(queue, {id});
  EXPECT_EQ(queue.MessageRows(), 0u);
}

TEST_F(Requeue, TheOldIdStaysInUseWhileItsBodyIs) {
  Enqueue(queue, "A1");
  const std::string id = Administer(queue, v1::ACTION_REQUEUE, {"A1"}).new_queue_ids.at(0);
  EXPECT_EQ(Enqueue(queue, "A1").submissions[0].code, v1::EnqueueResult::REFUSED);
  Report(queue, id, {{0, kSent}});
  EXPECT_EQ(Enqueue(queue, "A1").submissions[0].code, v1::EnqueueResult::COMMITTED);
}

TEST_F(Requeue, NeverTakesAnIdThatIsThere) {
  Enqueue(queue, FormatQueueId(queue.now_ms / 1'000, queue.now_ms % 1'000 * 1'000, 1ull << 32));
  Enqueue(queue, "A1");
  const std::string id = Administer(queue, v1::ACTION_REQUEUE, {"A1"}).new_queue_ids.at(0);
  EXPECT_EQ(id, FormatQueueId(queue.now_ms / 1'000, queue.now_ms % 1'000 * 1'000, 2ull << 32));
  EXPECT_EQ(counts().incoming_messages(), 2u);
}

TEST_F(Requeue, LateOutcomesOfTheOldIdAreCounted) {
  Enqueue(queue, "A1");
  Administer(queue, v1::ACTION_REQUEUE, {"A1"});
  EXPECT_TRUE(Report(queue, "A1", {{0, kSent}}).outcomes[0].late);
  EXPECT_EQ(counts().incoming_messages(), 1u);
}

// ---- Expire, flush, filters

TEST_F(AdministerTest, ExpireMarksAndNothingElse) {
  Enqueue(queue, "A1");
  Defer("A1", {0});
  const Effects& effects = Administer(queue, v1::ACTION_EXPIRE, {"A1"});
  EXPECT_THAT(effects.changed, ElementsAre("A1"));
  EXPECT_THAT(effects.due, IsEmpty());
  EXPECT_TRUE(queue.Listed("A1").forced_expire());
  EXPECT_THAT(Administer(queue, v1::ACTION_EXPIRE, {"A1"}).changed, IsEmpty());
}

TEST_F(AdministerTest, ExpireAndReleaseReleasesHeldMail) {
  Enqueue(queue, "A1");
  Defer("A1", {0});
  Administer(queue, v1::ACTION_HOLD, {"A1"});
  Administer(queue, v1::ACTION_EXPIRE, {"A1"});
  EXPECT_EQ(queue.Listed("A1").queue(), v1::QUEUE_NAME_HOLD);
  EXPECT_THAT(Administer(queue, v1::ACTION_EXPIRE_RELEASE, {"A1"}).changed, ElementsAre("A1"));
  EXPECT_EQ(queue.Listed("A1").queue(), v1::QUEUE_NAME_DEFERRED);
  EXPECT_TRUE(Row("A1").forced_expire());
}

TEST_F(AdministerTest, CorruptMailExpiresOnlyWhereItIsNamed) {
  Enqueue(queue, "A1");
  MarkCorrupt(queue, "A1", "bad");
  EXPECT_THAT(Administer(queue, v1::ACTION_EXPIRE_RELEASE, {"A1"}).changed, IsEmpty());
  EXPECT_THAT(
      Administer(queue, v1::ACTION_EXPIRE_RELEASE, {"A1"}, {v1::QUEUE_NAME_CORRUPT}).changed,
      ElementsAre("A1"));
  EXPECT_EQ(queue.Listed("A1").queue(), v1::QUEUE_NAME_CORRUPT) << "marked, not released";
}

TEST_F(AdministerTest, FlushMakesDeferredMailDueNow) {
  Enqueue(queue, "A1");
  Enqueue(queue, "A2");
  Defer("A1", {0});
  const Effects& effects = Administer(queue, v1::ACTION_FLUSH, {"A1", "A1", "A2"});
  EXPECT_THAT(effects.changed, ElementsAre("A1"));
  EXPECT_THAT(effects.flushed, ElementsAre("A1"));
  EXPECT_EQ(queue.reader().ScanDue({}, 10)->at(0).key.due_ms, queue.now_ms);
}

TEST_F(AdministerTest, OnlyMessagesOfTheQueuesNamedAreChanged) {
  Enqueue(queue, "A1");
  Enqueue(queue, "A2");
  Defer("A2", {0});
  Enqueue(queue, "A3");
  Administer(queue, v1::ACTION_HOLD, {"A3"});
  EXPECT_THAT(Delete(queue, {}).deleted, IsEmpty());
  EXPECT_THAT(Administer(queue, v1::ACTION_DELETE, {"A1", "A2", "A3"},
                         {v1::QUEUE_NAME_DEFERRED, v1::QUEUE_NAME_HOLD})
                  .deleted,
              ElementsAre("A2", "A3"));
  EXPECT_EQ(queue.Listed("A1").queue(), v1::QUEUE_NAME_INCOMING);
}

TEST_F(AdministerTest, AnUnknownActionIsRefused) {
  Enqueue(queue, "A1");
  EXPECT_THAT(Administer(queue, v1::ACTION_UNSPECIFIED, {"A1"}).refused, HasSubstr("no such"));
  EXPECT_THAT(Administer(queue, static_cast<v1::Action>(99), {"A1"}).refused, HasSubstr("no such"));
}

TEST_F(AdministerTest, ADelayWarningIsEnqueuedOnce) {
  Enqueue(queue, "A1");
  Defer("A1", {0});
  const Effects& effects = WarnOfDelay(queue, "A1", "B1");
  ASSERT_THAT(effects.new_messages, SizeIs(1));
  EXPECT_TRUE(effects.new_messages[0].notice);
  EXPECT_TRUE(Row("A1").delay_warned());
  EXPECT_EQ(Row("A1").deferred(), 1u) << "nothing is closed";
  EXPECT_THAT(WarnOfDelay(queue, "A1", "B2").new_messages, IsEmpty());
  EXPECT_TRUE(WarnOfDelay(queue, "none", "B3").notifies[0].late);
}

// ---- Corrupt

using Corrupt = AdministerTest;

TEST_F(Corrupt, IsNotGivenOutUntilReleased) {
  Enqueue(queue, "A1", 2);
  Defer("A1", {0});
  EXPECT_THAT(MarkCorrupt(queue, "A1", "chunk 0 does not match").parked, ElementsAre("A1"));
  EXPECT_EQ(DueRows() + IntakeRows(), 0u);
  EXPECT_EQ(counts().corrupt_messages(), 1u);
  EXPECT_EQ(queue.Listed("A1").queue(), v1::QUEUE_NAME_CORRUPT);
  EXPECT_EQ(queue.Listed("A1").corrupt_reason(), "chunk 0 does not match");
  EXPECT_THAT(Administer(queue, v1::ACTION_HOLD, {"A1"}).changed, IsEmpty());
  EXPECT_THAT(Administer(queue, v1::ACTION_RELEASE, {"A1"}).changed, ElementsAre("A1"));
  EXPECT_EQ(DueRows(), 1u);
  EXPECT_EQ(IntakeRows(), 1u);
  EXPECT_EQ(queue.Listed("A1").corrupt_reason(), "");
}

TEST_F(Corrupt, KeepsItsFirstReason) {
  Enqueue(queue, "A1");
  MarkCorrupt(queue, "A1", "one");
  EXPECT_THAT(MarkCorrupt(queue, "A1", "two").parked, IsEmpty());
  EXPECT_EQ(queue.Listed("A1").corrupt_reason(), "one");
  EXPECT_THAT(MarkCorrupt(queue, "none", "one").parked, IsEmpty());
}

TEST_F(Corrupt, HasAReasonOfBoundedLength) {
  Enqueue(queue, "A1");
  Enqueue(queue, "A2");
  MarkCorrupt(queue, "A1", "");
  MarkCorrupt(queue, "A2", std::string(10'000, 'x'));
  EXPECT_EQ(queue.Listed("A1").corrupt_reason(), "no reason given");
  EXPECT_EQ(queue.Listed("A2").corrupt_reason().size(), kOutcomeTextBytesMax);
}

TEST_F(Corrupt, BeatsHeld) {
  Enqueue(queue, "A1");
  Administer(queue, v1::ACTION_HOLD, {"A1"});
  MarkCorrupt(queue, "A1", "bad");
  EXPECT_EQ(counts().hold_messages(), 0u);
  EXPECT_EQ(counts().corrupt_messages(), 1u);
  Administer(queue, v1::ACTION_RELEASE, {"A1"});
  EXPECT_EQ(counts().incoming_messages(), 1u);
}

// ---- Durable jobs

using BulkJob = AdministerTest;

TEST_F(BulkJob, GoesThroughItsQueuesPageByPage) {
  for (int i = 1; i <= 5; ++i) {
    Enqueue(queue, Concat("A", i));
    if (i != 3) Defer(Concat("A", i), {0});
  }
  const Effects& started = StartBulk(queue, v1::ACTION_HOLD, {v1::QUEUE_NAME_DEFERRED}, "A4");
  EXPECT_EQ(started.bulk_started, 1u);
  EXPECT_EQ(queue.machine().bulks().Get(0).total(), 4u);
  EXPECT_THAT(StepBulk(queue, 2).changed, ElementsAre("A1", "A2"));
  EXPECT_EQ(queue.machine().bulks().Get(0).cursor(), "A2");
  EXPECT_EQ(queue.machine().bulks().Get(0).changed(), 2u);
  const Effects& last = StepBulk(queue, 2);
  EXPECT_THAT(last.changed, ElementsAre("A4"));
  EXPECT_EQ(last.bulk_ended, 1u);
  EXPECT_THAT(queue.machine().bulks(), IsEmpty());
  EXPECT_EQ(queue.Listed("A5").queue(), v1::QUEUE_NAME_DEFERRED) << "above the last id";
}

TEST_F(BulkJob, SurvivesARestartAtItsCursor) {
  for (int i = 1; i <= 4; ++i) Enqueue(queue, Concat("A", i));
  StartBulk(queue, v1::ACTION_DELETE, {}, "A4");
  StepBulk(queue, 3);
  ASSERT_TRUE(queue.store().Flush().ok());
  queue.Crash();
  ASSERT_THAT(queue.machine().bulks(), SizeIs(1));
  EXPECT_EQ(queue.machine().bulks().Get(0).cursor(), "A3");
  EXPECT_THAT(StepBulk(queue, 3).deleted, ElementsAre("A4"));
}

TEST_F(BulkJob, RefusesStepsThatAreNotItsOwn) {
  Enqueue(queue, "A1");
  StartBulk(queue, v1::ACTION_DELETE, {}, "A9");
  StartBulk(queue, v1::ACTION_HOLD, {}, "A9");
  state::Command command;
  state::Administer& step = *command.mutable_administer();
  step.set_action(v1::ACTION_HOLD);
  step.add_queue_ids("A1");
  step.mutable_bulk()->set_id(2);
  step.mutable_bulk()->set_cursor("A1");
  EXPECT_THAT(queue.Apply(command).refused, HasSubstr("not of the job that runs"));
  step.mutable_bulk()->set_id(1);
  EXPECT_THAT(queue.Apply(command).refused, HasSubstr("action"));
  step.set_action(v1::ACTION_DELETE);
  step.mutable_bulk()->clear_cursor();
  EXPECT_THAT(queue.Apply(command).refused, HasSubstr("behind"));
  step.mutable_bulk()->set_cursor("A5");
  step.clear_queue_ids();
  EXPECT_EQ(queue.Apply(command).refused, "");
  step.mutable_bulk()->set_cursor("A4");
  EXPECT_THAT(queue.Apply(command).refused, HasSubstr("behind"));
  EXPECT_EQ(counts().incoming_messages(), 1u);
}

TEST_F(BulkJob, TakesMoreIdsAStepThanOneCommandMay) {
  Enqueue(queue, "A1");
  StartBulk(queue, v1::ACTION_DELETE, {}, "B");
  state::Command command;
  state::Administer& step = *command.mutable_administer();
  step.set_action(v1::ACTION_DELETE);
  step.mutable_bulk()->set_id(1);
  step.mutable_bulk()->set_cursor("B");
  for (int i = 1; i <= kBulkIdsMax; ++i) step.add_queue_ids(Concat("A", i));
  EXPECT_THAT(queue.Apply(command).changed, ElementsAre("A1"));
  step.add_queue_ids("A");
  EXPECT_THAT(queue.Apply(command).refused, HasSubstr("10000"));
}

TEST_F(BulkJob, WhoseTurnComesLaterHasWhatTheOneBeforeItMade) {
  Enqueue(queue, "01");
  StartBulk(queue, v1::ACTION_REQUEUE, {}, "01");
  StartBulk(queue, v1::ACTION_HOLD, {}, "01");
  queue.now_ms += 1'000;
  Enqueue(queue, "02");  // above the ids that were asked for, and later
  const std::vector<std::string> requeued = StepBulk(queue, 10).new_queue_ids;
  ASSERT_THAT(requeued, SizeIs(1));
  EXPECT_THAT(StepBulk(queue, 10).changed, ElementsAre(requeued[0]));
}

TEST_F(BulkJob, WhoseTurnComesLaterLeavesAloneWhatArrivedMeanwhile) {
  Enqueue(queue, "A1");
  StartBulk(queue, v1::ACTION_HOLD, {}, "A1");
  StartBulk(queue, v1::ACTION_DELETE, {}, "A1");
  Enqueue(queue, "A2");
  StepBulk(queue, 10);
  EXPECT_THAT(StepBulk(queue, 10).changed, ElementsAre("A1"));
  EXPECT_EQ(counts().incoming_messages(), 1u);
}

TEST_F(BulkJob, StopsAtAWord) {
  for (int i = 1; i <= 3; ++i) Enqueue(queue, Concat("A", i));
  StartBulk(queue, v1::ACTION_HOLD, {}, "A3");
  StartBulk(queue, v1::ACTION_DELETE, {}, "A3");
  StartBulk(queue, v1::ACTION_EXPIRE, {}, "A3");
  StepBulk(queue, 1);
  state::Command command;
  command.mutable_stop_bulk()->set_id(2);
  EXPECT_EQ(queue.Apply(command).bulk_stopped, 2u);
  EXPECT_EQ(queue.Apply(command).bulk_stopped, 0u) << "there is no such job any more";
  command.mutable_stop_bulk()->set_id(1);
  EXPECT_EQ(queue.Apply(command).bulk_stopped, 1u);
  ASSERT_THAT(queue.machine().bulks(), SizeIs(1));
  EXPECT_EQ(queue.machine().bulks().Get(0).id(), 3u);
  EXPECT_EQ(counts().hold_messages(), 1u);
  EXPECT_EQ(counts().incoming_messages(), 2u);
}

TEST_F(BulkJob, IsRefusedWhenThereAreSixteen) {
  for (int i = 0; i < kBulksMax; ++i) {
    EXPECT_NE(StartBulk(queue, v1::ACTION_DELETE, {}, "A").bulk_started, 0u);
  }
  EXPECT_THAT(StartBulk(queue, v1::ACTION_DELETE, {}, "A").refused, HasSubstr("16"));
  StepBulk(queue, 10);
  EXPECT_EQ(StartBulk(queue, v1::ACTION_DELETE, {}, "A").bulk_started, 17u);
}

TEST_F(BulkJob, IsRefusedWithoutActionOrLastId) {
  EXPECT_THAT(StartBulk(queue, v1::ACTION_UNSPECIFIED, {}, "A").refused, HasSubstr("action"));
  EXPECT_THAT(StartBulk(queue, v1::ACTION_DELETE, {}, "").refused, HasSubstr("last queue id"));
}

TEST_F(BulkJob, OfARequeueNeverComesToWhatItMakes) {
  const std::string one = FormatQueueId(queue.now_ms / 1'000, 7, 1ull << 32 | 256);
  const std::string two = FormatQueueId(queue.now_ms / 1'000, 8, 2ull << 32 | 256);
  Enqueue(queue, one);
  Enqueue(queue, two);
  queue.now_ms += 1'000;
  StartBulk(queue, v1::ACTION_REQUEUE, {}, "zzzzzz");
  EXPECT_THAT(StepBulk(queue, 1).changed, ElementsAre(one));
  const Effects& last = StepBulk(queue, 10);
  EXPECT_THAT(last.changed, ElementsAre(two));
  EXPECT_EQ(last.bulk_ended, 1u);
}

TEST_F(BulkJob, AStepEndsWithTheMessageThatPassesTheRecipients) {
  for (const char* id : {"A1", "A2", "A3", "A4"}) Enqueue(queue, id, 50'001);
  StartBulk(queue, v1::ACTION_HOLD, {}, "A4");
  state::Command command;
  state::Administer& step = *command.mutable_administer();
  step.set_action(v1::ACTION_HOLD);
  for (const char* id : {"A1", "A2", "A3", "A4"}) step.add_queue_ids(id);
  step.mutable_bulk()->set_id(1);
  step.mutable_bulk()->set_cursor("A4");
  step.mutable_bulk()->set_done(true);
  const Effects& effects = queue.Apply(command);
  EXPECT_THAT(effects.changed, ElementsAre("A1", "A2"));
  EXPECT_THAT(effects.left, ElementsAre("A3", "A4"));
  EXPECT_EQ(effects.bulk_ended, 0u);
  EXPECT_EQ(queue.machine().bulks().Get(0).cursor(), "A2");
  EXPECT_THAT(StepBulk(queue, 10).changed, ElementsAre("A3", "A4"));
}

TEST_F(AdministerTest, AFlushEndsWithTheMessageThatPassesTheRecipients) {
  for (const char* id : {"A1", "A2", "A3"}) Enqueue(queue, id, 50'001);
  const Effects& effects = Flush(queue, {"A1", "A2", "A3"});
  EXPECT_THAT(effects.left, ElementsAre("A3"));
}

// ---- Purge

class PurgeTest : public AdministerTest {
 protected:
  void Upload(const std::string& queue_id) {
    state::Command command;
    std::string payload;
    AddMessage(queue, queue_id, 1, "chunk", &command, &payload)->clear_message();
    queue.Apply(std::move(command), std::move(payload));
  }
};

TEST_F(PurgeTest, TakesEveryMessageAndSparesUploads) {
  Enqueue(queue, "A1", 2, std::string(50'000, 'x'));
  Defer("A1", {0});
  Upload("A2");
  Enqueue(queue, "A3");
  Upload("A4");
  Enqueue(queue, "A5");
  MarkCorrupt(queue, "A3", "bad");
  Administer(queue, v1::ACTION_HOLD, {"A5"});
  Administer(queue, v1::ACTION_REQUEUE, {"A1"});
  const Effects& effects = Purge(queue);
  EXPECT_TRUE(effects.purged);
  EXPECT_EQ(effects.purged_messages, 3u);
  EXPECT_EQ(queue.MessageRows(), 4u) << "two uploads, two chunks";
  EXPECT_EQ(counts().uploads(), 2u);
  EXPECT_EQ(counts().bytes() + counts().incoming_messages() + counts().hold_messages() +
                counts().corrupt_messages() + counts().borrowed_bodies(),
            0u);
  EXPECT_TRUE(queue.reader().ReadChunk("A2", 0)->found);
  EXPECT_TRUE(queue.reader().ReadChunk("A4", 0)->found);
  EXPECT_FALSE(queue.reader().ReadChunk("A3", 0)->found);
}

TEST_F(PurgeTest, TheQueueGoesOnBehindIt) {
  Enqueue(queue, "A1");
  Defer("A1", {0});
  Purge(queue);
  ASSERT_TRUE(queue.store().Flush().ok());
  EXPECT_TRUE(Report(queue, "A1", {{0, kSent}}).outcomes[0].late);
  Enqueue(queue, "A1", 1, "again");
  EXPECT_EQ(queue.reader().ReadChunk("A1", 0)->bytes, "again");
  Defer("A1", {0});
  EXPECT_EQ(counts().deferred_messages(), 1u);
  EXPECT_TRUE(Report(queue, "A1", {{0, kSent}}).outcomes[0].removed);
  EXPECT_EQ(queue.MessageRows(), 0u);
}

TEST_F(PurgeTest, LeavesCorruptMailWhenAskedTo) {
  Enqueue(queue, "A1");
  state::Command command;
  command.mutable_purge()->set_unless_corrupt(true);
  MarkCorrupt(queue, "A1", "bad");
  EXPECT_THAT(queue.Apply(command).refused, HasSubstr("corrupt"));
  EXPECT_EQ(counts().corrupt_messages(), 1u);
  Administer(queue, v1::ACTION_RELEASE, {"A1"});
  EXPECT_TRUE(queue.Apply(command).purged);
}

TEST_F(PurgeTest, IsRefusedWithTooManyUploads) {
  state::Command command;
  std::string payload;
  for (uint64_t i = 0; i <= kPurgeUploadsMax; ++i) {
    AddMessage(queue, Concat("U", i), 1, "chunk", &command, &payload)->clear_message();
  }
  queue.Apply(std::move(command), std::move(payload));
  Enqueue(queue, "A1");
  EXPECT_THAT(Purge(queue).refused, HasSubstr("1001"));
  EXPECT_EQ(counts().incoming_messages(), 1u);
}

}  // namespace
}  // namespace postfleet::queue
