// postfleet queue, qshape, and what is shown on a terminal.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "commands/fake_queue.h"
#include "commands/interrupt_notice.h"
#include "commands/progress_line.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

class QueueCommandTest : public QueueCommandsTest {
 protected:
  CommandResult RunQueueCommand(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"postfleet", "-c", folder_, "queue"});
    return Capture("", [&](const Streams& streams) {
      return RunCommandLine(arguments, "/nonexistent", streams);
    });
  }
  v1::VerifyProgress Progress(uint64_t messages, uint64_t findings_total, bool done) {
    v1::VerifyProgress progress;
    progress.set_messages(messages);
    progress.set_recipients(messages * 2);
    progress.set_chunks(messages);
    progress.set_bytes(messages * 1000);
    progress.set_findings_total(findings_total);
    progress.set_done(done);
    return progress;
  }
};

TEST_F(QueueCommandTest, VerifyOfASoundQueueIsOneLine) {
  queue_.verify_ = {Progress(10, 0, false), Progress(20, 0, true)};
  const CommandResult result = RunQueueCommand({"verify"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "checked: 20 messages, 40 recipients, 20 chunks, 20000 bytes; faults: 0\n");
  EXPECT_EQ(result.err, "");
}

TEST_F(QueueCommandTest, VerifyTellsWhatIsWrongAndFails) {
  queue_.verify_ = {Progress(10, 1, false), Progress(20, 5, true)};
  queue_.verify_[0].add_findings("message Q1: chunk 0 does not match its checksum");
  queue_.verify_[1].add_findings("count of deferred messages: 3 kept,\n2 found");
  const CommandResult result = RunQueueCommand({"verify"});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.out,
            "message Q1: chunk 0 does not match its checksum\n"
            "count of deferred messages: 3 kept,?2 found\n"
            "checked: 20 messages, 40 recipients, 20 chunks, 20000 bytes; faults: 5\n");
}

TEST_F(QueueCommandTest, VerifyThatBreaksOffIsNoSoundQueue) {
  queue_.verify_ = {Progress(10, 0, false)};
  const CommandResult result = RunQueueCommand({"verify"});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.err,
            "postfleet: fatal: Cannot verify the queue - the queue's answer ended too early\n");
  server_->Shutdown();
  EXPECT_EQ(RunQueueCommand({"verify"}).err,
            "postfleet: fatal: Cannot verify the queue - mail system is down\n");
}

TEST_F(QueueCommandTest, JobsAreListedAndStopped) {
  EXPECT_EQ(RunQueueCommand({"jobs"}).out, "");
  v1::Job& job = *queue_.jobs_.add_jobs();
  job.set_id(3);
  job.set_action(v1::ACTION_EXPIRE_RELEASE);
  job.add_queues(v1::QUEUE_NAME_DEFERRED);
  job.add_queues(v1::QUEUE_NAME_HOLD);
  job.set_changed(1'200);
  job.set_total(50'000);
  EXPECT_EQ(RunQueueCommand({"jobs"}).out,
            "3: expire-release deferred hold: 1200 of 50000 messages\n");
  EXPECT_EQ(RunQueueCommand({"jobs", "--stop", "3"}).status, 0);
  const CommandResult missing = RunQueueCommand({"jobs", "--stop", "4"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_EQ(missing.err, "postfleet: fatal: there is no job 4, or it is done\n");
  EXPECT_THAT(queue_.asked_, ElementsAre("stop job 3", "stop job 4"));
}

TEST_F(QueueCommandTest, JobsRefusesWhatIsNoId) {
  EXPECT_EQ(RunQueueCommand({"jobs", "--stop", "3x"}).err,
            "postfleet: fatal: invalid job id: 3x\n");
  EXPECT_THAT(RunQueueCommand({"jobs", "--stop"}).err, HasSubstr("usage: "));
  EXPECT_THAT(RunQueueCommand({"jobs", "3"}).err, HasSubstr("usage: "));
  EXPECT_THAT(queue_.asked_, IsEmpty());
}

TEST(InterruptNoticeDeathTest, SaysWhatGoesOnAndEndsTheProcess) {
  EXPECT_EXIT(
      {
        InterruptNotice notice;
        notice.Set("the job goes on\n");
        raise(SIGINT);
      },
      testing::KilledBySignal(SIGINT), "the job goes on");
}

TEST(InterruptNoticeDeathTest, LeavesNothingBehind) {
  EXPECT_EXIT(
      {
        { InterruptNotice().Set("the job goes on\n"); }
        raise(SIGINT);
      },
      testing::KilledBySignal(SIGINT), "^$");
}

TEST_F(QueueCommandTest, OfflineVerifyNeedsAQueue) {
  const CommandResult missing = RunQueueCommand({"verify", "--offline", folder_ + "/nosuch"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_EQ(missing.out, "");
  EXPECT_THAT(missing.err, StartsWith("postfleet: fatal: Cannot verify the queue - "));
  EXPECT_THAT(RunQueueCommand({"verify", "--offline"}).err, HasSubstr("usage: "));
  EXPECT_THAT(queue_.asked_, IsEmpty());
}

TEST_F(QueueCommandTest, ListShowsCorruptMail) {
  queue_.Add("Q1", v1::QUEUE_NAME_CORRUPT);
  queue_.Add("Q2", v1::QUEUE_NAME_DEFERRED);
  queue_.messages_["Q1"].set_corrupt_reason("chunk 0");
  EXPECT_THAT(RunQueueCommand({"list", "corrupt"}).out, EndsWith("in 1 Request.\n"));
  EXPECT_THAT(RunQueueCommand({"list"}).out, EndsWith("in 2 Requests.\n"));
  EXPECT_THAT(RunQueueCommand({"list", "-j", "corrupt"}).out,
              HasSubstr("\"corrupt_reason\": \"chunk 0\""));
  const CommandResult other = RunQueueCommand({"list", "nosuch"});
  EXPECT_EQ(other.status, 1);
  EXPECT_EQ(other.err, "postfleet: fatal: no such queue: nosuch\n");
}

TEST_F(QueueCommandTest, OtherVerbsAreAnsweredWithTheUsage) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{}, {"frob"}, {"verify", "now"}, {"list", "-x"}}) {
    const CommandResult result = RunQueueCommand(arguments);
    EXPECT_EQ(result.status, 1);
    EXPECT_THAT(result.err, HasSubstr("postfleet: fatal: usage: postfleet [-c config_dir] queue "));
  }
}

TEST_F(QueueCommandTest, QshapeAsksForWhatItPrints) {
  queue_.shape_.mutable_total()->add_counts(2);
  queue_.shape_.mutable_total()->add_counts(1);
  *queue_.shape_.add_domains() = queue_.shape_.total();
  queue_.shape_.mutable_domains(0)->set_domain("example.org");
  const CommandResult result = Run({"qshape", "-s", "-b", "2", "-t", "3", "deferred", "hold"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, std::string(71, ' ') + "  T  3 3+\n" + std::string(66, ' ') +
                            "TOTAL  3  2  1\n" + std::string(60, ' ') + "example.org  3  2  1\n");
  EXPECT_TRUE(queue_.shape_request_.senders());
  EXPECT_THAT(queue_.shape_request_.age_ms(), ElementsAre(180'000));
  EXPECT_THAT(queue_.shape_request_.queues(),
              ElementsAre(v1::QUEUE_NAME_DEFERRED, v1::QUEUE_NAME_HOLD));
}

TEST_F(QueueCommandTest, QshapeWarnsOfQueuesThatThereAreNot) {
  const CommandResult result = Run({"qshape", "nosuch", "maildrop"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "qshape: warning: Can't stat nosuch: No such file or directory\n");
  EXPECT_THAT(result.out, HasSubstr("TOTAL  0  0"));
  EXPECT_EQ(queue_.shape_request_.domains_max(), 0u) << "the queue was asked for all queues";
}

TEST_F(QueueCommandTest, QshapeSaysWhenDomainsAreMissing) {
  queue_.shape_.set_truncated(true);
  EXPECT_THAT(Run({"qshape"}).err, StartsWith("qshape: warning: only the 0 domains with most"));
  EXPECT_EQ(Run({"qshape", "-b", "x"}).err,
            "qshape: fatal: option -b: not a number from 0 to 30: x\n");
  const CommandResult usage = Run({"qshape", "-h"});
  EXPECT_EQ(usage.status, 255);
  EXPECT_THAT(usage.err, StartsWith("qshape: fatal: usage: qshape [ -s ]"));
}

constexpr int kReadWaitMsMax = 30'000;

// A pseudo terminal for a stream of a command.
class Terminal {
 public:
  Terminal() : main_(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK)) {
    EXPECT_EQ(grantpt(main_), 0);
    EXPECT_EQ(unlockpt(main_), 0);
    file_ = fopen(ptsname(main_), "w");
  }
  ~Terminal() {
    fclose(file_);
    close(main_);
  }
  FILE* file() { return file_; }
  // What came up to `last`; what is there when that does not come.
  std::string ReadUntil(std::string_view last) {
    fflush(file_);
    std::string text;
    pollfd readable = {main_, POLLIN, 0};
    while (text.find(last) == text.npos && poll(&readable, 1, kReadWaitMsMax) == 1) {
      char bytes[4'096];
      const ssize_t size = read(main_, bytes, sizeof(bytes));
      if (size <= 0) break;
      text.append(bytes, static_cast<size_t>(size));
    }
    return text;
  }

 private:
  const int main_;
  FILE* file_ = nullptr;
};

TEST_F(QueueCommandTest, ProgressIsShownOnATerminalAndWiped) {
  queue_.Add("Q1", v1::QUEUE_NAME_DEFERRED);
  queue_.Add("Q2", v1::QUEUE_NAME_DEFERRED);
  Terminal terminal;
  Capture("", [&](const Streams& streams) {
    return RunCommandLine({"postsuper", "-d", "ALL"}, folder_,
                          {streams.in, streams.out, terminal.file()});
  });
  const std::string shown = terminal.ReadUntil("Deleted: 2 messages\r\n");
  EXPECT_THAT(shown, StartsWith("\r\x1b[Kpostsuper: 1 of 2\r\x1b[K"));
  EXPECT_THAT(shown, EndsWith("\r\x1b[Kpostsuper: Deleted: 2 messages\r\n"));
}

TEST_F(QueueCommandTest, ProgressIsNotShownToAFile) {
  queue_.Add("Q1", v1::QUEUE_NAME_DEFERRED);
  EXPECT_EQ(Run({"postsuper", "-d", "ALL"}).err, "postsuper: Deleted: 1 message\n");
}

TEST_F(QueueCommandTest, QshapeOnATerminalShowsTheFirstRows) {
  for (const char* domain : {"a.example", "b.example", "c.example"}) {
    v1::ShapeRow* row = queue_.shape_.add_domains();
    row->set_domain(domain);
    row->add_counts(1);
  }
  Terminal terminal;
  const auto run = [&](const std::vector<std::string>& arguments) {
    return Capture("", [&](const Streams& streams) {
      return RunCommandLine(arguments, folder_, {streams.in, terminal.file(), streams.err});
    });
  };
  EXPECT_EQ(run({"qshape", "-n", "3"}).status, 0);
  fputs("end", terminal.file());
  const std::string shown = terminal.ReadUntil("end");
  EXPECT_THAT(shown, HasSubstr("b.example"));
  EXPECT_THAT(shown, Not(HasSubstr("c.example")));
  EXPECT_EQ(run({"qshape", "-N", "5"}).err,
            "qshape: fatal: option -N on a terminal: not supported yet\n");
  EXPECT_THAT(Run({"qshape", "-n", "3", "-N", "5"}).out, HasSubstr("c.example"));
}

TEST(ProgressLine, IsNotWrittenMoreOftenThanItCanBeRead) {
  Terminal terminal;
  ProgressLine progress("x", terminal.file());
  for (int i = 0; i < 1'000; ++i) progress.Show("again");
  fputs("end", terminal.file());
  const std::string shown = terminal.ReadUntil("end");
  EXPECT_LT(shown.size(), 200u);
  EXPECT_THAT(shown, HasSubstr("again"));
}

TEST(ProgressLine, CountsKnowTheEstimate) {
  EXPECT_EQ(CountOf(5, 10), "5 of 10");
  EXPECT_EQ(CountOf(5, 0), "5");
  EXPECT_EQ(CountOf(11, 10), "11");
}

}  // namespace
}  // namespace postfleet::commands
