#include "services/queue/state/state_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"
#include "services/queue/state/queue_under_test.h"

namespace postfleet::queue {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kMinuteMs = 60'000;

class StateMachineTest : public ::testing::Test {
 protected:
  StateMachineTest() { Open(queue); }

  const state::Counts& counts() { return queue.machine().counts(); }
  // One submission, as made.
  const Effects& Submit(const v1::Submission& submission, std::string payload) {
    state::Command command;
    *command.add_submissions() = submission;
    return queue.Apply(std::move(command), std::move(payload));
  }
  v1::Submission Message(const std::string& queue_id, int recipients, const std::string& contents) {
    state::Command command;
    std::string payload;
    return *AddMessage(queue, queue_id, recipients, contents, &command, &payload);
  }
  v1::Submission ChunkOf(const std::string& queue_id, uint32_t chunk, const std::string& bytes) {
    v1::Submission submission = Message(queue_id, 1, bytes);
    submission.clear_message();
    submission.set_chunk(chunk);
    return submission;
  }

  QueueUnderTest queue;
};

TEST_F(StateMachineTest, AnEnqueuedMessageIsVisibleWithItsContents) {
  const Effects& effects = Enqueue(queue, "A1", 2, "hello");
  ASSERT_THAT(effects.submissions, SizeIs(1));
  EXPECT_EQ(effects.submissions[0].code, v1::EnqueueResult::COMMITTED);
  EXPECT_FALSE(effects.submissions[0].duplicate);
  ASSERT_THAT(effects.new_messages, SizeIs(1));
  EXPECT_EQ(effects.new_messages[0].queue_id, "A1");
  EXPECT_EQ(effects.new_messages[0].row.pending(), 2u);
  EXPECT_EQ(PayloadText(effects.new_messages[0].payload), "hello");
  EXPECT_EQ(queue.reader().ReadChunk("A1", 0)->bytes, "hello");
  EXPECT_EQ(counts().incoming_messages(), 1u);
  EXPECT_EQ(counts().bytes(), 5u);
  EXPECT_EQ(queue.Listed("A1").queue(), v1::QUEUE_NAME_INCOMING);
  EXPECT_THAT(queue.Listed("A1").recipients(), SizeIs(2));
}

TEST_F(StateMachineTest, TheLastSentRecipientLeavesNoRow) {
  Enqueue(queue, "A1", 2);
  EXPECT_FALSE(Report(queue, "A1", {{1, kSent}}).outcomes[0].removed);
  EXPECT_TRUE(Report(queue, "A1", {{0, kSent}}).outcomes[0].removed);
  EXPECT_EQ(queue.MessageRows(), 0u);
  EXPECT_EQ(counts().incoming_messages(), 0u);
  EXPECT_EQ(counts().bytes(), 0u);
}

TEST_F(StateMachineTest, MailThatGoesOutAtOnceCostsSixWritesAndSixMore) {
  Enqueue(queue, "A1");
  const auto writes = [&] { return queue.store().db()->GetLatestSequenceNumber(); };
  const uint64_t before = writes();
  Enqueue(queue, "A2");
  EXPECT_EQ(writes() - before, 6u) << "message, recipient, body, intake, submission, state";
  Report(queue, "A2", {{0, kSent}});
  EXPECT_EQ(writes() - before, 6u + 5u) << "all but the submission, and the state";
}

TEST_F(StateMachineTest, AnOutcomeForAMessageThatIsGoneIsCountedAsLate) {
  Enqueue(queue, "A1");
  Report(queue, "A1", {{0, kSent}});
  const Effects& effects = Report(queue, "A1", {{0, kSent}});
  EXPECT_TRUE(effects.outcomes[0].late);
  EXPECT_EQ(counts().late_outcomes(), 1u);
}

TEST_F(StateMachineTest, ARepeatedOutcomeForOneRecipientIsIgnored) {
  Enqueue(queue, "A1", 2);
  Report(queue, "A1", {{0, kSent}});
  Report(queue, "A1", {{0, kDeferred}}, queue.now_ms + kMinuteMs);
  EXPECT_EQ(queue.Listed("A1").recipients_size(), 1);
  EXPECT_EQ((*queue.reader().ReadMessage("A1"))->deferred(), 0u);
}

TEST_F(StateMachineTest, AnUnknownRecipientNumberIsIgnored) {
  Enqueue(queue, "A1");
  EXPECT_FALSE(Report(queue, "A1", {{7, kSent}}).outcomes[0].removed);
  EXPECT_EQ((*queue.reader().ReadMessage("A1"))->pending(), 1u);
}

TEST_F(StateMachineTest, ADeferredRecipientWaitsInAJob) {
  Enqueue(queue, "A1", 3);
  const Effects& effects =
      Report(queue, "A1", {{0, kDeferred}, {2, kDeferred}}, queue.now_ms + kMinuteMs);
  ASSERT_THAT(effects.due, SizeIs(1));
  EXPECT_EQ(effects.due[0].due_ms, queue.now_ms + kMinuteMs);
  EXPECT_EQ(counts().incoming_messages(), 1u) << "one is still pending";
  Report(queue, "A1", {{1, kSent}});
  EXPECT_EQ(counts().deferred_messages(), 1u);
  EXPECT_EQ(queue.Listed("A1").queue(), v1::QUEUE_NAME_DEFERRED);
  EXPECT_EQ(queue.Listed("A1").recipients(1).reason(), "attempt for 2");
  EXPECT_THAT(*queue.reader().ScanDue({}, 10), SizeIs(1));
}

TEST_F(StateMachineTest, PartsThatWaitAreListedInAnAliasPlace) {
  Enqueue(queue, "A1", 1);
  state::Command command = OutcomeCommand(queue, "A1", {{0, kDeferred}}, queue.now_ms + kMinuteMs);
  mail::v1::Outcome* worst = command.mutable_outcomes()->mutable_outcomes(0)->mutable_outcomes(0);
  for (int i = 0; i < kOutcomePartsMax + 2; ++i) {
    mail::v1::OutcomePart* part = worst->add_parts();
    part->set_action(i == 0 ? kBounced : kDeferred);
    part->set_address(Concat("part", i, "@r.example"));
    part->set_text("full ");
  }
  queue.Apply(std::move(command));
  const v1::ListedMessage listed = queue.Listed("A1");
  ASSERT_THAT(listed.recipients(), SizeIs(kOutcomePartsMax)) << "those that wait, and the alias";
  EXPECT_EQ(listed.recipients(0).address(), "part1@r.example");
  EXPECT_EQ(listed.recipients(0).reason(), "full");
  EXPECT_EQ(listed.recipients(kOutcomePartsMax - 1).reason(), "") << "the alias itself";
}

TEST_F(StateMachineTest, ASecondDeferralShrinksTheOldJobAndMakesANewOne) {
  Enqueue(queue, "A1", 2);
  Report(queue, "A1", {{0, kDeferred}, {1, kDeferred}}, queue.now_ms + kMinuteMs);
  Report(queue, "A1", {{0, kDeferred}}, queue.now_ms + 2 * kMinuteMs);
  auto due = *queue.reader().ScanDue({}, 10);
  ASSERT_THAT(due, SizeIs(2));
  EXPECT_EQ(due[0].key.job, 0u);
  EXPECT_EQ(due[1].key.job, 1u);
  Report(queue, "A1", {{1, kSent}});
  due = *queue.reader().ScanDue({}, 10);
  ASSERT_THAT(due, SizeIs(1));
  EXPECT_EQ(due[0].key.job, 1u);
  EXPECT_TRUE(Report(queue, "A1", {{0, kSent}}).outcomes[0].removed);
  EXPECT_EQ(queue.MessageRows(), 0u);
}

TEST_F(StateMachineTest, AJobHoldsAtMostAThousandRecipients) {
  Enqueue(queue, "A1", 1'500);
  std::vector<std::pair<uint32_t, Action>> all;
  for (uint32_t i = 0; i < 1'500; ++i) all.push_back({i, kDeferred});
  EXPECT_THAT(Report(queue, "A1", all, queue.now_ms).due, SizeIs(2));
}

TEST_F(StateMachineTest, ANotifyClosesBouncedRowsAndEnqueuesTheNotice) {
  Enqueue(queue, "A1", 2);
  Report(queue, "A1", {{0, kBounced}, {1, kBounced}});
  EXPECT_EQ(counts().incoming_messages(), 1u);
  const Effects& effects = Notify(queue, "A1", {0, 1}, "B1");
  EXPECT_TRUE(effects.notifies[0].removed);
  ASSERT_THAT(effects.new_messages, SizeIs(1));
  EXPECT_TRUE(effects.new_messages[0].notice);
  EXPECT_EQ(queue.reader().ReadChunk("B1", 0)->bytes, "the notice");
  EXPECT_FALSE(queue.reader().ReadMessage("A1")->has_value());
  EXPECT_EQ(counts().incoming_messages(), 1u);
}

TEST_F(StateMachineTest, ARepeatedNotifyEnqueuesNothing) {
  Enqueue(queue, "A1", 2);
  Report(queue, "A1", {{0, kBounced}});
  Notify(queue, "A1", {0}, "B1");
  const Effects& again = Notify(queue, "A1", {0}, "B2");
  EXPECT_THAT(again.new_messages, IsEmpty());
  EXPECT_FALSE(again.notifies[0].late);
  Report(queue, "A1", {{1, kSent}});
  EXPECT_TRUE(Notify(queue, "A1", {0}, "B3").notifies[0].late);
  EXPECT_EQ(counts().incoming_messages(), 1u);
}

TEST_F(StateMachineTest, ANotifyWithoutNoticeOnlyClosesRows) {
  Enqueue(queue, "A1");
  Report(queue, "A1", {{0, kBounced}});
  EXPECT_TRUE(Notify(queue, "A1", {0}, "").notifies[0].removed);
  EXPECT_EQ(queue.MessageRows(), 0u);
}

TEST_F(StateMachineTest, AnImpossibleNoticeLeavesTheBouncedRows) {
  Enqueue(queue, "A1");
  Enqueue(queue, "B1");
  Report(queue, "A1", {{0, kBounced}});
  const Effects& effects = Notify(queue, "A1", {0}, "B1");
  EXPECT_THAT(effects.notifies[0].refused, HasSubstr("in use"));
  EXPECT_EQ((*queue.reader().ReadMessage("A1"))->bounced(), 1u);
}

TEST_F(StateMachineTest, ABounceAfterADeferralIsInTheIntakeAgain) {
  Enqueue(queue, "A1");
  Report(queue, "A1", {{0, kDeferred}}, queue.now_ms);
  EXPECT_THAT(*queue.reader().ScanIntake({}, 10), IsEmpty());
  EXPECT_THAT(Report(queue, "A1", {{0, kBounced}}).intake_again, SizeIs(1));
  EXPECT_THAT(*queue.reader().ScanIntake({}, 10), SizeIs(1));
  Notify(queue, "A1", {0}, "");
  EXPECT_EQ(queue.MessageRows(), 0u);
}

TEST_F(StateMachineTest, AnOutcomeOfAnOlderEpochIsRefusedWhole) {
  Enqueue(queue, "A1");
  state::Command old = OutcomeCommand(queue, "A1", {{0, kSent}});
  Open(queue);
  const Effects& effects = queue.Apply(old);
  EXPECT_TRUE(effects.fenced);
  EXPECT_THAT(effects.outcomes, IsEmpty());
  EXPECT_EQ(counts().incoming_messages(), 1u);
}

TEST_F(StateMachineTest, OpeningGivesRisingEpochsAndNoOtherPartition) {
  const uint64_t first = Open(queue);
  EXPECT_EQ(Open(queue), first + 1);
  state::Command command;
  command.mutable_open()->set_partition(1);
  const Effects& effects = queue.Apply(command);
  EXPECT_FALSE(effects.open.opened);
  EXPECT_THAT(effects.refused, HasSubstr("partition 1"));
}

TEST_F(StateMachineTest, DeleteTakesAllRowsOfAllStates) {
  Enqueue(queue, "A1", 4, std::string(100'000, 'x'));
  Report(queue, "A1", {{0, kDeferred}, {1, kBounced}, {2, kSent}}, queue.now_ms);
  Enqueue(queue, "A10");
  const Effects& effects = Delete(queue, {"A1", "A1", "none"});
  EXPECT_THAT(effects.deleted, ElementsAre("A1"));
  EXPECT_THAT(effects.changed, ElementsAre("A1"));
  EXPECT_EQ(counts().incoming_messages(), 1u);
  Delete(queue, {"A10"});
  EXPECT_EQ(queue.MessageRows(), 0u);
  EXPECT_EQ(counts().bytes(), 0u);
}

TEST_F(StateMachineTest, FlushOfOneMovesItsJobsToNow) {
  Enqueue(queue, "A1");
  Report(queue, "A1", {{0, kDeferred}}, queue.now_ms + kMinuteMs);
  const Effects& effects = Flush(queue, {"A1", "A1", "none"});
  EXPECT_THAT(effects.flushed, ElementsAre("A1"));
  ASSERT_THAT(effects.due, SizeIs(1));
  EXPECT_THAT(Flush(queue, {"A1"}).due, IsEmpty()) << "it is due already";
  const auto due = *queue.reader().ScanDue({}, 10);
  ASSERT_THAT(due, SizeIs(1));
  EXPECT_EQ(due[0].key.due_ms, queue.now_ms);
  Report(queue, "A1", {{0, kSent}});
  EXPECT_EQ(queue.MessageRows(), 0u);
}

TEST_F(StateMachineTest, TimeNeverGoesBack) {
  Enqueue(queue, "A1");
  queue.now_ms -= kMinuteMs;
  Enqueue(queue, "A2");
  EXPECT_EQ(queue.machine().now_ms(), queue.now_ms + kMinuteMs);
  EXPECT_EQ((*queue.reader().ReadMessage("A2"))->create_ms(), queue.now_ms + kMinuteMs);
}

// ---- Submissions

TEST_F(StateMachineTest, ARetriedSubmissionIsAnsweredFromItsRow) {
  const v1::Submission submission = Message("A1", 1, "x");
  Submit(submission, "x");
  Report(queue, "A1", {{0, kSent}});
  const Effects& again = Submit(submission, "x");
  EXPECT_EQ(again.submissions[0].code, v1::EnqueueResult::COMMITTED);
  EXPECT_TRUE(again.submissions[0].duplicate);
  EXPECT_THAT(again.new_messages, IsEmpty());
  EXPECT_EQ(queue.MessageRows(), 0u);
}

TEST_F(StateMachineTest, ARetryInTheSameCommandIsAppliedOnce) {
  state::Command command;
  std::string payload;
  const v1::Submission first = *AddMessage(queue, "A1", 1, "x", &command, &payload);
  *command.add_submissions() = first;
  const Effects& effects = queue.Apply(command, payload + "x");
  EXPECT_EQ(effects.submissions[1].code, v1::EnqueueResult::COMMITTED);
  EXPECT_TRUE(effects.submissions[1].duplicate);
  EXPECT_THAT(effects.new_messages, SizeIs(1));
}

TEST_F(StateMachineTest, ARefusalIsRememberedToo) {
  const v1::Submission bad = Message("A1", 0, "x");
  EXPECT_THAT(Submit(bad, "x").submissions[0].text, HasSubstr("no recipients"));
  const Effects& again = Submit(bad, "x");
  EXPECT_EQ(again.submissions[0].code, v1::EnqueueResult::REFUSED);
  EXPECT_TRUE(again.submissions[0].duplicate);
}

TEST_F(StateMachineTest, SubmissionsBelowTheWindowAndOfUnknownIncarnationsExpire) {
  const v1::Submission old = Message("A1", 1, "x");
  v1::Submission far = Message("A2", 1, "x");
  far.mutable_id()->set_sequence(old.id().sequence() + kSubmissionWindow - 1);
  Submit(far, "x");
  EXPECT_EQ(Submit(old, "x").submissions[0].code, v1::EnqueueResult::COMMITTED)
      << "the last one in the window";
  v1::Submission next = Message("A3", 1, "x");
  next.mutable_id()->set_sequence(old.id().sequence() + kSubmissionWindow);
  Submit(next, "x");
  EXPECT_EQ(Submit(old, "x").submissions[0].code, v1::EnqueueResult::EXPIRED);
  v1::Submission stranger = Message("A4", 1, "x");
  stranger.mutable_id()->set_incarnation(99);
  EXPECT_EQ(Submit(stranger, "x").submissions[0].code, v1::EnqueueResult::EXPIRED);
  EXPECT_FALSE(queue.reader().ReadMessage("A4")->has_value());
}

TEST_F(StateMachineTest, TheWindowKeepsAsManyRowsAndNotOneMore) {
  for (uint64_t sequence : {1ul, 2ul, kSubmissionWindow, kSubmissionWindow + 2}) {
    v1::Submission submission = Message(Concat("A", sequence), 1, "x");
    submission.mutable_id()->set_sequence(sequence);
    Submit(submission, "x");
  }
  size_t rows = 0;
  for (const auto& [key, value] : queue.Dump()) rows += key.starts_with("8/");
  EXPECT_EQ(rows, 2u) << "0 is the registration; 1 and 2 fell out";
}

TEST_F(StateMachineTest, TheWindowSurvivesARestart) {
  const v1::Submission submission = Message("A1", 1, "x");
  Submit(submission, "x");
  ASSERT_TRUE(queue.store().Flush().ok());
  queue.Crash();
  EXPECT_TRUE(Submit(submission, "x").submissions[0].duplicate);
}

TEST_F(StateMachineTest, ASilentIncarnationIsForgottenWhenAnotherRegisters) {
  const v1::Submission submission = Message("A1", 1, "x");
  Submit(submission, "x");
  queue.now_ms += kIncarnationSilenceMs + 1;
  state::Command command;
  command.mutable_register_();
  EXPECT_EQ(queue.Apply(command).incarnation, submission.id().incarnation() + 1);
  EXPECT_EQ(Submit(submission, "x").submissions[0].code, v1::EnqueueResult::EXPIRED);
}

TEST_F(StateMachineTest, ChunksBecomeVisibleWithTheLastOne) {
  Submit(ChunkOf("A1", 0, "one "), "one ");
  EXPECT_FALSE(queue.reader().ReadMessage("A1")->has_value());
  EXPECT_EQ(counts().uploads(), 1u);
  Submit(ChunkOf("A1", 1, "two "), "two ");
  v1::Submission last = Message("A1", 1, "three");
  last.set_chunk(2);
  last.mutable_message()->set_content_bytes(13);
  const Effects& effects = Submit(last, "three");
  EXPECT_EQ(effects.submissions[0].code, v1::EnqueueResult::COMMITTED);
  EXPECT_THAT(effects.new_messages[0].payload, IsEmpty());
  EXPECT_EQ(effects.new_messages[0].row.chunks(), 3u);
  EXPECT_EQ(counts().uploads(), 0u);
  EXPECT_EQ(queue.reader().ReadChunk("A1", 1)->bytes, "two ");
  Report(queue, "A1", {{0, kSent}});
  EXPECT_EQ(queue.MessageRows(), 0u);
}

TEST_F(StateMachineTest, AllChunksMayComeInOneCommand) {
  state::Command command;
  *command.add_submissions() = ChunkOf("A1", 0, "one ");
  v1::Submission last = Message("A1", 1, "");
  last.set_chunk(1);
  last.mutable_message()->set_content_bytes(4);
  *command.add_submissions() = last;
  const Effects& effects = queue.Apply(command, "one ");
  EXPECT_EQ(effects.submissions[1].code, v1::EnqueueResult::COMMITTED)
      << effects.submissions[1].text;
  EXPECT_EQ(counts().uploads(), 0u);
}

TEST_F(StateMachineTest, AbandonedChunksAreDeleted) {
  Submit(ChunkOf("A1", 0, "one"), "one");
  v1::Submission abandon = ChunkOf("A1", 0, "");
  abandon.set_abandon(true);
  EXPECT_EQ(Submit(abandon, "").submissions[0].code, v1::EnqueueResult::COMMITTED);
  EXPECT_EQ(queue.MessageRows(), 0u);
  EXPECT_EQ(counts().uploads(), 0u);
}

TEST_F(StateMachineTest, UploadsWithoutNewChunksAreCollected) {
  Submit(ChunkOf("A1", 0, "one"), "one");
  queue.now_ms += kMinuteMs;
  Submit(ChunkOf("A2", 0, "one"), "one");
  state::Command command;
  command.mutable_abandon_uploads()->set_idle_since_ms(queue.now_ms);
  EXPECT_EQ(queue.Apply(command).uploads_abandoned, 1u);
  EXPECT_EQ(counts().uploads(), 1u);
  EXPECT_FALSE(queue.reader().ReadChunk("A1", 0)->found);
  EXPECT_TRUE(queue.reader().ReadChunk("A2", 0)->found);
}

// ---- What is refused

class Refused : public StateMachineTest {
 protected:
  // The text of the refusal; the state must be as before, but for the submission's own row.
  std::string TextOf(const v1::Submission& submission, const std::string& payload) {
    const size_t before = queue.MessageRows();
    const SubmissionResult result = Submit(submission, payload).submissions[0];
    EXPECT_EQ(result.code, v1::EnqueueResult::REFUSED);
    EXPECT_EQ(queue.MessageRows(), before);
    return result.text;
  }
};

TEST_F(Refused, WhatCannotBeAMessage) {
  EXPECT_THAT(TextOf(Message("A1", 0, "x"), "x"), HasSubstr("no recipients"));
  v1::Submission submission = Message("A1", 1, "x");
  submission.mutable_message()->mutable_recipients(0)->clear_address();
  EXPECT_THAT(TextOf(submission, "x"), HasSubstr("without address"));
  submission = Message("A1", 1, "x");
  submission.mutable_message()->mutable_recipients(0)->set_address(std::string(5'000, 'a'));
  EXPECT_THAT(TextOf(submission, "x"), HasSubstr("4096 bytes"));
  submission = Message("A1", 1, "x");
  submission.mutable_message()->mutable_envelope()->set_sender(std::string(5'000, 'a'));
  EXPECT_THAT(TextOf(submission, "x"), HasSubstr("sender"));
  submission = Message("A1", 1, "x");
  submission.mutable_message()->set_content_bytes(2);
  EXPECT_THAT(TextOf(submission, "x"), HasSubstr("1 bytes of contents came, 2 were announced"));
}

TEST_F(Refused, QueueIdsThatAreNoneOrInUse) {
  EXPECT_THAT(TextOf(Message(std::string("A\0B", 3), 1, "x"), "x"), HasSubstr("not a queue id"));
  EXPECT_THAT(TextOf(Message("", 1, "x"), "x"), HasSubstr("not a queue id"));
  EXPECT_THAT(TextOf(Message(std::string(300, 'A'), 1, "x"), "x"), HasSubstr("not a queue id"));
  Enqueue(queue, "A1");
  EXPECT_THAT(TextOf(Message("A1", 1, "x"), "x"), HasSubstr("in use"));
}

TEST_F(Refused, ChunksOutOfPlace) {
  EXPECT_THAT(TextOf(ChunkOf("A1", 1, "x"), "x"), HasSubstr("chunk 1 where chunk 0 is next"));
  Submit(ChunkOf("A1", 0, "x"), "x");
  EXPECT_THAT(TextOf(ChunkOf("A1", 0, "x"), "x"), HasSubstr("chunk 0 where chunk 1 is next"));
  EXPECT_THAT(TextOf(Message("A1", 1, "x"), "x"), HasSubstr("chunk 0 where chunk 1 is next"));
  state::Command command;
  command.mutable_register_();
  v1::Submission other = ChunkOf("A1", 1, "x");
  other.mutable_id()->set_incarnation(queue.Apply(command).incarnation);
  EXPECT_THAT(TextOf(other, "x"), HasSubstr("another incarnation"));
}

TEST_F(Refused, SequenceZero) {
  v1::Submission submission = Message("A1", 1, "x");
  submission.mutable_id()->set_sequence(0);
  EXPECT_THAT(TextOf(submission, "x"), HasSubstr("start at 1"));
}

TEST_F(Refused, ACommandWhosePayloadIsNotWhatItSays) {
  EXPECT_THAT(TextOf(Message("A1", 1, "x"), "xy"), HasSubstr("2 bytes of payload came"));
  EXPECT_THAT(TextOf(Message("A2", 1, "xyz"), "xy"), HasSubstr("3 were announced"));
}

TEST_F(Refused, ACommandOfTwoKindsOrNone) {
  EXPECT_THAT(queue.Apply({}).refused, HasSubstr("exactly one kind"));
  state::Command command;
  command.mutable_register_();
  command.mutable_open();
  const Effects& effects = queue.Apply(command);
  EXPECT_THAT(effects.refused, HasSubstr("exactly one kind"));
  EXPECT_EQ(effects.incarnation, 0u);
}

TEST_F(Refused, TooManyIds) {
  state::Command command;
  command.mutable_administer()->set_action(v1::ACTION_DELETE);
  for (int i = 0; i < 1'001; ++i) command.mutable_administer()->add_queue_ids("A");
  EXPECT_THAT(queue.Apply(command).refused, HasSubstr("1000"));
}

TEST_F(StateMachineTest, AnIndexIsAppliedOnce) {
  Enqueue(queue, "A1");
  const LoggedCommand& last = queue.log().back();
  EXPECT_FALSE(queue.machine().Apply(last.index, {last.header, {}, nullptr}).ok());
}

}  // namespace
}  // namespace postfleet::queue
