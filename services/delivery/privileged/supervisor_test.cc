// With the real helper, spawned; the test is the server that it works for.
#include "services/delivery/privileged/supervisor.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "services/delivery/privileged/connection_passing.h"

namespace postfleet::delivery::privileged {
namespace {

using std::chrono::milliseconds;

class SupervisorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    helper_ = SpawnHelper({.path = "services/delivery/privileged/helper", .connections = 2});
    ASSERT_EQ(helper_.error, "");
    ASSERT_EQ(helper_.sockets.size(), 1u);
  }
  void TearDown() override {
    CloseServer();
    if (helper_.pid > 0) waitpid(helper_.pid, nullptr, 0);
  }

  // Blocks until there is one.
  WorkerConnections NextWorker() {
    WorkerConnections next;
    EXPECT_EQ(ReceiveConnections(helper_.sockets[0], &next), Received::kConnections);
    for (int socket : next.sockets) taken_.push_back(socket);
    return next;
  }
  void CloseServer() {
    for (int socket : helper_.sockets) close(socket);
    for (int socket : taken_) close(socket);
    helper_.sockets.clear();
    taken_.clear();
  }

  HelperProcess helper_;
  std::vector<int> taken_;
};

TEST_F(SupervisorTest, AKilledWorkerIsFollowedByAnotherOne) {
  const WorkerConnections first = NextWorker();
  EXPECT_EQ(first.sockets.size(), 3u);
  ASSERT_EQ(kill(first.worker, SIGKILL), 0);
  const WorkerConnections second = NextWorker();
  EXPECT_NE(second.worker, first.worker);
  EXPECT_EQ(second.sockets.size(), 3u);
  EXPECT_EQ(kill(second.worker, 0), 0);
  // Reaped, not left as a zombie.
  EXPECT_EQ(kill(first.worker, 0), -1);
}

TEST_F(SupervisorTest, ConnectionsEndWithTheirWorker) {
  const WorkerConnections first = NextWorker();
  ASSERT_EQ(kill(first.worker, SIGKILL), 0);
  for (int socket : first.sockets) {
    char byte;
    EXPECT_EQ(recv(socket, &byte, 1, 0), 0);  // blocks for ever where the supervisor holds one
  }
}

TEST_F(SupervisorTest, AWorkerThatEndedInOrderIsFollowedToo) {
  const WorkerConnections first = NextWorker();
  for (int socket : first.sockets) shutdown(socket, SHUT_RDWR);
  EXPECT_NE(NextWorker().worker, first.worker);
}

TEST_F(SupervisorTest, BothEndWithTheServer) {
  const WorkerConnections worker = NextWorker();
  struct pollfd ended = {.fd = static_cast<int>(syscall(SYS_pidfd_open, worker.worker, 0)),
                         .events = POLLIN,
                         .revents = 0};
  ASSERT_GE(ended.fd, 0);
  CloseServer();
  int status = -1;
  EXPECT_EQ(waitpid(helper_.pid, &status, 0), helper_.pid);
  EXPECT_EQ(status, 0);
  helper_.pid = -1;
  EXPECT_EQ(poll(&ended, 1, 0), 1);  // it was waited for
  close(ended.fd);
}

TEST_F(SupervisorTest, WhatTheServerWritesIsNotRead) {
  const std::string text(1000, 'x');
  ASSERT_EQ(send(helper_.sockets[0], text.data(), text.size(), 0), ssize_t{1000});
  const WorkerConnections first = NextWorker();
  ASSERT_EQ(kill(first.worker, SIGKILL), 0);
  EXPECT_NE(NextWorker().worker, first.worker);
}

TEST(RestartDelay, DoublesUpToTheMaximum) {
  milliseconds delay{0};
  std::vector<int64_t> delays;
  for (int i = 0; i < 11; ++i) {
    delay = RestartDelay(delay, milliseconds(1));
    delays.push_back(delay.count());
  }
  EXPECT_EQ(delays, (std::vector<int64_t>{100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000,
                                          30000}));
}

TEST(RestartDelay, BeginsAnewAfterAWorkerThatWorked) {
  EXPECT_EQ(RestartDelay(milliseconds(6400), kWorkedAtLeast), kRestartDelayMin);
  EXPECT_EQ(RestartDelay(milliseconds(6400), kWorkedAtLeast - milliseconds(1)),
            milliseconds(12'800));
}

TEST(ConnectionPassing, APacketWithoutConnectionsIsTheEnd) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  WorkerConnections received;
  ASSERT_EQ(send(pair[0], "1234", 4, 0), 4);
  EXPECT_EQ(ReceiveConnections(pair[1], &received), Received::kEnd);
  ASSERT_TRUE(SendConnections(pair[0], {7, {pair[0]}}));
  EXPECT_EQ(ReceiveConnections(pair[1], &received), Received::kConnections);
  EXPECT_EQ(received.worker, 7);
  ASSERT_EQ(received.sockets.size(), 1u);
  close(received.sockets[0]);
  close(pair[0]);
  EXPECT_EQ(ReceiveConnections(pair[1], &received), Received::kEnd);
  close(pair[1]);
}

}  // namespace
}  // namespace postfleet::delivery::privileged
