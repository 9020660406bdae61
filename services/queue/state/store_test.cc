#include "services/queue/state/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/env.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>

#include "services/queue/state/keys.h"
#include "services/queue/state/queue_under_test.h"
#include "services/queue/state/rows.pb.h"

namespace postfleet::queue {
namespace {

using ::testing::HasSubstr;

// Holds a flush once its memtables are sealed and before its files are written.
class FlushGate : public rocksdb::EventListener {
 public:
  void OnFlushBegin(rocksdb::DB*, const rocksdb::FlushJobInfo&) override {
    std::unique_lock lock(mutex_);
    begun_ = !open_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  void AwaitBegin() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return begun_; });
  }
  void Shut() {
    std::lock_guard lock(mutex_);
    open_ = false;
  }
  void Open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool begun_ = false;
  // Opening a new store flushes.
  bool open_ = true;
};

TEST(Store, IsOpenOnce) {
  const std::string path = testing::TempDir() + "/open_once";
  auto first = Store::Open({.path = path});
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = Store::Open({.path = path});
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("another server or command has this queue open"));
  auto waiting = std::async(std::launch::async, [&] {
    return Store::Open({.path = path, .lock_wait_max = std::chrono::hours(1)}).status();
  });
  first->reset();
  EXPECT_TRUE(waiting.get().ok());
}

TEST(Store, TheFlushedIndexIsNotTheAppliedIndex) {
  QueueUnderTest queue;
  EXPECT_EQ(*queue.store().FlushedIndex(), 0u);
  Enqueue(queue, "A1");
  const uint64_t flushed = queue.machine().applied_index();
  EXPECT_EQ(*queue.store().FlushedIndex(), 0u) << "the row is in memory only";
  ASSERT_TRUE(queue.store().Flush().ok());
  EXPECT_EQ(*queue.store().FlushedIndex(), flushed);
  Enqueue(queue, "A2");
  EXPECT_EQ(*queue.store().FlushedIndex(), flushed);
}

TEST(Store, TheFlushedIndexIsWhatACrashLeaves) {
  QueueUnderTest queue;
  for (int i = 0; i < 5; ++i) {
    Enqueue(queue, "A" + std::to_string(i));
    if (i == 2) {
      ASSERT_TRUE(queue.store().Flush().ok());
    }
  }
  const uint64_t flushed = *queue.store().FlushedIndex();
  queue.Crash();
  EXPECT_EQ(queue.machine().applied_index(), flushed);
  EXPECT_TRUE(queue.reader().ReadMessage("A2")->has_value());
  EXPECT_FALSE(queue.reader().ReadMessage("A3")->has_value());
}

TEST(Store, AFlushThatIsRunningDoesNotCount) {
  auto gate = std::make_shared<FlushGate>();
  StoreOptions options;
  options.listeners.push_back(gate);
  QueueUnderTest queue(options);
  Enqueue(queue, "A1");
  gate->Shut();
  ASSERT_TRUE(queue.store().RequestFlush().ok());
  gate->AwaitBegin();
  EXPECT_EQ(*queue.store().FlushedIndex(), 0u);
  gate->Open();
  ASSERT_TRUE(queue.store().Flush().ok());
  EXPECT_EQ(*queue.store().FlushedIndex(), queue.machine().applied_index());
}

TEST(Store, ACompletedFlushIsToldOfWithItsIndexReadable) {
  QueueUnderTest queue;
  std::atomic<uint64_t> seen = 0;
  queue.store().SetFlushListener([&] { seen = *queue.store().FlushedIndex(); });
  Enqueue(queue, "A1");
  ASSERT_TRUE(queue.store().Flush().ok());
  EXPECT_EQ(seen, queue.machine().applied_index());
}

TEST(Store, AllColumnFamiliesAreFlushedTogetherWhenTheBufferIsFull) {
  StoreOptions options;
  options.write_buffer_bytes = 256 << 10;
  QueueUnderTest queue(options);
  for (int i = 0; i < 400; ++i) {
    Enqueue(queue, "A" + std::to_string(i), 1, std::string(4'096, 'x'));
  }
  queue.Crash();
  const uint64_t applied = queue.machine().applied_index();
  ASSERT_GT(applied, 3u) << "no flush came by itself";
  // Commands 1 and 2 are not messages of this test.
  EXPECT_EQ(queue.machine().counts().incoming_messages(), applied - 1);
  for (uint64_t i = 0; i < applied - 1; ++i) {
    EXPECT_TRUE(queue.reader().ReadChunk("A" + std::to_string(i), 0)->found) << i;
  }
}

TEST(Store, AnotherFormatIsRefusedByName) {
  std::unique_ptr<rocksdb::Env> env(rocksdb::NewMemEnv(rocksdb::Env::Default()));
  StoreOptions options;
  options.path = "/store";
  options.env = env.get();
  {
    auto store = Store::Open(options);
    ASSERT_TRUE(store.ok()) << store.status();
    rocksdb::WriteOptions write;
    write.disableWAL = true;
    ASSERT_TRUE((*store)->db()->Put(write, (*store)->family(Family::kDefault), "format", "9").ok());
    ASSERT_TRUE((*store)->Flush().ok());
  }
  const auto again = Store::Open(options);
  EXPECT_EQ(again.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(again.status().ToString(), HasSubstr("/store: the queue's store has format 9"));
}

}  // namespace
}  // namespace postfleet::queue
