// The reader's answers at their bounds, and beside damaged rows.
#include "services/queue/state/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/escaping.h"
#include "libs/base/concat.h"
#include "services/queue/state/queue_under_test.h"

namespace postfleet::queue {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

void Defer(QueueUnderTest& queue, const std::string& queue_id) {
  Report(queue, queue_id, {{0, kDeferred}}, queue.now_ms + 60'000);
}

// ---- Bounds

TEST(Reader, ListsAtMostAThousandRecipientsOfAMessage) {
  QueueUnderTest queue;
  Open(queue);
  Enqueue(queue, "A1", 1'000);
  Enqueue(queue, "A2", 1'001);
  Enqueue(queue, "A3", 1);
  const auto page = queue.reader().List({}, NotActive);
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_THAT(page->messages(), SizeIs(3));
  EXPECT_FALSE(page->messages(0).recipients_more());
  EXPECT_TRUE(page->messages(1).recipients_more());
  EXPECT_THAT(page->messages(1).recipients(), SizeIs(1'000));
  EXPECT_THAT(page->messages(2).recipients(), SizeIs(1)) << "goes on behind the rows left out";
}

TEST(Reader, APageWithoutMatchesStillGoesOn) {
  QueueUnderTest queue;
  Open(queue);
  Enqueue(queue, "A1");
  Enqueue(queue, "A2");
  Defer(queue, "A1");
  v1::ListRequest request;
  request.set_limit(1);
  request.add_queues(v1::QUEUE_NAME_INCOMING);
  const auto page = queue.reader().List(request, NotActive);
  ASSERT_THAT(page->messages(), SizeIs(1));
  EXPECT_EQ(page->messages(0).queue_id(), "A2");
  EXPECT_FALSE(page->more());
  EXPECT_EQ(page->next_queue_id(), "A2");
}

TEST(Reader, ABulkScanEndsAPageByRowsLookedAt) {
  QueueUnderTest queue;
  Open(queue);
  for (int i = 1; i <= 5; ++i) {
    Enqueue(queue, Concat("A", i));
    if (i < 4) Defer(queue, Concat("A", i));
  }
  BulkQuery query;
  query.queues = {v1::QUEUE_NAME_INCOMING};
  query.rows_max = 2;
  const auto page = queue.reader().ScanQueues(query);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(page->queue_ids, IsEmpty());
  EXPECT_EQ(page->cursor, "A2");
  EXPECT_FALSE(page->end);
  query.after = "A2";
  query.rows_max = 100;
  query.last = "A4";
  const auto rest = queue.reader().ScanQueues(query);
  EXPECT_THAT(rest->queue_ids, ElementsAre("A4"));
  EXPECT_TRUE(rest->end);
}

TEST(Reader, ABulkScanEndsAPageByRecipients) {
  QueueUnderTest queue;
  Open(queue);
  for (int i = 1; i <= 3; ++i) Enqueue(queue, Concat("A", i), 10);
  BulkQuery query;
  query.recipients_max = 11;
  const auto page = queue.reader().ScanQueues(query);
  EXPECT_THAT(page->queue_ids, ElementsAre("A1", "A2"));
  EXPECT_FALSE(page->end);
}

TEST(Reader, InspectsRecipientsFromANumberOn) {
  QueueUnderTest queue;
  Open(queue);
  Enqueue(queue, "A1", 1'500, "hello");
  Report(queue, "A1", {{0, kSent}, {1, kDeferred}, {2, kBounced}}, queue.now_ms);
  v1::InspectRequest request;
  request.set_queue_id("A1");
  auto answer = queue.reader().Inspect(request, NotActive);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_TRUE(answer->found());
  EXPECT_EQ(answer->queue(), v1::QUEUE_NAME_INCOMING);
  EXPECT_EQ(answer->envelope().sender(), "sender@example.org");
  EXPECT_EQ(answer->content_bytes(), 5u);
  EXPECT_EQ(answer->recipients_total(), 1'500u);
  ASSERT_THAT(answer->recipients(), SizeIs(1'000));
  EXPECT_TRUE(answer->more());
  EXPECT_EQ(answer->recipients(0).recipient().number(), 1u);
  EXPECT_EQ(answer->recipients(0).state(), v1::InspectedRecipient::DEFERRED);
  EXPECT_EQ(answer->recipients(0).last().text(), "attempt for 1");
  EXPECT_EQ(answer->recipients(1).state(), v1::InspectedRecipient::BOUNCED);
  request.set_from_recipient(1'001);
  answer = queue.reader().Inspect(request, [](std::string_view) { return true; });
  EXPECT_THAT(answer->recipients(), SizeIs(499));
  EXPECT_FALSE(answer->more());
  EXPECT_EQ(answer->queue(), v1::QUEUE_NAME_ACTIVE);
  request.set_queue_id("none");
  EXPECT_FALSE(queue.reader().Inspect(request, NotActive)->found());
}

TEST(Reader, AShapeHasTheDomainsWithMost) {
  QueueUnderTest queue;
  Open(queue);
  for (int i = 0; i < 60; ++i) {
    state::Command command;
    std::string payload;
    // d0 has most.
    const int domain = i < 20 ? 0 : i < 35 ? 1 : i;
    AddMessage(queue, Concat("A", i), 1, "x", &command, &payload)
        ->mutable_message()
        ->mutable_recipients(0)
        ->set_address(Concat("someone@D", domain, ".example"));
    queue.Apply(std::move(command), std::move(payload));
    Defer(queue, Concat("A", i));
  }
  v1::ShapeRequest request;
  request.add_queues(v1::QUEUE_NAME_DEFERRED);
  request.add_age_ms(60'000);
  request.set_domains_max(2);
  const auto shape = queue.reader().Shape(request, queue.now_ms + 120'000, NotActive);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_THAT(shape->total().counts(), ElementsAre(0, 60));
  ASSERT_THAT(shape->domains(), SizeIs(2));
  EXPECT_EQ(shape->domains(0).domain(), "d0.example");
  EXPECT_THAT(shape->domains(0).counts(), ElementsAre(0, 20));
  EXPECT_EQ(shape->domains(1).domain(), "d1.example");
  EXPECT_FALSE(shape->truncated());
}

TEST(Reader, TheOldestOfIncomingIsTheFirstToArrive) {
  QueueUnderTest queue;
  Open(queue);
  EXPECT_EQ(queue.reader().ReadOldest()->incoming_ms, 0);
  const int64_t first_ms = queue.now_ms - 500;
  Enqueue(queue, "Z1");
  queue.now_ms += 1'000;
  Enqueue(queue, "A1");
  EXPECT_EQ(queue.reader().ReadOldest()->incoming_ms, first_ms);
  Report(queue, "Z1", {{0, kSent}});
  EXPECT_EQ(queue.reader().ReadOldest()->incoming_ms, first_ms + 1'000);
}

// ---- Damage

// A queue on real files, so that bits can be flipped in them.
class Damage : public ::testing::Test {
 protected:
  Damage() {
    const char* folder = std::getenv("TEST_TMPDIR");
    options_.path = Concat(folder == nullptr ? "/tmp" : folder, "/damage_",
                           ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(options_.path);
    queue_ = std::make_unique<QueueUnderTest>(options_);
    Open(*queue_);
  }
  ~Damage() override {
    queue_.reset();
    std::filesystem::remove_all(options_.path);
  }

  // Messages whose rows fill several blocks.
  void Fill() {
    for (int i = 1'000; i < 3'000; ++i) {
      state::Command command;
      std::string payload;
      v1::Submission* submission =
          AddMessage(*queue_, Concat("M", i), 1, "contents", &command, &payload);
      submission->mutable_message()->mutable_envelope()->set_sender(
          Concat("from", i, "@s.example"));
      submission->mutable_message()->mutable_recipients(0)->set_address(
          Concat("to", i, "@r.example"));
      queue_->Apply(std::move(command), std::move(payload));
    }
  }

  // Flips a bit of the first place in the store's tables that has `text`, and opens it again.
  void Flip(const std::string& text) {
    ASSERT_TRUE(queue_->store().Flush().ok());
    const auto log = queue_->log();
    queue_.reset();
    bool flipped = false;
    for (const auto& entry : std::filesystem::directory_iterator(options_.path)) {
      if (entry.path().extension() != ".sst" || flipped) continue;
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      const std::string bytes((std::istreambuf_iterator<char>(file)),
                              std::istreambuf_iterator<char>());
      const size_t at = bytes.find(text);
      if (at == std::string::npos) continue;
      file.clear();
      file.seekp(static_cast<std::streamoff>(at));
      file.put(static_cast<char>(text[0] ^ 1));
      flipped = true;
    }
    ASSERT_TRUE(flipped);
    queue_ = std::make_unique<QueueUnderTest>(options_);
    queue_->ContinueAt(log.back().index);
  }

  std::vector<v1::ListedMessage> ListEverything() {
    std::vector<v1::ListedMessage> listed;
    v1::ListRequest request;
    request.set_limit(500);
    for (bool more = true; more;) {
      const auto page = queue_->reader().List(request, NotActive);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) break;
      listed.insert(listed.end(), page->messages().begin(), page->messages().end());
      request.set_after_queue_id(page->next_queue_id());
      more = page->more();
    }
    return listed;
  }

  // In any column family, as far as it can be read.
  std::vector<std::string> RowsThatName(const std::string& queue_id) {
    const std::string name = absl::BytesToHexString(queue_id);
    std::vector<std::string> rows;
    for (const auto& [key, value] : queue_->Dump()) {
      if (key.find(name) != key.npos || value.find(name) != value.npos) rows.push_back(key);
    }
    return rows;
  }

  StoreOptions options_;
  std::unique_ptr<QueueUnderTest> queue_;
};

TEST_F(Damage, OfMessageRowsListsThemAsCorruptAndGoesOn) {
  Fill();
  Flip("from2000@s.example");
  EXPECT_EQ(queue_->reader().ReadMessage("M2000").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(queue_->reader().ReadMessage("M2999")->has_value());
  const auto listed = ListEverything();
  ASSERT_THAT(listed, SizeIs(2'000));
  size_t corrupt = 0;
  for (const v1::ListedMessage& message : listed) {
    corrupt += message.queue() == v1::QUEUE_NAME_CORRUPT;
  }
  EXPECT_GT(corrupt, 0u);
  EXPECT_LT(corrupt, 1'000u) << "one block";
  v1::InspectRequest request;
  request.set_queue_id("M2000");
  const auto inspected = queue_->reader().Inspect(request, NotActive);
  EXPECT_EQ(inspected->queue(), v1::QUEUE_NAME_CORRUPT);
  EXPECT_EQ(inspected->recipients(0).recipient().address(), "to2000@r.example");
}

TEST_F(Damage, OfAMessageRowIsMarkedCorruptWithWhatCanBeRead) {
  Fill();
  Flip("from2000@s.example");
  EXPECT_THAT(MarkCorrupt(*queue_, "M2000", "unreadable").parked, ElementsAre("M2000"));
  const auto row = queue_->reader().ReadMessage("M2000");
  ASSERT_TRUE(row.ok() && row->has_value()) << row.status();
  EXPECT_EQ((*row)->corrupt_reason(), "unreadable");
  EXPECT_EQ((*row)->pending(), 1u);
  EXPECT_EQ((*row)->content_bytes(), 8u);
  EXPECT_EQ(queue_->machine().counts().corrupt_messages(), 1u);
  EXPECT_EQ(queue_->machine().counts().incoming_messages(), 1'999u);
  EXPECT_THAT(Delete(*queue_, {"M2000"}).deleted, ElementsAre("M2000"));
  EXPECT_EQ(queue_->machine().counts().corrupt_messages(), 0u);
  EXPECT_EQ(queue_->machine().counts().bytes(), 1'999u * 8);
}

TEST_F(Damage, AMessageWithoutItsRowIsNeverDeliveredAgain) {
  Fill();
  Flip("from2000@s.example");
  MarkCorrupt(*queue_, "M2000", "unreadable");
  for (v1::Action action :
       {v1::ACTION_RELEASE, v1::ACTION_REQUEUE, v1::ACTION_EXPIRE_RELEASE, v1::ACTION_HOLD}) {
    EXPECT_THAT(Administer(*queue_, action, {"M2000"}, {v1::QUEUE_NAME_CORRUPT}).changed, IsEmpty())
        << v1::Action_Name(action);
  }
  EXPECT_EQ(queue_->machine().counts().corrupt_messages(), 1u);
}

TEST_F(Damage, WhatIsDeletedLeavesNothingBehind) {
  Fill();
  for (const char* id : {"M2000", "M2001", "M2500"}) {
    Report(*queue_, id, {{0, kDeferred}}, queue_->now_ms + 1'000);
  }
  ASSERT_THAT(RowsThatName("M2000"), Not(IsEmpty()));
  Flip("from2000@s.example");
  MarkCorrupt(*queue_, "M2000", "unreadable");
  // Of M2500 only the recipients are lost.
  Flip("to2500@r.example");
  EXPECT_THAT(Delete(*queue_, {"M1999", "M2000", "M2001", "M2500"}).deleted, SizeIs(4));
  for (const char* id : {"M1999", "M2000", "M2001", "M2500"}) {
    EXPECT_THAT(RowsThatName(id), IsEmpty()) << id;
  }
  EXPECT_EQ(queue_->machine().counts().incoming_messages(), 1'996u);
  EXPECT_EQ(queue_->machine().counts().deferred_messages(), 0u);
  EXPECT_EQ(queue_->machine().counts().corrupt_messages(), 0u);
  EXPECT_EQ(queue_->machine().counts().bytes(), 1'996u * 8);
}

TEST_F(Damage, WhatNobodyHasMarkedCanBeDeleted) {
  Fill();
  Flip("from2000@s.example");
  BulkQuery query;
  query.damaged = true;
  const auto page = queue_->reader().ScanQueues(query);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(page->queue_ids, SizeIs(2'000));
  EXPECT_THAT(Administer(*queue_, v1::ACTION_DELETE, {"M2000"}, {v1::QUEUE_NAME_HOLD}).deleted,
              IsEmpty());
  EXPECT_THAT(Delete(*queue_, {"M2000", "M2000"}).deleted, ElementsAre("M2000"));
  EXPECT_EQ(queue_->machine().counts().incoming_messages(), 1'999u);
  EXPECT_EQ(queue_->machine().counts().bytes(), 1'999u * 8);
  EXPECT_FALSE(queue_->reader().ReadMessage("M2000")->has_value());
}

TEST_F(Damage, NoMessageIsMadeWhereThereWasNone) {
  Fill();
  Flip("from2000@s.example");
  // Among the damaged rows, but none of them.
  EXPECT_THAT(MarkCorrupt(*queue_, "M2000a", "unreadable").parked, IsEmpty());
  EXPECT_TRUE(Report(*queue_, "M2000a", {{0, kSent}}).outcomes[0].late);
  EXPECT_EQ(queue_->machine().counts().corrupt_messages(), 0u);
  EXPECT_EQ(queue_->machine().counts().incoming_messages(), 2'000u);
}

TEST_F(Damage, WhatAnAttemptDidCountsAllTheSame) {
  Fill();
  Flip("from2000@s.example");
  EXPECT_THAT(Report(*queue_, "M2000", {{0, kSent}}).parked, ElementsAre("M2000"));
  v1::InspectRequest request;
  request.set_queue_id("M2000");
  EXPECT_THAT(queue_->reader().Inspect(request, NotActive)->recipients(), IsEmpty());
}

TEST_F(Damage, OfAnAnswerToASubmissionMakesItExpire) {
  state::Command command;
  std::string payload;
  AddMessage(*queue_, "A1", 0, "x", &command, &payload);
  EXPECT_EQ(queue_->Apply(command, payload).submissions[0].code, v1::EnqueueResult::REFUSED);
  EXPECT_EQ(queue_->Apply(command, payload).submissions[0].code, v1::EnqueueResult::REFUSED);
  Flip("no recipients");
  EXPECT_EQ(queue_->Apply(command, payload).submissions[0].code, v1::EnqueueResult::EXPIRED);
  // Where nobody can say what was answered, nobody registers in vain either.
  state::Command again;
  again.mutable_register_();
  queue_->now_ms += kIncarnationSilenceMs + 1;
  EXPECT_EQ(queue_->Apply(again).incarnation, 2u);
}

TEST_F(Damage, AnOutcomeForWhatCannotBeReadMakesItCorrupt) {
  Fill();
  Flip("from2000@s.example");
  const Effects& effects = Report(*queue_, "M2000", {{0, kDeferred}}, queue_->now_ms);
  EXPECT_THAT(effects.parked, ElementsAre("M2000"));
  EXPECT_FALSE(effects.outcomes[0].late);
  EXPECT_EQ(queue_->machine().counts().corrupt_messages(), 1u);
}

TEST_F(Damage, ActionsLeaveAloneWhatCannotBeRead) {
  Fill();
  Flip("from2000@s.example");
  EXPECT_THAT(Administer(*queue_, v1::ACTION_HOLD, {"M2000", "M2999"}).changed,
              ElementsAre("M2999"));
  EXPECT_THAT(Administer(*queue_, v1::ACTION_REQUEUE, {"M2000"}).changed, IsEmpty());
}

TEST_F(Damage, OfRecipientRowsDoesNotStopTheOthers) {
  Fill();
  Flip("to2000@r.example");
  const auto listed = ListEverything();
  ASSERT_THAT(listed, SizeIs(2'000));
  EXPECT_EQ(listed[1'000].queue(), v1::QUEUE_NAME_CORRUPT);
  EXPECT_THAT(listed[1'000].corrupt_reason(), HasSubstr("recipients"));
  EXPECT_EQ(listed[1'999].queue(), v1::QUEUE_NAME_INCOMING);
  OpenRecipientsQuery query;
  query.queue_id = "M2000";
  EXPECT_EQ(queue_->reader()
                .ReadOpenRecipients(**queue_->reader().ReadMessage("M2000"), query)
                .status()
                .code(),
            absl::StatusCode::kDataLoss);
  EXPECT_THAT(Report(*queue_, "M2000", {{0, kBounced}}).parked, ElementsAre("M2000"));
  EXPECT_THAT(Administer(*queue_, v1::ACTION_REQUEUE, {"M2000"}).changed, IsEmpty());
  EXPECT_EQ(queue_->machine().counts().incoming_messages(), 1'999u);
  EXPECT_THAT(Delete(*queue_, {"M2000"}).deleted, ElementsAre("M2000"));
  EXPECT_EQ(queue_->machine().counts().corrupt_messages(), 0u);
  EXPECT_THAT(ListEverything(), SizeIs(1'999));
}

TEST_F(Damage, OfAQueuesIndexListsItFromAllMessages) {
  Fill();
  Administer(*queue_, v1::ACTION_HOLD, {"M1000", "M2000", "M2999"});
  Flip("\x04M1000");  // 4: hold
  v1::ListRequest request;
  request.add_queues(v1::QUEUE_NAME_HOLD);
  const auto page = queue_->reader().List(request, NotActive);
  ASSERT_TRUE(page.ok()) << page.status();
  std::vector<std::string> ids;
  for (const v1::ListedMessage& message : page->messages()) ids.push_back(message.queue_id());
  EXPECT_THAT(ids, ElementsAre("M1000", "M2000", "M2999"));
}

TEST_F(Damage, ABulkScanPassesByWhatCannotBeRead) {
  Fill();
  Flip("from2000@s.example");
  BulkQuery query;
  query.queues = {v1::QUEUE_NAME_INCOMING};
  const auto page = queue_->reader().ScanQueues(query);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_TRUE(page->end);
  EXPECT_GT(page->queue_ids.size(), 1'000u);
  EXPECT_EQ(page->queue_ids.back(), "M2999");
}

}  // namespace
}  // namespace postfleet::queue
