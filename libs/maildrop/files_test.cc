#include "libs/maildrop/files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

namespace postfleet::maildrop {
namespace {

namespace fs = std::filesystem;

class FilesTest : public testing::Test {
 protected:
  FilesTest() {
    std::string path = testing::TempDir() + "maildropXXXXXX";
    path_ = mkdtemp(path.data());
  }
  ~FilesTest() override { fs::remove_all(path_); }

  std::set<std::string> Names() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(path_)) {
      names.insert(entry.path().filename().string());
    }
    return names;
  }
  Folder Open() const { return *Folder::Open(path_); }

  std::string path_;
  FakeClock clock_;
};

TEST_F(FilesTest, AreShownOnlyOnceTheyAreWhole) {
  absl::StatusOr<NewFile> file = NewFile::Create(path_, clock_);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(file->Append("abc", 0).ok());
  EXPECT_EQ(Open().OpenFile(file->name()).state, Folder::File::kUnfinished);
  ASSERT_TRUE(file->Commit().ok());
  const Folder::File found = Open().OpenFile(file->name());
  ASSERT_EQ(found.state, Folder::File::kReady);
  EXPECT_EQ(found.bytes, 3u);
  EXPECT_EQ(found.owner, geteuid());
  close(found.fd);
}

TEST_F(FilesTest, ThatAreNotCommittedAreGone) {
  {
    absl::StatusOr<NewFile> file = NewFile::Create(path_, clock_);
    ASSERT_TRUE(file->Append("abc", 0).ok());
    EXPECT_EQ(Names().size(), 1u);
  }
  EXPECT_EQ(Names(), std::set<std::string>());
}

TEST_F(FilesTest, OfTheSameInstantHaveNamesOfTheirOwn) {
  absl::StatusOr<NewFile> one = NewFile::Create(path_, clock_);
  absl::StatusOr<NewFile> other = NewFile::Create(path_, clock_);
  EXPECT_NE(one->name(), other->name());
  EXPECT_EQ(Names(), (std::set<std::string>{one->name(), other->name()}));
}

TEST_F(FilesTest, AreBounded) {
  absl::StatusOr<NewFile> file = NewFile::Create(path_, clock_);
  EXPECT_TRUE(file->Append("12345", 10).ok());
  EXPECT_TRUE(file->Append("67890", 10).ok());
  EXPECT_TRUE(absl::IsOutOfRange(file->Append("1", 10)));
}

TEST_F(FilesTest, WithoutFolderSaySo) {
  EXPECT_TRUE(absl::IsNotFound(NewFile::Create(path_ + "/none", clock_).status()));
}

TEST_F(FilesTest, ThatNobodyMaySendAreStrangeAndNeverWaitedFor) {
  std::ofstream(path_ + "/plain") << "x";
  fs::permissions(path_ + "/plain", fs::perms(0744));
  fs::create_hard_link(path_ + "/plain", path_ + "/linked");
  fs::create_symlink("plain", path_ + "/symlink");
  fs::create_directory(path_ + "/folder");
  ASSERT_EQ(mkfifo((path_ + "/fifo").c_str(), 0744), 0);
  const Folder folder = Open();
  EXPECT_EQ(folder.OpenFile("linked").what, "file has 2 hard links");
  for (const char* name : {"symlink", "folder", "fifo"}) {
    const Folder::File file = folder.OpenFile(name);
    EXPECT_EQ(file.state, Folder::File::kStrange) << name;
    EXPECT_EQ(file.what, "uncommon file type") << name;
  }
  EXPECT_EQ(folder.OpenFile("none").state, Folder::File::kGone);
}

TEST(FileName, SaysIdAndMark) {
  const Mark mark = {.incarnation = 0x1f, .sequence = 0xffffffffffffffff};
  const std::string name = FormatFileName("4jXVqC48Jhz1cXNP", mark);
  EXPECT_EQ(name, "4jXVqC48Jhz1cXNP.1f-ffffffffffffffff");
  EXPECT_EQ(ParseFileName(name)->mark, mark);
  EXPECT_EQ(ParseFileName(name)->id, "4jXVqC48Jhz1cXNP");
  EXPECT_FALSE(ParseFileName("A1")->mark.has_value());
  EXPECT_TRUE(ParseFileName("A1.broken")->broken);
  for (const char* other : {"", ".", "12345.678", "a.1-", "a.-1", "a.1-2x", "a.1-2-3", "a b", "a/b",
                            "a.11111111111111111-1"}) {
    EXPECT_FALSE(ParseFileName(other).has_value()) << other;
  }
}

}  // namespace
}  // namespace postfleet::maildrop
