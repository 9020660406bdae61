// With the real helper, spawned; as whoever runs the test.
#include "services/delivery/privileged/helper_connections.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>

#include "services/delivery/privileged/connection_passing.h"
#include "services/delivery/privileged/spawn.h"

namespace postfleet::delivery::privileged {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr char kHelper[] = "services/delivery/privileged/helper";

// Gives pieces, then the end; or waits until the test gives the next one.
class FakeContents : public ContentReader {
 public:
  FakeContents(runtime::EventLoop& loop, std::vector<std::string> pieces, absl::Status end = {})
      : loop_(loop), pieces_(std::move(pieces)), end_(std::move(end)) {}
  ~FakeContents() override {
    if (destroyed != nullptr) *destroyed = true;
  }

  void Next(Done done) override {
    loop_.Post([this, alive = std::weak_ptr(alive_), done] {
      if (alive.expired()) return;
      if (next_ < pieces_.size()) {
        done(absl::OkStatus(), {grpc::Slice(pieces_[next_++])});
      } else if (!never_ends) {
        done(end_, {});
      } else if (stuck) {
        loop_.Post(stuck);  // it may destroy this
      }
    });
  }

  bool never_ends = false;
  std::function<void()> stuck;  // all pieces were taken and more was asked for
  bool* destroyed = nullptr;

 private:
  runtime::EventLoop& loop_;
  std::vector<std::string> pieces_;
  absl::Status end_;
  size_t next_ = 0;
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
};

class HelperConnectionsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    base_ = "/var/tmp/postfleet-helper-" + std::to_string(getpid());
    fs::create_directories(base_);
    if (getuid() == 0) {
      const struct passwd* nobody = getpwnam("nobody");
      uid_ = nobody->pw_uid;
      gid_ = nobody->pw_gid;
      ASSERT_EQ(chown(base_.c_str(), uid_, gid_), 0);
    }
  }
  void TearDown() override {
    connections_.reset();
    loop_.Stop();
    if (helper_.pid > 0) {
      // It ends by itself: all its connections are closed.
      int status = -1;
      EXPECT_EQ(waitpid(helper_.pid, &status, 0), helper_.pid);
      EXPECT_EQ(status, 0);
    }
    fs::remove_all(base_);
  }

  void Spawn(int connections, std::chrono::milliseconds wait = std::chrono::hours(1)) {
    helper_ = SpawnHelper({.path = kHelper, .connections = connections, .minimum_uid = 100});
    ASSERT_EQ(helper_.error, "");
    connections_ = std::make_unique<HelperConnections>(loop_, helper_.sockets, wait);
  }

  Handover Message(const std::string& path, const std::vector<std::string>& pieces) {
    Handover handover;
    handover.request.seconds = 1800000000;
    handover.request.host = "mx1";
    handover.request.base = base_;
    handover.request.targets = {{.uid = uid_, .gid = gid_, .path = path, .header = "X: y\n"}};
    for (const std::string& piece : pieces) handover.request.content_bytes += piece.size();
    handover.contents = std::make_unique<FakeContents>(loop_, pieces);
    return handover;
  }

  struct Answer {
    absl::Status status;
    std::vector<TargetResult> results;
  };
  void Expect(Handover& handover, Answer* answer) {
    ++open_;
    handover.done = [this, answer](const absl::Status& status, std::vector<TargetResult> results) {
      *answer = {status, std::move(results)};
      if (--open_ == 0) loop_.io().stop();
    };
  }
  void RunUntilAnswered() {
    if (open_ > 0) loop_.io().run();
    loop_.io().restart();
  }
  Answer Deliver(Handover handover) {
    Answer answer;
    Expect(handover, &answer);
    connections_->Deliver(std::move(handover));
    RunUntilAnswered();
    return answer;
  }

  std::vector<uintmax_t> FileSizes(const std::string& path) {
    std::vector<uintmax_t> sizes;
    if (!fs::exists(fs::path(base_) / path / "new")) return sizes;
    for (const auto& entry : fs::directory_iterator(fs::path(base_) / path / "new")) {
      sizes.push_back(entry.file_size());
    }
    return sizes;
  }

  runtime::EventLoop loop_{"test"};
  std::string base_;
  uid_t uid_ = getuid();
  gid_t gid_ = getgid();
  HelperProcess helper_;
  std::unique_ptr<HelperConnections> connections_;
  int open_ = 0;
};

TEST_F(HelperConnectionsTest, TheHelperDelivers) {
  Spawn(2);
  const Answer answer = Deliver(Message("a/", {"Subject: x\n\n", "body\n"}));
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  ASSERT_EQ(answer.results.size(), 1u);
  EXPECT_EQ(answer.results[0].code, Code::kDelivered) << answer.results[0].text;
  EXPECT_THAT(FileSizes("a"), ElementsAre(22));
}

TEST_F(HelperConnectionsTest, BigContentsPassPieceByPiece) {
  Spawn(1);
  const std::vector<std::string> pieces(5, std::string(3'000'000, 'x'));
  const Answer answer = Deliver(Message("a/", pieces));
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.results[0].code, Code::kDelivered);
  EXPECT_THAT(FileSizes("a"), ElementsAre(15'000'005));
}

TEST_F(HelperConnectionsTest, RefusalsComeBackForEachTarget) {
  Spawn(1);
  Handover handover = Message("a/", {"x\n"});
  handover.request.targets.push_back({.uid = 0, .gid = gid_, .path = "b/", .header = ""});
  const Answer answer = Deliver(std::move(handover));
  ASSERT_EQ(answer.results.size(), 2u);
  EXPECT_EQ(answer.results[0].code, Code::kDelivered);
  EXPECT_EQ(answer.results[1].code, Code::kRefused);
  EXPECT_THAT(answer.results[1].text, HasSubstr("root"));
}

TEST_F(HelperConnectionsTest, MoreMessagesThanConnectionsAllGoThrough) {
  Spawn(3);
  while (connections_->connections() < 3) loop_.io().run_one();
  std::vector<Answer> answers(50);
  for (Answer& answer : answers) {
    Handover handover = Message("a/", {"x\n"});
    Expect(handover, &answer);
    connections_->Deliver(std::move(handover));
  }
  EXPECT_EQ(connections_->waiting(), 47u);
  RunUntilAnswered();
  for (const Answer& answer : answers) {
    ASSERT_TRUE(answer.status.ok());
    EXPECT_EQ(answer.results[0].code, Code::kDelivered);
  }
  EXPECT_EQ(FileSizes("a").size(), 50u);
}

TEST_F(HelperConnectionsTest, ContentsThatCannotBeReadAreNotDelivered) {
  Spawn(1);
  for (const absl::Status& error : {absl::UnavailableError("x"), absl::DataLossError("y")}) {
    Handover handover = Message("a/", {"12345"});
    handover.contents =
        std::make_unique<FakeContents>(loop_, std::vector<std::string>{"123"}, error);
    EXPECT_EQ(Deliver(std::move(handover)).status, error);
  }
  EXPECT_THAT(FileSizes("a"), ElementsAre());
  EXPECT_TRUE(Deliver(Message("a/", {"x\n"})).status.ok());
}

TEST_F(HelperConnectionsTest, ContentsOfAnotherLengthAreNotDelivered) {
  Spawn(1);
  for (const char* contents : {"1234", "123456"}) {
    Handover handover = Message("a/", {"12345"});
    handover.contents = std::make_unique<FakeContents>(loop_, std::vector<std::string>{contents});
    EXPECT_TRUE(absl::IsDataLoss(Deliver(std::move(handover)).status)) << contents;
  }
  EXPECT_THAT(FileSizes("a"), ElementsAre());
  EXPECT_EQ(connections_->connections(), 1u);
  EXPECT_TRUE(Deliver(Message("a/", {"x\n"})).status.ok());
}

TEST_F(HelperConnectionsTest, CancelEndsWhatRunsAndWhatWaits) {
  Spawn(1);
  Handover running = Message("a/", {"123", "45"});
  auto contents = std::make_unique<FakeContents>(loop_, std::vector<std::string>{"123"});
  contents->never_ends = true;
  uint64_t numbers[2] = {0, 0};
  contents->stuck = [&] {
    for (uint64_t number : numbers) connections_->Cancel(number);
  };
  running.contents = std::move(contents);
  Handover waiting = Message("a/", {"x\n"});
  Answer answers[2];
  Expect(running, &answers[0]);
  Expect(waiting, &answers[1]);
  numbers[0] = connections_->Deliver(std::move(running));
  numbers[1] = connections_->Deliver(std::move(waiting));
  RunUntilAnswered();
  EXPECT_TRUE(absl::IsCancelled(answers[0].status)) << answers[0].status;
  EXPECT_TRUE(absl::IsCancelled(answers[1].status)) << answers[1].status;
  EXPECT_THAT(FileSizes("a"), ElementsAre());
  EXPECT_TRUE(Deliver(Message("a/", {"x\n"})).status.ok());
}

TEST_F(HelperConnectionsTest, AWorkerThatDiesIsFollowedByAnother) {
  Spawn(2);
  pid_t last = 0;
  for (int i = 1; i <= 3; ++i) {
    const Answer answer = Deliver(Message("a/", {"x\n"}));
    ASSERT_TRUE(answer.status.ok()) << answer.status;
    EXPECT_NE(connections_->worker(), last);
    EXPECT_EQ(FileSizes("a").size(), static_cast<size_t>(i));
    last = connections_->worker();
    // Until its connections are known to be lost: a message that meets them would be answered so.
    ASSERT_EQ(kill(last, SIGKILL), 0);
    while (connections_->connections() > 0) loop_.io().run_one();
  }
}

TEST_F(HelperConnectionsTest, AMessageThatAWorkerTakesWithItIsUnavailableAndNotDelivered) {
  Spawn(1);
  Handover cut = Message("a/", {"123", "45"});
  auto contents = std::make_unique<FakeContents>(loop_, std::vector<std::string>{"123"});
  contents->never_ends = true;
  contents->stuck = [&] { ASSERT_EQ(kill(connections_->worker(), SIGKILL), 0); };
  cut.contents = std::move(contents);
  Handover waiting = Message("a/", {"whole\n"});
  Answer answers[2];
  Expect(cut, &answers[0]);
  Expect(waiting, &answers[1]);
  connections_->Deliver(std::move(cut));
  connections_->Deliver(std::move(waiting));
  RunUntilAnswered();
  EXPECT_TRUE(absl::IsUnavailable(answers[0].status)) << answers[0].status;
  ASSERT_TRUE(answers[1].status.ok()) << answers[1].status;
  EXPECT_EQ(answers[1].results[0].code, Code::kDelivered);
  EXPECT_THAT(FileSizes("a"), ElementsAre(11));
}

TEST_F(HelperConnectionsTest, WithoutAWorkerForTooLongEverythingIsUnavailableUntilOneComes) {
  // The test is the supervisor; its worker is a real helper's.
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  connections_ = std::make_unique<HelperConnections>(loop_, std::vector<int>{pair[0]},
                                                     std::chrono::milliseconds(1));
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(absl::IsUnavailable(Deliver(Message("a/", {"x\n"})).status));
  }
  helper_ = SpawnWorker({.path = kHelper, .connections = 1});
  ASSERT_TRUE(SendConnections(pair[1], {helper_.pid, helper_.sockets}));
  for (int socket : helper_.sockets) close(socket);
  while (connections_->connections() == 0) loop_.io().run_one();
  EXPECT_TRUE(Deliver(Message("a/", {"x\n"})).status.ok());
  close(pair[1]);
}

TEST_F(HelperConnectionsTest, AWorkerOutlivesItsSupervisor) {
  Spawn(1);
  ASSERT_TRUE(Deliver(Message("a/", {"x\n"})).status.ok());
  ASSERT_EQ(kill(helper_.pid, SIGKILL), 0);
  ASSERT_EQ(waitpid(helper_.pid, nullptr, 0), helper_.pid);
  helper_.pid = -1;
  EXPECT_TRUE(Deliver(Message("a/", {"x\n"})).status.ok());
  ASSERT_EQ(kill(connections_->worker(), SIGKILL), 0);
  while (connections_->connections() > 0) loop_.io().run_one();
  // Nobody starts another one: no waiting.
  EXPECT_TRUE(absl::IsUnavailable(Deliver(Message("a/", {"x\n"})).status));
}

TEST_F(HelperConnectionsTest, AHelperThatIsNotThereIsAnError) {
  EXPECT_THAT(SpawnHelper({.path = "/nonexistent/helper"}).error,
              HasSubstr("cannot start /nonexistent/helper: No such file"));
  EXPECT_THAT(SpawnHelper({.path = "x", .connections = 0}).error, HasSubstr("connections"));
}

}  // namespace
}  // namespace postfleet::delivery::privileged
