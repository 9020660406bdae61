// Starting and stopping, with small programs in the launcher's place and this test as the server.
#include "commands/postfix.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "commands/command_run.h"
#include "commands/server_lock.h"
#include "libs/base/concat.h"
#include "libs/server/instance.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"

extern char** environ;

namespace postfleet::commands {
namespace {

using testing::HasSubstr;
using testing::Not;

class PostfixTest : public testing::Test {
 protected:
  // Not in TEST_TMPDIR: the path of a socket must be short.
  PostfixTest() : folder_("/tmp/postfix_test_XXXXXX") {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    std::filesystem::create_directories(folder_ + "/postfleet");
    chmod((folder_ + "/postfleet").c_str(), 0700);
    WriteFile("master.cf", "smtp unix - - n - - smtp\n");
    WriteFile("main.cf", Concat("compatibility_level = 3.6\nmyhostname = mail.example.com\n"
                                "alias_maps =\n",
                                // What is in here belongs to whoever runs the test.
                                geteuid() == 0 ? "mail_owner = root\n" : "",
                                "queue_directory = ", folder_, "\n"));
  }
  ~PostfixTest() override { std::filesystem::remove_all(folder_); }

  void WriteFile(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
  }
  void WriteLauncher(const std::string& script) {
    WriteFile("launcher", "#!/bin/sh\n" + script);
    chmod((folder_ + "/launcher").c_str(), 0755);
  }
  std::string LockPath(const std::string& name = "master") const {
    return Concat(folder_, "/postfleet/", name, ".pid");
  }

  // As a running server has it. Closing the descriptor gives it back.
  int Lock(const std::string& text, const std::string& name = "master") {
    const int fd = open(LockPath(name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    EXPECT_EQ(flock(fd, LOCK_EX | LOCK_NB), 0);
    EXPECT_EQ(pwrite(fd, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    return fd;
  }

  CommandResult Run(std::vector<std::string> arguments) {
    return Capture("", [&](const Streams& streams) {
      return RunPostfixWith(folder_ + "/launcher", {"postfix", folder_, arguments}, streams);
    });
  }

  std::unique_ptr<grpc::Server> Serve() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.AddListeningPort(Concat("unix:", folder_, "/postfleet/control.sock"),
                             grpc::InsecureServerCredentials());
    builder.RegisterService(&queue_);  // a server without any service does not start
    std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    // Not ready, as with a full disk, but up.
    server->GetHealthCheckService()->SetServingStatus(false);
    server->GetHealthCheckService()->SetServingStatus(std::string(server::kUpService), true);
    return server;
  }

  std::string folder_;
  queue::v1::Queue::Service queue_;
};

// A child that waits for a signal.
pid_t SpawnWaiter() {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, ends[0], STDIN_FILENO);
  char program[] = "cat";
  char* argv[] = {program, nullptr};
  pid_t pid = 0;
  EXPECT_EQ(posix_spawn(&pid, "/bin/cat", &files, nullptr, argv, environ), 0);
  posix_spawn_file_actions_destroy(&files);
  close(ends[0]);  // the other end stays open: cat never sees the end of file
  return pid;
}

TEST_F(PostfixTest, WithoutAServerThereIsNothingToStop) {
  const std::string fatal =
      "postfix/postfix-script: fatal: the Postfix mail system is not running\n";
  EXPECT_EQ(Run({"stop"}).err, fatal);
  EXPECT_EQ(Run({"reload"}).err, fatal);
  EXPECT_EQ(Run({"stop"}).status, 1);
  const CommandResult status = Run({"status"});
  EXPECT_EQ(status.status, 1);
  EXPECT_EQ(status.err, "postfix/postfix-script: the Postfix mail system is not running\n");
}

TEST_F(PostfixTest, LockFileThatACrashLeftIsNotBelieved) {
  close(Lock(Concat(getpid(), "\n")));
  EXPECT_EQ(Run({"status"}).status, 1);
  EXPECT_EQ(Run({"stop"}).status, 1);  // else this test would end here
}

TEST_F(PostfixTest, StatusNamesTheProcess) {
  const int lock = Lock("4711\n");
  const CommandResult status = Run({"status"});
  EXPECT_EQ(status.status, 0);
  EXPECT_EQ(status.err, "postfix/postfix-script: the Postfix mail system is running: PID: 4711\n");
  close(lock);
}

TEST_F(PostfixTest, LockWithoutProcessIdIsAnErrorThatNamesTheFile) {
  const int lock = Lock("");
  EXPECT_THAT(Run({"stop"}).err, HasSubstr(LockPath() + " is locked but holds no process id"));
  EXPECT_EQ(Run({"start"}).status, 1);
  close(lock);
}

TEST_F(PostfixTest, SecondServerIsNotStarted) {
  WriteLauncher(Concat("touch ", folder_, "/started\n"));
  const int lock = Lock("4711\n");
  for (const char* command : {"start", "start-fg"}) {
    const CommandResult result = Run({command});
    EXPECT_EQ(result.status, 1);
    EXPECT_EQ(result.err,
              "postfix/postfix-script: fatal: the Postfix mail system is already running\n");
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/started"));
  close(lock);
}

TEST_F(PostfixTest, ServerThatDiesShowsWhatItSaid) {
  WriteLauncher("echo \"postfix/master: fatal: port $1 $2\" >&2\nexit 3\n");
  const CommandResult result = Run({"start"});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.err, Concat("postfix/postfix-script: starting the Postfix mail system\n"
                               "postfix/master: fatal: port -c ",
                               folder_,
                               "\npostfix/postfix-script: fatal: mail system startup failed: exit "
                               "status 3\n"));
}

TEST_F(PostfixTest, StartReturnsWhenTheServerAnswers) {
  const std::unique_ptr<grpc::Server> server = Serve();
  ASSERT_NE(server, nullptr);
  ASSERT_EQ(mkfifo((folder_ + "/never").c_str(), 0600), 0);
  // Without standard input and output, in a session of its own.
  WriteLauncher(Concat("echo $$ $(ps -o sid= -p $$) > ", folder_, "/ids\ncat\necho lost\nexec cat ",
                       folder_, "/never\n"));
  const CommandResult result = Run({"start"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "postfix/postfix-script: starting the Postfix mail system\n");
  // Opening the fifo waits for the launcher's cat; closing it ends that.
  close(open((folder_ + "/never").c_str(), O_WRONLY));
  pid_t pid = 0, session = 0;
  std::ifstream(folder_ + "/ids") >> pid >> session;
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
  EXPECT_EQ(session, pid);
}

// Answers every call as a health check: not serving the first two times.
class LateHealth final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new Answer(++asked_ > 2 ? "\x08\x01" : "\x08\x02");
  }
  int asked() const { return asked_; }

 private:
  class Answer final : public grpc::ServerGenericBidiReactor {
   public:
    explicit Answer(const char* text) {
      const grpc::Slice slice(text);
      response_ = grpc::ByteBuffer(&slice, 1);
      StartRead(&request_);
    }
    void OnReadDone(bool) override { StartWriteAndFinish(&response_, {}, grpc::Status::OK); }
    void OnDone() override { delete this; }

   private:
    grpc::ByteBuffer request_, response_;
  };
  std::atomic<int> asked_ = 0;
};

TEST_F(PostfixTest, StartWaitsForAServerThatAnswersNotYet) {
  LateHealth health;
  grpc::EnableDefaultHealthCheckService(false);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(Concat("unix:", folder_, "/postfleet/control.sock"),
                           grpc::InsecureServerCredentials());
  builder.RegisterCallbackGenericService(&health);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  ASSERT_EQ(mkfifo((folder_ + "/never").c_str(), 0600), 0);
  WriteLauncher(Concat("echo $$ > ", folder_, "/ids\nexec cat ", folder_, "/never\n"));
  EXPECT_EQ(Run({"start"}).status, 0);
  EXPECT_GE(health.asked(), 3);
  close(open((folder_ + "/never").c_str(), O_WRONLY));
  pid_t pid = 0;
  std::ifstream(folder_ + "/ids") >> pid;
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
}

TEST_F(PostfixTest, StopReturnsWhenTheServerIsGone) {
  const pid_t server = SpawnWaiter();
  // The lock belongs to this process; the child's end gives it back, as a server's would.
  const int lock = Lock(Concat(server, "\n"));
  int status = 0;
  std::thread reaper([&] {
    EXPECT_EQ(waitpid(server, &status, 0), server);
    close(lock);
  });
  const CommandResult result = Run({"stop"});
  reaper.join();
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "postfix/postfix-script: stopping the Postfix mail system\n");
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

TEST_F(PostfixTest, ReloadHangsUp) {
  const pid_t server = SpawnWaiter();
  const int lock = Lock(Concat(server, "\n"));
  const CommandResult result = Run({"reload"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "postfix/postfix-script: refreshing the Postfix mail system\n");
  int status = 0;
  EXPECT_EQ(waitpid(server, &status, 0), server);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGHUP);
  close(lock);
}

TEST_F(PostfixTest, ReloadOfABadConfigurationIsRefusedAndTheServerIsLeftAlone) {
  const pid_t server = SpawnWaiter();
  const int lock = Lock(Concat(server, "\n"));
  WriteFile("main.cf", Concat("compatibility_level = 3.6\nmyhostname = mail.example.com\n",
                              geteuid() == 0 ? "mail_owner = root\n" : "",
                              "queue_directory = ", folder_, "\nmessage_size_limit = many\n"));
  const CommandResult result = Run({"reload"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err,
              HasSubstr("fatal: bad numerical configuration: message_size_limit = many"));
  EXPECT_THAT(result.err, Not(HasSubstr("refreshing")));
  // A SIGHUP of the reload would have come first.
  EXPECT_EQ(kill(server, SIGUSR1), 0);
  int status = 0;
  EXPECT_EQ(waitpid(server, &status, 0), server);
  EXPECT_EQ(WTERMSIG(status), SIGUSR1);
  close(lock);
}

TEST_F(PostfixTest, AbortTellsTheServerToStopAndDoesNotWait) {
  EXPECT_EQ(Run({"abort"}).status, 1);
  const pid_t server = SpawnWaiter();
  const int lock = Lock(Concat(server, "\n"));
  const CommandResult result = Run({"abort"});  // the lock is held: waiting would not end
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "postfix/postfix-script: aborting the Postfix mail system\n");
  int status = 0;
  EXPECT_EQ(waitpid(server, &status, 0), server);
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
  close(lock);
}

TEST_F(PostfixTest, LauncherThatIsNotThereIsNamed) {
  for (const char* command : {"start", "start-fg"}) {
    const CommandResult result = Run({command});
    EXPECT_EQ(result.status, 1);
    EXPECT_THAT(result.err, HasSubstr(folder_ + "/launcher: No such file or directory"));
  }
}

TEST_F(PostfixTest, StopEndsAllFiveProcessesTheQueueLast) {
  const std::vector<std::pair<std::string, std::string>> five = {
      {"ingress", "postfleet-ingressd"},
      {"delivery", "postfleet-deliveryd"},
      {"scheduler", "postfleet-schedulerd"},
      {"lookup", "postfleet-lookupd"},
      {"master", "postfleet-queued"}};
  std::vector<std::pair<pid_t, int>> processes;
  for (const auto& [file, program] : five) {
    const pid_t pid = SpawnWaiter();
    processes.emplace_back(pid, Lock(Concat(pid, "\n", program, "\n"), file));
  }
  const CommandResult running = Run({"status"});
  EXPECT_EQ(running.status, 0);
  EXPECT_THAT(running.err, HasSubstr(Concat("postfix/postfix-script: the Postfix mail system is "
                                            "running: PID: ",
                                            processes.back().first, "\n")));
  for (size_t i = 0; i < five.size(); ++i) {
    EXPECT_THAT(running.err,
                HasSubstr(Concat(five[i].second, " is running: PID: ", processes[i].first, "\n")));
  }
  // Each is waited for before the next gets its signal: waiting in another order would not end.
  std::vector<int> statuses(five.size());
  std::thread reaper([&] {
    for (size_t i = 0; i < five.size(); ++i) {
      EXPECT_EQ(waitpid(processes[i].first, &statuses[i], 0), processes[i].first);
      close(processes[i].second);
    }
  });
  const CommandResult stopped = Run({"stop"});
  reaper.join();
  EXPECT_EQ(stopped.status, 0) << stopped.err;
  EXPECT_EQ(stopped.err, "postfix/postfix-script: stopping the Postfix mail system\n");
  for (int status : statuses) EXPECT_EQ(WTERMSIG(status), SIGTERM);
  EXPECT_EQ(Run({"status"}).err,
            "postfix/postfix-script: the Postfix mail system is not running\n");
}

TEST_F(PostfixTest, StatusNamesWhatOfFiveEndedAndWhatWasNeverStarted) {
  const int queue = Lock("4711\npostfleet-queued\n");
  close(Lock("4712\npostfleet-ingressd\n", "ingress"));
  std::ofstream(folder_ + "/main.cf", std::ios::app) << "postfleet_queue_address = unix:/q\n";
  const CommandResult in_part = Run({"status"});
  EXPECT_EQ(in_part.status, 1);
  EXPECT_EQ(in_part.err,
            "postfix/postfix-script: the Postfix mail system is running in part: PID: 4711\n"
            "postfix/postfix-script: postfleet-queued is running: PID: 4711\n"
            "postfix/postfix-script: postfleet-ingressd is not running\n"
            "postfix/postfix-script: postfleet-deliveryd was never started on this machine\n"
            "postfix/postfix-script: postfleet-schedulerd was never started on this machine\n"
            "postfix/postfix-script: postfleet-lookupd was never started on this machine\n");
  close(queue);
}

TEST_F(PostfixTest, FilesThatFiveProcessesLeftSayNothingOfOneProcess) {
  const int lock = Lock("4711\npostfleetd\n");
  close(Lock("4712\npostfleet-ingressd\n", "ingress"));
  std::ofstream(folder_ + "/main.cf", std::ios::app) << "postfleet_queue_address = unix:/q\n";
  const CommandResult status = Run({"status"});
  EXPECT_EQ(status.status, 0);
  EXPECT_EQ(status.err, "postfix/postfix-script: the Postfix mail system is running: PID: 4711\n");
  close(lock);
}

TEST_F(PostfixTest, StatusAndStopWorkWithABadMainCfAndStartDoesNot) {
  std::ofstream(folder_ + "/main.cf", std::ios::app) << "smtpd_timeout = soon\nno definition\n";
  WriteFile("master.cf", "smtp inet n\n");
  const int lock = Lock("4711\n");
  const CommandResult status = Run({"status"});
  EXPECT_EQ(status.status, 0) << status.err;
  EXPECT_THAT(status.err, HasSubstr("is running: PID: 4711\n"));
  EXPECT_THAT(status.err, HasSubstr("warning: "));
  EXPECT_THAT(status.err, Not(HasSubstr("soon")));
  close(lock);
  EXPECT_THAT(Run({"stop"}).err, HasSubstr("fatal: the Postfix mail system is not running"));
  const CommandResult flush = Run({"flush"});
  EXPECT_EQ(flush.status, 69);
  EXPECT_THAT(flush.err,
              HasSubstr("postqueue: fatal: Cannot flush mail queue - mail system is down\n"));
  EXPECT_THAT(Run({"start"}).err, HasSubstr("postfix: fatal: "));
}

TEST_F(PostfixTest, OtherUsersAreToldThatItIsReservedForTheSuperuser) {
  if (geteuid() != 0) GTEST_SKIP() << "needs two users";
  chmod(folder_.c_str(), 0755);
  chmod((folder_ + "/postfleet").c_str(), 0700);
  close(Lock("4711\n"));
  ASSERT_EQ(seteuid(65534), 0);
  const CommandResult status = Run({"status"});
  const CommandResult stop = Run({"stop"});
  ASSERT_EQ(seteuid(0), 0);
  EXPECT_EQ(status.status, 1);
  EXPECT_EQ(stop.err,
            "postfix/postfix-script: fatal: the postfix command is reserved for the superuser\n");
}

TEST_F(PostfixTest, CheckShowsWarningsAndErrors) {
  const CommandResult good = Run({"check"});
  EXPECT_EQ(good.status, 0);
  EXPECT_EQ(good.err, "");
  std::ofstream(folder_ + "/main.cf", std::ios::app) << "smtpd_timeuot = 5s\n";
  const CommandResult warned = Run({"check"});
  EXPECT_EQ(warned.status, 0);
  EXPECT_THAT(warned.err, HasSubstr("postfix/postfix-script: warning: "));
  EXPECT_THAT(warned.err, HasSubstr("smtpd_timeuot"));
  std::ofstream(folder_ + "/main.cf", std::ios::app) << "smtpd_timeout = soon\n";
  const CommandResult broken = Run({"check"});
  EXPECT_EQ(broken.status, 1);
  EXPECT_THAT(broken.err, HasSubstr("postfix: fatal: "));
  EXPECT_THAT(broken.err, HasSubstr("smtpd_timeout"));
}

TEST_F(PostfixTest, TableThatCannotBeOpenedFailsTheCheckAndOnlyWarnsAtStart) {
  std::ofstream(folder_ + "/main.cf", std::ios::app)
      << "transport_maps = hash:" << folder_ << "/transport\n";
  const std::string what = Concat("parameter transport_maps (", folder_, "/main.cf, line ");
  const CommandResult check = Run({"check"});
  EXPECT_EQ(check.status, 1);
  EXPECT_THAT(check.err, HasSubstr("postfix/postfix-script: error: " + what));
  WriteLauncher("exit 3\n");
  EXPECT_THAT(Run({"start"}).err, HasSubstr(Concat("postfix/postfix-script: warning: ", what)));
}

TEST_F(PostfixTest, CheckWarnsOfFoldersThatOthersMayWriteOrEnter) {
  chmod((folder_ + "/main.cf").c_str(), 0666);
  chmod((folder_ + "/postfleet").c_str(), 0755);
  const CommandResult check = Run({"check"});
  EXPECT_EQ(check.status, 0);
  EXPECT_EQ(check.err,
            Concat("postfix/postfix-script: warning: group or other writable: ", folder_,
                   "/main.cf\npostfix/postfix-script: warning: group or other may enter what holds "
                   "the mail: ",
                   folder_, "/postfleet\n"));
}

TEST_F(PostfixTest, OtherCommandsAreAnswered) {
  EXPECT_THAT(Run({"foo"}).err,
              HasSubstr("postfix/postfix-script: fatal: unknown command: 'foo'. Usage: postfix"));
  for (const std::string name : {"tls", "drain", "upgrade-configuration"}) {
    EXPECT_THAT(Run({name}).err, testing::StartsWith(Concat("postfix/postfix-script: fatal: ", name,
                                                            ": not supported yet; ")));
  }
  EXPECT_THAT(Run({"-D", "start"}).err, HasSubstr("fatal: option -D: not supported yet; "));
  EXPECT_THAT(Run({"-v", "status"}).err, HasSubstr("the Postfix mail system is not running"));
  EXPECT_THAT(Run({"quick-stop"}).err, HasSubstr("the Postfix mail system is not running"));
  EXPECT_EQ(Run({"-c", "etc", "check"}).err, "postfix: fatal: -c requires absolute pathname\n");
  EXPECT_EQ(Run({"-x"}).err,
            "postfix: invalid option -- 'x'\n"
            "postfix: fatal: usage: postfix [-c config_dir] [-Dv] command\n");
  EXPECT_EQ(Run({"start", "now"}).err,
            "postfix/postfix-script: fatal: argument 'now' of start: not supported yet\n");
}

}  // namespace
}  // namespace postfleet::commands
