// The stream of a scheduler, over the whole service: more recipients of a message, and mail that is
// put off; and what metrics say of submissions that come again or are given up.
#include "services/queue/queue_node.h"

namespace postfleet::queue {
namespace {

using testing::HasSubstr;

v1::ScheduleRequest OpenWith(uint32_t credit) {
  v1::ScheduleRequest open;
  open.mutable_open()->set_name("test");
  open.set_credit_messages(credit);
  return open;
}

bool Gives(const v1::ScheduleResponse& response) { return response.activations_size() > 0; }
bool Commits(const v1::ScheduleResponse& response) { return response.committed_size() > 0; }

void EnqueueFor(Node* node, const std::string& queue_id, int recipients) {
  EnqueueClient client(node->channel(), "Enqueue");
  v1::EnqueueRequest request = OneMessage(node->Register(), 1, queue_id);
  for (int i = 1; i < recipients; ++i) {
    request.mutable_submissions(0)->mutable_message()->add_recipients()->set_address("y@d");
  }
  client.Send(request, {rpc::OwningSlice(std::string(kContents))});
  const v1::EnqueueResponse response =
      client.Await([](const v1::EnqueueResponse& r) { return r.results_size() > 0; });
  EXPECT_EQ(response.results(0).code(), v1::EnqueueResult::COMMITTED);
}

TEST_F(QueueTest, MoreRecipientsComeWhenTheyAreAskedFor) {
  Node node(directory_);
  ScheduleClient scheduler(node.channel(), "Schedule");
  scheduler.Send(OpenWith(1));
  EnqueueFor(&node, "Q1", 1'500);
  const v1::ScheduleResponse first = scheduler.Await(Gives);
  ASSERT_EQ(first.activations_size(), 1);
  EXPECT_EQ(first.activations(0).recipients_size(), 1'000);
  EXPECT_EQ(first.activations(0).recipients_left(), 500u);
  v1::ScheduleRequest more;
  more.add_more("Q1");
  scheduler.Send(more);
  const v1::ScheduleResponse second = scheduler.Await(Gives);
  ASSERT_EQ(second.activations_size(), 1);
  EXPECT_EQ(second.activations(0).queue_id(), "Q1");
  ASSERT_EQ(second.activations(0).recipients_size(), 500);
  EXPECT_EQ(second.activations(0).recipients(0).number(), 1'000u);
  EXPECT_EQ(second.activations(0).recipients_left(), 0u);
}

TEST_F(QueueTest, MoreMayBeAskedForBesideOutcomes) {
  Node node(directory_);
  ScheduleClient scheduler(node.channel(), "Schedule");
  scheduler.Send(OpenWith(1));
  EnqueueFor(&node, "Q1", 1'001);
  scheduler.Await(Gives);
  v1::ScheduleRequest work;
  v1::MessageOutcome* outcome = work.add_outcomes();
  outcome->set_queue_id("Q1");
  outcome->add_outcomes()->set_action(mail::v1::Outcome::ACTION_SENT);
  work.add_more("Q1");
  scheduler.Send(work);
  const v1::ScheduleResponse second = scheduler.Await(Gives);
  ASSERT_EQ(second.activations_size(), 1);
  EXPECT_EQ(second.activations(0).recipients_size(), 1);
}

TEST_F(QueueTest, AMessageThatRestsComesBackAtItsTimeAndGivesItsCreditBack) {
  Node node(directory_);
  ScheduleClient scheduler(node.channel(), "Schedule");
  scheduler.Send(OpenWith(1));
  EnqueueFor(&node, "Q1", 1);
  scheduler.Await(Gives);
  v1::ScheduleRequest rest;
  rest.add_resting()->set_queue_id("Q1");
  rest.mutable_resting(0)->set_until_ms(SystemClock().WallMillis() + 3'600'000);
  scheduler.Send(rest);
  EnqueueFor(&node, "Q2", 1);
  EXPECT_EQ(scheduler.Await(Gives).activations(0).queue_id(), "Q2");
  v1::ScheduleRequest again;
  again.add_resting()->set_queue_id("Q2");
  again.mutable_resting(0)->set_until_ms(SystemClock().WallMillis());
  scheduler.Send(again);
  EXPECT_EQ(scheduler.Await(Gives).activations(0).queue_id(), "Q2");
}

TEST_F(QueueTest, MailThatIsPutOffIsCommittedAndWaits) {
  {
    Node node(directory_);
    ScheduleClient scheduler(node.channel(), "Schedule");
    scheduler.Send(OpenWith(1));
    EnqueueFor(&node, "Q1", 1);
    scheduler.Await(Gives);
    v1::ScheduleRequest work;
    for (const char* queue_id : {"Q1", "none"}) {
      v1::PutOff* put_off = work.add_put_off();
      put_off->set_queue_id(queue_id);
      put_off->add_recipient_numbers(0);
      put_off->set_retry_at_ms(SystemClock().WallMillis() + 3'600'000);
    }
    scheduler.Send(work);
    const v1::ScheduleResponse response = scheduler.Await(Commits);
    ASSERT_EQ(response.committed_size(), 2);
    EXPECT_EQ(response.committed(0).queue_id(), "Q1");
    EXPECT_FALSE(response.committed(0).removed() || response.committed(0).late());
    EXPECT_TRUE(response.committed(1).late());
    EXPECT_EQ(node.Stat().late_outcomes(), 0u);
  }
  Node node(directory_);
  const v1::ListResponse list = node.List();
  ASSERT_EQ(list.messages_size(), 1);
  EXPECT_EQ(list.messages(0).queue(), v1::QUEUE_NAME_DEFERRED);
  EXPECT_EQ(list.messages(0).recipients(0).reason(), "");
}

TEST_F(QueueTest, MetricsCountSubmissionsThatComeAgain) {
  Node node(directory_);
  EXPECT_THAT(node.registry().Expose(), HasSubstr("postfleet_queue_duplicate_submissions_total 0"));
  const uint64_t incarnation = node.Register();
  for (int times = 0; times < 3; ++times) Enqueue(&node, incarnation, 1, "Q1");
  EXPECT_THAT(node.registry().Expose(), HasSubstr("postfleet_queue_duplicate_submissions_total 2"));
}

TEST_F(QueueTest, MetricsCountUploadsThatAreGivenUp) {
  Node node(directory_);
  const uint64_t incarnation = node.Register();
  EnqueueClient client(node.channel(), "Enqueue");
  const auto has_results = [](const v1::EnqueueResponse& r) { return r.results_size() > 0; };
  v1::EnqueueRequest chunk = OneMessage(incarnation, 1, "Q1");
  chunk.mutable_submissions(0)->clear_message();
  client.Send(chunk, {rpc::OwningSlice(std::string(kContents))});
  EXPECT_EQ(client.Await(has_results).results(0).code(), v1::EnqueueResult::COMMITTED);
  EXPECT_THAT(node.registry().Expose(), HasSubstr("postfleet_queue_uploads 1"));
  v1::EnqueueRequest abandon;
  abandon.add_submissions()->mutable_id()->set_incarnation(incarnation);
  abandon.mutable_submissions(0)->set_queue_id("Q1");
  abandon.mutable_submissions(0)->set_abandon(true);
  // Twice: the second finds nothing to give up.
  for (uint64_t sequence : {2, 3}) {
    abandon.mutable_submissions(0)->mutable_id()->set_sequence(sequence);
    client.Send(abandon);
    EXPECT_EQ(client.Await(has_results).results(0).code(), v1::EnqueueResult::COMMITTED);
  }
  const std::string text = node.registry().Expose();
  EXPECT_THAT(text, HasSubstr("postfleet_queue_uploads 0"));
  EXPECT_THAT(text, HasSubstr("postfleet_queue_uploads_abandoned_total 1"));
}

}  // namespace
}  // namespace postfleet::queue
