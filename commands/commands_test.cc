// Commands as main runs them, against a queue service of the test's own.
#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "commands/command_run.h"
#include "commands/command_table.h"
#include "commands/fake_queue.h"
#include "commands/queue_address.h"
#include "libs/base/concat.h"
#include "libs/config/interfaces.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

using testing::AllOf;
using testing::ContainsRegex;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

using CommandsTest = QueueCommandsTest;

TEST_F(CommandsTest, QueueIsPrintedPageByPage) {
  for (const char* queue_id : {"Q1", "Q2", "Q3", "Q4", "Q5"}) {
    queue_.Add(queue_id, v1::QUEUE_NAME_DEFERRED);
  }
  const CommandResult result = Run({"postqueue", "-j"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 5);
  EXPECT_THAT(result.out, HasSubstr("\"queue_id\": \"Q5\""));
  EXPECT_THAT(queue_.asked_, ElementsAre("list after ''", "list after 'Q2'", "list after 'Q4'"));
}

TEST_F(CommandsTest, MailqIsPostqueueP) {
  queue_.Add("Q1", v1::QUEUE_NAME_ACTIVE);
  const CommandResult table = Run({"postqueue", "-p"});
  EXPECT_EQ(table.status, 0) << table.err;
  EXPECT_THAT(table.out, StartsWith("----Queue ID-----"));
  EXPECT_THAT(table.out, HasSubstr("\nQ1* "));
  EXPECT_THAT(table.out, EndsWith("-- 0 Kbytes in 1 Request.\n"));
  EXPECT_EQ(Run({"mailq"}).out, table.out);
}

TEST_F(CommandsTest, QueueThatIsDownIsSaidInPostfixsWordsAndNoOthers) {
  server_->Shutdown();
  for (const char* option : {"-p", "-j"}) {
    const CommandResult result = Run({"postqueue", option});
    EXPECT_EQ(result.status, 69);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err, "postqueue: fatal: Queue report unavailable - mail system is down\n");
  }
  for (const std::vector<std::string>& flush :
       std::vector<std::vector<std::string>>{{"postqueue", "-f"}, {"postqueue", "-i", "Q1"}}) {
    const CommandResult result = Run(flush);
    EXPECT_EQ(result.status, 69);
    EXPECT_EQ(result.err, "postqueue: fatal: Cannot flush mail queue - mail system is down\n");
  }
  const CommandResult removal = Run({"postsuper", "-d", "ALL"});
  EXPECT_EQ(removal.status, 1);
  EXPECT_EQ(removal.err, "postsuper: fatal: Cannot delete mail - mail system is down\n");
}

TEST_F(CommandsTest, ServerThatIsNoQueueIsNamedAsThat) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  v1::Queue::CallbackService unimplemented;
  builder.RegisterService(&unimplemented);
  const std::unique_ptr<grpc::Server> other = builder.BuildAndStart();
  address_ = Concat("127.0.0.1:", port);
  WriteMainCf("");
  EXPECT_THAT(Run({"postqueue", "-p"}).err,
              AllOf(StartsWith("postqueue: fatal: Queue report unavailable - what answers there is "
                               "not the queue"),
                    HasSubstr("postfleet_queue_address")));
}

TEST_F(CommandsTest, BadValuesElsewhereInMainCfDoNotStopACommand) {
  queue_.Add("Q1", v1::QUEUE_NAME_DEFERRED);
  WriteMainCf("smtpd_timeout = soon\nmessage_size_limit = big\nthis is no definition\n");
  const std::string line = "missing '=' after attribute name";
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"mailq"},
                                             {"postqueue", "-j"},
                                             {"postqueue", "-f"},
                                             {"postmap", "-q", "x", "static:y"}}) {
    const CommandResult result = Run(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_THAT(result.err, AllOf(HasSubstr(line), Not(HasSubstr("soon")))) << arguments[0];
  }
  EXPECT_THAT(Run({"postsuper", "-d", "Q1"}).err, EndsWith("postsuper: Deleted: 1 message\n"));
  const CommandResult shown = Run({"postconf", "smtpd_timeout"});
  EXPECT_EQ(shown.status, 0);
  EXPECT_EQ(shown.out, "smtpd_timeout = soon\n");
  EXPECT_THAT(Run({"postconf"}).err,
              HasSubstr("missing '=' after attribute name: \"this is no definition\"; "));
}

TEST_F(CommandsTest, BadValueThatACommandReadsIsSaid) {
  WriteMainCf("default_database_type = nosuch\n");
  const CommandResult result = Run({"postmap", "-q", "x", "static:y"});
  EXPECT_EQ(result.out, "y\n");
  EXPECT_THAT(result.err, AllOf(HasSubstr("postmap: warning: "), HasSubstr("nosuch")));
}

TEST_F(CommandsTest, OtherUsersListAndFlushAtThePublicSocketAndDeleteNothing) {
  if (geteuid() != 0) GTEST_SKIP() << "needs two users";
  std::string spool = "/tmp/commands_test_XXXXXX";  // the path of a socket must be short
  ASSERT_NE(mkdtemp(spool.data()), nullptr);
  std::filesystem::create_directories(spool + "/postfleet");
  std::filesystem::create_directories(spool + "/postfleet-public");
  for (const std::string& path : {spool, spool + "/postfleet-public"}) chmod(path.c_str(), 0755);
  chmod((spool + "/postfleet").c_str(), 0700);
  WriteFile("main.cf", Concat("compatibility_level = 3.6\nmyhostname = mail.example.com\n"
                              "queue_directory = ",
                              spool, "\n"));
  FakeQueue everybody;
  everybody.Add("Q1", v1::QUEUE_NAME_ACTIVE);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(Concat("unix:", spool, "/postfleet-public/queue"),
                           grpc::InsecureServerCredentials());
  builder.RegisterService(&everybody);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  chmod((spool + "/postfleet-public/queue").c_str(), 0666);
  chmod(folder_.c_str(), 0755);

  ASSERT_EQ(seteuid(65534), 0);
  const CommandResult list = Run({"mailq"});
  const CommandResult flush = Run({"postqueue", "-f"});
  const CommandResult removal = Run({"postsuper", "-d", "ALL"});
  everybody.denied_ = "not allowed to view the mail queue";
  const CommandResult denied = Run({"mailq"});
  ASSERT_EQ(seteuid(0), 0);
  EXPECT_EQ(denied.status, 69);
  EXPECT_EQ(denied.err,
            "postqueue: fatal: User nobody(65534) is not allowed to view the mail queue\n");
  EXPECT_THAT(list.out, HasSubstr("\nQ1* ")) << list.err;
  EXPECT_EQ(flush.status, 0) << flush.err;
  EXPECT_EQ(removal.status, 1);
  EXPECT_EQ(removal.err, "postsuper: fatal: use of this command is reserved for the superuser\n");
  // Root asks at the control socket, where nobody listens here.
  EXPECT_EQ(Run({"mailq"}).status, 69);
  EXPECT_THAT(everybody.asked_, ElementsAre("list after ''", "flush ''", "list after ''"));
  std::filesystem::remove_all(spool);
}

TEST_F(CommandsTest, QueueThatRefusesIsNotDown) {
  queue_.list_fails_ = true;
  const CommandResult result = Run({"postqueue", "-p"});
  EXPECT_EQ(result.status, 69);
  EXPECT_EQ(result.err, "postqueue: fatal: Queue report unavailable - the disk is damaged\n");
}

TEST_F(CommandsTest, OutputThatCannotBeWrittenIsFatal) {
  queue_.Add("Q1", v1::QUEUE_NAME_ACTIVE);
  FILE* full = fopen("/dev/full", "w");
  const CommandResult result = Capture("", [&](const Streams& streams) {
    return RunCommandLine({"postqueue", "-p"}, folder_, {streams.in, full, streams.err});
  });
  fclose(full);
  EXPECT_EQ(result.status, 69);
  EXPECT_EQ(result.err, "postqueue: fatal: output write error: No space left on device\n");
}

TEST_F(CommandsTest, ReaderThatHasGoneIsNoError) {
  queue_.Add("Q1", v1::QUEUE_NAME_ACTIVE);
  signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  FILE* broken = fdopen(ends[1], "w");
  const CommandResult result = Capture("", [&](const Streams& streams) {
    return RunCommandLine({"postqueue", "-p"}, folder_, {streams.in, broken, streams.err});
  });
  fclose(broken);
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "");
}

TEST_F(CommandsTest, FlushOfAllAndOfOne) {
  queue_.Add("Q1", v1::QUEUE_NAME_DEFERRED);
  EXPECT_EQ(Run({"postqueue", "-f"}).status, 0);
  EXPECT_EQ(Run({"postqueue", "-i", "Q1"}).err, "");
  EXPECT_THAT(queue_.asked_, ElementsAre("flush ''", "FLUSH 1"));
  const CommandResult missing = Run({"postqueue", "-i", "Q9"});
  EXPECT_EQ(missing.status, 0);
  EXPECT_EQ(missing.err, "") << "Postfix says nothing";
}

TEST_F(CommandsTest, FlushOfOneSiteAsksThatItMayBe) {
  WriteMainCf("fast_flush_domains = example.org, [192.0.2.1]\n");
  EXPECT_EQ(Run({"postqueue", "-s", "Example.ORG"}).err, "");
  EXPECT_EQ(Run({"postqueue", "-s", "sub.example.org"}).status, 0);
  EXPECT_EQ(Run({"postqueue", "-s", "[192.0.2.1]"}).status, 0);
  EXPECT_THAT(queue_.asked_,
              ElementsAre("flush 'example.org'", "flush 'sub.example.org'", "flush '[192.0.2.1]'"));
  const CommandResult other = Run({"postqueue", "-s", "example.com"});
  EXPECT_EQ(other.status, 69);
  EXPECT_EQ(other.err,
            "postqueue: fatal: Flush service is not configured for destination \"example.com\"\n");
  for (const char* site :
       {"a..b", "foo_bar!", "", "192.0.2.1", "[example.org]", "example.org:25", "[192.0.2.1]:25"}) {
    const CommandResult bad = Run({"postqueue", "-s", site});
    EXPECT_EQ(bad.status, 69);
    EXPECT_EQ(bad.err, Concat("postqueue: fatal: Cannot flush mail queue - invalid destination: \"",
                              site, "\"\n"));
  }
  const CommandResult endless = Run({"postqueue", "-s", std::string(101, '!')});
  EXPECT_THAT(endless.err, HasSubstr(Concat('"', std::string(100, '!'), "...\"\n")));
  EXPECT_EQ(queue_.asked_.size(), 3u);
}

TEST_F(CommandsTest, FlushOfASiteBelowADomainAsksThatParentsMatch) {
  WriteMainCf(
      "relay_domains = example.org, .example.net\n"
      "parent_domain_matches_subdomains = relay_domains, not_fast_flush_domains\n");
  EXPECT_EQ(Run({"postqueue", "-s", "example.org"}).err, "") << "its default is $relay_domains";
  EXPECT_EQ(Run({"postqueue", "-s", "sub.example.net"}).err, "");
  EXPECT_EQ(Run({"postqueue", "-s", "sub.example.org"}).status, 69);
  EXPECT_EQ(Run({"postqueue", "-s", "example.net"}).status, 69);
  EXPECT_THAT(queue_.asked_, ElementsAre("flush 'example.org'", "flush 'sub.example.net'"));
}

TEST_F(CommandsTest, CorruptMailIsNotInPostfixsListing) {
  queue_.Add("Q1", v1::QUEUE_NAME_CORRUPT);
  EXPECT_EQ(Run({"postqueue", "-p"}).out, "Mail queue is empty\n");
  EXPECT_EQ(Run({"postqueue", "-j"}).out, "");
}

TEST_F(CommandsTest, PagesWithoutMessagesAreNotTheEnd) {
  for (const char* queue_id : {"Q1", "Q2", "Q3"}) queue_.Add(queue_id, v1::QUEUE_NAME_CORRUPT);
  queue_.Add("Q4", v1::QUEUE_NAME_HOLD);
  queue_.empty_pages_ = true;
  EXPECT_THAT(Run({"postqueue", "-p"}).out, HasSubstr("\nQ4! "));
}

TEST_F(CommandsTest, ListingThatStandsStillIsAnError) {
  for (const char* queue_id : {"Q1", "Q2", "Q3"}) queue_.Add(queue_id, v1::QUEUE_NAME_HOLD);
  queue_.cursor_stands_still_ = true;
  const CommandResult result = Run({"postqueue", "-p"});
  EXPECT_EQ(result.status, 69);
  EXPECT_THAT(result.err, EndsWith("the queue's listing does not move on\n"));
}

TEST_F(CommandsTest, RecipientsBeyondAPageAreListedToo) {
  queue_.Add("Q1", v1::QUEUE_NAME_DEFERRED);
  queue_.messages_["Q1"].set_recipients_more(true);
  for (int i = 0; i < 7; ++i) queue_.AddInspected("Q1", Concat("r", i, "@example.org"));
  const CommandResult result = Run({"postqueue", "-j"});
  EXPECT_THAT(result.out, HasSubstr("{\"address\": \"r6@example.org\""));
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '@'), 8);
  EXPECT_THAT(queue_.asked_, ElementsAre("list after ''", "inspect Q1 from 0", "inspect Q1 from 3",
                                         "inspect Q1 from 6"));
}

TEST_F(CommandsTest, PostqueueRefusesOtherArguments) {
  const std::string usage =
      "postqueue: fatal: usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p "
      "| "
      "postqueue -s site; not supported yet: -v\n";
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{}, {"-p", "-f"}, {"-p", "x"}}) {
    std::vector<std::string> call = {"postqueue"};
    call.insert(call.end(), arguments.begin(), arguments.end());
    const CommandResult result = Run(call);
    EXPECT_EQ(result.status, 69);
    EXPECT_EQ(result.err, usage);
  }
  EXPECT_EQ(Run({"postqueue", "-x"}).err, "postqueue: invalid option -- 'x'\n" + usage);
  EXPECT_EQ(Run({"postqueue", "-i", "a.b"}).err,
            "postqueue: fatal: Cannot flush queue ID - invalid name: \"a.b\"\n");
  EXPECT_THAT(queue_.asked_, IsEmpty());
}

TEST_F(CommandsTest, ConfigurationComesFromTheCommandThenFromPostfleet) {
  const auto run = [](const std::vector<std::string>& arguments) {
    return Capture("", [&](const Streams& streams) {
      return RunCommandLine(arguments, "/nonexistent/default", streams);
    });
  };
  EXPECT_EQ(run({"postfleet", "-c", folder_, "postqueue", "-p"}).out, "Mail queue is empty\n");
  EXPECT_EQ(run({"postfleet", "-c", "/nonexistent/x", "postqueue", "-c", folder_, "-p"}).out,
            "Mail queue is empty\n");
  EXPECT_EQ(run({"postfleet", "-c", folder_, "mailq", "-C", "/nonexistent/y"}).err,
            "postqueue: fatal: open /nonexistent/y/main.cf: No such file or directory\n");
  EXPECT_EQ(run({"dist/bin/postfleet", "postqueue", "-p"}).err,
            "postqueue: fatal: open /nonexistent/default/main.cf: No such file or directory\n");
}

TEST(CommandTable, IsSortedAndHasEveryCommandThatDevLinks) {
  EXPECT_TRUE(std::is_sorted(
      AllCommands().begin(), AllCommands().end(),
      [](const Command& one, const Command& other) { return one.name < other.name; }));
  for (const char* name : {"mailq", "newaliases", "postalias", "postcat", "postconf", "postfix",
                           "postkick", "postlock", "postlog", "postmap", "postmulti", "postqueue",
                           "postsuper", "qshape", "sendmail"}) {
    EXPECT_NE(FindCommand(name), nullptr) << name;
  }
  EXPECT_EQ(FindCommand("postfleet"), nullptr);
  EXPECT_EQ(FindCommand(""), nullptr);
}

TEST(CommandTable, CommandsThatAreNotThereSaySoByName) {
  for (const Command& command : AllCommands()) {
    if (command.run != nullptr) continue;
    const std::string name(command.name);
    const CommandResult result = Capture("", [&](const Streams& streams) {
      return RunCommandLine({"postfleet", name, "-x"}, "/nonexistent", streams);
    });
    EXPECT_EQ(result.status, command.fatal_status);
    EXPECT_THAT(result.err,
                testing::StartsWith(Concat("postfleet: fatal: ", name, ": not supported yet; ")));
  }
}

TEST(CommandTable, UnknownCommandsAreAnswered) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"postfleet"},
                                             {"postfleet", "-c", "/etc"},
                                             {"postfleet", "-x"},
                                             {"postfleet", "x"}}) {
    const CommandResult result = Capture("", [&](const Streams& streams) {
      return RunCommandLine(arguments, "/nonexistent", streams);
    });
    EXPECT_EQ(result.status, 1);
    EXPECT_THAT(result.err,
                HasSubstr("postfleet: fatal: usage: postfleet [-c config_dir] command"));
  }
}

config::Config ConfigOf(const std::string& main_cf) {
  config::Diagnostics diagnostics;
  auto config = config::Config::FromText(main_cf, "", {"mail.example.com", {}}, diagnostics);
  EXPECT_TRUE(config.ok()) << config.status();
  return *std::move(config);
}

// Where there is one.
absl::StatusOr<std::string> AddressOf(const std::string& main_cf,
                                      QueuePower power = QueuePower::kEverything, uid_t user = 0) {
  const auto addresses = QueueAddresses(ConfigOf(main_cf), power, user);
  if (!addresses.ok()) return addresses.status();
  EXPECT_EQ(addresses->size(), 1u);
  return addresses->front();
}

TEST(QueueAddress, IsTheControlSocketUnlessAnAddressIsSet) {
  EXPECT_EQ(*AddressOf("queue_directory = /q\n"), "unix:/q/postfleet/control.sock");
  EXPECT_EQ(*AddressOf("postfleet_queue_address = 127.0.0.1:7001\n"), "127.0.0.1:7001");
}

TEST(QueueAddress, OfOtherUsersIsThePublicSocketForListsAndFlushesOnly) {
  std::string folder = "/tmp/address_XXXXXX";  // the path of a socket must be short
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  std::filesystem::create_directories(folder + "/postfleet");
  struct stat status;
  ASSERT_EQ(stat((folder + "/postfleet").c_str(), &status), 0);
  const std::string main_cf =
      Concat("queue_directory = ", folder, "\n", "postfleet_control_socket = /c\n");
  const uid_t owner = status.st_uid, other = owner + 1;
  const std::string everybodys = Concat("unix:", folder, "/postfleet-public/queue");
  EXPECT_EQ(*AddressOf(main_cf, QueuePower::kListAndFlush, other), everybodys);
  EXPECT_EQ(*AddressOf(main_cf, QueuePower::kEverything, other), "unix:/c");
  EXPECT_EQ(*AddressOf(main_cf, QueuePower::kListAndFlush, owner), "unix:/c");
  EXPECT_EQ(*AddressOf(main_cf, QueuePower::kListAndFlush, 0), "unix:/c");
  // Of five processes: a socket of the queue's is not everybody's, a port is.
  EXPECT_EQ(
      *AddressOf(main_cf + "postfleet_queue_address = unix:/s\n", QueuePower::kListAndFlush, other),
      everybodys);
  EXPECT_EQ(*AddressOf(main_cf + "postfleet_queue_address = 127.0.0.1:7001\n",
                       QueuePower::kListAndFlush, other),
            "127.0.0.1:7001");
  EXPECT_EQ(*AddressOf(main_cf + "postfleet_queue_address = unix:/s, unix:/t\n",
                       QueuePower::kListAndFlush, other),
            everybodys);
  std::filesystem::remove_all(folder);
}

TEST(QueueAddress, SocketPathsThatCannotWorkAreAnError) {
  const std::string fits = "/" + std::string(106, 'a');
  EXPECT_EQ(*AddressOf(Concat("postfleet_control_socket = ", fits, "\n")), "unix:" + fits);
  const auto control = AddressOf(Concat("postfleet_control_socket = ", fits, "b\n"));
  EXPECT_EQ(control.status().message(),
            Concat("parameter postfleet_control_socket: the path of a unix socket has at most 107 "
                   "bytes, this one has 108: ",
                   fits, "b; set a shorter one in main.cf"));
  const auto queue = AddressOf(Concat("postfleet_queue_address = unix:", fits, "b\n"));
  EXPECT_THAT(std::string(queue.status().message()),
              HasSubstr("parameter postfleet_queue_address"));
}

TEST(CommandTable, HelpSaysWhatThereIsAndWhatNotAndGivesAnExample) {
  const CommandResult help = Capture("", [](const Streams& streams) {
    return RunCommandLine({"postfleet", "--help"}, "/nonexistent", streams);
  });
  EXPECT_EQ(help.status, 0);
  EXPECT_EQ(help.err, "");
  EXPECT_THAT(help.out, HasSubstr("\n  postqueue\n"));
  EXPECT_THAT(help.out, ContainsRegex("not supported yet:\n(.|\n)*  smtp-sink: use "));
  EXPECT_THAT(help.out, HasSubstr("example: postfleet -c /etc/postfix postfix status\n"));
}

TEST_F(CommandsTest, PostconfPrintsValuesAndDefaults) {
  WriteMainCf("mydestination =\nmyorigin = $mydomain\n");
  EXPECT_EQ(Run({"postconf", "myhostname", "mydestination", "myorigin"}).out,
            "myhostname = mail.example.com\nmydestination =\nmyorigin = $mydomain\n");
  EXPECT_EQ(Run({"postconf", "-h", "myhostname", "mydestination"}).out, "mail.example.com\n\n");
  EXPECT_EQ(Run({"postconf", "-x", "myorigin"}).out, "myorigin = example.com\n");
  EXPECT_EQ(Run({"postconf", "-d", "myorigin", "mydestination"}).out,
            "myorigin = $myhostname\n"
            "mydestination = $myhostname, localhost.$mydomain, localhost\n");
  EXPECT_EQ(Run({"postconf", "-n", "mydomain", "myhostname"}).out,
            "myhostname = mail.example.com\n");
}

TEST_F(CommandsTest, PostconfListsSortedNames) {
  const CommandResult set = Run({"postconf", "-n"});
  EXPECT_THAT(set.out, StartsWith("compatibility_level = 3.6\nmyhostname = mail.example.com\n"
                                  "postfleet_queue_address = 127.0.0.1:"));
  const CommandResult all = Run({"postconf"});
  EXPECT_GT(std::count(all.out.begin(), all.out.end(), '\n'), 800);
  EXPECT_THAT(all.out, HasSubstr("\nsmtpd_timeout = "));
}

TEST_F(CommandsTest, PostconfSaysWhatItDoesNotKnow) {
  const CommandResult unknown = Run({"postconf", "nosuch", "myhostname"});
  EXPECT_EQ(unknown.status, 0);
  EXPECT_EQ(unknown.out, "myhostname = mail.example.com\n");
  EXPECT_EQ(unknown.err, "postconf: warning: nosuch: unknown parameter\n");
  EXPECT_EQ(Run({"postconf", "-dn"}).err, "postconf: fatal: specify one of -d -n\n");
}

TEST_F(CommandsTest, PostconfEditsWhereAValueIsGiven) {
  EXPECT_EQ(Run({"postconf", "myhostname = x.example.com"}).status, 0);
  EXPECT_EQ(Run({"postconf", "-h", "myhostname"}).out, "x.example.com\n");
  EXPECT_EQ(Run({"postconf", "-X", "myhostname"}).status, 0);
  EXPECT_EQ(Run({"postconf", "-n", "myhostname"}).out, "");
  EXPECT_EQ(Run({"postconf", "-e", "nonsense"}).err,
            "postconf: fatal: missing '=' after attribute name: \"nonsense\"\n");
}

TEST_F(CommandsTest, PostconfIsSilentOfUnusedNamesWhereItIsAskedToBe) {
  EXPECT_EQ(Run({"postconf", "-e", "relay_hosts = x", "qmqpd_error_delay = 2s"}).status, 0);
  const std::string said = Run({"postconf", "-n"}).err;
  EXPECT_NE(said.find("unused parameter: relay_hosts=x"), std::string::npos) << said;
  EXPECT_NE(said.find("\"qmqpd_error_delay\" is not supported"), std::string::npos) << said;
  const std::string quiet = Run({"postconf", "-nq"}).err;
  EXPECT_EQ(quiet.find("relay_hosts"), std::string::npos) << quiet;
  EXPECT_EQ(quiet.find("qmqpd_error_delay"), std::string::npos) << quiet;
}

TEST_F(CommandsTest, PostmapBuildsAndAsks) {
  WriteFile("map", "A@example.org one\nb@example.org\n two words\n");
  const std::string map = folder_ + "/map";
  for (const char* type : {"hash:", "lmdb:"}) {
    EXPECT_EQ(Run({"postmap", type + map}).status, 0);
    const CommandResult found = Run({"postmap", "-q", "a@EXAMPLE.org", type + map});
    EXPECT_EQ(found.status, 0);
    EXPECT_EQ(found.out, "one\n");
  }
  const CommandResult missing = Run({"postmap", "-q", "c@example.org", map});
  EXPECT_EQ(missing.status, 1);
  EXPECT_EQ(missing.out + missing.err, "");
  const CommandResult many =
      Run({"postmap", "-q", "-", map, "inline:{z=last}"}, "B@example.org\nnosuch\nz\n");
  EXPECT_EQ(many.status, 0);
  EXPECT_EQ(many.out, "B@example.org\ttwo words\nz\tlast\n");
  EXPECT_EQ(Run({"postmap", "-q", "-", map}, "nosuch\n").status, 1);
}

TEST_F(CommandsTest, PostaliasBuildsAndAsks) {
  WriteFile("aliases", "Root: alice\nbad\nlist: x@y.example,\n bob\n");
  const std::string aliases = folder_ + "/aliases";
  for (const char* type : {"hash:", "lmdb:"}) {
    const CommandResult built = Run({"postalias", type + aliases});
    EXPECT_EQ(built.status, 0);
    EXPECT_EQ(built.err, "postalias: warning: " + aliases + ", line 2: need name:value pair\n");
    EXPECT_EQ(Run({"postalias", "-q", "ROOT", type + aliases}).out, "alice\n");
    EXPECT_EQ(Run({"postalias", "-q", "list", type + aliases}).out, "x@y.example, bob\n");
    EXPECT_EQ(Run({"postalias", "-q", "@", type + aliases}).out, "@\n");
    EXPECT_EQ(Run({"postalias", "-q", "nosuch", type + aliases}).status, 1);
  }
}

TEST_F(CommandsTest, NewaliasesBuildsAliasDatabase) {
  WriteFile("aliases", "Root: alice\n");
  const std::string aliases = folder_ + "/aliases";
  EXPECT_EQ(Run({"postconf", "-e", "alias_database = lmdb:" + aliases}).status, 0);
  EXPECT_EQ(Run({"newaliases"}).status, 0);
  EXPECT_EQ(Run({"postalias", "-q", "root", "lmdb:" + aliases}).out, "alice\n");
  EXPECT_EQ(Run({"postconf", "-e", "alias_database = hash:/nonexistent"}).status, 0);
  const CommandResult absent = Run({"newaliases"});
  EXPECT_EQ(absent.status, 1);
  EXPECT_EQ(absent.err, "postalias: fatal: open /nonexistent: No such file or directory\n");
}

TEST_F(CommandsTest, PostmapErrors) {
  const CommandResult source = Run({"postmap", "hash:/nonexistent"});
  EXPECT_EQ(source.status, 1);
  EXPECT_EQ(source.err, "postmap: fatal: open /nonexistent: No such file or directory\n");
  const CommandResult table = Run({"postmap", "-q", "x", "hash:/nonexistent"});
  EXPECT_EQ(table.status, 1);
  EXPECT_THAT(table.err, HasSubstr("open /nonexistent.db: No such file or directory"));
  EXPECT_EQ(Run({"postmap", "-d", "x", "hash:/y"}).err,
            "postmap: fatal: option -d: not supported yet\n");
  EXPECT_EQ(
      Run({"postmap"}).err,
      "postmap: fatal: usage: postmap [-c config_dir] [-q key] [map_type:]file...; not supported "
      "yet: -bfFhimnNoprsuUvw, -d key\n");
}

}  // namespace
}  // namespace postfleet::commands
