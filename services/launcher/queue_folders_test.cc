// As whoever runs the test.
#include "services/launcher/queue_folders.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "libs/base/concat.h"

namespace postfleet::launcher {
namespace {

using testing::HasSubstr;

class QueueFoldersTest : public testing::Test {
 protected:
  QueueFoldersTest() : folder_(testing::TempDir() + "folders_XXXXXX") {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    queue_ = folder_ + "/queue";
  }
  ~QueueFoldersTest() override { std::filesystem::remove_all(folder_); }

  absl::StatusOr<int> Lock(std::string_view program) {
    return TakeLock(queue_, *server::FindServerProgram(program), owner_);
  }
  static mode_t ModeOf(const std::string& path) {
    struct stat status;
    EXPECT_EQ(stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 07777;
  }

  const Owner owner_ = {.name = "", .uid = geteuid(), .gid = getegid()};
  std::string folder_, queue_;
};

TEST_F(QueueFoldersTest, OthersMayEnterOnlyThePublicFolderAndWriteNone) {
  ASSERT_TRUE(MakeQueueFolders(queue_, owner_).ok());
  ASSERT_TRUE(MakeQueueFolders(queue_, owner_).ok()) << "a second start";
  EXPECT_EQ(ModeOf(queue_ + "/postfleet"), 0700u);
  EXPECT_EQ(ModeOf(queue_ + "/postfleet-public"), 0755u);
  EXPECT_EQ(ModeOf(queue_) & 022, 0u);
}

TEST_F(QueueFoldersTest, MaildropIsTheOwnersAlone) {
  ASSERT_TRUE(MakeQueueFolders(queue_, owner_).ok());
  EXPECT_EQ(ModeOf(queue_ + "/maildrop"), 0700u);
}

TEST_F(QueueFoldersTest, SubmittersMayMakeFilesInMaildropAndSeeNone) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const Owner owner = {.name = "nobody", .uid = 65534, .gid = 65534, .submitters = 8};
  ASSERT_TRUE(MakeQueueFolders(queue_, owner).ok());
  struct stat status;
  ASSERT_EQ(stat((queue_ + "/maildrop").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 01730u);
  EXPECT_EQ(status.st_uid, owner.uid);
  EXPECT_EQ(status.st_gid, 8u);
}

TEST_F(QueueFoldersTest, FoldersOfRootsBecomeTheOwners) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const Owner owner = {.name = "nobody", .uid = 65534, .gid = 65534};
  ASSERT_TRUE(MakeQueueFolders(queue_, owner).ok());
  for (std::string_view name : {server::kOwnFolder, server::kPublicFolder}) {
    struct stat status;
    ASSERT_EQ(stat(Concat(queue_, name).c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, owner.uid) << name;
  }
  struct stat status;
  ASSERT_EQ(stat(queue_.c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 0u) << "queue_directory stays root's";
}

TEST_F(QueueFoldersTest, LinkInPlaceOfAFolderIsNotGivenAway) {
  std::filesystem::create_directories(queue_);
  std::filesystem::create_directories(folder_ + "/precious");
  std::filesystem::create_directory_symlink(folder_ + "/precious", queue_ + "/postfleet-public");
  EXPECT_THAT(std::string(MakeQueueFolders(queue_, owner_).message()),
              HasSubstr("open " + queue_ + "/postfleet-public"));
}

TEST_F(QueueFoldersTest, FolderAboveThatIsMissingIsSaidWithWhatToDo) {
  const std::string deep = folder_ + "/no/queue";
  EXPECT_EQ(std::string(MakeQueueFolders(deep, owner_).message()),
            Concat("make queue_directory ", deep,
                   " (create the folder above it, or set queue_directory in main.cf): No such file "
                   "or directory"));
}

TEST_F(QueueFoldersTest, PidFileHoldsProcessAndProgram) {
  ASSERT_TRUE(MakeQueueFolders(queue_, owner_).ok());
  std::ofstream(queue_ + "/postfleet/ingress.pid")
      << "a longer text of an earlier start, to be cut";
  const auto lock = Lock("postfleet-ingressd");
  ASSERT_TRUE(lock.ok()) << lock.status();
  std::stringstream text;
  text << std::ifstream(queue_ + "/postfleet/ingress.pid").rdbuf();
  EXPECT_EQ(text.str(), Concat(getpid(), "\npostfleet-ingressd\n"));
  EXPECT_EQ(fcntl(*lock, F_GETFD), FD_CLOEXEC);
  close(*lock);
}

TEST_F(QueueFoldersTest, EachProgramRunsOnceAndTheQueueHasOneOwner) {
  ASSERT_TRUE(MakeQueueFolders(queue_, owner_).ok());
  const auto queue = Lock("postfleet-queued");
  const auto ingress = Lock("postfleet-ingressd");
  ASSERT_TRUE(queue.ok() && ingress.ok());
  for (const char* program : {"postfleet-queued", "postfleetd"}) {
    const auto second = Lock(program);
    EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
    EXPECT_THAT(std::string(second.status().message()),
                HasSubstr("the mail system is already running"));
  }
  EXPECT_THAT(std::string(Lock("postfleet-ingressd").status().message()),
              HasSubstr("postfleet-ingressd is already running"));
  close(*ingress);
  const auto again = Lock("postfleet-ingressd");
  EXPECT_TRUE(again.ok());
  if (again.ok()) close(*again);
  close(*queue);
}

TEST(Help, SaysWhatOptionsAndExample) {
  for (const server::ServerProgram& program : server::AllServerPrograms()) {
    const std::string help = server::ServerHelp(program.name);
    EXPECT_THAT(help, HasSubstr(program.what));
    EXPECT_THAT(help, HasSubstr("--listen NAME=FD"));
    EXPECT_THAT(help, HasSubstr("\nexample: post"));
    EXPECT_THAT(server::LauncherHelp(), HasSubstr(program.name));
  }
}

}  // namespace
}  // namespace postfleet::launcher
