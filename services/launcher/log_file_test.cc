// As whoever runs the test.
#include "services/launcher/log_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace postfleet::launcher {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class LogFileTest : public testing::Test {
 protected:
  LogFileTest() : folder_(testing::TempDir() + "log_XXXXXX") {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    path_ = folder_ + "/mail.log";
    other_ = folder_ + "/other";
    std::ofstream(other_) << "other\n";
  }
  ~LogFileTest() override { fs::remove_all(folder_); }

  absl::StatusOr<int> Open() {
    const bool root = geteuid() == 0;
    return OpenLogFile(path_, 0640, root ? 65534 : geteuid(), root ? 65534 : getegid());
  }
  void Append(const std::string& text) {
    const absl::StatusOr<int> fd = Open();
    ASSERT_TRUE(fd.ok()) << fd.status();
    EXPECT_EQ(write(*fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    close(*fd);
  }
  std::string Refusal() {
    const absl::StatusOr<int> fd = Open();
    if (fd.ok()) close(*fd);
    return std::string(fd.status().message());
  }
  static uintmax_t BytesOf(const std::string& path) { return fs::file_size(path); }

  std::string folder_, path_, other_;
};

TEST_F(LogFileTest, ANewOneIsTheServersAndGrows) {
  Append("one\n");
  Append("two\n");
  struct stat file;
  ASSERT_EQ(stat(path_.c_str(), &file), 0);
  EXPECT_EQ(file.st_size, 8);
  EXPECT_EQ(file.st_mode & 07777, 0640u);
  EXPECT_EQ(file.st_uid, geteuid() == 0 ? 65534u : geteuid());
}

TEST_F(LogFileTest, ALinkThatAnotherMayHaveMadeIsNotFollowed) {
  fs::create_symlink(other_, path_);
  fs::permissions(folder_, fs::perms::all);
  EXPECT_THAT(Refusal(), HasSubstr("file is a symbolic link"));
  // In a folder that nobody else may write it is the administrator's.
  fs::permissions(folder_, fs::perms::owner_all);
  Append("log\n");
  EXPECT_EQ(BytesOf(other_), 10u);
}

TEST_F(LogFileTest, AnotherOnesLinkIsNotFollowedWhereverItLies) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  fs::create_symlink(other_, path_);
  ASSERT_EQ(lchown(path_.c_str(), 65534, 65534), 0);
  EXPECT_THAT(Refusal(), HasSubstr("file is a symbolic link"));
}

TEST_F(LogFileTest, ALinkToNothingMakesNothing) {
  fs::create_symlink(folder_ + "/nothing", path_);
  EXPECT_NE(Refusal(), "");
  EXPECT_FALSE(fs::exists(folder_ + "/nothing"));
}

TEST_F(LogFileTest, AFileWithASecondNameIsNotWritten) {
  fs::create_hard_link(other_, path_);
  EXPECT_THAT(Refusal(), HasSubstr("file has 2 hard links"));
}

TEST_F(LogFileTest, AFifoThatNobodyReadsHoldsNothingUp) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THAT(Refusal(), HasSubstr("No such device or address"));
}

TEST_F(LogFileTest, WritesToAFifoWaitForItsReader) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  const int reader = open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  const absl::StatusOr<int> fd = Open();
  ASSERT_TRUE(fd.ok()) << fd.status();
  EXPECT_EQ(fcntl(*fd, F_GETFL) & O_NONBLOCK, 0);
  close(*fd);
  close(reader);
}

}  // namespace
}  // namespace postfleet::launcher
