#include "services/queue/rpc/disk_space.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <optional>

#include "libs/base/concat.h"
#include "services/queue/state/queue_under_test.h"

namespace postfleet::queue {
namespace {

class DiskSpaceTest : public ::testing::Test {
 protected:
  DiskSpaceTest() : directory_(Concat(testing::TempDir(), "/disk_space_test")) {
    std::filesystem::remove_all(directory_);
    queue_.emplace(StoreOptions{.path = directory_});
    space_.emplace(&queue_->store(), directory_);
  }
  uint64_t Reclaim(DiskSpace::Alive alive = DiskSpace::Alive::kLeave) {
    std::promise<uint64_t> used;
    space_->Reclaim(alive, [&](uint64_t used_bytes) { used.set_value(used_bytes); });
    return used.get_future().get();
  }

  const std::string directory_;
  std::optional<QueueUnderTest> queue_;
  std::optional<DiskSpace> space_;
};

TEST_F(DiskSpaceTest, WhatAPurgeDeletedIsGivenBackAndTheRestStays) {
  const std::string contents(16'384, 'x');
  for (int i = 0; i < 300; ++i) Enqueue(*queue_, Concat("A", i), 1, contents);
  ASSERT_TRUE(queue_->store().Flush().ok());
  const uint64_t full_bytes = space_->UsedBytes();
  EXPECT_GT(full_bytes, 300 * contents.size());
  Purge(*queue_);
  Enqueue(*queue_, "B1", 1, contents);
  EXPECT_LT(Reclaim(), full_bytes / 4);
  const auto chunk = queue_->reader().ReadChunk("B1", 0);
  ASSERT_TRUE(chunk.ok());
  EXPECT_EQ(chunk->bytes, contents);
}

TEST_F(DiskSpaceTest, WhatLivesAmongDeletedMailDoesNotKeepItsSpace) {
  const std::string contents(16'384, 'x');
  for (int i = 0; i < 300; ++i) Enqueue(*queue_, Concat("A", i), 1, contents);
  ASSERT_TRUE(queue_->store().Flush().ok());
  const uint64_t full_bytes = space_->UsedBytes();
  for (int i = 0; i < 300; ++i) {
    if (i % 3 != 0) Delete(*queue_, {Concat("A", i)});
  }
  const uint64_t used_bytes = Reclaim(DiskSpace::Alive::kMove);
  EXPECT_LT(used_bytes, full_bytes / 2);
  EXPECT_GT(used_bytes, 100 * contents.size());
  EXPECT_EQ(queue_->reader().ReadChunk("A297", 0)->bytes, contents);
}

TEST_F(DiskSpaceTest, StoppingEndsTheThread) {
  space_->Stop();
  space_->Reclaim(DiskSpace::Alive::kLeave, [](uint64_t) { FAIL() << "it was stopped"; });
}

}  // namespace
}  // namespace postfleet::queue
