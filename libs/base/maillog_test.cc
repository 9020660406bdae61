#include "libs/base/maillog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>

namespace postfleet::maillog {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string OpenLog(const std::string& name) {
  const std::string path = testing::TempDir() + "/" + name;
  std::remove(path.c_str());
  EXPECT_TRUE(Open({.path = path, .hostname = "mx1"}).ok());
  return path;
}

TEST(MailLog, LineIsInPostfixsForm) {
  const std::string path = OpenLog("form.log");
  Info("smtpd", "connect from ", "localhost[127.0.0.1]");
  Flush();
  EXPECT_THAT(ReadFile(path),
              testing::MatchesRegex("[A-Z][a-z][a-z] [ 0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9] "
                                    "mx1 postfix/smtpd\\[[0-9]+\\]: connect from "
                                    "localhost\\[127.0.0.1\\]\n"));
}

TEST(MailLog, AServiceMayHaveANameOfItsOwn) {
  EXPECT_EQ(ProgramOf("postfix", "smtpd"), "smtpd");
  EXPECT_EQ(ProgramOf("postfix/submission", "smtpd"), "submission/smtpd");
  EXPECT_EQ(ProgramOf("submission", "smtpd"), "/submission/smtpd");
  EXPECT_EQ(ProgramOf("mta/in", "smtpd"), "/mta/in/smtpd");
  const std::string path = OpenLog("own.log");
  Info("/submission/smtpd", "x");
  Flush();
  EXPECT_THAT(ReadFile(path), testing::HasSubstr(" mx1 submission/smtpd["));
}

TEST(MailLog, APeerCannotForgeALine) {
  const std::string path = OpenLog("forge.log");
  Info("smtpd", "helo=<x\r\nNov 22 fake: y>");
  Flush();
  const std::string text = ReadFile(path);
  EXPECT_THAT(text, testing::HasSubstr("helo=<x??Nov 22 fake: y>\n"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST(MailLog, ReopenFollowsARotation) {
  const std::string path = OpenLog("rotate.log");
  Info("qmgr", "one");
  Flush();
  ASSERT_EQ(std::rename(path.c_str(), (path + ".1").c_str()), 0);
  ASSERT_TRUE(Reopen().ok());
  Warning("qmgr", "two");
  Flush();
  EXPECT_THAT(ReadFile(path + ".1"), testing::HasSubstr("one"));
  EXPECT_THAT(ReadFile(path), testing::HasSubstr("warning: two"));
}

TEST(MailLog, AnUnwritablePathIsNamed) {
  const absl::Status status = Open({.path = "/nonexistent/x.log"});
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("/nonexistent/x.log"));
}

TEST(MailLog, JsonLineHasTheSameFacts) {
  const std::string path = testing::TempDir() + "/facts.log";
  std::remove(path.c_str());
  ASSERT_TRUE(Open({.path = path, .hostname = "mx1", .format = Format::kJson}).ok());
  Info("smtpd", "connect from ", Fact("client", "localhost[127.0.0.1]"), Event("connect"));
  Warning("/own/smtpd", "plain \"text\"");
  Flush();
  EXPECT_THAT(ReadFile(path),
              testing::MatchesRegex(
                  "\\{\"time\":\"20[0-9-]+T[0-9:]+\\.[0-9]+Z\",\"host\":\"mx1\",\"process\":"
                  "\"postfix/smtpd\",\"pid\":[0-9]+,\"severity\":\"info\",\"event\":\"connect\","
                  "\"client\":\"localhost\\[127.0.0.1\\]\"\\}\n"
                  "\\{.*\"process\":\"own/smtpd\",.*\"severity\":\"warning\","
                  "\"message\":\"warning: plain \\\\\"text\\\\\"\"\\}\n"));
}

TEST(MailLog, SyslogGetsFacilityAndSeverityAndNoHost) {
  // Not in TempDir(), whose name may be longer than a socket's may (107 bytes).
  const std::string path = "/tmp/maillog-test." + std::to_string(getpid());
  const int syslogd = socket(AF_UNIX, SOCK_DGRAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(syslogd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_TRUE(Open({.hostname = "mx1", .facility = LOG_LOCAL3, .syslog_path = path}).ok());
  Info("smtpd", "one");
  Warning("smtpd", "two");
  Fatal("smtpd", "three");
  for (const auto& [priority, text] : {std::pair{LOG_LOCAL3 | LOG_INFO, "one"},
                                       {LOG_LOCAL3 | LOG_WARNING, "warning: two"},
                                       {LOG_LOCAL3 | LOG_CRIT, "fatal: three"}}) {
    char datagram[4096];
    const ssize_t size = recv(syslogd, datagram, sizeof(datagram), MSG_DONTWAIT);
    ASSERT_GT(size, 0);
    EXPECT_THAT(std::string(datagram, static_cast<size_t>(size)),
                testing::MatchesRegex(Concat("<", priority,
                                             ">[A-Z][a-z][a-z] [ 1-3][0-9] [0-9:]+ "
                                             "postfix/smtpd\\[[0-9]+\\]: ",
                                             std::string(text))));
  }
  OpenLog("after-syslog.log");
  close(syslogd);
  unlink(path.c_str());
}

// The pipe is never read while lines come: nobody waits, and what was lost is said.
TEST(MailLog, ASlowReaderHoldsUpNobodyAndTheLossIsSaid) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_TRUE(Open({.path = "/dev/stdout", .fd = ends[1], .hostname = "mx1"}).ok());
  const uint64_t lost = LostLines();
  const std::string text(1900, 'x');
  for (int i = 0; i < 10000; ++i) Info("smtpd", text);
  EXPECT_GT(LostLines(), lost);
  std::string all;
  while (all.find("of it are lost") == all.npos) {
    char bytes[65536];
    const ssize_t size = read(ends[0], bytes, sizeof(bytes));
    ASSERT_GT(size, 0);
    all.append(bytes, static_cast<size_t>(size));
  }
  EXPECT_THAT(all, testing::HasSubstr("postfix/master["));
  OpenLog("after.log");
  close(ends[0]);
}

TEST(MailLogDeathTest, ACrashLosesNoLine) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const std::string path = testing::TempDir() + "/crash.log";
  std::remove(path.c_str());
  EXPECT_EXIT(
      {
        OpenLog("crash.log");
        FlushOnCrash();
        Info("smtpd", "last words");
        abort();
      },
      testing::KilledBySignal(SIGABRT), "");
  EXPECT_THAT(ReadFile(path), testing::HasSubstr("last words"));
}

// As the Go runtime and sanitizers have one.
void ExitOnFault(int, siginfo_t* info, void*) { _exit(info->si_addr == nullptr ? 7 : 8); }

TEST(MailLogDeathTest, AFaultGoesOnToTheHandlerThatWasThere) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const std::string path = testing::TempDir() + "/fault.log";
  std::remove(path.c_str());
  EXPECT_EXIT(
      {
        struct sigaction action = {};
        action.sa_sigaction = ExitOnFault;
        action.sa_flags = SA_SIGINFO;
        sigaction(SIGSEGV, &action, nullptr);
        OpenLog("fault.log");
        FlushOnCrash();
        FlushOnCrash();
        Info("smtpd", "last words");
        int* volatile nowhere = nullptr;
        *nowhere = 1;
      },
      testing::ExitedWithCode(7), "");
  EXPECT_THAT(ReadFile(path), testing::HasSubstr("last words"));
}

}  // namespace
}  // namespace postfleet::maillog
