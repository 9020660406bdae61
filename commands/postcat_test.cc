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

class PostcatTest : public QueueCommandsTest {
 protected:
  PostcatTest() {
    queue_.AddInspected("Q1", "r1@example.org");
    v1::InspectResponse& message = queue_.inspected_["Q1"];
    message.set_queue(v1::QUEUE_NAME_HOLD);
    message.mutable_envelope()->set_sender("s@example.org");
    queue_.contents_ = {"Subject: a\n\non", "e\ntwo\n"};
    message.set_chunks(2);
  }
};

TEST_F(PostcatTest, ShowsEnvelopeAndContentsAcrossChunks) {
  const CommandResult result = Run({"postcat", "-q", "Q1"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, StartsWith("*** ENVELOPE RECORDS hold/Q1 ***\nmessage_size: "));
  EXPECT_THAT(result.out, HasSubstr("\nrecipient: r1@example.org\n*** MESSAGE CONTENTS hold/Q1 "
                                    "***\nSubject: a\n\none\ntwo\n*** HEADER EXTRACTED "));
  EXPECT_EQ(result.err, "");
}

TEST_F(PostcatTest, PartsAreShownByOption) {
  EXPECT_EQ(Run({"postcat", "-hq", "Q1"}).out, "Subject: a\n");
  EXPECT_EQ(Run({"postcat", "-b", "-q", "Q1"}).out, "\none\ntwo\n");
  EXPECT_EQ(Run({"postcat", "-bhvq", "Q1"}).out,
            "regular_text: Subject: a\nregular_text: \nregular_text: one\nregular_text: two\n");
  EXPECT_THAT(Run({"postcat", "-eq", "Q1"}).out,
              EndsWith("*** MESSAGE CONTENTS hold/Q1 ***\n*** HEADER EXTRACTED hold/Q1 ***\n*** "
                       "MESSAGE FILE END hold/Q1 ***\n"));
}

TEST_F(PostcatTest, AllRecipientsAreShown) {
  for (int i = 2; i <= 7; ++i) queue_.AddInspected("Q1", Concat("r", i, "@example.org"));
  const std::string out = Run({"postcat", "-eq", "Q1"}).out;
  for (int i = 1; i <= 7; ++i) EXPECT_THAT(out, HasSubstr(Concat("\nrecipient: r", i, "@")));
  EXPECT_THAT(queue_.asked_,
              ElementsAre("inspect Q1 from 0", "inspect Q1 from 3", "inspect Q1 from 6"));
}

TEST_F(PostcatTest, ManyChunksComeInOrder) {
  queue_.contents_.assign(1, "A: b\n\n");
  std::string body = "\n";
  for (int i = 0; i < 50; ++i) {
    queue_.contents_.push_back(Concat("line ", i, "\n"));
    ConcatTo(&body, "line ", i, "\n");
  }
  queue_.inspected_["Q1"].set_chunks(51);
  EXPECT_EQ(Run({"postcat", "-bq", "Q1"}).out, body);
}

TEST_F(PostcatTest, CorruptMailIsShownWithAWarning) {
  v1::InspectResponse& message = queue_.inspected_["Q1"];
  message.set_queue(v1::QUEUE_NAME_CORRUPT);
  message.set_corrupt_reason("chunk 1 does not match its checksum");
  queue_.corrupt_chunks_ = {1};
  const CommandResult result = Run({"postcat", "-bhq", "Q1"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out, "Subject: a\n\none\ntwo\n");
  EXPECT_EQ(result.err,
            "postcat: warning: Q1: message is corrupt: chunk 1 does not match its checksum\n"
            "postcat: warning: Q1: chunk 1 does not match its checksum\n");
}

TEST_F(PostcatTest, MissingChunkIsSaidAndTheRestIsShown) {
  queue_.inspected_["Q1"].set_chunks(3);
  const CommandResult result = Run({"postcat", "-bq", "Q1"});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.out, "\none\ntwo\n");
  EXPECT_EQ(result.err, "postcat: warning: Q1: chunk 2 is missing\n");
}

TEST_F(PostcatTest, ErrorsArePostfixs) {
  const CommandResult missing = Run({"postcat", "-q", "nosuch", "Q1"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_EQ(missing.out, "");
  EXPECT_EQ(missing.err, "postcat: fatal: open queue file nosuch: No such file or directory\n");
  EXPECT_EQ(Run({"postcat", "-q", "bad/name"}).err,
            "postcat: fatal: bad mail queue ID: bad/name\n");
  EXPECT_EQ(Run({"postcat", "-q"}).status, 0);
  EXPECT_THAT(Run({"postcat", "-x"}).err,
              StartsWith("postcat: invalid option -- 'x'\npostcat: fatal: usage: postcat "));
}

TEST_F(PostcatTest, WhatIsNotSupportedIsNamed) {
  EXPECT_EQ(Run({"postcat"}).err, "postcat: fatal: standard input: not supported yet\n");
  EXPECT_EQ(Run({"postcat", "/nonexistent"}).err,
            "postcat: fatal: open /nonexistent: No such file or directory\n");
  EXPECT_EQ(Run({"postcat", "-r", "-q", "Q1"}).err,
            "postcat: fatal: option -r: not supported yet\n");
  EXPECT_EQ(Run({"postcat", "-s", "5", "-q", "Q1"}).status, 1);
  EXPECT_THAT(queue_.asked_, IsEmpty());
}

TEST_F(PostcatTest, QueueThatIsDownIsSaid) {
  server_->Shutdown();
  EXPECT_EQ(Run({"postcat", "-q", "Q1"}).err,
            "postcat: fatal: open queue file Q1 - mail system is down\n");
}

}  // namespace
}  // namespace postfleet::commands
