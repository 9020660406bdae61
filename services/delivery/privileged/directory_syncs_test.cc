#include "services/delivery/privileged/directory_syncs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <semaphore>
#include <thread>
#include <vector>

namespace postfleet::delivery::privileged {
namespace {

// A sync waits until the test lets it end.
class GatedSystem : public System {
 public:
  int Sync(int) override {
    const int number = ++started;
    has_started.release();
    may_end.acquire();
    if (number != failing) return 0;
    errno = EIO;
    return -1;
  }
  // Each caller looks its directory up before it waits.
  int Stat(int fd, struct stat* stat) override {
    const int result = System::Stat(fd, stat);
    asked.release();
    return result;
  }
  std::atomic<int> started{0};
  int failing = 0;
  std::counting_semaphore<100> has_started{0}, may_end{0}, asked{0};
};

class DirectorySyncsTest : public ::testing::Test {
 protected:
  const int directory_ = open(::testing::TempDir().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  GatedSystem system_;
  DirectorySyncs syncs_{system_};
};

TEST_F(DirectorySyncsTest, ASyncThatRanBeforeTheCallDoesNotCountForIt) {
  std::thread first([&] { EXPECT_EQ(syncs_.Sync(directory_), 0); });
  system_.has_started.acquire();
  std::atomic<bool> second_done{false};
  std::thread second([&] {
    EXPECT_EQ(syncs_.Sync(directory_), 0);
    second_done = true;
  });
  system_.may_end.release();
  first.join();
  system_.has_started.acquire();
  EXPECT_FALSE(second_done);
  system_.may_end.release();
  second.join();
  EXPECT_EQ(system_.started, 2);
}

TEST_F(DirectorySyncsTest, ThoseWhoCameDuringASyncShareTheNext) {
  constexpr int kOthers = 8;
  std::thread first([&] { EXPECT_EQ(syncs_.Sync(directory_), 0); });
  system_.has_started.acquire();
  system_.asked.acquire();
  std::vector<std::thread> others;
  for (int i = 0; i < kOthers; ++i) {
    others.emplace_back([&] { EXPECT_EQ(syncs_.Sync(directory_), 0); });
  }
  for (int i = 0; i < kOthers; ++i) system_.asked.acquire();
  system_.may_end.release(1 + kOthers);
  first.join();
  for (std::thread& other : others) other.join();
  // Whoever had asked, but not yet queued when the second one began, needs a third; never one each.
  EXPECT_GE(system_.started, 2);
  EXPECT_LT(system_.started, 1 + kOthers);
}

TEST_F(DirectorySyncsTest, AFailureReachesAllWhoSharedIt) {
  system_.failing = 2;
  std::thread first([&] { EXPECT_EQ(syncs_.Sync(directory_), 0); });
  system_.has_started.acquire();
  std::thread second([&] { EXPECT_EQ(syncs_.Sync(directory_), EIO); });
  system_.may_end.release();
  first.join();
  system_.has_started.acquire();
  system_.may_end.release();
  second.join();
  // Not for ever.
  system_.may_end.release();
  EXPECT_EQ(syncs_.Sync(directory_), 0);
}

}  // namespace
}  // namespace postfleet::delivery::privileged
