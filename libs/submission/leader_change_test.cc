// What an enqueue meets when leaders come and go: each message is in the queue once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <set>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/concat.h"
#include "libs/runtime/event_loop.h"
#include "libs/submission/enqueue_client.h"
#include "libs/submission/fake_cluster.h"

namespace postfleet::submission {
namespace {

using queue::v1::EnqueueResult;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::IsEmpty;
using Fate = FakeCluster::Fate;

constexpr milliseconds kResendMax{5000};
constexpr int kChunks = 4;

std::string ContentOf(int chunk) { return Concat("chunk ", chunk, "\n"); }
std::string WholeContent() {
  std::string content;
  for (int i = 0; i < kChunks; ++i) content += ContentOf(i);
  return content;
}

// A message of kChunks chunks: each is sent once the one before is committed, or all at once.
class Upload : public Requester, public std::enable_shared_from_this<Upload> {
 public:
  explicit Upload(EnqueueClient& enqueue) : enqueue_(enqueue) {}

  // On the loop.
  void Start(bool all_at_once) {
    queue_id_ = enqueue_.NextQueueId();
    for (int i = 0; i < (all_at_once ? kChunks : 1); ++i) SendNext();
  }
  void OnFlushed(bool started) override {
    std::lock_guard lock(mutex_);
    flushed_ = started;
    changed_.notify_all();
  }
  void OnEnqueued(const std::string&, bool final, EnqueueResult::Code code) override {
    if (code == EnqueueResult::COMMITTED && !final) {
      if (next_chunk_ < kChunks) SendNext();
      return;
    }
    std::lock_guard lock(mutex_);
    ends_.push_back(code);
    changed_.notify_all();
  }

  std::vector<EnqueueResult::Code> ends() {
    std::lock_guard lock(mutex_);
    return ends_;
  }
  EnqueueResult::Code WaitForEnd() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !ends_.empty(); });
    return ends_.front();
  }
  bool WaitForFlush() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return flushed_.has_value(); });
    return *flushed_;
  }

 private:
  void SendNext() {
    const std::string content = ContentOf(next_chunk_);
    queue::v1::Submission submission;
    submission.set_queue_id(queue_id_);
    submission.set_chunk(static_cast<uint32_t>(next_chunk_++));
    submission.set_payload_bytes(static_cast<uint32_t>(content.size()));
    if (next_chunk_ == kChunks) submission.mutable_message();
    enqueue_.Send(std::move(submission), content, shared_from_this());
  }

  EnqueueClient& enqueue_;
  std::string queue_id_;
  int next_chunk_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<EnqueueResult::Code> ends_;
  std::optional<bool> flushed_;
};

// A cluster and its client.
class World {
 public:
  World()
      : enqueue_(loop_,
                 {.name = "test",
                  .channel = cluster.channel(),
                  .clock = &clock_,
                  .resend_max = kResendMax,
                  .on_change = [this] { OnChange(); }},
                 budget_) {
    loop_.Start();
    loop_.RunAndWait([this] { enqueue_.Start(); });
    WaitForLink(true);
  }
  ~World() {
    enqueue_.Stop();
    loop_.Stop();
  }

  std::shared_ptr<Upload> Send(bool all_at_once = false) {
    auto upload = std::make_shared<Upload>(enqueue_);
    loop_.RunAndWait([&] { upload->Start(all_at_once); });
    return upload;
  }
  std::shared_ptr<Upload> Flush() {
    auto flush = std::make_shared<Upload>(enqueue_);
    loop_.RunAndWait([&] { enqueue_.Flush("example.com", flush); });
    return flush;
  }
  // The clock is the loop's: it moves there.
  void Pass(milliseconds time) {
    loop_.RunAndWait([&] {
      clock_.AdvanceMillis(time.count());
      enqueue_.GiveUpOld();
    });
  }
  void WaitForLink(bool connected) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return connected_ == connected; });
  }
  void ExpectOneMessage() {
    const auto messages = cluster.messages();
    ASSERT_EQ(messages.size(), 1u);
    EXPECT_EQ(messages[0].content, WholeContent());
    std::set<uint64_t> sequences;
    for (const queue::v1::SubmissionId& id : cluster.arrivals()) sequences.insert(id.sequence());
    EXPECT_EQ(sequences.size(), static_cast<size_t>(kChunks));
    EXPECT_EQ(cluster.registrations(), 1);
    EXPECT_EQ(budget_.bytes(), 0u);
  }

  FakeCluster cluster;

 private:
  void OnChange() {
    std::lock_guard lock(mutex_);
    connected_ = enqueue_.connected();
    changed_.notify_all();
  }

  FakeClock clock_;
  runtime::EventLoop loop_{"test"};
  BufferBudget budget_{1 << 20};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool connected_ = false;
  EnqueueClient enqueue_;
};

struct Point {
  int chunk;  // the arrival that meets it
  Fate fate;
  bool all_at_once;
};

class LeaderChange : public testing::TestWithParam<Point> {};

TEST_P(LeaderChange, AtEveryChunkTheMessageIsThereOnce) {
  World world;
  world.cluster.fate = [](const FakeCluster::Arrival& arrival) {
    return arrival.number == GetParam().chunk ? GetParam().fate : Fate::kAnswered;
  };
  EXPECT_EQ(world.Send(GetParam().all_at_once)->WaitForEnd(), EnqueueResult::COMMITTED);
  world.ExpectOneMessage();
}

TEST_P(LeaderChange, TwoInARowTheMessageIsThereOnce) {
  World world;
  world.cluster.fate = [](const FakeCluster::Arrival& arrival) {
    const int since = arrival.number - GetParam().chunk;
    return since == 0 || since == 1 ? GetParam().fate : Fate::kAnswered;
  };
  EXPECT_EQ(world.Send(GetParam().all_at_once)->WaitForEnd(), EnqueueResult::COMMITTED);
  world.ExpectOneMessage();
}

std::vector<Point> AllPoints() {
  std::vector<Point> points;
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    for (const Fate fate : {Fate::kLost, Fate::kAnswerLost}) {
      for (const bool all_at_once : {false, true}) points.push_back({chunk, fate, all_at_once});
    }
  }
  return points;
}

std::string NameOf(const testing::TestParamInfo<Point>& info) {
  return Concat("Chunk", info.param.chunk,
                info.param.fate == Fate::kLost ? "Lost" : "Answer" + std::string("Lost"),
                info.param.all_at_once ? "OfAll" : "");
}

INSTANTIATE_TEST_SUITE_P(Enqueue, LeaderChange, testing::ValuesIn(AllPoints()), NameOf);

class NoLeader : public testing::Test {
 protected:
  NoLeader() {
    world_.cluster.fate = [](const FakeCluster::Arrival& arrival) {
      return arrival.number == 1 ? Fate::kAnswerLost : Fate::kAnswered;
    };
    world_.cluster.next_leader = [](size_t) { return FakeCluster::kNobody; };
  }
  World world_;
};

TEST_F(NoLeader, ForThreeSecondsIsWaitedFor) {
  const auto upload = world_.Send();
  world_.WaitForLink(false);
  world_.Pass(milliseconds(3000));
  EXPECT_THAT(upload->ends(), IsEmpty());
  world_.cluster.Lead(2);
  EXPECT_EQ(upload->WaitForEnd(), EnqueueResult::COMMITTED);
  world_.ExpectOneMessage();
}

TEST_F(NoLeader, ForTooLongFailsWhatWaits) {
  const auto upload = world_.Send();
  world_.WaitForLink(false);
  world_.Pass(kResendMax - milliseconds(1));
  EXPECT_THAT(upload->ends(), IsEmpty());
  world_.Pass(milliseconds(1));
  EXPECT_THAT(upload->ends(), ElementsAre(EnqueueResult::FAILED));
}

TEST(Leader, ThatIsNamedByLiarsIsFoundAllTheSame) {
  World world;
  world.cluster.Lie(0, "mail.evil.example:25");
  world.cluster.Lie(1, FakeCluster::AddressOf(0));
  world.cluster.Lead(2);
  EXPECT_EQ(world.Send()->WaitForEnd(), EnqueueResult::COMMITTED);
  world.ExpectOneMessage();
}

TEST(Leader, ThatHangsIsLeftForTheNext) {
  World world;
  world.cluster.Hang(0);  // q1, which is asked next, still names it
  world.WaitForLink(false);
  world.cluster.WaitForAsked(0, 3);  // registration and stream came before
  const auto upload = world.Send();
  world.cluster.Lead(1);
  EXPECT_EQ(upload->WaitForEnd(), EnqueueResult::COMMITTED);
  world.ExpectOneMessage();
}

TEST(Leader, WhenAllAreDeadWhatWaitsFails) {
  World world;
  for (size_t i = 0; i < FakeCluster::kReplicas; ++i) world.cluster.Die(i);
  world.WaitForLink(false);
  const auto upload = world.Send();
  world.Pass(kResendMax);
  EXPECT_EQ(upload->WaitForEnd(), EnqueueResult::FAILED);
  EXPECT_FALSE(world.Flush()->WaitForFlush());
}

TEST(Leader, IsFoundForAFlushToo) {
  World world;
  world.cluster.Lead(2);
  EXPECT_TRUE(world.Flush()->WaitForFlush());
  EXPECT_EQ(world.cluster.flushes(), 1);
}

}  // namespace
}  // namespace postfleet::submission
