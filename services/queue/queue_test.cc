#include <fstream>

#include "services/queue/log/file_system.h"
#include "services/queue/membership/identity.h"
#include "services/queue/queue_node.h"

namespace postfleet::queue {
namespace {

using testing::HasSubstr;

TEST_F(QueueTest, AnAcknowledgedMessageIsThereAfterARestart) {
  {
    Node node(directory_);
    EXPECT_EQ(Enqueue(&node, node.Register(), 1, "Q1").code(), v1::EnqueueResult::COMMITTED);
  }
  Node node(directory_);
  const v1::ListResponse list = node.List();
  ASSERT_EQ(list.messages_size(), 1);
  EXPECT_EQ(list.messages(0).queue_id(), "Q1");
  EXPECT_EQ(list.messages(0).queue(), v1::QUEUE_NAME_INCOMING);
  EXPECT_EQ(list.messages(0).recipients(0).address(), "x@d");
}

TEST_F(QueueTest, ARepeatedSubmissionIsOneMessageAlsoAfterARestart) {
  uint64_t incarnation;
  {
    Node node(directory_);
    incarnation = node.Register();
    EXPECT_EQ(Enqueue(&node, incarnation, 1, "Q1").code(), v1::EnqueueResult::COMMITTED);
  }
  Node node(directory_);
  EXPECT_EQ(Enqueue(&node, incarnation, 1, "Q1").code(), v1::EnqueueResult::COMMITTED);
  EXPECT_EQ(node.List().messages_size(), 1);
}

TEST_F(QueueTest, AnIncarnationIsNeverGivenTwice) {
  uint64_t first;
  {
    Node node(directory_);
    first = node.Register();
  }
  Node node(directory_);
  EXPECT_GT(node.Register(), first);
}

TEST_F(QueueTest, ASchedulerGetsTheMessageWithItsContentsAndItsOutcomeRemovesIt) {
  Node node(directory_);
  ScheduleClient scheduler(node.channel(), "Schedule");
  v1::ScheduleRequest open;
  open.mutable_open()->set_name("test");
  open.set_credit_messages(10);
  scheduler.Send(open);
  EXPECT_GT(scheduler.Await([](const v1::ScheduleResponse& r) { return r.epoch() != 0; }).epoch(),
            0u);
  ASSERT_EQ(Enqueue(&node, node.Register(), 1, "Q1").code(), v1::EnqueueResult::COMMITTED);

  const v1::ScheduleResponse given =
      scheduler.Await([](const v1::ScheduleResponse& r) { return r.activations_size() > 0; });
  ASSERT_EQ(given.activations_size(), 1);
  EXPECT_EQ(given.activations(0).queue_id(), "Q1");
  EXPECT_EQ(scheduler.payload(), kContents);
  EXPECT_EQ(node.List().messages(0).queue(), v1::QUEUE_NAME_ACTIVE);

  v1::ScheduleRequest work;
  v1::MessageOutcome* outcome = work.add_outcomes();
  outcome->set_queue_id("Q1");
  outcome->add_outcomes()->set_action(mail::v1::Outcome::ACTION_SENT);
  scheduler.Send(work);
  const v1::ScheduleResponse committed =
      scheduler.Await([](const v1::ScheduleResponse& r) { return r.committed_size() > 0; });
  EXPECT_TRUE(committed.committed(0).removed());
  EXPECT_EQ(node.List().messages_size(), 0);
}

TEST_F(QueueTest, ASecondSchedulerTakesThePartitionOverAndTheFirstIsClosed) {
  Node node(directory_);
  v1::ScheduleRequest open;
  open.mutable_open()->set_name("test");
  open.set_credit_messages(10);
  ScheduleClient first(node.channel(), "Schedule");
  first.Send(open);
  first.Await([](const v1::ScheduleResponse& r) { return r.epoch() != 0; });
  ASSERT_EQ(Enqueue(&node, node.Register(), 1, "Q1").code(), v1::EnqueueResult::COMMITTED);
  first.Await([](const v1::ScheduleResponse& r) { return r.activations_size() > 0; });

  ScheduleClient second(node.channel(), "Schedule");
  second.Send(open);
  const v1::ScheduleResponse given =
      second.Await([](const v1::ScheduleResponse& r) { return r.activations_size() > 0; });
  EXPECT_EQ(given.activations(0).queue_id(), "Q1");
  first.WaitClosed();
}

TEST_F(QueueTest, WithTooLittleFreeSpaceNothingIsAccepted) {
  constexpr uint64_t kMoreThanAnyDisk = uint64_t{1} << 60;
  Node node(directory_, kMoreThanAnyDisk);
  EXPECT_EQ(Enqueue(&node, node.Register(), 1, "Q1").code(), v1::EnqueueResult::DISK_FULL);
  EXPECT_FALSE(node.queue().Ready());
  EXPECT_EQ(node.List().messages_size(), 0);
}

TEST_F(QueueTest, AFolderThatCannotBeMadeIsNamed) {
  std::ofstream(directory_) << "a file";
  const absl::Status status =
      Queue::Open({.directory = directory_ + "/queue", .on_fatal = [](const absl::Status&) {}})
          .status();
  EXPECT_THAT(std::string(status.message()), HasSubstr(directory_ + "/queue"));
}

// What is changed there without the other replicas would contradict them.
TEST_F(QueueTest, AFolderOfAClusterIsOpenedAsItsMembersOnly) {
  { Node node(directory_); }
  membership::Identity identity = {.name = "q1",
                                   .volume = std::string(32, 'a'),
                                   .id = 7,
                                   .cluster_id = 9,
                                   .stage = membership::Stage::kMember};
  ASSERT_TRUE(WriteIdentity(PosixFileSystem(), directory_, identity).ok());
  QueueOptions options = {.directory = directory_, .on_fatal = [](const absl::Status&) {}};
  const absl::Status alone = Queue::Open(options).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(alone)) << alone;
  EXPECT_THAT(std::string(alone.message()), HasSubstr("member q1 of cluster 0000000000000009"));
  options.identity = membership::NodeIdentityOf(identity);
  EXPECT_TRUE(Queue::Open(options).ok());
}

}  // namespace
}  // namespace postfleet::queue
