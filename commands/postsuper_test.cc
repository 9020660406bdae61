// What Postfix's words are expected here were printed by Postfix 3.7.11 for the same commands.
#include <gmock/gmock.h>

#include "commands/fake_queue.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

using PostsuperTest = QueueCommandsTest;

TEST_F(PostsuperTest, NamedMessagesAreRemovedAndSaid) {
  for (const char* queue_id : {"Q1", "Q2", "Q3"}) queue_.Add(queue_id, v1::QUEUE_NAME_DEFERRED);
  const CommandResult result = Run({"postsuper", "-d", "Q1", "-d", "a.b", "-d", "Q9", "-d", "Q3"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err,
            "postsuper: Q1: removed\n"
            "postsuper: warning: invalid mail queue id: a.b\n"
            "postsuper: Q3: removed\n"
            "postsuper: Deleted: 2 messages\n");
  EXPECT_THAT(queue_.asked_, ElementsAre("DELETE 3"));
}

TEST_F(PostsuperTest, OptionsAreDoneInTheirOrderAndCountedInPostfixs) {
  queue_.Add("Q1", v1::QUEUE_NAME_INCOMING);
  for (const char* queue_id : {"Q2", "Q3", "Q4"}) queue_.Add(queue_id, v1::QUEUE_NAME_DEFERRED);
  const CommandResult result =
      Run({"postsuper", "-h", "Q1", "-d", "Q2", "-e", "Q3", "-r", "Q4", "-H", "Q1", "-H", "Q1"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err,
            "postsuper: Q1: placed on hold\n"
            "postsuper: Q2: removed\n"
            "postsuper: Q3: expired\n"
            "postsuper: Q4: requeued\n"
            "postsuper: Q1: released from hold\n"
            "postsuper: Requeued: 1 message\n"
            "postsuper: Deleted: 1 message\n"
            "postsuper: Force-expired: 1 message\n"
            "postsuper: Placed on hold: 1 message\n"
            "postsuper: Released from hold: 1 message\n");
  EXPECT_THAT(queue_.asked_,
              ElementsAre("HOLD 1", "DELETE 1", "EXPIRE 1", "REQUEUE 1", "RELEASE 1 HOLD CORRUPT"));
}

TEST_F(PostsuperTest, ExpireOrReleaseSaysBothOfEachMessage) {
  queue_.Add("Q1", v1::QUEUE_NAME_HOLD);
  queue_.Add("Q2", v1::QUEUE_NAME_HOLD);
  queue_.Add("Q3", v1::QUEUE_NAME_DEFERRED);
  queue_.messages_["Q2"].set_forced_expire(true);
  EXPECT_EQ(Run({"postsuper", "-f", "Q1", "-f", "Q2", "-f", "Q3", "-e", "Q3"}).err,
            "postsuper: Q1: expired\n"
            "postsuper: Q1: released from hold\n"
            "postsuper: Q2: released from hold\n"
            "postsuper: Q3: expired\n"
            "postsuper: Force-expired: 2 messages\n"
            "postsuper: Released from hold: 2 messages\n");
}

TEST_F(PostsuperTest, VerboseRequeueSaysTheNewId) {
  queue_.Add("Q1", v1::QUEUE_NAME_CORRUPT);
  EXPECT_THAT(Run({"postsuper", "-v", "-r", "Q1"}).err,
              StartsWith("postsuper: Q1: requeued as Q1z\n"));
}

TEST_F(PostsuperTest, IdsAreReadFromStandardInput) {
  for (const char* queue_id : {"Q1", "Q2"}) queue_.Add(queue_id, v1::QUEUE_NAME_DEFERRED);
  const CommandResult result = Run({"postsuper", "-h", "-"}, "Q2\n\n  Q1\nbad id\r\nQ7\nQ2");
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err,
            "postsuper: Q2: placed on hold\n"
            "postsuper: warning: invalid mail queue id: \n"
            "postsuper: warning: invalid mail queue id:   Q1\n"
            "postsuper: warning: invalid mail queue id: bad id\n"
            "postsuper: Placed on hold: 1 message\n");
  EXPECT_EQ(Run({"postsuper", "-d", "-", "-r", "-"}).err,
            "postsuper: Requeued: 0 messages\npostsuper: Deleted: 0 messages\n");
}

TEST_F(PostsuperTest, NothingIsAskedForIdsThatAreNone) {
  EXPECT_EQ(Run({"postsuper", "-h", "a.b", "-d", "-"}, std::string(2'500, '\n')).err.substr(0, 91),
            "postsuper: warning: invalid mail queue id: a.b\n"
            "postsuper: warning: invalid mail queue id: \n");
  EXPECT_THAT(queue_.asked_, IsEmpty());
}

TEST_F(PostsuperTest, ManyIdsAreDoneAThousandAtOnce) {
  std::string ids;
  for (int i = 0; i < 2'500; ++i) {
    queue_.Add(Concat("Q", i), v1::QUEUE_NAME_DEFERRED);
    ConcatTo(&ids, "Q", i, "\n");
  }
  EXPECT_THAT(Run({"postsuper", "-d", "-"}, ids).err, EndsWith("Deleted: 2500 messages\n"));
  EXPECT_THAT(queue_.asked_, ElementsAre("DELETE 1000", "DELETE 1000", "DELETE 500"));
}

TEST_F(PostsuperTest, AllIsOneJobWithoutAWordForEach) {
  for (const char* queue_id : {"Q1", "Q2", "Q3"}) queue_.Add(queue_id, v1::QUEUE_NAME_DEFERRED);
  EXPECT_EQ(Run({"postsuper", "-h", "ALL", "-d", "ALL"}).err,
            "postsuper: Deleted: 3 messages\npostsuper: Placed on hold: 3 messages\n");
  EXPECT_THAT(queue_.asked_, ElementsAre("HOLD ALL", "DELETE ALL"));
  EXPECT_EQ(Run({"postsuper", "-d", "ALL", "-h", "ALL"}).err,
            "postsuper: Deleted: 0 messages\npostsuper: Placed on hold: 0 messages\n");
}

TEST_F(PostsuperTest, AllThatIsHeldIsExpiredAndReleased) {
  queue_.Add("Q1", v1::QUEUE_NAME_HOLD);
  EXPECT_EQ(Run({"postsuper", "-f", "ALL"}).err,
            "postsuper: Force-expired: 1 message\npostsuper: Released from hold: 1 message\n");
  EXPECT_THAT(queue_.asked_, ElementsAre("EXPIRE ALL", "RELEASE ALL HOLD"));
}

TEST_F(PostsuperTest, AllIsUpperCase) {
  queue_.Add("Q1", v1::QUEUE_NAME_HOLD);
  EXPECT_EQ(Run({"postsuper", "-d", "all"}).err, "postsuper: Deleted: 0 messages\n");
}

TEST_F(PostsuperTest, OnlyTheNamedQueuesLoseMail) {
  queue_.Add("Q1", v1::QUEUE_NAME_ACTIVE);
  queue_.Add("Q2", v1::QUEUE_NAME_HOLD);
  queue_.Add("Q3", v1::QUEUE_NAME_DEFERRED);
  queue_.Add("Q4", v1::QUEUE_NAME_DEFERRED);
  EXPECT_EQ(Run({"postsuper", "-d", "Q1", "-d", "Q3", "deferred"}).err,
            "postsuper: Q3: removed\npostsuper: Deleted: 1 message\n");
  EXPECT_EQ(Run({"postsuper", "-d", "ALL", "hold", "active"}).err,
            "postsuper: Deleted: 2 messages\n");
  EXPECT_EQ(queue_.messages_.size(), 1u);
  EXPECT_TRUE(queue_.messages_.contains("Q4"));
}

TEST_F(PostsuperTest, QueuesThatHoldNothingLoseNothing) {
  queue_.Add("Q1", v1::QUEUE_NAME_DEFERRED);
  queue_.Add("Q2", v1::QUEUE_NAME_CORRUPT);
  EXPECT_EQ(Run({"postsuper", "-d", "ALL", "-d", "Q1", "maildrop", "defer"}).err,
            "postsuper: Deleted: 0 messages\n");
  EXPECT_EQ(Run({"postsuper", "-H", "Q2", "-f", "Q2", "deferred"}).err,
            "postsuper: Force-expired: 0 messages\npostsuper: Released from hold: 0 messages\n");
  EXPECT_EQ(queue_.messages_.size(), 2u);
  EXPECT_EQ(queue_.messages_["Q2"].queue(), v1::QUEUE_NAME_CORRUPT);
}

TEST_F(PostsuperTest, CorruptMailIsReleasedByItsIdOrItsQueuesName) {
  queue_.Add("Q1", v1::QUEUE_NAME_CORRUPT);
  queue_.Add("Q2", v1::QUEUE_NAME_CORRUPT);
  queue_.Add("Q3", v1::QUEUE_NAME_CORRUPT);
  EXPECT_EQ(Run({"postsuper", "-H", "ALL"}).err, "postsuper: Released from hold: 0 messages\n");
  EXPECT_THAT(Run({"postsuper", "-H", "Q1"}).err, StartsWith("postsuper: Q1: released from hold"));
  EXPECT_EQ(Run({"postsuper", "-d", "Q2", "corrupt"}).err,
            "postsuper: Q2: removed\npostsuper: Deleted: 1 message\n");
  EXPECT_EQ(Run({"postsuper", "-H", "ALL", "corrupt"}).err,
            "postsuper: Released from hold: 1 message\n");
}

TEST_F(PostsuperTest, DryRunCountsAndChangesNothing) {
  queue_.Add("Q1", v1::QUEUE_NAME_HOLD);
  queue_.Add("Q2", v1::QUEUE_NAME_DEFERRED);
  queue_.Add("Q3", v1::QUEUE_NAME_DEFERRED);
  EXPECT_EQ(Run({"postsuper", "--dry-run", "-d", "ALL"}).err,
            "postsuper: Would be deleted: 3 messages\n");
  EXPECT_EQ(Run({"postsuper", "-h", "Q1", "-h", "Q2", "-H", "-", "--dry-run"}, "Q1\nQ9\n").err,
            "postsuper: Would be placed on hold: 1 message\n"
            "postsuper: Would be released from hold: 1 message\n");
  for (const std::string& asked : queue_.asked_) {
    EXPECT_TRUE(asked.starts_with("list") || asked.starts_with("count")) << asked;
  }
  EXPECT_EQ(queue_.messages_.size(), 3u);
}

TEST_F(PostsuperTest, FreedDiskSpaceIsSaid) {
  queue_.Add("Q1", v1::QUEUE_NAME_HOLD);
  queue_.freed_bytes_ = 12'345'678;
  EXPECT_EQ(Run({"postsuper", "-d", "ALL"}).err,
            "postsuper: Deleted: 1 message\npostsuper: Freed: 12056 Kbytes of disk space\n");
}

TEST_F(PostsuperTest, WhatWasDoneBeforeAnErrorIsSaid) {
  queue_.Add("Q1", v1::QUEUE_NAME_HOLD);
  queue_.Add("Q2", v1::QUEUE_NAME_HOLD);
  queue_.all_breaks_ = true;
  const CommandResult broken = Run({"postsuper", "-h", "Q1", "-d", "ALL"});
  EXPECT_EQ(broken.status, 1);
  EXPECT_EQ(broken.err,
            "postsuper: Deleted: 2 messages\n"
            "postsuper: fatal: Cannot delete mail - mail system is down\n");
  queue_.administer_fails_ = true;
  const CommandResult refused = Run({"postsuper", "-e", "Q1"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(refused.err, "postsuper: fatal: Cannot expire mail - the disk is damaged\n");
}

TEST_F(PostsuperTest, StructureHasNothingToRepair) {
  for (const std::vector<std::string>& options :
       std::vector<std::vector<std::string>>{{}, {"-s"}, {"-p"}, {"-S", "hold"}, {"-sp"}}) {
    std::vector<std::string> call = {"postsuper"};
    call.insert(call.end(), options.begin(), options.end());
    const CommandResult result = Run(call);
    EXPECT_EQ(result.status, 0);
    EXPECT_EQ(result.err,
              "postsuper: no queue files to repair or purge; `postfleet queue verify` checks the "
              "queue\n");
  }
  EXPECT_THAT(queue_.asked_, IsEmpty());
}

TEST_F(PostsuperTest, RefusesWhatItDoesNotKnow) {
  queue_.Add("Q1", v1::QUEUE_NAME_ACTIVE);
  const CommandResult directory = Run({"postsuper", "-d", "ALL", "foo"});
  EXPECT_EQ(directory.status, 1);
  EXPECT_EQ(directory.err, "postsuper: fatal: invalid directory name: foo\n");
  EXPECT_THAT(
      Run({"postsuper", "-d"}).err,
      StartsWith("postsuper: option requires an argument -- 'd'\npostsuper: fatal: usage: "));
  EXPECT_EQ(Run({"postsuper", "-x"}).status, 1);
  EXPECT_THAT(queue_.asked_, IsEmpty());
  EXPECT_EQ(queue_.messages_.size(), 1u);
}

TEST_F(PostsuperTest, WorkIsInTheMailLogIfThereIsOne) {
  queue_.Add("Q1", v1::QUEUE_NAME_DEFERRED);
  queue_.Add("Q2", v1::QUEUE_NAME_DEFERRED);
  const std::string log = folder_ + "/mail.log";
  WriteMainCf(Concat("maillog_file = ", log, "\nmaillog_file_prefixes = /\n"));
  Run({"postsuper", "-d", "Q1"});
  EXPECT_FALSE(std::ifstream(log).good()) << "a log of another owner would stop the server";
  WriteFile("mail.log", "");
  Run({"postsuper", "-d", "Q2"});
  EXPECT_THAT(ReadFile(log), HasSubstr(" mail postfix/postsuper["));
  EXPECT_THAT(ReadFile(log), HasSubstr("]: Q2: removed\n"));
  EXPECT_THAT(ReadFile(log), HasSubstr("]: Deleted: 1 message\n"));
}

}  // namespace
}  // namespace postfleet::commands
