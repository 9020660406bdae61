#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "libs/base/concat.h"
#include "services/queue/log/log.h"
#include "services/queue/verify/planted.h"

namespace postfleet::queue {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A queue's folder whose store has applied 3 of the log's 6 records.
class Folder : public ::testing::Test {
 protected:
  Folder() {
    std::string made = ::testing::TempDir() + "/verify_XXXXXX";
    EXPECT_NE(mkdtemp(made.data()), nullptr);
    path_ = made;
    MakeStore(3);
    MakeLog(6);
  }
  ~Folder() override { std::filesystem::remove_all(path_); }

  void MakeStore(uint64_t applied_index) {
    auto store = Store::Open({.path = path_ + "/state"});
    ASSERT_TRUE(store.ok()) << store.status();
    state::StateRow row;
    row.set_applied_index(applied_index);
    Put(**store, Family::kDefault, kStateKey, row.SerializeAsString());
    ASSERT_TRUE((*store)->Flush().ok());
  }
  void MakeLog(uint64_t records) {
    Recovery found;
    auto log = Log::Open({.dir = path_ + "/log", .segment_bytes = 1 << 20}, &found);
    ASSERT_TRUE(log.ok()) << log.status();
    const std::string payload(1'000, 'r');
    const std::string_view parts[] = {payload};
    for (uint64_t index = 1; index <= records; ++index) {
      const Entry entry{.id = {.shard = 0, .term = 1, .index = index}, .parts = parts};
      ASSERT_TRUE((*log)->Append({&entry, 1}).ok());
      ASSERT_TRUE((*log)->Sync().ok());
    }
  }
  std::string Segment() const {
    for (const auto& file : std::filesystem::directory_iterator(path_ + "/log")) {
      if (file.path().extension() == ".seg") return file.path();
    }
    return {};
  }
  void FlipLogAt(uint64_t offset) {
    std::fstream file(Segment(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
  }
  // Names, sizes and contents.
  std::map<std::string, std::string> Files() const {
    std::map<std::string, std::string> files;
    for (const auto& file : std::filesystem::recursive_directory_iterator(path_)) {
      if (!file.is_regular_file()) continue;
      std::ifstream in(file.path(), std::ios::binary);
      files[file.path()] = {std::istreambuf_iterator<char>(in), {}};
    }
    return files;
  }
  absl::StatusOr<FolderVerified> VerifyIt() { return VerifyFolder(path_, CollectInto(&verified_)); }

  std::string path_;
  Verified verified_;
};

TEST_F(Folder, ThatIsWholeSaysWhatReplayWouldDo) {
  const auto folder = VerifyIt();
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_TRUE(folder->replayable);
  EXPECT_EQ(folder->replay, "replay applies 3 records (4 to 6)");
  EXPECT_THAT(verified_.findings, IsEmpty());
  EXPECT_TRUE(verified_.last.done());
}

TEST_F(Folder, IsNotChanged) {
  const auto before = Files();
  ASSERT_TRUE(VerifyIt().ok());
  EXPECT_EQ(Files(), before);
}

TEST_F(Folder, WithADamagedRecordIsNotReplayable) {
  // In the payload of the second record.
  FlipLogAt(sizeof(SegmentHeader) + RecordBytes(1'000) + sizeof(RecordHeader) + 10);
  const auto folder = VerifyIt();
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_FALSE(folder->replayable);
  EXPECT_THAT(folder->replay, HasSubstr("replay refuses"));
  EXPECT_THAT(verified_.findings,
              Contains(HasSubstr(Concat(Segment(), ": damaged at offset 1080"))));
}

TEST_F(Folder, WithATornTailIsReplayableUpToIt) {
  FlipLogAt(sizeof(SegmentHeader) + 5 * RecordBytes(1'000) + sizeof(RecordHeader) + 10);
  const auto folder = VerifyIt();
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->replay, "replay applies 2 records (4 to 5)");
  EXPECT_THAT(verified_.findings, IsEmpty());
}

TEST_F(Folder, WhoseStoreHasAppliedMoreThanTheLogHasIsNotReplayable) {
  std::filesystem::remove_all(path_ + "/log");
  MakeLog(2);
  const auto folder = VerifyIt();
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_FALSE(folder->replayable);
  EXPECT_THAT(folder->replay, HasSubstr("ends with record 2, but record 3 was applied"));
}

TEST_F(Folder, ThatAServerHasOpenIsRefused) {
  auto store = Store::Open({.path = path_ + "/state"});
  ASSERT_TRUE(store.ok());
  const auto folder = VerifyIt();
  EXPECT_EQ(folder.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(folder.status().ToString(), HasSubstr("/state/LOCK cannot be locked"));
}

TEST_F(Folder, WithoutAQueueIsNotFound) {
  path_ += "/nowhere";
  EXPECT_EQ(VerifyIt().status().code(), absl::StatusCode::kNotFound);
}

TEST_F(Folder, OfAnotherFormatIsRefusedByNameAndLeftAlone) {
  std::filesystem::remove_all(path_ + "/state");
  {
    // As the first version wrote it: without the families of today.
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::DB* opened = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, path_ + "/state", &opened).ok());
    const std::unique_ptr<rocksdb::DB> db(opened);
    ASSERT_TRUE(db->Put({}, "format", "1").ok());
    ASSERT_TRUE(db->Flush({}).ok());
  }
  EXPECT_THAT(VerifyIt().status().ToString(), HasSubstr("the queue's store has format 1; this"));
  EXPECT_THAT(Store::Open({.path = path_ + "/state"}).status().ToString(),
              HasSubstr("the queue's store has format 1; this"));
  std::vector<std::string> families;
  ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, path_ + "/state", &families).ok());
  EXPECT_EQ(families.size(), 1u);
}

}  // namespace
}  // namespace postfleet::queue
