#include "services/queue/log/log.h"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "libs/base/concat.h"
#include "services/queue/log/fake_disk.h"

namespace postfleet::queue {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kSegmentBytes = 4096;
constexpr uint64_t kHeaderBytes = sizeof(RecordHeader);

class LogTest : public ::testing::Test {
 protected:
  static std::string Path(uint64_t first_index) { return "log/" + SegmentName(first_index); }

  absl::Status Reopen() {
    log_.reset();
    auto log =
        Log::Open({.dir = "log", .segment_bytes = kSegmentBytes, .file_system = &disk_}, &found_);
    if (!log.ok()) return log.status();
    log_ = *std::move(log);
    return absl::OkStatus();
  }

  void SetUp() override { ASSERT_TRUE(Reopen().ok()); }

  absl::Status Append(std::vector<std::string> payloads) {
    std::vector<std::string_view> parts(payloads.begin(), payloads.end());
    std::vector<Entry> entries;
    for (size_t i = 0; i < parts.size(); ++i) {
      entries.push_back({.id = {.shard = 3, .term = 7, .index = log_->last_index() + 1 + i},
                         .parts = absl::MakeConstSpan(&parts[i], 1)});
    }
    return log_->Append(entries);
  }

  absl::Status Commit(std::vector<std::string> payloads) {
    if (absl::Status status = Append(std::move(payloads)); !status.ok()) return status;
    return log_->Sync();
  }

  absl::StatusOr<std::vector<std::string>> Read(uint64_t from_index = 1) {
    std::vector<std::string> payloads;
    absl::Status status = log_->Replay(from_index, [&](const EntryView& entry) {
      EXPECT_EQ(entry.id.index, from_index + payloads.size());
      payloads.emplace_back(entry.payload);
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    return payloads;
  }

  void Flip(const std::string& path, uint64_t offset) {
    std::string contents = disk_.Contents(path);
    contents.at(offset) ^= 0x10;
    disk_.SetContents(path, contents);
  }

  FakeDisk disk_{1};
  Recovery found_;
  std::unique_ptr<Log> log_;
};

std::string Filled(size_t bytes, char with = 'x') { return std::string(bytes, with); }

TEST_F(LogTest, NewLogIsEmptyAndBeginsAtOne) {
  EXPECT_EQ(log_->first_index(), 1);
  EXPECT_EQ(log_->last_index(), 0);
  EXPECT_EQ(log_->bytes_on_disk(), 0);
  EXPECT_THAT(*Read(), IsEmpty());
}

TEST_F(LogTest, RecordComesBackAsItWasWritten) {
  const std::vector<std::string_view> parts = {"head", "", std::string_view("\0tail", 5)};
  const Entry entry{.id = {.shard = 9, .term = 1ull << 40, .index = 1},
                    .type = EntryType::kHardState,
                    .parts = parts};
  ASSERT_TRUE(log_->Append({entry}).ok());
  EXPECT_EQ(log_->synced_index(), 0);
  ASSERT_TRUE(log_->Sync().ok());
  EXPECT_EQ(log_->synced_index(), 1);
  ASSERT_TRUE(Reopen().ok());
  int records = 0;
  ASSERT_TRUE(log_->Replay(1,
                           [&](const EntryView& view) {
                             ++records;
                             EXPECT_EQ(view.id, entry.id);
                             EXPECT_EQ(view.type, EntryType::kHardState);
                             EXPECT_EQ(view.payload, std::string("head\0tail", 9));
                             return absl::OkStatus();
                           })
                  .ok());
  EXPECT_EQ(records, 1);
  EXPECT_EQ(found_.remark, "");
}

TEST_F(LogTest, ReplaySeesWhatIsWrittenAndNotYetSynced) {
  ASSERT_TRUE(Commit({"a"}).ok());
  ASSERT_TRUE(Append({"b", "c"}).ok());
  EXPECT_THAT(*Read(), ElementsAre("a", "b", "c"));
  EXPECT_THAT(*Read(3), ElementsAre("c"));
  EXPECT_THAT(*Read(4), IsEmpty());
}

TEST_F(LogTest, VisitorsErrorEndsReplay) {
  ASSERT_TRUE(Commit({"a", "b"}).ok());
  int records = 0;
  EXPECT_EQ(log_->Replay(1,
                         [&](const EntryView&) {
                           ++records;
                           return absl::CancelledError("enough");
                         }),
            absl::CancelledError("enough"));
  EXPECT_EQ(records, 1);
}

TEST_F(LogTest, GroupThatDoesNotFitBeginsASegment) {
  ASSERT_TRUE(Commit({Filled(3000, 'a'), Filled(500, 'b')}).ok());
  ASSERT_TRUE(Commit({Filled(600, 'c')}).ok());
  EXPECT_TRUE(disk_.Exists(Path(1)));
  EXPECT_TRUE(disk_.Exists(Path(3)));
  EXPECT_EQ(log_->bytes_on_disk(), 2 * kSegmentBytes);
  EXPECT_THAT(*Read(), ElementsAre(Filled(3000, 'a'), Filled(500, 'b'), Filled(600, 'c')));
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(found_.segments, 2);
  EXPECT_EQ(found_.last_index, 3);
  EXPECT_THAT(*Read(2), ElementsAre(Filled(500, 'b'), Filled(600, 'c')));
}

TEST_F(LogTest, UnsyncedGroupsStayInOneSegmentPastItsSize) {
  ASSERT_TRUE(Append({Filled(3000)}).ok());
  ASSERT_TRUE(Append({Filled(3000)}).ok());
  EXPECT_FALSE(disk_.Exists(Path(2)));
  EXPECT_GT(log_->bytes_on_disk(), kSegmentBytes);
  ASSERT_TRUE(log_->Sync().ok());
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(log_->last_index(), 2);
}

TEST_F(LogTest, RecordLargerThanASegmentIsKept) {
  ASSERT_TRUE(Commit({"small"}).ok());
  ASSERT_TRUE(Commit({Filled(3 << 20)}).ok());
  ASSERT_TRUE(Commit({"after"}).ok());
  ASSERT_TRUE(Reopen().ok());
  EXPECT_THAT(*Read(), ElementsAre("small", Filled(3 << 20), "after"));
}

TEST_F(LogTest, EveryOpeningContinuesInANewSegment) {
  for (int life = 0; life < 4; ++life) {
    ASSERT_TRUE(Commit({Concat("life ", life)}).ok());
    ASSERT_TRUE(Reopen().ok());
  }
  EXPECT_EQ(found_.segments, 4);
  EXPECT_THAT(*Read(), ElementsAre("life 0", "life 1", "life 2", "life 3"));
}

TEST_F(LogTest, PreallocatedRestIsGivenBackAtOpening) {
  ASSERT_TRUE(Commit({"12345678"}).ok());
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(log_->bytes_on_disk(), sizeof(SegmentHeader) + kHeaderBytes + 8);
}

// Torn tails and damage.

TEST_F(LogTest, TailTornAtEveryByteIsLeftOut) {
  ASSERT_TRUE(Commit({"first", "second"}).ok());
  ASSERT_TRUE(Commit({"third"}).ok());
  const std::string whole = disk_.Contents(Path(1));
  const uint64_t second_end = sizeof(SegmentHeader) + 2 * (kHeaderBytes + 8);
  for (uint64_t bytes = 0; bytes < kHeaderBytes + 5; ++bytes) {
    for (bool preallocated : {false, true}) {
      std::string torn = whole.substr(0, second_end + bytes);
      if (preallocated) torn.resize(whole.size());
      disk_.SetContents(Path(1), torn);
      ASSERT_TRUE(Reopen().ok()) << bytes;
      EXPECT_THAT(*Read(), ElementsAre("first", "second")) << bytes;
      EXPECT_EQ(found_.remark.empty(), bytes == 0) << found_.remark;
    }
  }
}

TEST_F(LogTest, AppendingContinuesAfterATornTail) {
  ASSERT_TRUE(Commit({"first"}).ok());
  ASSERT_TRUE(Commit({"second"}).ok());
  disk_.SetContents(Path(1), disk_.Contents(Path(1)).substr(0, 40 + 48 + 45));
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(found_.torn_file, Path(1));
  EXPECT_EQ(found_.torn_offset, 40 + 48);
  ASSERT_TRUE(Commit({"another second"}).ok());
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(found_.remark, "");
  EXPECT_THAT(*Read(), ElementsAre("first", "another second"));
}

TEST_F(LogTest, GarbageBehindTheLastRecordIsATornTail) {
  ASSERT_TRUE(Commit({"kept"}).ok());
  std::string contents = disk_.Contents(Path(1));
  for (size_t i = 40 + 48; i < contents.size(); ++i) contents[i] = static_cast<char>(i * 37 + 1);
  disk_.SetContents(Path(1), contents);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_THAT(*Read(), ElementsAre("kept"));
  EXPECT_THAT(found_.remark, HasSubstr(Concat(Path(1), ": torn tail at offset 88")));
}

TEST_F(LogTest, LaterRecordOfTheSameUnsyncedGroupIsNoProofOfDamage) {
  ASSERT_TRUE(Commit({"synced"}).ok());
  ASSERT_TRUE(Append({"torn", "whole"}).ok());
  ASSERT_TRUE(Append({"whole too"}).ok());
  disk_.SetContents(Path(1), disk_.Contents(Path(1)));
  Flip(Path(1), 40 + 48 + kHeaderBytes);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_THAT(*Read(), ElementsAre("synced"));
}

TEST_F(LogTest, EveryFlippedByteOfASyncedRecordIsRefusedWithFileAndOffset) {
  ASSERT_TRUE(Commit({"first", "second"}).ok());
  ASSERT_TRUE(Commit({"third"}).ok());
  const std::string whole = disk_.Contents(Path(1));
  const uint64_t second = sizeof(SegmentHeader) + kHeaderBytes + 8;
  for (uint64_t byte = 0; byte < kHeaderBytes + 6; ++byte) {
    disk_.SetContents(Path(1), whole);
    Flip(Path(1), second + byte);
    ASSERT_TRUE(Reopen().ok());
    const absl::Status status = Read().status();
    ASSERT_TRUE(absl::IsDataLoss(status)) << byte << ": " << status;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(Concat(Path(1), ": damaged at offset ", second, ": record 2 cannot")));
    EXPECT_THAT(*Read(3), ElementsAre("third")) << byte;
  }
}

TEST_F(LogTest, DamagedRecordsThatWereAppliedAreNotNeeded) {
  for (const char* payload : {"first", "second", "third"}) ASSERT_TRUE(Commit({payload}).ok());
  Flip(Path(1), 40 + kHeaderBytes);
  Flip(Path(1), 40 + 48 + kHeaderBytes);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(log_->last_index(), 3);
  EXPECT_TRUE(absl::IsDataLoss(Read(2).status()));
  EXPECT_THAT(*Read(3), ElementsAre("third"));
  ASSERT_TRUE(Commit({"fourth"}).ok());
  ASSERT_TRUE(Reopen().ok());
  EXPECT_THAT(*Read(3), ElementsAre("third", "fourth"));
}

TEST_F(LogTest, ReplayGoesOnBehindDamageThatIsAllowed) {
  ASSERT_TRUE(Commit({"first", "second", "third", "fourth"}).ok());
  ASSERT_TRUE(Commit({Filled(4000)}).ok());
  ASSERT_TRUE(Commit({"sixth"}).ok());
  Flip(Path(1), 40 + 48 + kHeaderBytes);
  Flip(Path(1), 40 + 2 * 48);
  ASSERT_TRUE(Reopen().ok());
  std::vector<uint64_t> read;
  std::vector<std::string> lost;
  EXPECT_TRUE(log_->Replay(
                      1,
                      [&](const EntryView& entry) {
                        read.push_back(entry.id.index);
                        return absl::OkStatus();
                      },
                      [&](const Hole& hole) {
                        lost.push_back(hole.ToString());
                        return absl::OkStatus();
                      })
                  .ok());
  EXPECT_THAT(read, ElementsAre(1, 4, 5, 6));
  EXPECT_THAT(lost, ElementsAre(Concat(Path(1), ": damaged at offset ", 40 + 48,
                                       ": records 2 to 3 cannot be read")));
}

TEST_F(LogTest, DamageToTheEndOfAnOlderSegmentIsOneHole) {
  ASSERT_TRUE(Commit({"first", Filled(3000)}).ok());
  ASSERT_TRUE(Commit({Filled(3000)}).ok());
  Flip(Path(1), 40 + 48 + kHeaderBytes);
  ASSERT_TRUE(Reopen().ok());
  std::vector<uint64_t> read;
  std::vector<uint64_t> lost;
  EXPECT_TRUE(log_->Replay(
                      1,
                      [&](const EntryView& entry) {
                        read.push_back(entry.id.index);
                        return absl::OkStatus();
                      },
                      [&](const Hole& hole) {
                        lost = {hole.first_index, hole.last_index};
                        return absl::OkStatus();
                      })
                  .ok());
  EXPECT_THAT(read, ElementsAre(1, 3));
  EXPECT_THAT(lost, ElementsAre(2, 2));
}

// Whoever restores the bytes has the log again.
TEST_F(LogTest, RefusedLogIsNotChanged) {
  ASSERT_TRUE(Commit({"first"}).ok());
  ASSERT_TRUE(Commit({"second"}).ok());
  Flip(Path(1), 40 + kHeaderBytes);
  const std::string before = disk_.Contents(Path(1));
  ASSERT_TRUE(Reopen().ok());
  ASSERT_FALSE(Read().ok());
  EXPECT_EQ(disk_.Contents(Path(1)), before);
  Flip(Path(1), 40 + kHeaderBytes);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_THAT(*Read(), ElementsAre("first", "second"));
}

TEST_F(LogTest, DamageInAnOlderSegmentIsRefusedByReplay) {
  ASSERT_TRUE(Commit({Filled(3000)}).ok());
  ASSERT_TRUE(Commit({Filled(3000)}).ok());
  Flip(Path(1), 500);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_TRUE(absl::IsDataLoss(Read(1).status()));
  EXPECT_THAT(std::string(Read(1).status().message()),
              HasSubstr(Concat(Path(1), ": damaged at offset 40:")));
  EXPECT_TRUE(Read(2).ok()) << "what is below the flushed index is not needed";
}

TEST_F(LogTest, DamagedSegmentHeaderIsRefused) {
  ASSERT_TRUE(Commit({"a"}).ok());
  Flip(Path(1), 17);
  EXPECT_THAT(std::string(Reopen().message()), HasSubstr(Concat(Path(1), ": damaged at offset 0")));
}

TEST_F(LogTest, MissingSegmentInTheMiddleIsRefused) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Commit({Filled(3000)}).ok());
  ASSERT_TRUE(disk_.Remove(Path(2)).ok());
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(log_->first_index(), 3);
  EXPECT_TRUE(absl::IsDataLoss(Read(1).status()));
  EXPECT_THAT(std::string(Read(2).status().message()),
              HasSubstr(Concat("the segment before ", Path(3), " is missing")));
  EXPECT_TRUE(Read(3).ok());
}

TEST_F(LogTest, LogThatEndsBeforeWhatWasAppliedIsRefused) {
  ASSERT_TRUE(Commit({"a"}).ok());
  EXPECT_TRUE(Read(2).ok());
  EXPECT_THAT(std::string(Read(3).status().message()),
              HasSubstr("the log ends with record 1, but record 2 was applied"));
}

TEST_F(LogTest, RecordsOfAnEarlierUseOfTheFileDoNotCheck) {
  ASSERT_TRUE(Commit({"first"}).ok());
  ASSERT_TRUE(Commit({"stale"}).ok());
  const std::string earlier = disk_.Contents(Path(1)).substr(40 + 48);
  disk_ = FakeDisk(2);
  ASSERT_TRUE(Reopen().ok());
  ASSERT_TRUE(Commit({"first"}).ok());
  disk_.SetContents(Path(1), disk_.Contents(Path(1)).substr(0, 40 + 48) + earlier);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_THAT(*Read(), ElementsAre("first"));
}

// A sender who puts records into a message cannot make them pass: the salt is not known to them.
TEST_F(LogTest, RecordInsideAPayloadIsNeverTaken) {
  const SegmentHeader guessed = MakeSegmentHeader(1, 0, 12345, false);
  std::string payload;
  for (uint64_t offset = 0; offset < 2048; offset += 48) {
    RecordHeader header;
    const std::string_view part = "forged!!";
    SealRecord(guessed, 40 + 48 + kHeaderBytes + offset, {.index = 3}, EntryType::kCommand, 0,
               absl::MakeConstSpan(&part, 1), &header);
    payload.append(reinterpret_cast<const char*>(&header), sizeof(header)).append(part);
  }
  ASSERT_TRUE(Commit({"first"}).ok());
  ASSERT_TRUE(Append({payload}).ok());
  disk_.SetContents(Path(1), disk_.Contents(Path(1)));
  Flip(Path(1), 40 + 48);
  ASSERT_TRUE(Reopen().ok()) << "a forged record passed for a proof of damage";
  EXPECT_THAT(*Read(), ElementsAre("first"));
}

// Full disks and broken disks.

TEST_F(LogTest, FullDiskTakesTheGroupBackAndTheLogGoesOn) {
  ASSERT_TRUE(Commit({"kept"}).ok());
  disk_.set_space_bytes(kSegmentBytes + 100);
  ASSERT_TRUE(Append({"refused with the rest"}).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Append({Filled(3000), Filled(3000)})));
  EXPECT_EQ(log_->last_index(), 1);
  EXPECT_TRUE(log_->failure().ok());
  EXPECT_THAT(*Read(), ElementsAre("kept"));
  ASSERT_TRUE(Commit({"fits"}).ok());
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(found_.remark, "");
  EXPECT_THAT(*Read(), ElementsAre("kept", "fits"));
}

TEST_F(LogTest, WhatAFullDiskRefusedNeverComesBack) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    disk_ = FakeDisk(seed);
    ASSERT_TRUE(Reopen().ok());
    ASSERT_TRUE(Commit({"kept"}).ok());
    ASSERT_TRUE(Append({"refused", Filled(600)}).ok());
    disk_.set_space_bytes(kSegmentBytes);
    ASSERT_TRUE(absl::IsResourceExhausted(Append({Filled(5000)})));
    log_.reset();
    disk_.PowerOn();
    ASSERT_TRUE(Reopen().ok());
    EXPECT_THAT(*Read(), ElementsAre("kept")) << "seed " << seed;
  }
}

TEST_F(LogTest, NoSpaceForANewSegmentRefusesTheGroupOnly) {
  ASSERT_TRUE(Commit({Filled(3000)}).ok());
  disk_.set_space_bytes(kSegmentBytes + 10);
  EXPECT_TRUE(absl::IsResourceExhausted(Append({Filled(3000)})));
  EXPECT_FALSE(disk_.Exists(Path(2) + ".new"));
  ASSERT_TRUE(Commit({"small"}).ok()) << "the old segment still has room";
  disk_.set_space_bytes(2 * kSegmentBytes);
  ASSERT_TRUE(Commit({Filled(3000, 'y')}).ok());
  ASSERT_TRUE(Reopen().ok());
  EXPECT_THAT(*Read(), ElementsAre(Filled(3000), "small", Filled(3000, 'y')));
}

TEST_F(LogTest, FailedSyncIsFinal) {
  ASSERT_TRUE(Commit({"kept"}).ok());
  ASSERT_TRUE(Append({"lost"}).ok());
  disk_.FailNextSync();
  const absl::Status status = log_->Sync();
  EXPECT_THAT(std::string(status.message()), HasSubstr("Input/output error"));
  EXPECT_EQ(log_->Sync(), status);
  EXPECT_EQ(Append({"more"}), status);
  EXPECT_EQ(log_->failure(), status);
  EXPECT_EQ(log_->synced_index(), 1);
}

// After a failed sync the bytes can be read and are on no disk: what is opened with them must not
// rely on them.
TEST_F(LogTest, WhatOpeningFindsIsDurableAlsoAfterAFailedSync) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    disk_ = FakeDisk(seed);
    ASSERT_TRUE(Reopen().ok());
    ASSERT_TRUE(Commit({"first"}).ok());
    ASSERT_TRUE(Append({Filled(1500), "third"}).ok());
    disk_.FailNextSync();
    ASSERT_FALSE(log_->Sync().ok());
    ASSERT_TRUE(Reopen().ok());
    const uint64_t last = found_.last_index;
    ASSERT_EQ(last, 3);
    log_.reset();
    disk_.PowerOn();
    ASSERT_TRUE(Reopen().ok());
    EXPECT_EQ(found_.last_index, last) << "seed " << seed;
  }
}

TEST_F(LogTest, FailedDirectorySyncIsFinal) {
  disk_.CutPowerAt(6);  // create, fallocate, write, fdatasync, rename, directory
  EXPECT_FALSE(Append({"a"}).ok());
  EXPECT_FALSE(log_->failure().ok());
}

// Cutting.

TEST_F(LogTest, CutBelowDeletesWholeSegmentsOnly) {
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Commit({Filled(1900), Filled(1900)}).ok());
  ASSERT_TRUE(log_->CutBelow(4).ok());
  EXPECT_FALSE(disk_.Exists(Path(1)));
  EXPECT_TRUE(disk_.Exists(Path(3)));
  EXPECT_EQ(log_->first_index(), 3);
  EXPECT_EQ(log_->bytes_on_disk(), 4 * kSegmentBytes) << "one is a spare";
  EXPECT_TRUE(absl::IsDataLoss(Read(2).status()));
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(found_.first_index, 3);
  EXPECT_EQ(Read(3)->size(), 6);
}

TEST_F(LogTest, CutBelowKeepsTheNewestSegment) {
  ASSERT_TRUE(Commit({"a"}).ok());
  ASSERT_TRUE(log_->CutBelow(1000).ok());
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(log_->last_index(), 1);
}

TEST_F(LogTest, SegmentThatComesBackAfterCuttingIsNotReadAndIsCutAgain) {
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Commit({Filled(3000)}).ok());
  const std::string first = disk_.Contents(Path(1));
  ASSERT_TRUE(log_->CutBelow(4).ok());
  disk_.SetContents(Path(1), first);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(found_.first_index, 4);
  EXPECT_TRUE(Read(4).ok());
  EXPECT_TRUE(absl::IsDataLoss(Read(1).status()));
  ASSERT_TRUE(log_->CutBelow(4).ok());
  EXPECT_FALSE(disk_.Exists(Path(1)));
}

TEST_F(LogTest, CutSegmentsFileIsUsedAgain) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Commit({Filled(3000, static_cast<char>('a' + i))}).ok());
  ASSERT_TRUE(log_->CutBelow(3).ok());
  EXPECT_TRUE(disk_.Exists(Path(1) + ".spare"));
  EXPECT_TRUE(disk_.Exists(Path(2) + ".spare"));
  ASSERT_TRUE(Commit({Filled(2000, 'z')}).ok());
  EXPECT_FALSE(disk_.Exists(Path(2) + ".spare"));
  EXPECT_THAT(disk_.Contents(Path(4)), HasSubstr("bbbb")) << "behind the new record";
  EXPECT_EQ(log_->bytes_on_disk(), 3 * kSegmentBytes);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(found_.remark, "") << "what the file held before is no torn tail";
  EXPECT_THAT(*Read(3), ElementsAre(Filled(3000, 'c'), Filled(2000, 'z')));
  EXPECT_TRUE(disk_.Exists(Path(1) + ".spare")) << "spares are found again";
  ASSERT_TRUE(Commit({Filled(3000, 'y')}).ok());
  EXPECT_FALSE(disk_.Exists(Path(1) + ".spare"));
}

TEST_F(LogTest, TornTailInARecycledFileIsSaid) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Commit({Filled(3000)}).ok());
  ASSERT_TRUE(log_->CutBelow(3).ok());
  ASSERT_TRUE(Commit({"kept"}).ok() && Commit({Filled(1500)}).ok());
  ASSERT_TRUE(disk_.Exists(Path(4)) || disk_.Exists(Path(5)));
  const std::string path = disk_.Exists(Path(5)) ? Path(5) : Path(4);
  const uint64_t torn = disk_.Contents(path).find(Filled(1500)) + 100;
  disk_.SetContents(path, disk_.Contents(path));
  Flip(path, torn);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_THAT(found_.remark, HasSubstr("torn tail"));
}

TEST_F(LogTest, SparesAreFew) {
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Commit({Filled(3000)}).ok());
  ASSERT_TRUE(log_->CutBelow(10).ok());
  EXPECT_EQ(log_->bytes_on_disk(), 5 * kSegmentBytes);
  EXPECT_EQ(disk_.List("log")->size(), 5);
}

TEST(LogOnTheMachinesDiskTest, CutBelowMayComeFromAnotherThread) {
  const std::string dir = Concat(getenv("TEST_TMPDIR") ? getenv("TEST_TMPDIR") : "/tmp", "/cut");
  std::filesystem::remove_all(dir);
  Recovery found;
  auto opened = Log::Open({.dir = dir, .segment_bytes = 4096}, &found);
  ASSERT_TRUE(opened.ok());
  Log& log = **opened;
  std::atomic<uint64_t> synced = 0;
  std::thread cutter([&] {
    for (uint64_t index = 0; index < 300;) {
      synced.wait(index);
      index = synced;
      EXPECT_TRUE(log.CutBelow(index).ok());
      EXPECT_LE(log.first_index(), index + 1);
    }
  });
  const std::string payload = Filled(1000);
  const std::string_view part = payload;
  for (uint64_t index = 1; index <= 300; ++index) {
    EXPECT_TRUE(log.Append({Entry{.id = {.index = index}, .parts = {&part, 1}}}).ok());
    EXPECT_TRUE(log.Sync().ok());
    synced = index;
    synced.notify_one();
  }
  cutter.join();
  EXPECT_LE(log.bytes_on_disk(), 6 * 4096);
}

TEST(LogOnTheMachinesDiskTest, KeepsAThousandGroupsWithManySlices) {
  const std::string dir = Concat(getenv("TEST_TMPDIR") ? getenv("TEST_TMPDIR") : "/tmp", "/log");
  std::filesystem::remove_all(dir);
  const Log::Options options{.dir = dir, .segment_bytes = 1 << 20};
  Recovery found;
  // 1,500 slices are more than one pwritev takes.
  const std::vector<std::string_view> parts(1500, "slice");
  {
    auto log = Log::Open(options, &found);
    ASSERT_TRUE(log.ok()) << log.status();
    for (uint64_t index = 1; index <= 1000; ++index) {
      ASSERT_TRUE((*log)->Append({Entry{.id = {.term = 1, .index = index}, .parts = parts}}).ok());
      if (index % 100 == 0) {
        ASSERT_TRUE((*log)->Sync().ok());
      }
    }
  }
  auto log = Log::Open(options, &found);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ(found.last_index, 1000);
  EXPECT_GE(found.segments, 5);
  EXPECT_EQ(found.remark, "");
  uint64_t bytes = 0;
  ASSERT_TRUE((*log)
                  ->Replay(1,
                           [&](const EntryView& entry) {
                             bytes += entry.payload.size();
                             return absl::OkStatus();
                           })
                  .ok());
  EXPECT_EQ(bytes, 1000 * 1500 * 5);
  ASSERT_TRUE((*log)->CutBelow(1001).ok());
  EXPECT_LT((*log)->bytes_on_disk(), 9 << 20) << "the newest and four spares";
}

}  // namespace
}  // namespace postfleet::queue
