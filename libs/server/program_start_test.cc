// Starts itself as another program: with `--probe`, it restarts once and then says what it was
// given.
#include "libs/server/program_start.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "libs/base/concat.h"

namespace postfleet::server {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr int kLives = 7;   // a pipe with a byte for each life
constexpr int kReport = 8;  // a pipe that the last life writes to
constexpr int kClosed = 9;  // from outside; the first life puts a file of its own there

// A probe's line: its process, the arguments, which of the descriptors are open.
std::string Report(int argc, char** argv) {
  std::string text = Concat("pid ", getpid(), " arguments");
  for (int i = 1; i < argc; ++i) ConcatTo(&text, " ", std::string_view(argv[i]));
  for (int fd = 3; fd < 20; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) ConcatTo(&text, " fd", fd);
  }
  return text;
}

int RunProbe(int argc, char** argv) {
  const ProgramStart start = ProgramStart::Of(argc, argv);
  char life = 0;
  if (read(kLives, &life, 1) != 1) return 3;
  if (life == '1') {
    // A descriptor without the flag, as a library might leave it; and a number that is taken anew.
    if (dup2(kLives, 15) != 15) return 4;
    close(kClosed);
    if (dup2(open("/dev/null", O_RDONLY), kClosed) != kClosed) return 4;
    // What was passed must be passed again, whatever became of its flag.
    fcntl(kReport, F_SETFD, FD_CLOEXEC);
    static_cast<void>(start.Again());
    return 5;
  }
  const std::string report = Report(argc, argv);
  return write(kReport, report.data(), report.size()) == static_cast<ssize_t>(report.size()) ? 0
                                                                                             : 6;
}

struct Pipe {
  Pipe() { EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0); }
  ~Pipe() {
    close(ends[0]);
    close(ends[1]);
  }
  int ends[2];
};

class ProgramStartTest : public testing::Test {
 protected:
  void SetUp() override {
    posix_spawn_file_actions_init(&actions_);
    ASSERT_EQ(write(lives_.ends[1], "12", 2), 2);
    posix_spawn_file_actions_adddup2(&actions_, lives_.ends[0], kLives);
    posix_spawn_file_actions_adddup2(&actions_, report_.ends[1], kReport);
    posix_spawn_file_actions_adddup2(&actions_, lives_.ends[1], kClosed);
    char self[] = "/proc/self/exe", probe[] = "--probe", more[] = "-c", value[] = "a b";
    char* arguments[] = {self, probe, more, value, nullptr};
    ASSERT_EQ(posix_spawn(&pid_, self, &actions_, nullptr, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions_);
    int status = 0;
    ASSERT_EQ(waitpid(pid_, &status, 0), pid_);
    ASSERT_EQ(status, 0);
    char text[512];
    const ssize_t bytes = read(report_.ends[0], text, sizeof(text));
    ASSERT_GT(bytes, 0);
    said_.assign(text, static_cast<size_t>(bytes));
  }

  Pipe lives_, report_;
  posix_spawn_file_actions_t actions_;
  pid_t pid_ = 0;
  std::string said_;
};

TEST_F(ProgramStartTest, TheProcessAndItsArgumentsStay) {
  EXPECT_THAT(said_, HasSubstr(Concat("pid ", pid_, " ")));
  EXPECT_THAT(said_, HasSubstr("arguments --probe -c a b"));
}

TEST_F(ProgramStartTest, WhatCameFromOutsideStaysOpen) {
  EXPECT_THAT(said_, HasSubstr(Concat(" fd", kLives)));
  EXPECT_THAT(said_, HasSubstr(Concat(" fd", kReport)));
}

TEST_F(ProgramStartTest, WhatWasOpenedIsClosed) {
  EXPECT_THAT(said_, Not(HasSubstr("fd15")));
  EXPECT_THAT(said_, Not(HasSubstr(Concat(" fd", kClosed)))) << "the number had another file";
}

}  // namespace
}  // namespace postfleet::server

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--probe") {
    return postfleet::server::RunProbe(argc, argv);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
