#include "libs/server/pause_guard.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace postfleet::server {
namespace {

// In a process of its own, which says when it is under guard.
pid_t Guarded(std::chrono::milliseconds limit) {
  int ready[2];
  EXPECT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto guard = PauseGuard::Begin(limit);
    if (!guard.ok() || write(ready[1], "x", 1) != 1) _exit(1);
    while (true) pause();
  }
  char byte = 0;
  EXPECT_EQ(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  close(ready[1]);
  return child;
}

TEST(PauseGuard, AProcessThatIsStoppedForLongIsEnded) {
  const pid_t child = Guarded(std::chrono::milliseconds(100));
  ASSERT_EQ(kill(child, SIGSTOP), 0);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

TEST(PauseGuard, AProcessThatGoesOnInTimeLives) {
  const pid_t child = Guarded(std::chrono::hours(1));
  ASSERT_EQ(kill(child, SIGSTOP), 0);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(status));
  ASSERT_EQ(kill(child, SIGCONT), 0);
  ASSERT_EQ(kill(child, SIGTERM), 0);
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

TEST(PauseGuard, AnEndedGuardEndsNothing) {
  { ASSERT_TRUE(PauseGuard::Begin(std::chrono::milliseconds(20)).ok()); }
  // Longer than the limit, by a clock that the guard's is.
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(60);
  while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
}

}  // namespace
}  // namespace postfleet::server
