// What fails and where the machine stops, for one message into an mbox.
#include "services/delivery/privileged/mbox.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "services/delivery/privileged/recording_system.h"

namespace postfleet::delivery::privileged {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;
namespace fs = std::filesystem;

constexpr char kOld[] = "From a  Mon Nov 23 12:00:00 2026\nX: old\n\nold\n\n";
constexpr char kHeader[] = "From a  Mon Nov 23 12:00:01 2026\nX: new\n";
constexpr char kPieces[][16] = {"Subject: s\n\n", "first\n", "second\n\n"};
constexpr int kCallsMax = 200;

std::string NewMail() {
  std::string mail = kHeader;
  for (const char* piece : kPieces) mail += piece;
  return mail;
}

std::string ContentsOf(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Knows what would be on the disk after a power failure: of the file what was synced last, and its
// name once the folder was.
class Disk : public RecordingSystem {
 public:
  int Sync(int fd) override {
    if (RecordingSystem::Sync(fd) != 0) return -1;
    struct stat stat = {};
    fstat(fd, &stat);
    if (S_ISDIR(stat.st_mode)) {
      has_name = true;
    } else {
      durable = ContentsOf("/proc/self/fd/" + std::to_string(fd));
    }
    return 0;
  }

  bool has_name = false;
  std::string durable;
};

class MboxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    request_.kind = ActionKind::kMbox;
    request_.path = folder_ / "alice";
    request_.header = kHeader;
    request_.fcntl_lock = request_.flock_lock = request_.dotlock = true;
    request_.lock_tries = 2;
    Begin(kOld);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // A mailbox of these contents, which are durable; none: a folder without it.
  void Begin(const std::optional<std::string>& contents) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    disk_ = std::make_unique<Disk>();
    disk_->imagine_credentials = true;
    syncs_ = std::make_unique<DirectorySyncs>(*disk_);
    if (!contents) return;
    std::ofstream(request_.path) << *contents;
    disk_->durable = *contents;
    disk_->has_name = true;
  }

  // As the server of actions does.
  bool Deliver() {
    Mbox mbox(*disk_, *syncs_, turns_, request_, [](uint32_t) { return true; });
    if (!mbox.Open()) {
      result_ = mbox.result();
      return false;
    }
    const bool written = std::all_of(std::begin(kPieces), std::end(kPieces),
                                     [&](const char* piece) { return mbox.Write(piece); });
    const bool delivered = written && mbox.Commit();
    result_ = mbox.result();
    if (!delivered) mbox.Abandon();
    return delivered;
  }

  // Everything that Postfix's readers see.
  std::string Mailbox() const { return ContentsOf(request_.path); }
  bool IsLocked() const { return fs::exists(request_.path + ".lock"); }

  fs::path folder_;
  ActionRequest request_;
  std::unique_ptr<Disk> disk_;
  std::unique_ptr<DirectorySyncs> syncs_;
  MailboxTurns turns_;
  ActionAnswer result_;
};

TEST_F(MboxTest, LocksAreTakenBeforeAndReleasedAfterWhatIsDurable) {
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(Mailbox(), kOld + NewMail());
  EXPECT_THAT(disk_->TakeCalls(),
              ElementsAre("open mbox", "dotlock", "fcntl mbox", "flock mbox", "write", "write",
                          "write", "write", "sync mbox", "unlock"));
}

TEST_F(MboxTest, ANewMailboxHasItsNameBeforeItHasContents) {
  Begin(std::nullopt);
  ASSERT_TRUE(Deliver());
  EXPECT_THAT(disk_->TakeCalls(), ElementsAre("open mbox", "make mbox", "dotlock", "fcntl mbox",
                                              "flock mbox", "open mbox", "sync mbox", "write",
                                              "write", "write", "write", "sync mbox", "unlock"));
  EXPECT_TRUE(disk_->has_name);
}

// Each system call of a delivery fails once, with each error.
class FailingCallTest : public MboxTest, public ::testing::WithParamInterface<int> {
 protected:
  void FailEachCall(const std::optional<std::string>& before) {
    const std::string old = before.value_or("");
    int number = 1;
    for (; number < kCallsMax; ++number) {
      Begin(before);
      disk_->write_halves = true;
      disk_->FailCall(number, GetParam());
      const bool delivered = Deliver();
      if (!disk_->has_failed()) break;
      const std::vector<std::string> calls = disk_->TakeCalls();
      SCOPED_TRACE("call " + std::to_string(number) + " of " + ::testing::PrintToString(calls));
      EXPECT_EQ(Mailbox(), delivered ? old + NewMail() : old);
      EXPECT_EQ(result_.code, delivered ? ActionCode::kDone : ActionCode::kFailed);
      // Only a lock whose removal failed is left; it is stale some day.
      if (IsLocked()) {
        EXPECT_EQ(calls.back(), "unlock");
        fs::remove(request_.path + ".lock");
      }
      // It is as usable as before.
      disk_->FailCall(0, 0);
      EXPECT_TRUE(Deliver()) << result_.text;
      // The name in a folder that may not be read is its owner's to sync.
      EXPECT_TRUE(disk_->has_name || GetParam() == EACCES);
      EXPECT_EQ(Mailbox(), (delivered ? old + NewMail() : old) + NewMail());
    }
    EXPECT_GT(number, 20);
    EXPECT_LT(number, kCallsMax);
  }
};

TEST_P(FailingCallTest, LeavesAMailboxAsItWas) { FailEachCall(kOld); }
TEST_P(FailingCallTest, LeavesNoPartInANewMailbox) { FailEachCall(std::nullopt); }

INSTANTIATE_TEST_SUITE_P(Errors, FailingCallTest,
                         ::testing::Values(ENOSPC, EDQUOT, EIO, EACCES, EINTR, ENOENT, EMFILE));

TEST_F(MboxTest, AFullDiskTakesBackWhatWasWritten) {
  disk_->write_halves = true;
  // The header is more than one write.
  disk_->FailCall(10, ENOSPC);
  ASSERT_FALSE(Deliver());
  EXPECT_EQ(result_.text, "error writing message");
  EXPECT_EQ(result_.error_number, ENOSPC);
  EXPECT_EQ(Mailbox(), kOld);
  // The old length is durable, too, before another one may write.
  const std::vector<std::string> calls = disk_->TakeCalls();
  ASSERT_GE(calls.size(), 3u);
  EXPECT_THAT(std::vector(calls.end() - 3, calls.end()),
              ElementsAre("truncate mbox", "sync mbox", "unlock"));
}

TEST_F(MboxTest, WritesThatAreCutAndInterruptedAreContinued) {
  disk_->write_halves = true;
  disk_->FailCall(9, EINTR);
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(Mailbox(), kOld + NewMail());
}

// The machine stops before each call: nothing behind it is done. What is not synced may be there
// or not, in part.
TEST_F(MboxTest, WhatWasAcknowledgedIsThereAfterAPowerFailure) {
  for (const auto& before : {std::optional<std::string>(kOld), std::optional<std::string>()}) {
    const std::string old = before.value_or("");
    bool delivered_any = false;
    for (int number = 1; number < kCallsMax; ++number) {
      Begin(before);
      disk_->StopAt(number);
      const bool delivered = Deliver();
      SCOPED_TRACE("stopped at call " + std::to_string(number));
      if (delivered) {
        delivered_any = true;
        EXPECT_TRUE(disk_->has_name);
        EXPECT_EQ(disk_->durable, old + NewMail());
      } else {
        EXPECT_THAT(old + NewMail(), StartsWith(disk_->durable));
        EXPECT_THAT(disk_->durable, StartsWith(old));
      }
      // Whatever a reader may have seen before, the old mail was never touched.
      EXPECT_THAT(Mailbox(), StartsWith(old));
      if (!disk_->has_failed()) break;
    }
    EXPECT_TRUE(delivered_any);
  }
}

// Cut off behind the creation: the file is there, and nobody has synced its name.
TEST_F(MboxTest, AMailboxThatAnotherDeliveryMadeAndLeftGetsItsName) {
  Begin(std::nullopt);
  disk_->Fail("write", ENOSPC);
  ASSERT_FALSE(Deliver());
  disk_->has_name = false;
  disk_->Succeed("write");
  ASSERT_TRUE(Deliver());
  EXPECT_TRUE(disk_->has_name);
}

// Left as root's, the mailbox would be refused for ever: it is not its recipient's.
TEST_F(MboxTest, AMailboxThatCannotBeGivenToItsOwnerIsNotLeftBehind) {
  Begin(std::nullopt);
  request_.owner_uid = 12345;
  request_.owner_gid = 12346;
  disk_->Fail("give", EDQUOT);
  ASSERT_FALSE(Deliver());
  EXPECT_EQ(result_.text, "unable to change ownership");
  EXPECT_FALSE(fs::exists(request_.path));
}

}  // namespace
}  // namespace postfleet::delivery::privileged
