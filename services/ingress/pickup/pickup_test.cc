// Pickup beside a queue that answers as it is told.
#include "services/ingress/pickup/pickup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "libs/base/concat.h"
#include "libs/maildrop/files.h"
#include "libs/maildrop/submission.h"
#include "libs/submission/fake_services.h"

namespace postfleet::ingress {
namespace {

namespace fs = std::filesystem;

using queue::v1::EnqueueResult;
using testing::HasSubstr;

class PickupTest : public testing::Test {
 protected:
  PickupTest() {
    std::string path = testing::TempDir() + "pickupXXXXXX";
    folder_ = mkdtemp(path.data());
    events_ = inotify_init1(IN_CLOEXEC);
    inotify_add_watch(events_, folder_.c_str(), IN_DELETE | IN_MOVED_TO);
  }
  ~PickupTest() override {
    Stop();
    close(events_);
    fs::remove_all(folder_);
  }

  void Start() {
    PickupOptions options;
    options.folder = folder_;
    options.queue = services_.channel();
    options.pause = std::chrono::milliseconds(1);
    pickup_ = std::make_unique<Pickup>(std::move(options));
    pickup_->Start();
  }
  void Stop() { pickup_.reset(); }

  // The name of its file.
  std::string Drop(const std::string& subject, int lines = 1) {
    maildrop::NewFile file = *maildrop::NewFile::Create(folder_, SystemClock());
    std::string bytes;
    using maildrop::AppendRecord;
    AppendRecord(maildrop::kSender, "me", &bytes);
    AppendRecord(maildrop::kRecipient, "you", &bytes);
    AppendRecord(maildrop::kContents, "", &bytes);
    AppendRecord(maildrop::kText, "Subject: " + subject, &bytes);
    AppendRecord(maildrop::kText, "", &bytes);
    for (int i = 0; i < lines; ++i) {
      AppendRecord(maildrop::kText, "a line of some forty bytes, for its length", &bytes);
    }
    AppendRecord(maildrop::kExtracted, "", &bytes);
    AppendRecord(maildrop::kEnd, "", &bytes);
    EXPECT_TRUE(file.Append(bytes, 0).ok());
    EXPECT_TRUE(file.Commit().ok());
    return file.name();
  }

  std::set<std::string> Names() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.insert(entry.path().filename());
    return names;
  }
  template <typename Condition>
  void WaitUntil(const Condition& condition) {
    while (!condition()) {
      char bytes[4096];
      ASSERT_GT(read(events_, bytes, sizeof(bytes)), 0);
    }
  }
  void WaitUntilEmpty() {
    WaitUntil([this] { return Names().empty(); });
  }

  std::string folder_;
  int events_ = -1;
  submission::FakeServices services_;
  std::unique_ptr<Pickup> pickup_;
};

TEST_F(PickupTest, TakesWhatLiesThereAndWhatComes) {
  Drop("first");
  Start();
  WaitUntilEmpty();
  Drop("second");
  WaitUntilEmpty();
  const auto messages = services_.messages();
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_THAT(messages[0].content, HasSubstr("\nSubject: first\n"));
  EXPECT_THAT(messages[1].content, HasSubstr("\nSubject: second\n"));
  EXPECT_EQ(messages[0].message.recipients(0).address(), "you@localhost");
}

TEST_F(PickupTest, FileKeepsItsIdUntilItsMailIsCommitted) {
  services_.hold_results = true;
  const std::string name = Drop("x");
  Start();
  const queue::v1::SubmissionId id = services_.WaitForSubmission();
  const std::string marked =
      maildrop::FormatFileName(name, {.incarnation = id.incarnation(), .sequence = id.sequence()});
  EXPECT_EQ(Names(), std::set<std::string>{marked});
  services_.Release();
  WaitUntilEmpty();
}

TEST_F(PickupTest, WhoComesAfterACrashHandsItInUnderTheSameId) {
  services_.hold_results = true;
  Drop("x");
  Start();
  const queue::v1::SubmissionId first = services_.WaitForSubmission();
  Stop();
  EXPECT_EQ(Names().size(), 1u);
  Start();
  const queue::v1::SubmissionId second = services_.WaitForSubmission();
  EXPECT_EQ(first.incarnation(), second.incarnation());
  EXPECT_EQ(first.sequence(), second.sequence());
  EXPECT_EQ(services_.registrations(), 2);
  services_.Release();
  WaitUntilEmpty();
}

TEST_F(PickupTest, BigMailGoesInChunksAndItsEndUnderTheIdOfTheFile) {
  const std::string name = Drop("big", 20'000);
  Start();
  WaitUntilEmpty();
  ASSERT_EQ(services_.messages().size(), 1u);
  EXPECT_GT(services_.messages()[0].content.size(), 800'000u);
  EXPECT_EQ(services_.messages()[0].content.size(),
            services_.messages()[0].message.content_bytes());
}

TEST_F(PickupTest, WhatTheQueueCannotTakeStaysAndIsTriedAgain) {
  services_.next_code = EnqueueResult::OVERLOADED;
  Drop("x");
  Start();
  const queue::v1::SubmissionId first = services_.WaitForSubmission();
  const queue::v1::SubmissionId again = services_.WaitForSubmission();
  EXPECT_EQ(first.sequence(), again.sequence());
  services_.next_code = EnqueueResult::COMMITTED;
  WaitUntilEmpty();
}

TEST_F(PickupTest, WhatTheQueueRefusesIsSetAside) {
  services_.next_code = EnqueueResult::REFUSED;
  const std::string name = Drop("x");
  Start();
  WaitUntil([&] { return Names() == std::set<std::string>{name + ".broken"}; });
}

TEST_F(PickupTest, IdThatTheQueueHasForgottenIsGivenUp) {
  const std::string name = Drop("x");
  fs::rename(folder_ + "/" + name, folder_ + "/" + name + ".77-1");
  services_.next_code = EnqueueResult::EXPIRED;
  Start();
  const queue::v1::SubmissionId old = services_.WaitForSubmission();
  EXPECT_EQ(old.incarnation(), 0x77u);
  services_.next_code = EnqueueResult::COMMITTED;
  WaitUntilEmpty();
  EXPECT_NE(services_.WaitForSubmission().incarnation(), 0x77u);
}

TEST_F(PickupTest, AFolderHasOneReader) {
  services_.hold_results = true;
  Drop("x");
  Start();
  services_.WaitForSubmission();
  const maildrop::Folder other = *maildrop::Folder::Open(folder_);
  EXPECT_FALSE(other.Lock());
  Stop();
  EXPECT_TRUE(other.Lock());
}

TEST_F(PickupTest, ManyFilesAllArrive) {
  constexpr int kFiles = 200;
  std::set<std::string> expected;
  for (int i = 0; i < kFiles; ++i) Drop(Concat(i));
  Start();
  for (int i = kFiles; i < 2 * kFiles; ++i) Drop(Concat(i));
  WaitUntilEmpty();
  EXPECT_EQ(services_.messages().size(), 2u * kFiles);
}

}  // namespace
}  // namespace postfleet::ingress
