#include <fcntl.h>
#include <rocksdb/db.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace powercut {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr char kNothing[] = "(no file)";

std::string Program(const std::string& name) {
  return std::string(getenv("TEST_SRCDIR")) + "/" + getenv("TEST_WORKSPACE") +
         "/tests/drill/powercut/" + name;
}

struct Result {
  int status = 0;
  std::string output;  // both streams
};

class PowercutTest : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef SANITIZED
    GTEST_SKIP() << "a sanitizer's runtime and the shim want the same functions";
#endif
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    root_ = fs::path(getenv("TEST_TMPDIR")) / name;
    fs::remove_all(root_);
    fs::create_directories(tree());
    settings_ = {{"POWERCUT_DIR", root_ / "control"},
                 {"POWERCUT_TREE", tree()},
                 {"POWERCUT_SHADOW", root_ / "shadow"}};
    Tool("init");
  }

  fs::path tree() const { return root_ / "tree"; }

  // A process group of its own, which a cut ends.
  Result Run(std::vector<std::string> command, bool with_shim) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      setpgid(0, 0);
      dup2(ends[1], 1);
      dup2(ends[1], 2);
      close(ends[0]);
      close(ends[1]);
      for (const auto& [name, value] : settings_) setenv(name.c_str(), value.c_str(), 1);
      if (with_shim) setenv("LD_PRELOAD", Program("libpowercut.so").c_str(), 1);
      if (chdir(tree().c_str()) != 0) _exit(126);
      std::vector<char*> arguments;
      for (std::string& argument : command) arguments.push_back(argument.data());
      arguments.push_back(nullptr);
      execv(arguments[0], arguments.data());
      _exit(127);
    }
    close(ends[1]);
    Result result;
    char bytes[4096];
    for (ssize_t got; (got = read(ends[0], bytes, sizeof(bytes))) > 0;) {
      result.output.append(bytes, static_cast<size_t>(got));
    }
    close(ends[0]);
    waitpid(child, &result.status, 0);
    return result;
  }

  std::string Tool(const std::string& command) {
    const Result result = Run({Program("powercut"), command}, false);
    EXPECT_EQ(result.status, 0) << result.output;
    return result.output;
  }

  Result Write(std::vector<std::string> commands) {
    commands.insert(commands.begin(), Program("writer"));
    return Run(commands, true);
  }
  void WriteToTheEnd(const std::vector<std::string>& commands) {
    const Result result = Write(commands);
    ASSERT_EQ(result.status, 0) << result.output;
  }

  void LosePower(uint64_t seed = 0) {
    settings_["POWERCUT_SEED"] = std::to_string(seed);
    Tool("restore");
  }

  std::string Contents(const std::string& name) {
    std::ifstream file(tree() / name);
    if (!file) return kNothing;
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  fs::path root_;
  std::map<std::string, std::string> settings_;
};

TEST_F(PowercutTest, UnsyncedContentsAreLost) {
  WriteToTheEnd({"write", "a", "text", "syncdir", "."});
  EXPECT_EQ(Contents("a"), "text");
  LosePower();
  EXPECT_EQ(Contents("a"), "");
}

TEST_F(PowercutTest, SyncedContentsAndNameAreKept) {
  WriteToTheEnd({"write", "a", "text", "sync", "a", "syncdir", "."});
  LosePower();
  EXPECT_EQ(Contents("a"), "text");
}

TEST_F(PowercutTest, SyncedContentsWithoutANameAreLost) {
  WriteToTheEnd({"write", "a", "text", "sync", "a"});
  LosePower();
  EXPECT_EQ(Contents("a"), kNothing);
}

TEST_F(PowercutTest, OnlyWhatWasWrittenBeforeTheSyncIsKept) {
  WriteToTheEnd({"write", "a", "one", "sync", "a", "syncdir", ".", "append", "a", "two"});
  EXPECT_EQ(Contents("a"), "onetwo");
  LosePower();
  EXPECT_EQ(Contents("a"), "one");
}

TEST_F(PowercutTest, RenameWithoutFolderSyncIsLost) {
  WriteToTheEnd({"write", "a", "old", "sync", "a", "syncdir", ".", "write", "new", "new", "sync",
                 "new", "rename", "new", "a"});
  EXPECT_EQ(Contents("a"), "new");
  LosePower();
  EXPECT_EQ(Contents("a"), "old");
}

TEST_F(PowercutTest, RenameWithFolderSyncIsKept) {
  WriteToTheEnd({"write", "a", "old", "sync", "a", "syncdir", ".", "write", "new", "new", "sync",
                 "new", "rename", "new", "a", "syncdir", "."});
  LosePower();
  EXPECT_EQ(Contents("a"), "new");
  EXPECT_EQ(Contents("new"), kNothing);
}

TEST_F(PowercutTest, RenameOfUnsyncedContentsKeepsAnEmptyFile) {
  WriteToTheEnd({"write", "new", "text", "rename", "new", "a", "syncdir", "."});
  LosePower();
  EXPECT_EQ(Contents("a"), "");
}

TEST_F(PowercutTest, RenameBetweenFoldersIsKeptBySyncingEither) {
  WriteToTheEnd({"mkdir", "tmp", "mkdir", "new", "syncdir", ".", "write", "tmp/m", "text", "sync",
                 "tmp/m", "rename", "tmp/m", "new/m", "syncdir", "new"});
  LosePower();
  EXPECT_EQ(Contents("new/m"), "text");
  EXPECT_EQ(Contents("tmp/m"), kNothing);
}

TEST_F(PowercutTest, UnsyncedUnlinkComesBack) {
  WriteToTheEnd({"write", "a", "text", "sync", "a", "syncdir", ".", "unlink", "a"});
  LosePower();
  EXPECT_EQ(Contents("a"), "text");
}

TEST_F(PowercutTest, WhatComesBackHasTheOwnerOfItsFolder) {
  if (geteuid() != 0) GTEST_SKIP() << "only root gives files to others";
  fs::create_directory(tree() / "d");
  ASSERT_EQ(chown((tree() / "d").c_str(), 65534, 65534), 0);
  Tool("init");
  WriteToTheEnd({"write", "d/a", "text", "sync", "d/a", "syncdir", "d", "unlink", "d/a"});
  LosePower();
  struct stat attributes;
  ASSERT_EQ(stat((tree() / "d" / "a").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_uid, 65534u);
}

TEST_F(PowercutTest, FolderThatWasNotSyncedIsLostWithWhatIsInIt) {
  WriteToTheEnd({"mkdir", "d", "write", "d/a", "text", "sync", "d/a", "syncdir", "d"});
  LosePower();
  EXPECT_FALSE(fs::exists(tree() / "d"));
}

TEST_F(PowercutTest, HardLinkIsKeptByItsFoldersSync) {
  WriteToTheEnd({"write", "a", "text", "sync", "a", "link", "a", "b", "syncdir", ".", "unlink", "a",
                 "syncdir", "."});
  LosePower();
  EXPECT_EQ(Contents("a"), kNothing);
  EXPECT_EQ(Contents("b"), "text");
}

TEST_F(PowercutTest, SynchronousWritesAreDurableAlone) {
  WriteToTheEnd({"write", "a", "unsynced", "syncdir", ".", "dsync", "a", "DUR"});
  EXPECT_EQ(Contents("a"), "DURynced");
  LosePower();
  EXPECT_THAT(Contents("a"), AnyOf("DUR", "DURynced"));
}

TEST_F(PowercutTest, GatheredWritesArriveAtTheirOffset) {
  WriteToTheEnd({"pwritev", "a", "3", "one", "two", "sync", "a", "syncdir", "."});
  LosePower();
  EXPECT_EQ(Contents("a"), std::string("\0\0\0onetwo", 9));
}

TEST_F(PowercutTest, SyncOfTheWholeMachineKeepsAll) {
  WriteToTheEnd({"mkdir", "d", "write", "d/a", "text", "syncall"});
  LosePower();
  EXPECT_EQ(Contents("d/a"), "text");
}

TEST_F(PowercutTest, OneProcessSyncsWhatAnotherWrote) {
  WriteToTheEnd({"child", "write", "a", "text", "child", "sync", "a", "syncdir", "."});
  LosePower();
  EXPECT_EQ(Contents("a"), "text");
}

TEST_F(PowercutTest, WhatWasThereBeforeIsDurableAndKeepsItsMode) {
  std::ofstream(tree() / "a") << "before";
  chmod((tree() / "a").c_str(), 0604);
  Tool("init");
  WriteToTheEnd({"append", "a", "after"});
  LosePower();
  EXPECT_EQ(Contents("a"), "before");
  struct stat attributes;
  ASSERT_EQ(stat((tree() / "a").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode & 0777, 0604u);
}

TEST_F(PowercutTest, RoundsFollowOneAnother) {
  WriteToTheEnd({"write", "a", "1", "sync", "a", "syncdir", "."});
  LosePower();
  WriteToTheEnd({"append", "a", "2", "sync", "a", "append", "a", "3"});
  LosePower();
  EXPECT_EQ(Contents("a"), "12");
}

TEST_F(PowercutTest, SeededCutKeepsSomeUnsyncedContentsInWholeSectors) {
  std::set<size_t> kept;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    fs::remove(tree() / "a");
    Tool("init");
    WriteToTheEnd({"write", "a", "", "syncdir", ".", "fill", "a", "20000"});
    LosePower(seed);
    const std::string contents = Contents("a");
    kept.insert(static_cast<size_t>(std::count(contents.begin(), contents.end(), 'x')));
    for (size_t sector = 0; sector + 512 <= contents.size(); sector += 512) {
      ASSERT_THAT(contents.substr(sector, 512),
                  AnyOf(std::string(512, 'x'), std::string(512, '\0')));
    }
  }
  EXPECT_TRUE(kept.contains(0));
  EXPECT_TRUE(kept.contains(20000));
  EXPECT_GT(kept.size(), 5u);
}

TEST_F(PowercutTest, SeededCutKeepsAPrefixOfTheNames) {
  std::set<std::string> seen;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    for (const char* name : {"a", "b", "c"}) fs::remove(tree() / name);
    Tool("init");
    WriteToTheEnd({"write", "a", "", "write", "b", "", "write", "c", ""});
    LosePower(seed);
    std::string names;
    for (const char* name : {"a", "b", "c"}) names += fs::exists(tree() / name) ? name : "";
    seen.insert(names);
  }
  EXPECT_EQ(seen, (std::set<std::string>{"", "a", "ab", "abc"}));
}

TEST_F(PowercutTest, CutBeforeABoundaryLosesItAndAfterKeepsIt) {
  const std::vector<std::string> commands = {"write", "a",   "1",   "sync",   "a", "syncdir",
                                             ".",     "say", "2",   "append", "a", "2",
                                             "sync",  "a",   "say", "3"};
  for (const auto& [at, contents] :
       std::map<std::string, std::string>{{"before:3", "1"}, {"after:3", "12"}, {"3", "12"}}) {
    fs::remove(tree() / "a");
    Tool("init");
    settings_["POWERCUT_CUT_AT"] = at;
    const Result result = Write(commands);
    EXPECT_TRUE(WIFSIGNALED(result.status)) << at;
    EXPECT_EQ(result.output, "2") << at << ": nobody hears of what the cut interrupts";
    EXPECT_EQ(Tool("boundaries"), "3\n");
    LosePower();
    EXPECT_EQ(Contents("a"), contents) << at;
  }
}

TEST_F(PowercutTest, CutEndsTheWholeGroup) {
  settings_["POWERCUT_CUT_AT"] = "1";
  const Result result = Write({"child", "syncdir", ".", "say", "alive"});
  EXPECT_TRUE(WIFSIGNALED(result.status));
  EXPECT_EQ(result.output, "");
}

TEST_F(PowercutTest, IgnoredSyncsLoseContentsAndNames) {
  settings_["POWERCUT_IGNORE_SYNC"] = "*/a";
  WriteToTheEnd(
      {"write", "a", "text", "sync", "a", "write", "b", "text", "sync", "b", "syncdir", "."});
  EXPECT_EQ(Tool("boundaries"), "3\n") << "boundaries do not move";
  LosePower();
  EXPECT_EQ(Contents("a"), "");
  EXPECT_EQ(Contents("b"), "text");

  settings_["POWERCUT_IGNORE_SYNC"] = "*/tree";
  WriteToTheEnd({"write", "c", "text", "sync", "c", "syncdir", "."});
  LosePower();
  EXPECT_EQ(Contents("c"), kNothing);
}

TEST_F(PowercutTest, ProgramThatClosesAllDescriptorsIsStillWatched) {
  WriteToTheEnd({"closeall", "write", "a", "text", "sync", "a", "syncdir", "."});
  LosePower();
  EXPECT_EQ(Contents("a"), "text");
}

TEST_F(PowercutTest, SharedWritableMappingIsRefusedAloud) {
  const Result result = Write({"map", "a"});
  EXPECT_TRUE(WIFSIGNALED(result.status));
  EXPECT_THAT(result.output, HasSubstr("powercut: not supported: mmap MAP_SHARED"));
}

// RocksDB, a program that knows nothing of the shim.
class RocksUnderPowercutTest : public PowercutTest {
 protected:
  // How many acknowledged keys are gone, or -1 when the database does not open.
  int LostKeys(const std::string& cut_at, uint64_t seed) {
    fs::remove_all(tree() / "db");
    // RocksDB does not sync the folder that its own is made in.
    fs::create_directory(tree() / "db");
    Tool("init");
    settings_["POWERCUT_CUT_AT"] = cut_at;
    const Result result = Run({Program("rocks_writer"), tree() / "db", "400"}, true);
    EXPECT_TRUE(WIFSIGNALED(result.status)) << result.output;
    LosePower(seed);
    const auto acknowledged = std::count(result.output.begin(), result.output.end(), '\n');
    acknowledged_ += static_cast<int>(acknowledged);
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::DB* opened = nullptr;
    const rocksdb::Status status = rocksdb::DB::Open(options, tree() / "db", &opened);
    if (!status.ok()) return -1;
    std::unique_ptr<rocksdb::DB> db(opened);
    int lost = 0;
    for (int key = 0; key < acknowledged; ++key) {
      std::string value;
      lost += !db->Get(rocksdb::ReadOptions(), std::to_string(key), &value).ok();
    }
    return lost;
  }

  int acknowledged_ = 0;
};

TEST_F(RocksUnderPowercutTest, AcknowledgedKeysSurvive) {
  for (int boundary = 20; boundary <= 300; boundary += 28) {
    EXPECT_EQ(LostKeys("after:" + std::to_string(boundary), 0), 0) << boundary;
    EXPECT_EQ(LostKeys("before:" + std::to_string(boundary + 7), boundary), 0) << boundary;
  }
  EXPECT_GT(acknowledged_, 500);
}

TEST_F(RocksUnderPowercutTest, AcknowledgedKeysAreLostWhenTheLogsSyncIsTakenOut) {
  settings_["POWERCUT_IGNORE_SYNC"] = "*/db/*.log";
  EXPECT_GT(LostKeys("after:75", 0), 0);
}

TEST_F(RocksUnderPowercutTest, DatabaseIsLostWhenItsFoldersSyncIsTakenOut) {
  settings_["POWERCUT_IGNORE_SYNC"] = "*/db";
  EXPECT_NE(LostKeys("after:75", 0), 0);
}

}  // namespace
}  // namespace powercut
