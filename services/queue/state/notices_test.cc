// Notices: those that are owed about mail that was sent, copies of notices, and what the sender
// asked for (RFC 3461).
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

class NoticesTest : public ::testing::Test {
 protected:
  NoticesTest() { Open(queue); }

  const state::Counts& counts() { return queue.machine().counts(); }
  // Sent, with a notice owed about each.
  const Effects& Send(const std::string& queue_id, const std::vector<uint32_t>& numbers) {
    std::vector<std::pair<uint32_t, Action>> outcomes;
    for (uint32_t number : numbers) outcomes.push_back({number, kSent});
    return queue.Apply(OweNotices(OutcomeCommand(queue, queue_id, outcomes)));
  }
  v1::InspectResponse Inspect(const std::string& queue_id) {
    v1::InspectRequest request;
    request.set_queue_id(queue_id);
    return *queue.reader().Inspect(request, NotActive);
  }
  std::string ContentsOf(const std::string& queue_id) {
    return queue.reader().ReadChunk(queue_id, 0)->bytes;
  }

  QueueUnderTest queue;
};

// ---- Of success

using NoticeOfSuccess = NoticesTest;

TEST_F(NoticeOfSuccess, IsOwedUntilANotifyNamesTheRecipient) {
  Enqueue(queue, "A1", 2);
  EXPECT_FALSE(Send("A1", {0, 1}).outcomes[0].removed);
  EXPECT_THAT(queue.Listed("A1").recipients(), IsEmpty()) << "they are done";
  EXPECT_EQ((*queue.reader().ReadMessage("A1"))->pending(), 0u);
  const Effects& first = Notify(queue, "A1", {0}, "B1");
  EXPECT_FALSE(first.notifies[0].removed);
  EXPECT_THAT(first.new_messages, SizeIs(1));
  EXPECT_TRUE(Notify(queue, "A1", {1}, "").notifies[0].removed);
  EXPECT_FALSE(queue.reader().ReadMessage("A1")->has_value());
}

TEST_F(NoticeOfSuccess, KeepsWhatTheNoticeHasToSay) {
  Enqueue(queue, "A1");
  Send("A1", {0});
  const v1::InspectResponse message = Inspect("A1");
  ASSERT_EQ(message.recipients_size(), 1);
  EXPECT_EQ(message.recipients(0).state(), v1::InspectedRecipient::BOUNCED);
  const mail::v1::Outcome& last = message.recipients(0).last();
  EXPECT_EQ(last.action(), kSent);
  EXPECT_EQ(last.success(), mail::v1::Outcome::SUCCESS_RELAYED);
  EXPECT_TRUE(last.notice_owed());
  EXPECT_EQ(last.text(), "attempt for 0");
}

TEST_F(NoticeOfSuccess, IsOwedWhateverIsToldOfTheRecipientLater) {
  Enqueue(queue, "A1");
  Send("A1", {0});
  EXPECT_FALSE(Report(queue, "A1", {{0, kSent}}).outcomes[0].removed);
  Report(queue, "A1", {{0, kDeferred}}, queue.now_ms);
  PutOff(queue, "A1", {0}, queue.now_ms);
  EXPECT_EQ((*queue.reader().ReadMessage("A1"))->bounced(), 1u);
  EXPECT_THAT(*queue.reader().ScanDue({}, 10), IsEmpty());
}

TEST_F(NoticeOfSuccess, OfADeferredRecipientEndsItsWait) {
  Enqueue(queue, "A1");
  Report(queue, "A1", {{0, kDeferred}}, queue.now_ms + kMinuteMs);
  EXPECT_EQ(counts().deferred_messages(), 1u);
  EXPECT_THAT(Send("A1", {0}).intake_again, SizeIs(1));
  EXPECT_EQ(counts().incoming_messages(), 1u);
  EXPECT_THAT(*queue.reader().ScanDue({}, 10), IsEmpty());
  EXPECT_THAT(queue.reader().ScanSite("example.com", "", 10)->queue_ids, IsEmpty());
  Notify(queue, "A1", {0}, "");
  EXPECT_EQ(queue.MessageRows(), 0u);
}

TEST_F(NoticeOfSuccess, IsStillOwedAfterARequeue) {
  Enqueue(queue, "A1", 2);
  Send("A1", {0});
  const std::string requeued = Administer(queue, v1::ACTION_REQUEUE, {"A1"}).new_queue_ids.at(0);
  const state::MessageRow row = **queue.reader().ReadMessage(requeued);
  EXPECT_EQ(row.bounced(), 1u) << "it is not sent twice";
  EXPECT_EQ(row.pending(), 1u);
  EXPECT_TRUE(Inspect(requeued).recipients(0).last().notice_owed());
}

TEST_F(NoticeOfSuccess, AboutABouncedRecipientToo) {
  Enqueue(queue, "A1", 2);
  Send("A1", {0});
  Report(queue, "A1", {{1, kBounced}});
  const Effects& effects = Notify(queue, "A1", {0, 1}, "B1");
  EXPECT_TRUE(effects.notifies[0].removed);
  EXPECT_THAT(effects.new_messages, SizeIs(1)) << "one notice about both";
}

// ---- Copies

using CopyOfANotice = NoticesTest;

TEST_F(CopyOfANotice, IsEnqueuedInTheSameCommand) {
  Enqueue(queue, "A1");
  Report(queue, "A1", {{0, kBounced}});
  const Effects& effects = Notify(queue, "A1", {0}, "B1", "B2");
  ASSERT_THAT(effects.new_messages, SizeIs(2));
  EXPECT_EQ(effects.new_messages[1].queue_id, "B2");
  EXPECT_TRUE(effects.new_messages[1].notice);
  EXPECT_EQ(ContentsOf("B1"), kNotice);
  EXPECT_EQ(ContentsOf("B2"), kCopy);
  EXPECT_EQ(counts().incoming_messages(), 2u);
}

TEST_F(CopyOfANotice, MayBeTheOnlyOne) {
  Enqueue(queue, "A1");
  Report(queue, "A1", {{0, kBounced}});
  EXPECT_THAT(Notify(queue, "A1", {0}, "", "B2").new_messages, SizeIs(1));
  EXPECT_EQ(ContentsOf("B2"), kCopy);
}

TEST_F(CopyOfANotice, IsNotEnqueuedTwice) {
  Enqueue(queue, "A1", 2);
  Report(queue, "A1", {{0, kBounced}});
  Notify(queue, "A1", {0}, "B1", "B2");
  EXPECT_THAT(Notify(queue, "A1", {0}, "B3", "B4").new_messages, IsEmpty());
}

TEST_F(CopyOfANotice, ThatIsImpossibleLeavesEverything) {
  Enqueue(queue, "A1");
  Enqueue(queue, "B2");
  Report(queue, "A1", {{0, kBounced}});
  const Effects& in_use = Notify(queue, "A1", {0}, "B1", "B2");
  EXPECT_THAT(in_use.notifies[0].refused, HasSubstr("in use"));
  EXPECT_THAT(in_use.new_messages, IsEmpty());
  EXPECT_THAT(Notify(queue, "A1", {0}, "B1", "B1").notifies[0].refused,
              HasSubstr("the notice's queue id"));
  EXPECT_FALSE(queue.reader().ReadMessage("B1")->has_value());
  EXPECT_EQ((*queue.reader().ReadMessage("A1"))->bounced(), 1u);
}

TEST_F(CopyOfANotice, OwnsThePayloadBehindTheNotices) {
  for (const char* id : {"A1", "A2"}) {
    Enqueue(queue, id);
    Report(queue, id, {{0, kBounced}});
  }
  state::Command command;
  command.mutable_outcomes()->set_epoch(queue.machine().epoch(0));
  std::string payload;
  const auto add = [&](v1::Submission* notice, const std::string& id, const std::string& text) {
    notice->set_queue_id(id);
    notice->set_payload_bytes(static_cast<uint32_t>(text.size()));
    notice->set_payload_crc32c(Crc32c(text));
    notice->mutable_message()->set_content_bytes(text.size());
    notice->mutable_message()->add_recipients()->set_address("sender@example.org");
    payload += text;
  };
  for (int number : {1, 2}) {
    v1::Notify* notify = command.mutable_outcomes()->add_notifies();
    notify->set_queue_id(Concat('A', number));
    notify->add_recipient_numbers(0);
    add(notify->mutable_notice(), Concat('N', number), Concat("notice ", number));
    add(notify->mutable_copy(), Concat('C', number), Concat("copy ", number));
  }
  EXPECT_THAT(queue.Apply(command, payload.substr(1)).refused, HasSubstr("bytes of payload"));
  EXPECT_THAT(queue.Apply(command, payload).new_messages, SizeIs(4));
  EXPECT_EQ(ContentsOf("N1"), "notice 1");
  EXPECT_EQ(ContentsOf("C1"), "copy 1");
  EXPECT_EQ(ContentsOf("N2"), "notice 2");
  EXPECT_EQ(ContentsOf("C2"), "copy 2");
}

// ---- What the sender asked for

class DsnParameters : public NoticesTest {
 protected:
  v1::Submission* AddAsked(const std::string& queue_id, state::Command* command,
                           std::string* payload) {
    v1::Submission* submission = AddMessage(queue, queue_id, 1, "contents", command, payload);
    mail::v1::Envelope& envelope = *submission->mutable_message()->mutable_envelope();
    envelope.set_smtputf8(true);
    envelope.set_dsn_return(mail::v1::Envelope::RETURN_HDRS);
    envelope.set_dsn_envid("id 1");
    mail::v1::Recipient& recipient = *submission->mutable_message()->mutable_recipients(0);
    recipient.set_original_address("alias@example.com");
    recipient.set_dsn_notify(mail::v1::NOTIFY_FLAG_SUCCESS | mail::v1::NOTIFY_FLAG_DELAY);
    recipient.set_dsn_orcpt("rfc822;first@example.com");
    return submission;
  }
  void ExpectAsked(const std::string& queue_id) {
    const v1::InspectResponse message = Inspect(queue_id);
    EXPECT_TRUE(message.envelope().smtputf8());
    EXPECT_EQ(message.envelope().dsn_return(), mail::v1::Envelope::RETURN_HDRS);
    EXPECT_EQ(message.envelope().dsn_envid(), "id 1");
    ASSERT_EQ(message.recipients_size(), 1);
    const mail::v1::Recipient& recipient = message.recipients(0).recipient();
    EXPECT_EQ(recipient.original_address(), "alias@example.com");
    EXPECT_EQ(recipient.dsn_notify(), 10u);
    EXPECT_EQ(recipient.dsn_orcpt(), "rfc822;first@example.com");
  }
};

TEST_F(DsnParameters, SurviveEverything) {
  state::Command command;
  std::string payload;
  AddAsked("A1", &command, &payload);
  queue.Apply(std::move(command), std::move(payload));
  ExpectAsked("A1");
  PutOff(queue, "A1", {0}, queue.now_ms);
  ExpectAsked("A1");
  Report(queue, "A1", {{0, kDeferred}}, queue.now_ms);
  ExpectAsked("A1");
  const std::string requeued = Administer(queue, v1::ACTION_REQUEUE, {"A1"}).new_queue_ids.at(0);
  ExpectAsked(requeued);
  MarkCorrupt(queue, requeued, "its chunk was damaged");
  ExpectAsked(requeued);
  Administer(queue, v1::ACTION_RELEASE, {requeued});
  Send(requeued, {0});
  ExpectAsked(requeued);
  ASSERT_TRUE(queue.store().Flush().ok());
  queue.Crash();
  ExpectAsked(requeued);
}

TEST_F(DsnParameters, OfUnboundedLengthAreRefused) {
  state::Command command;
  std::string payload;
  AddAsked("A1", &command, &payload)
      ->mutable_message()
      ->mutable_envelope()
      ->set_dsn_envid(std::string(kAddressBytesMax + 1, 'x'));
  AddAsked("A2", &command, &payload)
      ->mutable_message()
      ->mutable_recipients(0)
      ->set_dsn_orcpt(std::string(kAddressBytesMax + 1, 'x'));
  const Effects& effects = queue.Apply(std::move(command), std::move(payload));
  EXPECT_THAT(effects.submissions[0].text, HasSubstr("an envelope id of more than 4096 bytes"));
  EXPECT_THAT(effects.submissions[1].text, HasSubstr("a recipient of more than 4096 bytes"));
  EXPECT_EQ(queue.MessageRows(), 0u);
}

}  // namespace
}  // namespace postfleet::queue
