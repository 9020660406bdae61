// sendmail's forms for the queue; each line of words as Postfix 3.7 says it.
#include <gmock/gmock.h>

#include "commands/fake_queue.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

using Words = std::vector<std::string>;

class SendmailTest : public QueueCommandsTest {
 protected:
  SendmailTest() { WriteMainCf("fast_flush_domains = example.org\n"); }

  CommandResult RunSendmail(const Words& arguments, const std::string& program = "sendmail") {
    Words call = {program};
    call.insert(call.end(), arguments.begin(), arguments.end());
    return Run(call);
  }
  // What the queue was asked; "STATUS: standard error" if the command failed.
  std::string Asked(const Words& arguments, const std::string& program = "sendmail") {
    queue_.asked_.clear();
    const CommandResult result = RunSendmail(arguments, program);
    if (result.status != 0) return Concat(result.status, ": ", result.err);
    std::string asked = result.err;
    for (const std::string& one : queue_.asked_) ConcatTo(&asked, asked.empty() ? "" : ", ", one);
    return asked;
  }
};

TEST_F(SendmailTest, BpIsMailq) {
  queue_.Add("Q1", v1::QUEUE_NAME_ACTIVE);
  const std::string table = Run({"postqueue", "-p"}).out;
  EXPECT_THAT(table, HasSubstr("\nQ1* "));
  for (const Words& arguments : std::vector<Words>{{"-bp"}, {"-b", "p"}, {"-bpx"}, {"-i", "-bp"}}) {
    EXPECT_EQ(RunSendmail(arguments).out, table);
  }
  EXPECT_EQ(RunSendmail({}, "mailq").out, table);
  EXPECT_EQ(RunSendmail({"-Ac"}, "mailq").out, table);
}

TEST_F(SendmailTest, QFlushes) {
  EXPECT_EQ(Asked({"-q"}), "flush ''");
  EXPECT_EQ(Asked({"-q", "-q"}), "flush ''");
  EXPECT_EQ(Asked({"-i", "-q"}), "flush ''");
  EXPECT_EQ(Asked({"-q"}, "mailq"), "flush ''");
}

TEST_F(SendmailTest, QiAndQrFlushOneMessageAndOneSite) {
  EXPECT_EQ(Asked({"-qIQ1"}), "FLUSH 1");
  EXPECT_EQ(Asked({"-qRExample.ORG"}), "flush 'example.org'");
  EXPECT_EQ(Asked({"-qRexample.com"}),
            "69: postqueue: fatal: Flush service is not configured for destination "
            "\"example.com\"\n");
  EXPECT_EQ(Asked({"-qIa.b"}),
            "69: postqueue: fatal: Cannot flush queue ID - invalid name: \"a.b\"\n");
  EXPECT_EQ(Asked({"-qIQ1", "-qRexample.org"}), "flush 'example.org'");
  EXPECT_EQ(Asked({"-t", "-qRexample.org"}), "flush 'example.org'");
  EXPECT_EQ(Asked({"-bv", "-v", "-qIQ1"}), "FLUSH 1");
}

TEST_F(SendmailTest, LastModeDecides) {
  EXPECT_EQ(Asked({"-bp", "-q"}), "flush ''");
  EXPECT_EQ(Asked({"-q", "-bp"}), "list after ''");
  EXPECT_EQ(Asked({"-bs", "-bp"}), "list after ''");
  EXPECT_EQ(Asked({"-I", "-q"}), "flush ''");
}

TEST_F(SendmailTest, OptionsOfSubmissionChangeNothing) {
  EXPECT_EQ(
      Asked({"-f",  "x",  "-F",  "name",     "-r", "y",   "-h",    "3",  "-p",      "smtp", "-L",
             "tag", "-O", "a=b", "-X",       "V",  "-N",  "never", "-R", "hdrs",    "-V",   "z",
             "-A",  "m",  "-B",  "8BITMIME", "-o", "Q/x", "-e",    "m",  "-GUcimx", "-bp"}),
      "list after ''");
}

TEST_F(SendmailTest, IntervalAndHostStatusDoNothing) {
  for (const Words& arguments :
       std::vector<Words>{{"-q10m"}, {"-q10m", "x"}, {"-q10m", "-bp"}, {"-bh"}, {"-bH", "x"}}) {
    EXPECT_EQ(Asked(arguments), "");
  }
}

TEST_F(SendmailTest, WrongFormsAreRefusedInPostfixsWords) {
  const std::vector<std::pair<Words, std::string>> rows = {
      {{"-qSsite"}, "-qS is not implemented"},
      {{"-qra"}, "-qr is not implemented"},
      {{"-qI"}, "specify: -qIqueueid"},
      {{"-qI", "Q1"}, "specify: -qIqueueid"},
      {{"-qR", "example.org"}, "specify: -qRsitename"},
      {{"-q", "10m"}, "flush queue mode requires no recipient"},
      {{"-q", "--", "x"}, "flush queue mode requires no recipient"},
      {{"-bp", "x"}, "display queue mode requires no recipient"},
      {{"-bp", "-"}, "display queue mode requires no recipient"},
      {{"-qIQ1", "x"}, "flush queue_id requires no recipient"},
      {{"-qRa", "x"}, "flush site requires no recipient"},
      {{"-bl", "x"}, "daemon mode requires no recipient"},
      {{"-bs", "x"}, "stand-alone mode requires no recipient"},
      {{"-bp", "-qRa"}, "-qR can be used only in delivery mode"},
      {{"-bp", "-qIa"}, "-qI can be used only in delivery mode"},
      {{"-t", "-bp"}, "-t can be used only in delivery mode"},
      {{"-bh", "-t"}, "-t can be used only in delivery mode"},
      {{"-bv", "-t"}, "-t option cannot be used with -bv"},
      {{"-bv", "-v", "x"}, "-v option cannot be used with -bv"},
      {{"-bv", "-Nnever", "x"}, "-N option cannot be used with -bv"},
      {{"-bv", "-Rhdrs", "x"}, "-R option cannot be used with -bv"},
      {{"-bz"}, "unsupported: -bz"},
      {{"-n", "-bp"}, "-n option not supported"},
  };
  for (const auto& [arguments, words] : rows) {
    EXPECT_EQ(Asked(arguments), Concat("75: sendmail: fatal: ", words, "\n"));
  }
  EXPECT_EQ(Asked({"x"}, "mailq"), "75: mailq: fatal: display queue mode requires no recipient\n");
  EXPECT_EQ(Asked({"-y"}),
            "75: sendmail: invalid option -- 'y'\nsendmail: fatal: usage: sendmail [options]\n");
  EXPECT_EQ(Asked({"-iq"}),
            "75: sendmail: option requires an argument -- 'q'\n"
            "sendmail: fatal: usage: sendmail [options]\n");
}

TEST_F(SendmailTest, AliasesAreNewaliases) {
  WriteMainCf("alias_database = hash:" + folder_ + "/none\n");
  const CommandResult direct = Run({"newaliases"});
  EXPECT_NE(direct.status, 0);
  for (const Words& arguments : std::vector<Words>{{"-bi"}, {"-I"}, {"-bp", "-bi"}}) {
    EXPECT_EQ(RunSendmail(arguments).err, direct.err);
    EXPECT_EQ(RunSendmail(arguments).status, direct.status);
  }
}

TEST_F(SendmailTest, ConfigurationIsNamedByItsFolderOrItsFile) {
  for (const std::string& path : {folder_, folder_ + "/main.cf"}) {
    const CommandResult result = Capture("", [&](const Streams& streams) {
      return RunCommandLine({"sendmail", "-C", path, "-bp"}, "/nonexistent", streams);
    });
    EXPECT_EQ(result.out, "Mail queue is empty\n") << result.err;
  }
  EXPECT_THAT(RunSendmail({"-bp", "-v"}).err, StartsWith("postqueue: fatal: option -v"));
}

}  // namespace
}  // namespace postfleet::commands
