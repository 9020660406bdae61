// What administrators do to the queue, over its contract.
#include <future>

#include "services/queue/dispatch/dispatcher.h"
#include "services/queue/log/log.h"
#include "services/queue/queue_node.h"
#include "services/queue/rpc/commit_pipeline.h"
#include "services/queue/state/keys.h"
#include "services/queue/state/state_machine.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

constexpr auto kOutcomeSent = mail::v1::Outcome::ACTION_SENT;

std::vector<std::string> Ids(const v1::ListResponse& list) {
  std::vector<std::string> ids;
  for (const auto& message : list.messages()) ids.push_back(message.queue_id());
  return ids;
}

v1::ListRequest InQueue(v1::QueueName queue) {
  v1::ListRequest request;
  request.add_queues(queue);
  return request;
}

// Flips a bit of a message's contents in the folder of a queue that is down.
void DamageContents(const std::string& directory, const std::string& queue_id) {
  const auto store = *Store::Open({.path = directory + "/state"});
  Recovery found;
  const auto log = *NodeLog::Open({.dir = directory + "/log"}, &found);
  const auto machine = *StateMachine::Load(store.get());
  ASSERT_TRUE(
      CommitPipeline::Replay(log.get(), log->last_index(CommitPipeline::kShard), machine.get())
          .ok());
  rocksdb::ColumnFamilyHandle* const body = store->family(Family::kBody);
  std::string chunk;
  ASSERT_TRUE(store->db()->Get({}, body, NumberedKey(queue_id, 0), &chunk).ok());
  chunk.back() = static_cast<char>(chunk.back() ^ 1);
  rocksdb::WriteOptions write;
  write.disableWAL = true;
  ASSERT_TRUE(store->db()->Put(write, body, NumberedKey(queue_id, 0), chunk).ok());
  ASSERT_TRUE(store->Flush().ok());
}

void AwaitCorrupt(Node* node, uint64_t messages) {
  while (node->Stat().corrupt_messages() < messages) std::this_thread::yield();
}

using AdministrationTest = QueueTest;

TEST_F(AdministrationTest, DeleteIsDurable) {
  {
    Node node(directory_);
    EnqueueMany(&node, 2);
    EXPECT_THAT(node.Administer(v1::ACTION_DELETE, {NumberedId(1)}).changed(),
                ElementsAre(NumberedId(1)));
    EXPECT_THAT(node.Administer(v1::ACTION_DELETE, {NumberedId(1)}).changed(), IsEmpty());
  }
  Node node(directory_);
  EXPECT_THAT(Ids(node.List()), ElementsAre(NumberedId(2)));
  EXPECT_EQ(node.Stat().incoming_messages(), 1u);
}

TEST_F(AdministrationTest, AnActionThatIsNoneIsRefused) {
  Node node(directory_);
  grpc::ClientContext context;
  v1::AdministerRequest request;
  v1::AdministerResponse response;
  request.add_queue_ids("Q1");
  EXPECT_EQ(node.stub().Administer(&context, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(AdministrationTest, HoldRecallsAMessageInDeliveryAndReleaseGivesItOutAgain) {
  Node node(directory_);
  TestScheduler scheduler(&node);
  EnqueueMany(&node, 1);
  const std::string id = NumberedId(1);
  scheduler.AwaitGiven(id);
  EXPECT_THAT(node.Administer(v1::ACTION_HOLD, {id}).changed(), ElementsAre(id));
  scheduler.AwaitRecalled(id);
  EXPECT_EQ(node.List().messages(0).queue(), v1::QUEUE_NAME_HOLD);
  EXPECT_EQ(node.Stat().active_messages(), 0u);
  scheduler.Release(id);
  EXPECT_THAT(node.Administer(v1::ACTION_RELEASE, {id}).changed(), ElementsAre(id));
  scheduler.AwaitGiven(id);
  EXPECT_EQ(node.Stat().hold_messages(), 0u);
}

TEST_F(AdministrationTest, ARequeueWaitsForTheAttemptToEnd) {
  Node node(directory_);
  TestScheduler scheduler(&node);
  EnqueueMany(&node, 1);
  const std::string id = NumberedId(1);
  scheduler.AwaitGiven(id);
  auto answer = std::async(std::launch::async, [&] {
    return node.Administer(v1::ACTION_REQUEUE, {id, "none"});
  });
  scheduler.AwaitRecalled(id);
  EXPECT_THAT(Ids(node.List()), ElementsAre(id)) << "its attempt goes on";
  scheduler.Release(id);
  const v1::AdministerResponse requeued = answer.get();
  EXPECT_THAT(requeued.changed(), ElementsAre(id));
  ASSERT_THAT(requeued.new_queue_ids(), SizeIs(1));
  scheduler.AwaitGiven(requeued.new_queue_ids(0));
  EXPECT_FALSE(scheduler.given().contains(id));
  EXPECT_THAT(Ids(node.List()), ElementsAre(requeued.new_queue_ids(0)));
}

TEST_F(AdministrationTest, WhatIsHeldMeanwhileIsNotRequeued) {
  Node node(directory_);
  TestScheduler scheduler(&node, /*credit=*/2);
  EnqueueMany(&node, 2);
  scheduler.AwaitGiven(NumberedId(1));
  scheduler.AwaitGiven(NumberedId(2));
  auto one = std::async(std::launch::async,
                        [&] { return node.Administer(v1::ACTION_REQUEUE, {NumberedId(1)}); });
  scheduler.AwaitRecalled(NumberedId(1));
  auto all = std::async(std::launch::async, [&] { return node.AdministerAll(v1::ACTION_REQUEUE); });
  scheduler.AwaitRecalled(NumberedId(2));
  EXPECT_EQ(node.Administer(v1::ACTION_HOLD, {NumberedId(1), NumberedId(2)}).changed_size(), 2);
  scheduler.Release(NumberedId(1));
  scheduler.Release(NumberedId(2));
  EXPECT_EQ(one.get().changed_size(), 0);
  EXPECT_EQ(all.get().changed(), 0u);
  EXPECT_THAT(Ids(node.List(InQueue(v1::QUEUE_NAME_HOLD))),
              ElementsAre(NumberedId(1), NumberedId(2)));
}

TEST_F(AdministrationTest, WhatIsDeliveredMeanwhileIsNotRequeued) {
  Node node(directory_);
  TestScheduler scheduler(&node);
  EnqueueMany(&node, 1);
  const std::string id = NumberedId(1);
  scheduler.AwaitGiven(id);
  auto answer =
      std::async(std::launch::async, [&] { return node.Administer(v1::ACTION_REQUEUE, {id}); });
  scheduler.AwaitRecalled(id);
  scheduler.Report(id, kOutcomeSent);
  EXPECT_THAT(answer.get().changed(), IsEmpty());
  EXPECT_THAT(Ids(node.List()), IsEmpty());
}

TEST_F(AdministrationTest, ARequeueGoesOnWhenTheSchedulerDies) {
  Node node(directory_);
  auto scheduler = std::make_unique<TestScheduler>(&node);
  EnqueueMany(&node, 1);
  const std::string id = NumberedId(1);
  scheduler->AwaitGiven(id);
  auto answer =
      std::async(std::launch::async, [&] { return node.Administer(v1::ACTION_REQUEUE, {id}); });
  scheduler->AwaitRecalled(id);
  scheduler.reset();
  EXPECT_THAT(answer.get().changed(), ElementsAre(id));
}

TEST_F(AdministrationTest, WhatIsAskedOfActiveIsDoneToWhatIsInDelivery) {
  Node node(directory_);
  TestScheduler scheduler(&node, /*credit=*/1);
  EnqueueMany(&node, 3);
  scheduler.AwaitGiven(NumberedId(1));
  const std::vector<std::string> all = {NumberedId(1), NumberedId(2), NumberedId(3)};
  EXPECT_THAT(node.Administer(v1::ACTION_EXPIRE, all, {v1::QUEUE_NAME_ACTIVE}).changed(),
              ElementsAre(NumberedId(1)));
  EXPECT_THAT(node.Administer(v1::ACTION_DELETE, all, {v1::QUEUE_NAME_INCOMING}).changed(),
              ElementsAre(NumberedId(2), NumberedId(3)));
  EXPECT_EQ(node.AdministerAll(v1::ACTION_DELETE, {v1::QUEUE_NAME_ACTIVE}).changed(), 1u);
  EXPECT_THAT(Ids(node.List()), IsEmpty());
}

TEST_F(AdministrationTest, ADryRunCountsExactlyAndChangesNothing) {
  Node node(directory_);
  TestScheduler scheduler(&node, /*credit=*/2);
  EnqueueMany(&node, 5);
  scheduler.AwaitGiven(NumberedId(1));
  scheduler.AwaitGiven(NumberedId(2));
  const auto count = [&](const std::vector<v1::QueueName>& queues) {
    const auto progress = node.AdministerAll(v1::ACTION_DELETE, queues, /*dry_run=*/true);
    EXPECT_EQ(progress.changed(), 0u);
    return progress.total();
  };
  EXPECT_EQ(count({}), 5u);
  EXPECT_EQ(count({v1::QUEUE_NAME_INCOMING}), 3u);
  EXPECT_EQ(count({v1::QUEUE_NAME_ACTIVE}), 2u);
  EXPECT_EQ(count({v1::QUEUE_NAME_ACTIVE, v1::QUEUE_NAME_DEFERRED}), 2u);
  EXPECT_EQ(count({v1::QUEUE_NAME_HOLD}), 0u);
  EXPECT_THAT(Ids(node.List()), SizeIs(5));
}

TEST_F(AdministrationTest, EverythingIsDeletedAndNewMailGoesOn) {
  Node node(directory_);
  TestScheduler scheduler(&node, /*credit=*/10);
  EnqueueMany(&node, 300);
  scheduler.AwaitGiven(NumberedId(10));
  node.Administer(v1::ACTION_HOLD, {NumberedId(200)});
  const v1::AdministerAllProgress progress = node.AdministerAll(v1::ACTION_DELETE);
  EXPECT_EQ(progress.changed(), 300u);
  EXPECT_THAT(Ids(node.List()), IsEmpty());
  EXPECT_EQ(node.Stat().bytes(), 0u);
  ASSERT_EQ(Enqueue(&node, node.Register(), 1, "Q1").code(), v1::EnqueueResult::COMMITTED);
  for (int number = 1; number <= 10; ++number) scheduler.Release(NumberedId(number));
  scheduler.AwaitGiven("Q1");
}

TEST_F(AdministrationTest, ABulkJobDoesAllAndTellsWhichOnes) {
  Node node(directory_);
  EnqueueMany(&node, 1'200);
  node.Administer(v1::ACTION_HOLD, {NumberedId(7)});
  EXPECT_EQ(node.AdministerAll(v1::ACTION_HOLD).changed(), 1'199u);
  EXPECT_EQ(node.Stat().hold_messages(), 1'200u);
  EXPECT_EQ(node.AdministerAll(v1::ACTION_RELEASE).changed(), 1'200u);
  EXPECT_EQ(node.Stat().incoming_messages(), 1'200u);
  EXPECT_EQ(node.AdministerAll(v1::ACTION_DELETE, {v1::QUEUE_NAME_INCOMING}).changed(), 1'200u);
  EXPECT_EQ(node.Stat().incoming_messages(), 0u);
}

TEST_F(AdministrationTest, ABulkRequeueGivesEachMessageOneNewId) {
  Node node(directory_);
  EnqueueMany(&node, 700);
  EXPECT_EQ(node.AdministerAll(v1::ACTION_REQUEUE).changed(), 700u);
  const std::vector<std::string> ids = Ids(node.List());
  EXPECT_THAT(ids, SizeIs(700));
  for (const std::string& id : ids) EXPECT_GT(id, NumberedId(700));
}

TEST_F(AdministrationTest, ABulkRequeueWaitsForWhatIsInDelivery) {
  Node node(directory_);
  TestScheduler scheduler(&node, /*credit=*/1);
  EnqueueMany(&node, 3);
  scheduler.AwaitGiven(NumberedId(1));
  auto progress =
      std::async(std::launch::async, [&] { return node.AdministerAll(v1::ACTION_REQUEUE); });
  scheduler.AwaitRecalled(NumberedId(1));
  EXPECT_THAT(Ids(node.List()), SizeIs(3));
  scheduler.Release(NumberedId(1));
  EXPECT_EQ(progress.get().changed(), 3u);
}

TEST_F(AdministrationTest, ABulkJobGoesOnAfterARestartWithoutItsCaller) {
  constexpr int kMessages = 4'000;
  {
    Node node(directory_);
    EnqueueMany(&node, kMessages);
    grpc::ClientContext context;
    v1::AdministerAllRequest request;
    request.set_action(v1::ACTION_HOLD);
    const auto reader = node.stub().AdministerAll(&context, request);
    v1::AdministerAllProgress progress;
    while (progress.changed() == 0) ASSERT_TRUE(reader->Read(&progress));
    EXPECT_GT(progress.job_id(), 0u);
    EXPECT_EQ(progress.total(), uint64_t{kMessages});
    context.TryCancel();
    while (reader->Read(&progress)) {
    }
    static_cast<void>(reader->Finish());
  }
  Node node(directory_);
  while (node.Stat().hold_messages() < uint64_t{kMessages}) std::this_thread::yield();
  EXPECT_EQ(node.Stat().incoming_messages(), 0u);
}

TEST_F(AdministrationTest, AStoppedJobDoesNoMoreAndTheNextOneBegins) {
  Node node(directory_);
  TestScheduler scheduler(&node, /*credit=*/1);
  EnqueueMany(&node, 3);
  scheduler.AwaitGiven(NumberedId(1));
  grpc::ClientContext context;
  v1::AdministerAllRequest request;
  request.set_action(v1::ACTION_REQUEUE);
  const auto reader = node.stub().AdministerAll(&context, request);
  v1::AdministerAllProgress progress;
  ASSERT_TRUE(reader->Read(&progress));
  scheduler.AwaitRecalled(NumberedId(1));
  const v1::ListJobsResponse jobs = node.ListJobs();
  ASSERT_THAT(jobs.jobs(), SizeIs(1));
  EXPECT_EQ(jobs.jobs(0).id(), progress.job_id());
  EXPECT_EQ(jobs.jobs(0).action(), v1::ACTION_REQUEUE);
  EXPECT_EQ(jobs.jobs(0).total(), 3u);

  EXPECT_FALSE(node.StopJob(progress.job_id() + 1));
  EXPECT_TRUE(node.StopJob(progress.job_id()));
  EXPECT_FALSE(node.StopJob(progress.job_id()));
  EXPECT_THAT(node.ListJobs().jobs(), IsEmpty());
  EXPECT_FALSE(reader->Read(&progress));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::ABORTED);

  // What it waited for comes too late for it.
  scheduler.Release(NumberedId(1));
  EXPECT_EQ(node.AdministerAll(v1::ACTION_HOLD).changed(), 3u);
  EXPECT_THAT(Ids(node.List()), ElementsAre(NumberedId(1), NumberedId(2), NumberedId(3)));
}

TEST_F(AdministrationTest, AFlushOfASiteTakesItsMailOnly) {
  Node node(directory_);
  TestScheduler scheduler(&node);
  EnqueueMany(&node, 2);
  for (int number : {1, 2}) scheduler.Defer(NumberedId(number));
  const auto flush = [&](const std::string& site) {
    grpc::ClientContext context;
    v1::FlushRequest request;
    v1::FlushResponse response;
    request.set_site(site);
    EXPECT_TRUE(node.stub().Flush(&context, request, &response).ok());
    return response.messages();
  };
  EXPECT_EQ(flush("elsewhere"), 0u);
  EXPECT_EQ(flush("D"), 2u);
  for (int number : {1, 2}) scheduler.AwaitGiven(NumberedId(number));
}

TEST_F(AdministrationTest, ActiveMailIsListedInPages) {
  Node node(directory_);
  TestScheduler scheduler(&node, /*credit=*/3);
  EnqueueMany(&node, 5);
  scheduler.AwaitGiven(NumberedId(3));
  v1::ListRequest request = InQueue(v1::QUEUE_NAME_ACTIVE);
  request.set_limit(2);
  const v1::ListResponse first = node.List(request);
  EXPECT_THAT(Ids(first), ElementsAre(NumberedId(1), NumberedId(2)));
  EXPECT_EQ(first.messages(0).queue(), v1::QUEUE_NAME_ACTIVE);
  ASSERT_TRUE(first.more());
  request.set_after_queue_id(first.next_queue_id());
  const v1::ListResponse second = node.List(request);
  EXPECT_THAT(Ids(second), ElementsAre(NumberedId(3)));
  EXPECT_FALSE(second.more());
  EXPECT_THAT(Ids(node.List(InQueue(v1::QUEUE_NAME_INCOMING))),
              ElementsAre(NumberedId(4), NumberedId(5)));
  EXPECT_THAT(Ids(node.List()), SizeIs(5));
}

TEST_F(AdministrationTest, AMessageIsShownWithItsRecipients) {
  Node node(directory_);
  TestScheduler scheduler(&node);
  EnqueueMany(&node, 1);
  scheduler.AwaitGiven(NumberedId(1));
  const auto inspect = [&](const std::string& id) {
    grpc::ClientContext context;
    v1::InspectRequest request;
    v1::InspectResponse response;
    request.set_queue_id(id);
    EXPECT_TRUE(node.stub().Inspect(&context, request, &response).ok());
    return response;
  };
  EXPECT_FALSE(inspect("none").found());
  const v1::InspectResponse message = inspect(NumberedId(1));
  EXPECT_TRUE(message.found());
  EXPECT_EQ(message.queue(), v1::QUEUE_NAME_ACTIVE);
  EXPECT_EQ(message.envelope().sender(), "a@b");
  ASSERT_THAT(message.recipients(), SizeIs(1));
  EXPECT_EQ(message.recipients(0).recipient().address(), "x@d");
}

TEST_F(AdministrationTest, AShapeCountsByDomain) {
  Node node(directory_);
  EnqueueMany(&node, 5);
  grpc::ClientContext context;
  v1::ShapeResponse shape;
  ASSERT_TRUE(node.stub().Shape(&context, {}, &shape).ok());
  ASSERT_THAT(shape.domains(), SizeIs(1));
  EXPECT_EQ(shape.domains(0).domain(), "d");
  EXPECT_THAT(shape.total().counts(), ElementsAre(5u));
}

TEST_F(AdministrationTest, AVerificationOfAWholeQueueFindsNothing) {
  Node node(directory_);
  EnqueueMany(&node, 20);
  grpc::ClientContext context;
  const auto reader = node.stub().Verify(&context, {});
  v1::VerifyProgress progress;
  while (reader->Read(&progress)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(progress.done());
  EXPECT_EQ(progress.messages(), 20u);
  EXPECT_EQ(progress.findings_total(), 0u);
}

TEST_F(AdministrationTest, ADamagedMessageIsMovedToCorruptAndTheOthersGoOn) {
  {
    Node node(directory_);
    EnqueueMany(&node, 3);
  }
  DamageContents(directory_, NumberedId(2));
  Node node(directory_);
  TestScheduler scheduler(&node);
  scheduler.AwaitGiven(NumberedId(1));
  scheduler.AwaitGiven(NumberedId(3));
  AwaitCorrupt(&node, 1);
  EXPECT_FALSE(scheduler.given().contains(NumberedId(2)));
  const v1::ListResponse corrupt = node.List(InQueue(v1::QUEUE_NAME_CORRUPT));
  ASSERT_THAT(Ids(corrupt), ElementsAre(NumberedId(2)));
  EXPECT_EQ(corrupt.messages(0).corrupt_reason(), "chunk 0 does not match its checksum");

  // Deleting everything spares it; it is there to be looked at.
  EXPECT_EQ(node.AdministerAll(v1::ACTION_DELETE).changed(), 2u);
  EXPECT_THAT(Ids(node.List()), ElementsAre(NumberedId(2)));
  // Released, it is judged again.
  EXPECT_THAT(node.Administer(v1::ACTION_RELEASE, {NumberedId(2)}).changed(), SizeIs(1));
  AwaitCorrupt(&node, 1);
  EXPECT_THAT(node.Administer(v1::ACTION_DELETE, {NumberedId(2)}).changed(), SizeIs(1));
  EXPECT_THAT(Ids(node.List()), IsEmpty());
}

TEST_F(AdministrationTest, AWorkerThatFetchesADamagedChunkIsToldAndTheMessageIsMoved) {
  {
    Node node(directory_);
    EnqueueMany(&node, 2);
  }
  DamageContents(directory_, NumberedId(1));
  Node node(directory_);
  Client<v1::FetchRequest, v1::FetchResponse> worker(node.channel(), "Fetch");
  const auto fetch = [&](const std::string& id, uint32_t chunk) {
    v1::FetchRequest request;
    request.set_queue_id(id);
    request.set_chunk(chunk);
    worker.Send(request);
    return worker.Await([&](const v1::FetchResponse&) { return true; });
  };
  EXPECT_TRUE(fetch(NumberedId(1), 0).corrupt());
  AwaitCorrupt(&node, 1);
  EXPECT_TRUE(fetch(NumberedId(2), 0).found());
  const v1::FetchResponse past_the_end = fetch(NumberedId(2), 1);
  EXPECT_FALSE(past_the_end.found() || past_the_end.corrupt());
  const v1::FetchResponse unknown = fetch("none", 0);
  EXPECT_FALSE(unknown.found() || unknown.corrupt());
  EXPECT_EQ(node.Stat().corrupt_messages(), 1u);
}

TEST_F(AdministrationTest, WhoBringsMailIsToldWhenItComesFasterThanItIsGivenOut) {
  Node node(directory_);
  const uint64_t incarnation = node.Register();
  EnqueueClient client(node.channel(), "Enqueue");
  uint64_t sequence = 0;
  const auto is_behind = [&] {
    ++sequence;
    client.Send(OneMessage(incarnation, sequence, NumberedId(static_cast<int>(sequence))),
                {rpc::OwningSlice(std::string(kContents))});
    return client.Await([](const v1::EnqueueResponse& r) { return r.results_size() > 0; }).behind();
  };
  TestScheduler scheduler(&node, /*credit=*/1);
  is_behind();
  scheduler.AwaitGiven(NumberedId(1));
  for (uint32_t i = 0; i < kIntakeTokensMax; ++i) is_behind();
  EXPECT_TRUE(is_behind());
  scheduler.Release(NumberedId(1));
  EXPECT_THAT(Ids(node.List()), SizeIs(sequence));
}

TEST_F(AdministrationTest, ALateOutcomeIsCounted) {
  Node node(directory_);
  TestScheduler scheduler(&node);
  EnqueueMany(&node, 1);
  scheduler.AwaitGiven(NumberedId(1));
  EXPECT_THAT(node.registry().Expose(), HasSubstr("postfleet_queue_late_outcomes_total 0"));
  node.Administer(v1::ACTION_DELETE, {NumberedId(1)});
  scheduler.Report(NumberedId(1), kOutcomeSent);
  EXPECT_THAT(scheduler.late(), UnorderedElementsAre(NumberedId(1)));
  EXPECT_EQ(node.Stat().late_outcomes(), 1u);
  EXPECT_THAT(node.registry().Expose(), HasSubstr("postfleet_queue_late_outcomes_total 1"));
}

TEST_F(AdministrationTest, MetricsCountAnActiveMessageOnce) {
  Node node(directory_);
  TestScheduler scheduler(&node);
  EnqueueMany(&node, 1);
  scheduler.AwaitGiven(NumberedId(1));
  const std::string text = node.registry().Expose();
  EXPECT_THAT(text, HasSubstr("postfleet_queue_messages{queue=\"incoming\"} 0"));
  EXPECT_THAT(text, HasSubstr("postfleet_queue_messages{queue=\"active\"} 1"));
  EXPECT_THAT(text, HasSubstr("postfleet_queue_bytes{queue=\"incoming\"} 0"));
  EXPECT_THAT(text, HasSubstr("postfleet_queue_bytes{queue=\"active\"} 18"));
}

TEST_F(AdministrationTest, MetricsSayWhatIsInEachQueue) {
  Node node(directory_);
  EnqueueMany(&node, 3);
  node.Administer(v1::ACTION_HOLD, {NumberedId(2)});
  const std::string text = node.registry().Expose();
  EXPECT_THAT(text, HasSubstr("postfleet_queue_messages{queue=\"incoming\"} 2"));
  EXPECT_THAT(text, HasSubstr("postfleet_queue_messages{queue=\"hold\"} 1"));
  EXPECT_THAT(text, HasSubstr("postfleet_queue_messages{queue=\"corrupt\"} 0"));
  EXPECT_THAT(text, HasSubstr("postfleet_queue_bytes{queue=\"incoming\"} 36"));
  EXPECT_THAT(text, HasSubstr("postfleet_queue_bytes{queue=\"hold\"} 18"));
  EXPECT_THAT(text, HasSubstr("postfleet_queue_bulk_jobs 0"));
  EXPECT_THAT(text, HasSubstr("postfleet_queue_damaged_compactions_total 0"));
  EXPECT_THAT(text, HasSubstr("postfleet_queue_oldest_message_age_seconds{queue=\"active\"} 0"));
  EXPECT_THAT(text, HasSubstr("postfleet_queue_commit_batch_messages_sum 3"));
}

}  // namespace
}  // namespace postfleet::queue
