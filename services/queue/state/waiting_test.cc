// Mail that waits: what is put off without an attempt, and deferrals whose route has changed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "libs/base/concat.h"
#include "services/queue/state/queue_under_test.h"

namespace postfleet::queue {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kMinuteMs = 60'000;

class Waiting : public ::testing::Test {
 protected:
  Waiting() { Open(queue); }

  const state::Counts& counts() { return queue.machine().counts(); }
  // "A1 0 smtp:example.com 0 1": message, job, route and recipients of each job.
  std::vector<std::string> Jobs() {
    std::vector<std::string> jobs;
    std::unique_ptr<rocksdb::Iterator> rows(
        queue.store().db()->NewIterator({}, queue.store().family(Family::kJob)));
    for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
      std::string_view queue_id;
      uint32_t number = 0;
      state::JobRow row;
      EXPECT_TRUE(ParseNumberedKey(rows->key().ToStringView(), &queue_id, &number));
      EXPECT_TRUE(row.ParseFromString(rows->value().ToString()));
      std::string& job = jobs.emplace_back(
          Concat(queue_id, ' ', number, ' ', row.transport(), ':', row.nexthop()));
      for (uint32_t recipient : row.recipient_numbers()) ConcatTo(&job, ' ', recipient);
    }
    return jobs;
  }
  // Of each due row, after now.
  std::vector<int64_t> WaitsMs() {
    std::vector<int64_t> waits;
    const auto rows = queue.reader().ScanDue({}, 10);
    for (const DueEntry& entry : *rows) {
      waits.push_back(entry.key.due_ms - queue.now_ms);
    }
    return waits;
  }
  std::vector<std::string> AtSite() {
    return queue.reader().ScanSite("example.com", "", 10)->queue_ids;
  }
  const Effects& ReportBy(const std::string& transport, const std::string& nexthop,
                          const std::vector<std::pair<uint32_t, Action>>& outcomes,
                          int64_t wait_ms) {
    state::Command command = OutcomeCommand(queue, "A1", outcomes, queue.now_ms + wait_ms);
    command.mutable_outcomes()->mutable_outcomes(0)->set_transport(transport);
    command.mutable_outcomes()->mutable_outcomes(0)->set_nexthop(nexthop);
    return queue.Apply(std::move(command));
  }

  QueueUnderTest queue;
};

// ---- Put off

using PutOffTest = Waiting;

TEST_F(PutOffTest, ANewRecipientIsDeferredWithoutAReason) {
  Enqueue(queue, "A1", 2);
  const Effects& effects = PutOff(queue, "A1", {0, 1}, queue.now_ms + kMinuteMs);
  ASSERT_THAT(effects.put_offs, SizeIs(1));
  EXPECT_FALSE(effects.put_offs[0].removed);
  ASSERT_THAT(effects.due, SizeIs(1));
  EXPECT_EQ(effects.due[0].due_ms, queue.now_ms + kMinuteMs);
  EXPECT_THAT(Jobs(), ElementsAre("A1 0 slow:far.example 0 1"));
  EXPECT_EQ(counts().deferred_messages(), 1u);
  EXPECT_EQ(counts().incoming_messages(), 0u);
  const v1::ListedMessage listed = queue.Listed("A1");
  EXPECT_EQ(listed.queue(), v1::QUEUE_NAME_DEFERRED);
  ASSERT_THAT(listed.recipients(), SizeIs(2));
  EXPECT_EQ(listed.recipients(0).reason(), "");
  EXPECT_THAT(AtSite(), ElementsAre("A1"));
  EXPECT_THAT(*queue.reader().ScanIntake({}, 10), IsEmpty());
}

TEST_F(PutOffTest, ADeferredRecipientKeepsItsReasonAndMoves) {
  Enqueue(queue, "A1", 2);
  Report(queue, "A1", {{0, kDeferred}, {1, kDeferred}}, queue.now_ms + kMinuteMs);
  PutOff(queue, "A1", {1}, queue.now_ms + 2 * kMinuteMs);
  EXPECT_THAT(Jobs(), ElementsAre("A1 0 smtp:example.com 0", "A1 1 slow:far.example 1"));
  EXPECT_THAT(WaitsMs(), ElementsAre(kMinuteMs, 2 * kMinuteMs));
  EXPECT_EQ(queue.Listed("A1").recipients(1).reason(), "attempt for 1");
  EXPECT_THAT(AtSite(), ElementsAre("A1"));
}

TEST_F(PutOffTest, ARecipientThatIsNamedTwiceWaitsOnce) {
  Enqueue(queue, "A1");
  PutOff(queue, "A1", {0, 0}, queue.now_ms);
  PutOff(queue, "A1", {0}, queue.now_ms);
  EXPECT_THAT(Jobs(), ElementsAre("A1 1 slow:far.example 0"));
  Report(queue, "A1", {{0, kSent}});
  EXPECT_EQ(queue.MessageRows(), 0u);
}

TEST_F(PutOffTest, WhatIsDoneAndWhatThereIsNotIsLeftAlone) {
  Enqueue(queue, "A1", 3);
  Report(queue, "A1", {{0, kBounced}, {1, kSent}});
  PutOff(queue, "A1", {0, 1, 7}, queue.now_ms);
  EXPECT_THAT(Jobs(), IsEmpty());
  const state::MessageRow row = **queue.reader().ReadMessage("A1");
  EXPECT_EQ(row.pending(), 1u);
  EXPECT_EQ(row.bounced(), 1u);
  EXPECT_EQ(row.next_job(), 0u) << "no job without recipients";
}

TEST_F(PutOffTest, AMessageThatIsGoneIsSaidAndNotCounted) {
  const Effects& effects = PutOff(queue, "A1", {0}, queue.now_ms);
  EXPECT_TRUE(effects.put_offs[0].late);
  EXPECT_TRUE(effects.put_offs[0].removed);
  EXPECT_EQ(counts().late_outcomes(), 0u) << "no attempt was made";
}

TEST_F(PutOffTest, ByAnOlderEpochIsRefused) {
  Enqueue(queue, "A1");
  state::Command command;
  command.mutable_outcomes()->set_epoch(queue.machine().epoch(0));
  v1::PutOff* put_off = command.mutable_outcomes()->add_put_offs();
  put_off->set_queue_id("A1");
  put_off->add_recipient_numbers(0);
  Open(queue);
  EXPECT_TRUE(queue.Apply(command).fenced);
  EXPECT_EQ((*queue.reader().ReadMessage("A1"))->pending(), 1u);
}

TEST_F(PutOffTest, AfterAnOutcomeInTheSameCommandCounts) {
  Enqueue(queue, "A1", 2);
  state::Command command =
      OutcomeCommand(queue, "A1", {{0, kSent}, {1, kDeferred}}, queue.now_ms + 5 * kMinuteMs);
  v1::PutOff* put_off = command.mutable_outcomes()->add_put_offs();
  put_off->set_queue_id("A1");
  put_off->add_recipient_numbers(0);
  put_off->add_recipient_numbers(1);
  put_off->set_retry_at_ms(queue.now_ms + kMinuteMs);
  queue.Apply(std::move(command));
  EXPECT_THAT(WaitsMs(), ElementsAre(kMinuteMs));
  EXPECT_THAT(Jobs(), ElementsAre("A1 1 : 1"));
}

TEST_F(PutOffTest, AJobHoldsAtMostAThousandRecipients) {
  Enqueue(queue, "A1", 1'500);
  std::vector<uint32_t> all(1'500);
  for (uint32_t i = 0; i < 1'500; ++i) all[i] = i;
  EXPECT_THAT(PutOff(queue, "A1", all, queue.now_ms).due, SizeIs(2));
}

TEST_F(PutOffTest, HeldMailWaitsForItsRelease) {
  Enqueue(queue, "A1");
  Administer(queue, v1::ACTION_HOLD, {"A1"});
  EXPECT_THAT(PutOff(queue, "A1", {0}, queue.now_ms + kMinuteMs).due, IsEmpty());
  EXPECT_THAT(WaitsMs(), IsEmpty());
  Administer(queue, v1::ACTION_RELEASE, {"A1"});
  EXPECT_THAT(WaitsMs(), ElementsAre(0));
}

TEST_F(PutOffTest, WhatCannotBeReadMakesTheMessageCorrupt) {
  Enqueue(queue, "A1", 2);
  rocksdb::WriteOptions write;
  write.disableWAL = true;
  ASSERT_TRUE(
      queue.store()
          .db()
          ->Put(write, queue.store().family(Family::kRecipient), NumberedKey("A1", 1), "\xff\xff")
          .ok());
  EXPECT_THAT(PutOff(queue, "A1", {0, 1}, queue.now_ms).parked, ElementsAre("A1"));
  EXPECT_EQ(counts().corrupt_messages(), 1u);
}

// ---- Routes that change from one attempt to the next

using RouteChange = Waiting;

TEST_F(RouteChange, TakesTheRecipientsToAJobOfTheNewRoute) {
  Enqueue(queue, "A1", 3);
  ReportBy("smtp", "example.com", {{0, kDeferred}, {1, kDeferred}, {2, kDeferred}}, kMinuteMs);
  EXPECT_THAT(Jobs(), ElementsAre("A1 0 smtp:example.com 0 1 2"));
  ReportBy("relay", "[gateway.example]", {{0, kDeferred}, {2, kDeferred}}, 2 * kMinuteMs);
  EXPECT_THAT(Jobs(), ElementsAre("A1 0 smtp:example.com 1", "A1 1 relay:[gateway.example] 0 2"));
  EXPECT_THAT(WaitsMs(), ElementsAre(kMinuteMs, 2 * kMinuteMs));
  ReportBy("relay", "[gateway.example]", {{1, kDeferred}}, 3 * kMinuteMs);
  EXPECT_THAT(Jobs(),
              ElementsAre("A1 1 relay:[gateway.example] 0 2", "A1 2 relay:[gateway.example] 1"));
  EXPECT_THAT(WaitsMs(), ElementsAre(2 * kMinuteMs, 3 * kMinuteMs)) << "nothing of the old route";
}

TEST_F(RouteChange, LeavesSitesAndCountsAsTheyAre) {
  Enqueue(queue, "A1", 2);
  ReportBy("smtp", "example.com", {{0, kDeferred}, {1, kDeferred}}, kMinuteMs);
  const state::Counts before = counts();
  const auto sites = [this] {
    std::map<std::string, std::string> rows = queue.Dump();
    std::erase_if(rows, [](const auto& row) { return !row.first.starts_with("10/"); });
    return rows;
  };
  const auto sites_before = sites();
  EXPECT_THAT(sites_before, SizeIs(2)) << "one of each recipient";
  ReportBy("relay", "[gateway.example]", {{0, kDeferred}, {1, kDeferred}}, 2 * kMinuteMs);
  EXPECT_EQ(sites(), sites_before) << "a site is of the address, not of the route";
  EXPECT_EQ(counts().SerializeAsString(), before.SerializeAsString());
  EXPECT_THAT(Flush(queue, AtSite()).flushed, ElementsAre("A1"));
  EXPECT_THAT(WaitsMs(), ElementsAre(0));
}

TEST_F(RouteChange, OfOneMessageMayBeTwoRoutesInOneCommand) {
  Enqueue(queue, "A1", 2);
  state::Command command = OutcomeCommand(queue, "A1", {{0, kDeferred}}, queue.now_ms + kMinuteMs);
  const state::Command other =
      OutcomeCommand(queue, "A1", {{1, kDeferred}}, queue.now_ms + kMinuteMs);
  command.mutable_outcomes()->MergeFrom(other.outcomes());
  command.mutable_outcomes()->mutable_outcomes(1)->set_transport("relay");
  queue.Apply(std::move(command));
  EXPECT_THAT(Jobs(), ElementsAre("A1 0 smtp:example.com 0", "A1 1 relay:example.com 1"));
  EXPECT_THAT(WaitsMs(), SizeIs(2));
}

TEST_F(RouteChange, AfterARestartTheNewRouteIsThere) {
  Enqueue(queue, "A1");
  ReportBy("smtp", "example.com", {{0, kDeferred}}, kMinuteMs);
  ReportBy("relay", "[gateway.example]", {{0, kDeferred}}, kMinuteMs);
  ASSERT_TRUE(queue.store().Flush().ok());
  queue.Crash();
  EXPECT_THAT(Jobs(), ElementsAre("A1 1 relay:[gateway.example] 0"));
  EXPECT_THAT(WaitsMs(), ElementsAre(kMinuteMs));
}

}  // namespace
}  // namespace postfleet::queue
