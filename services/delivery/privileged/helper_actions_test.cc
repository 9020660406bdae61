// With the real helper, spawned; as whoever runs the test. As root everything is done for nobody.
#include "services/delivery/privileged/helper_actions.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "services/delivery/privileged/spawn.h"

namespace postfleet::delivery::privileged {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
namespace fs = std::filesystem;
using Kind = ActionFailure::Kind;
using How = CommandEnd::How;

constexpr char kHelper[] = "services/delivery/privileged/helper";

// Pieces, then their end; without one, it waits for ever.
class Pieces : public ContentReader {
 public:
  Pieces(runtime::EventLoop& loop, std::vector<std::string> pieces, bool ends, absl::Status end)
      : loop_(loop), pieces_(std::move(pieces)), ends_(ends), end_(std::move(end)) {}

  void Next(Done done) override {
    if (next_ == pieces_.size() && !ends_) return;
    loop_.Post([this, alive = std::weak_ptr(alive_), done] {
      if (alive.expired()) return;
      next_ < pieces_.size() ? done(absl::OkStatus(), {grpc::Slice(pieces_[next_++])})
                             : done(end_, {});
    });
  }

 private:
  runtime::EventLoop& loop_;
  const std::vector<std::string> pieces_;
  const bool ends_;
  const absl::Status end_;
  size_t next_ = 0;
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
};

// Neither gone nor a zombie.
bool IsAlive(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with("State:")) return line.find('Z') == std::string::npos;
  }
  return false;
}

std::string ContentsOf(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class HelperActionsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    home_ = "/var/tmp/postfleet-actions-" + std::to_string(getpid());
    fs::remove_all(home_);
    fs::create_directories(home_);
    fs::create_directories(home_ + ".spool");
    user_ = {.uid = getuid(), .gid = getgid()};
    if (getuid() == 0) {
      const struct passwd* nobody = getpwnam("nobody");
      user_ = {.uid = nobody->pw_uid, .gid = nobody->pw_gid};
      ASSERT_EQ(chown(home_.c_str(), user_.uid, user_.gid), 0);
    }
    helper_ = SpawnHelper({.path = kHelper, .connections = 1, .mail_spool = home_ + ".spool"});
    ASSERT_EQ(helper_.error, "");
    connections_ = std::make_shared<HelperConnections>(loop_, helper_.sockets);
    actions_ = std::make_unique<HelperActions>(loop_, connections_, "mx1");
    while (connections_->worker() == 0) loop_.io().run_one();
  }
  void TearDown() override {
    actions_.reset();
    connections_.reset();
    loop_.Stop();
    int status = -1;
    EXPECT_EQ(waitpid(helper_.pid, &status, 0), helper_.pid);
    EXPECT_EQ(status, 0);
    fs::remove_all(home_);
    fs::remove_all(home_ + ".spool");
  }

  std::unique_ptr<ContentReader> Contents(std::vector<std::string> pieces, bool ends = true,
                                          absl::Status end = {}) {
    return std::make_unique<Pieces>(loop_, std::move(pieces), ends, std::move(end));
  }
  MailboxDelivery Mbox(const std::string& path) {
    MailboxDelivery delivery;
    delivery.kind = MailboxDelivery::Kind::kMbox;
    delivery.user = user_;
    delivery.path = path;
    delivery.header = "From a  Mon Nov 23 12:00:00 2026\nX: y\n";
    return delivery;
  }

  template <typename Value>
  Value RunUntil(std::optional<Value>& value) {
    loop_.io().restart();
    while (!value) loop_.io().run_one();
    return *std::move(value);
  }
  ActionFailure Deliver(MailboxDelivery delivery, std::unique_ptr<ContentReader> contents) {
    std::optional<ActionFailure> answer;
    actions_->Deliver(std::move(delivery), std::move(contents),
                      [&](const ActionFailure& failure) { answer = failure; });
    return RunUntil(answer);
  }
  UserFile Read(const std::string& path, size_t bytes_max = 1000) {
    std::optional<UserFile> answer;
    actions_->ReadFile(user_, path, bytes_max, [&](UserFile file) { answer = std::move(file); });
    return RunUntil(answer);
  }
  Command Shell(const std::string& script) {
    Command command;
    command.user = user_;
    command.argv = {"/bin/sh", "-c", script};
    command.environment = {"PATH=/usr/bin:/bin"};
    return command;
  }
  CommandEnd Run(Command command, std::unique_ptr<ContentReader> contents) {
    std::optional<CommandEnd> answer;
    actions_->Run(std::move(command), std::move(contents),
                  [&](CommandEnd end) { answer = std::move(end); });
    return RunUntil(answer);
  }
  CommandEnd Run(const std::string& script) { return Run(Shell(script), Contents({"line\n"})); }

  // A folder of the user's with a shell and what it is linked with.
  std::string ShellsTree() {
    const std::string tree = home_ + "/tree";
    fs::create_directory(tree);
    EXPECT_EQ(chown(tree.c_str(), user_.uid, user_.gid), 0);
    for (const std::string file :
         {"/bin/sh", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"}) {
      fs::create_directories(fs::path(tree + file).parent_path());
      fs::copy_file(fs::canonical(file), tree + file);
    }
    return tree;
  }

  runtime::EventLoop loop_{"test"};
  std::string home_;
  UserIds user_;
  HelperProcess helper_;
  std::shared_ptr<HelperConnections> connections_;
  std::unique_ptr<HelperActions> actions_;
};

// ---- Mailboxes ----

TEST_F(HelperActionsTest, AnMboxGrowsByAMessage) {
  const std::string path = home_ + "/inbox";
  EXPECT_EQ(Deliver(Mbox(path), Contents({"one\n", "\n"})).kind, Kind::kNone);
  EXPECT_EQ(Deliver(Mbox(path), Contents({"two\n\n"})).kind, Kind::kNone);
  const std::string header = Mbox(path).header;
  EXPECT_EQ(ContentsOf(path), header + "one\n\n" + header + "two\n\n");
  EXPECT_FALSE(fs::exists(path + ".lock"));
  struct stat file = {};
  ASSERT_EQ(stat(path.c_str(), &file), 0);
  EXPECT_EQ(file.st_uid, user_.uid);
  EXPECT_EQ(file.st_mode & 0777, 0600U);
}

TEST_F(HelperActionsTest, ContentsThatCannotBeReadLeaveAnMboxAsItWas) {
  const std::string path = home_ + "/inbox";
  ASSERT_EQ(Deliver(Mbox(path), Contents({"one\n\n"})).kind, Kind::kNone);
  const std::string before = ContentsOf(path);
  const ActionFailure failure =
      Deliver(Mbox(path), Contents({std::string(100'000, 'x')}, true, absl::DataLossError("bad")));
  EXPECT_EQ(failure.kind, Kind::kContents);
  EXPECT_TRUE(failure.contents_damaged);
  // The next one waits for its turn behind it.
  ASSERT_EQ(Deliver(Mbox(path), Contents({"two\n\n"})).kind, Kind::kNone);
  EXPECT_EQ(ContentsOf(path), before + Mbox(path).header + "two\n\n");
}

TEST_F(HelperActionsTest, AnMboxOverItsLimitIsAsItWas) {
  const std::string path = home_ + "/inbox";
  ASSERT_EQ(Deliver(Mbox(path), Contents({"one\n\n"})).kind, Kind::kNone);
  const std::string before = ContentsOf(path);
  MailboxDelivery delivery = Mbox(path);
  delivery.file_bytes_max = before.size() + 50'000;
  const ActionFailure failure =
      Deliver(delivery, Contents({std::string(40'000, 'x'), std::string(40'000, 'y')}));
  EXPECT_EQ(failure.kind, Kind::kFailed);
  EXPECT_EQ(failure.error_number, EFBIG);
  EXPECT_EQ(failure.text, "error writing message");
  EXPECT_EQ(ContentsOf(path), before);
}

TEST_F(HelperActionsTest, ALockFileOfAnotherIsWaitedForAndNotRemoved) {
  const std::string path = home_ + "/inbox";
  std::ofstream(path + ".lock") << "1";
  MailboxDelivery delivery = Mbox(path);
  delivery.locks.tries = 2;
  delivery.locks.delay = std::chrono::seconds(0);
  const ActionFailure failure = Deliver(delivery, Contents({"x\n\n"}));
  EXPECT_EQ(failure.kind, Kind::kFailed);
  EXPECT_EQ(failure.error_number, EEXIST);
  EXPECT_EQ(failure.text, "unable to create lock file " + path + ".lock");
  EXPECT_TRUE(fs::exists(path + ".lock"));
}

TEST_F(HelperActionsTest, WhoeverWaitsForOneLockHoldsNoOther) {
  const std::string path = home_ + "/inbox";
  ASSERT_EQ(Deliver(Mbox(path), Contents({"one\n\n"})).kind, Kind::kNone);
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  ASSERT_EQ(fcntl(fd, F_OFD_SETLK, &whole), 0);
  std::optional<ActionFailure> answer;
  MailboxDelivery delivery = Mbox(path);
  delivery.locks.delay = std::chrono::seconds(1);
  const int changes = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  ASSERT_GE(inotify_add_watch(changes, home_.c_str(), IN_DELETE), 0);
  actions_->Deliver(delivery, Contents({"two\n\n"}),
                    [&](const ActionFailure& failure) { answer = failure; });
  // As a reader does that holds the file's lock and wants the lock file, which we had and gave
  // back.
  char change[4096];
  while (read(changes, change, sizeof(change)) < 0 && !answer) {
    loop_.io().run_one_for(std::chrono::milliseconds(1));
  }
  close(changes);
  int lock_file = -1;
  while (lock_file < 0 && !answer) {
    loop_.io().run_one_for(std::chrono::milliseconds(1));
    lock_file = open((path + ".lock").c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  }
  EXPECT_GE(lock_file, 0);
  close(lock_file);
  fs::remove(path + ".lock");
  close(fd);
  EXPECT_EQ(RunUntil(answer).kind, Kind::kNone);
  EXPECT_THAT(ContentsOf(path), HasSubstr("two\n"));
}

TEST_F(HelperActionsTest, AStaleLockFileIsRemoved) {
  const std::string path = home_ + "/inbox";
  std::ofstream(path + ".lock") << "1";
  const struct timespec old[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, (path + ".lock").c_str(), old, 0), 0);
  if (getuid() == 0) {
    ASSERT_EQ(chown((path + ".lock").c_str(), user_.uid, user_.gid), 0);
  }
  MailboxDelivery delivery = Mbox(path);
  delivery.locks.delay = std::chrono::seconds(0);
  EXPECT_EQ(Deliver(delivery, Contents({"x\n\n"})).kind, Kind::kNone);
}

TEST_F(HelperActionsTest, NothingIsWrittenThroughLinks) {
  std::ofstream(home_ + "/other") << "mine\n";
  fs::create_symlink(home_ + "/other", home_ + "/link");
  fs::create_hard_link(home_ + "/other", home_ + "/second");
  const ActionFailure link = Deliver(Mbox(home_ + "/link"), Contents({"x\n\n"}));
  EXPECT_EQ(link.kind, Kind::kFailed);
  EXPECT_EQ(link.text, "file is a symbolic link");
  const ActionFailure second = Deliver(Mbox(home_ + "/second"), Contents({"x\n\n"}));
  EXPECT_NE(second.kind, Kind::kNone);
  EXPECT_EQ(ContentsOf(home_ + "/other"), "mine\n");
}

TEST_F(HelperActionsTest, AFolderOrAFifoIsNoMailbox) {
  ASSERT_EQ(mkfifo((home_ + "/fifo").c_str(), 0666), 0);
  fs::create_directories(home_ + "/folder");
  EXPECT_NE(Deliver(Mbox(home_ + "/fifo"), Contents({"x\n\n"})).kind, Kind::kNone);
  EXPECT_NE(Deliver(Mbox(home_ + "/folder"), Contents({"x\n\n"})).kind, Kind::kNone);
}

TEST_F(HelperActionsTest, AFileMayBeTheNullDeviceAndNothingExecutable) {
  MailboxDelivery null = Mbox("/dev/null");
  null.is_any_file = true;
  EXPECT_EQ(Deliver(null, Contents({"x\n\n"})).kind, Kind::kNone);
  std::ofstream(home_ + "/program") << "#!/bin/sh\n";
  ASSERT_EQ(chmod((home_ + "/program").c_str(), 0777), 0);
  MailboxDelivery program = Mbox(home_ + "/program");
  program.is_any_file = true;
  const ActionFailure failure = Deliver(program, Contents({"x\n\n"}));
  EXPECT_EQ(failure.kind, Kind::kRefused);
  EXPECT_EQ(failure.text, "file is executable");
}

TEST_F(HelperActionsTest, AMaildirIsMadeBelowItsBase) {
  MailboxDelivery delivery;
  delivery.user = user_;
  delivery.base = home_;
  delivery.path = home_ + "/Mail/inbox/";
  delivery.header = "X: y\n";
  EXPECT_EQ(Deliver(delivery, Contents({"body\n"})).kind, Kind::kNone);
  int files = 0;
  for (const auto& entry : fs::directory_iterator(home_ + "/Mail/inbox/new")) {
    ++files;
    EXPECT_EQ(ContentsOf(entry.path()), "X: y\nbody\n");
  }
  EXPECT_EQ(files, 1);
}

TEST_F(HelperActionsTest, RootIsServedInTheSpoolAlone) {
  if (getuid() != 0) GTEST_SKIP() << "needs root: run ./dev test as root, as CI does";
  MailboxDelivery elsewhere = Mbox(home_ + "/inbox");
  elsewhere.user = {};
  EXPECT_EQ(Deliver(elsewhere, Contents({"x\n\n"})).kind, Kind::kRefused);
  MailboxDelivery below = Mbox(home_ + ".spool/../x");
  below.user = {};
  EXPECT_EQ(Deliver(below, Contents({"x\n\n"})).kind, Kind::kRefused);
  MailboxDelivery spool = Mbox(home_ + ".spool/user");
  spool.user = {};
  spool.owner = user_;
  EXPECT_EQ(Deliver(spool, Contents({"x\n\n"})).kind, Kind::kNone);
  struct stat file = {};
  ASSERT_EQ(stat((home_ + ".spool/user").c_str(), &file), 0);
  EXPECT_EQ(file.st_uid, user_.uid);
  Command command = Shell("true");
  command.user = {};
  EXPECT_EQ(Run(std::move(command), Contents({})).failure.kind, Kind::kRefused);
}

// ---- Files ----

TEST_F(HelperActionsTest, AFileIsReadWithItsFacts) {
  std::ofstream(home_ + "/.forward") << "alice\nbob\n";
  const UserFile file = Read(home_ + "/.forward");
  EXPECT_EQ(file.failure.kind, Kind::kNone);
  EXPECT_EQ(file.text, "alice\nbob\n");
  EXPECT_TRUE(file.is_regular);
  EXPECT_FALSE(file.is_longer);
  EXPECT_FALSE(file.is_link);
  const UserFile part = Read(home_ + "/.forward", 5);
  EXPECT_EQ(part.text, "alice");
  EXPECT_TRUE(part.is_longer);
}

TEST_F(HelperActionsTest, AMissingFileALinkAndAFifoAreTold) {
  EXPECT_EQ(Read(home_ + "/none").failure.error_number, ENOENT);
  std::ofstream(home_ + "/text") << "x";
  fs::create_symlink(home_ + "/text", home_ + "/link");
  EXPECT_TRUE(Read(home_ + "/link").is_link);
  ASSERT_EQ(mkfifo((home_ + "/fifo").c_str(), 0666), 0);
  const UserFile fifo = Read(home_ + "/fifo");
  EXPECT_FALSE(fifo.is_regular);
  EXPECT_EQ(fifo.text, "");
}

TEST_F(HelperActionsTest, AnotherUsersFileIsNotRead) {
  if (getuid() != 0) GTEST_SKIP() << "needs root: run ./dev test as root, as CI does";
  EXPECT_EQ(Read("/etc/shadow").failure.error_number, EACCES);
}

// ---- Commands ----

TEST_F(HelperActionsTest, ACommandGetsTheMessageAndItsOutputComesBack) {
  Command command = Shell("cat; echo error >&2; exit 75");
  command.header = "From a\n";
  const CommandEnd end = Run(std::move(command), Contents({"one\n", "two\n"}));
  EXPECT_EQ(end.how, How::kExited);
  EXPECT_EQ(end.code, 75);
  EXPECT_EQ(end.output, "From a\none\ntwo\nerror\n");
}

TEST_F(HelperActionsTest, ACommandHasTheEnvironmentAndTheFolderThatItWasGiven) {
  Command command = Shell("env | sort; pwd; umask");
  command.environment = {"PATH=/usr/bin:/bin", "USER=alice"};
  command.directory = home_;
  const CommandEnd end = Run(std::move(command), Contents({}));
  EXPECT_EQ(end.output, "PATH=/usr/bin:/bin\nPWD=" + home_ + "\nUSER=alice\n" + home_ + "\n0077\n");
}

TEST_F(HelperActionsTest, ACommandIsItsUserForGood) {
  const CommandEnd end =
      Run("id -u; id -g; id -G; grep -E '^(Uid|Gid|CapPrm|CapEff):' /proc/self/status");
  std::istringstream lines(end.output);
  std::string uid, gid, groups;
  std::getline(lines, uid);
  std::getline(lines, gid);
  std::getline(lines, groups);
  EXPECT_EQ(uid, std::to_string(user_.uid));
  EXPECT_EQ(gid, std::to_string(user_.gid));
  if (getuid() != 0) return;
  EXPECT_EQ(groups, std::to_string(user_.gid));
  const std::string four = "\t" + uid + "\t" + uid + "\t" + uid + "\t" + uid + "\n";
  EXPECT_THAT(end.output, HasSubstr("Uid:" + four));
  EXPECT_THAT(end.output, HasSubstr("CapPrm:\t0000000000000000\n"));
  EXPECT_THAT(end.output, HasSubstr("CapEff:\t0000000000000000\n"));
}

TEST_F(HelperActionsTest, ACommandHasNoDescriptorButItsOwn) {
  const CommandEnd end = Run("ls /proc/self/fd | tr '\\n' ' '");
  // The fourth is what ls reads.
  EXPECT_EQ(end.output, "0 1 2 3 ");
}

TEST_F(HelperActionsTest, ACommandNeedNotReadItsInput) {
  const std::string big(1 << 20, 'x');
  CommandEnd end = Run(Shell("exit 3"), Contents({big, big, big}));
  EXPECT_EQ(end.how, How::kExited);
  EXPECT_EQ(end.code, 3);
  end = Run(Shell("exec 0<&-; echo closed"), Contents({big, big}));
  EXPECT_EQ(end.code, 0);
  EXPECT_EQ(end.output, "closed\n");
}

TEST_F(HelperActionsTest, ASignalIsTold) {
  const CommandEnd end = Run("kill -TERM $$");
  EXPECT_EQ(end.how, How::kSignalled);
  EXPECT_EQ(end.code, SIGTERM);
}

TEST_F(HelperActionsTest, WhatCannotBeRunIsTold) {
  Command absent = Shell("");
  absent.argv = {"/nowhere/program"};
  CommandEnd end = Run(std::move(absent), Contents({}));
  EXPECT_EQ(end.how, How::kNotRun);
  EXPECT_EQ(end.failure.text, "execvp");
  EXPECT_EQ(end.failure.error_number, ENOENT);
  Command lost = Shell("true");
  lost.directory = home_ + "/none";
  end = Run(std::move(lost), Contents({}));
  EXPECT_EQ(end.failure.text, "chdir");
}

TEST_F(HelperActionsTest, ACommandIsFoundByItsPath) {
  Command command = Shell("");
  command.argv = {"echo", "a b", "$HOME;`id`"};
  EXPECT_EQ(Run(std::move(command), Contents({})).output, "a b $HOME;`id`\n");
}

TEST_F(HelperActionsTest, ACommandThatNeverEndsIsKilledWithWhatItStarted) {
  Command command = Shell("sleep 1000 & echo $!; trap '' TERM; wait");
  command.time_limit = std::chrono::seconds(1);
  const CommandEnd end = Run(std::move(command), Contents({"x"}));
  EXPECT_EQ(end.how, How::kTimedOut);
  const pid_t child = std::stoi(end.output);
  // The signal is on its way; whoever reaps orphans may take a moment.
  while (IsAlive(child)) std::this_thread::yield();
}

// A user's lease on a file, as his own file system, holds up whoever opens it, and so the start.
TEST_F(HelperActionsTest, ACommandWhoseStartItsUserHoldsUpIsKilledInTime) {
  const std::string program = home_ + "/program";
  std::ofstream(program) << "#!/bin/sh\n";
  fs::permissions(program, fs::perms(0755));
  const int lease = open(program.c_str(), O_RDONLY | O_CLOEXEC);
  const auto before = signal(SIGIO, SIG_IGN);
  ASSERT_EQ(fcntl(lease, F_SETLEASE, F_WRLCK), 0) << strerror(errno);
  Command command = Shell("");
  command.argv = {program};
  command.time_limit = std::chrono::seconds(1);
  EXPECT_EQ(Run(command, Contents({"x"})).how, How::kTimedOut);
  // So does a delivery that is called off.
  std::optional<CommandEnd> answer;
  command.time_limit = std::chrono::hours(1);
  actions_->Cancel(actions_->Run(std::move(command), Contents({"x"}),
                                 [&](CommandEnd end) { answer = std::move(end); }));
  EXPECT_EQ(RunUntil(answer).failure.kind, Kind::kCancelled);
  close(lease);
  signal(SIGIO, before);
}

TEST_F(HelperActionsTest, OutputWithoutEndIsCutAndTimed) {
  Command command = Shell("exec yes");
  command.time_limit = std::chrono::seconds(1);
  command.output_bytes_max = 10;
  const CommandEnd end = Run(std::move(command), Contents({}));
  EXPECT_EQ(end.how, How::kTimedOut);
  EXPECT_EQ(end.output, "y\ny\ny\ny\ny\n");
}

TEST_F(HelperActionsTest, WhatACommandLeavesBehindDoesNotHoldItUp) {
  const CommandEnd end = Run("sleep 5 & echo done");
  EXPECT_EQ(end.how, How::kExited);
  EXPECT_EQ(end.output, "done\n");
}

TEST_F(HelperActionsTest, ACancelledCommandIsKilled) {
  std::optional<CommandEnd> answer;
  const uint64_t number = actions_->Run(Shell("echo started > " + home_ + "/mark; exec sleep 1000"),
                                        Contents({"x"}, /*ends=*/false),
                                        [&](CommandEnd end) { answer = std::move(end); });
  while (!fs::exists(home_ + "/mark")) loop_.io().run_one_for(std::chrono::milliseconds(10));
  actions_->Cancel(number);
  EXPECT_EQ(RunUntil(answer).failure.kind, Kind::kCancelled);
}

TEST_F(HelperActionsTest, ACancelledCommandThatWritesWithoutEndIsKilled) {
  std::optional<CommandEnd> answer;
  const uint64_t number =
      actions_->Run(Shell("echo started > " + home_ + "/mark; exec yes"), Contents({}),
                    [&](CommandEnd end) { answer = std::move(end); });
  while (!fs::exists(home_ + "/mark")) loop_.io().run_one_for(std::chrono::milliseconds(10));
  actions_->Cancel(number);
  EXPECT_EQ(RunUntil(answer).failure.kind, Kind::kCancelled);
}

TEST_F(HelperActionsTest, SetUidProgramsWorkButInAChrootOfAnother) {
  if (getuid() != 0) GTEST_SKIP() << "needs root: run ./dev test as root, as CI does";
  EXPECT_THAT(Run("cat /proc/self/status").output, HasSubstr("NoNewPrivs:\t0\n"));
  Command command = Shell("exec cat /proc/self/status");
  command.chroot = "/";
  EXPECT_THAT(Run(command, Contents({})).output, HasSubstr("NoNewPrivs:\t0\n"));
  command.chroot = ShellsTree();
  command.argv = {"/bin/sh", "-c", "echo $$ > /pid; read line"};
  std::optional<CommandEnd> answer;
  const uint64_t number = actions_->Run(std::move(command), Contents({"x"}, /*ends=*/false),
                                        [&](CommandEnd end) { answer = std::move(end); });
  std::string pid;
  while (!answer && !(std::ifstream(home_ + "/tree/pid") >> pid)) {
    loop_.io().run_one_for(std::chrono::milliseconds(10));
  }
  std::stringstream status;
  status << std::ifstream("/proc/" + pid + "/status").rdbuf();
  EXPECT_THAT(status.str(), HasSubstr("NoNewPrivs:\t1\n"));
  actions_->Cancel(number);
  RunUntil(answer);
}

TEST_F(HelperActionsTest, ACommandIsNotStoppedByItsSiblings) {
  std::optional<CommandEnd> slow;
  actions_->Run(Shell("read line; echo $line"), Contents({"x\n"}, /*ends=*/false),
                [&](CommandEnd end) { slow = std::move(end); });
  EXPECT_EQ(Run("echo fast").output, "fast\n");
  EXPECT_EQ(RunUntil(slow).output, "x\n");
}

}  // namespace
}  // namespace postfleet::delivery::privileged
