#include "services/queue/membership/identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "libs/base/concat.h"
#include "services/queue/log/fake_disk.h"

namespace postfleet::queue::membership {
namespace {

using testing::HasSubstr;

constexpr char kVolume[] = "0123456789abcdef0123456789abcdef";
constexpr char kOtherVolume[] = "1123456789abcdef0123456789abcdef";
constexpr char kDirectory[] = "/q";

Identity Member() {
  return {.name = "q2",
          .volume = kVolume,
          .id = MemberId("q2", kVolume),
          .cluster_id = 0xabc,
          .stage = Stage::kMember};
}

Identity As(Stage stage) {
  Identity identity = Member();
  identity.stage = stage;
  if (stage == Stage::kNew) identity.cluster_id = 0;
  return identity;
}

Starter Q2() { return {.name = "q2", .first = "q1", .fresh_volume = kOtherVolume}; }

std::string Refusal(const Folder& folder, const Starter& starter = Q2()) {
  const absl::Status status = IdentityFor(folder, starter).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  return std::string(status.message());
}

TEST(Identity, EachStageIsReadBackAsItWasWritten) {
  for (const Stage stage : {Stage::kNew, Stage::kFounding, Stage::kJoining, Stage::kMember}) {
    FakeDisk disk(1);
    ASSERT_TRUE(disk.CreateDirectory(kDirectory).ok());
    ASSERT_TRUE(WriteIdentity(disk, kDirectory, As(stage)).ok());
    const auto read = ReadIdentity(disk, kDirectory);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(**read, As(stage));
  }
}

TEST(Identity, AFolderWithoutOneHasNone) {
  FakeDisk disk(1);
  ASSERT_TRUE(disk.CreateDirectory(kDirectory).ok());
  const auto read = ReadIdentity(disk, kDirectory);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_FALSE(read->has_value());
}

// Of the whole file: whatever byte changes, nobody takes it for another replica's.
TEST(Identity, AnyChangedByteIsDataLoss) {
  const std::string text = EncodeIdentity(Member());
  for (size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_TRUE(absl::IsDataLoss(ParseIdentity(changed).status())) << i;
    EXPECT_TRUE(absl::IsDataLoss(ParseIdentity(text.substr(0, i)).status())) << i;
  }
}

TEST(Identity, ADamagedFileIsNamedWithWhatToDo) {
  FakeDisk disk(1);
  ASSERT_TRUE(disk.CreateDirectory(kDirectory).ok());
  disk.SetContents(Concat(kDirectory, "/", kIdentityFile), "postfleet identity 1\n");
  const absl::Status status = ReadIdentity(disk, kDirectory).status();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("/q/identity: its checksum is wrong"));
}

// At each operation of the disk: the old one or the new one is there, and once the write has
// returned, the new one.
TEST(Identity, ALossOfPowerLeavesTheOldOrTheNewOne) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    for (uint64_t cut = 1; cut < 12; ++cut) {
      FakeDisk disk(seed);
      ASSERT_TRUE(disk.CreateDirectory(kDirectory).ok());
      ASSERT_TRUE(WriteIdentity(disk, kDirectory, As(Stage::kNew)).ok());
      disk.CutPowerAt(cut);
      const bool written = WriteIdentity(disk, kDirectory, As(Stage::kMember)).ok();
      disk.PowerOn();
      const auto read = ReadIdentity(disk, kDirectory);
      ASSERT_TRUE(read.ok()) << read.status() << " seed " << seed << " cut " << cut;
      ASSERT_TRUE(read->has_value()) << "seed " << seed << " cut " << cut;
      const Stage stage = (*read)->stage;
      EXPECT_TRUE(stage == Stage::kMember || (!written && stage == Stage::kNew))
          << "seed " << seed << " cut " << cut;
    }
  }
}

// The test above sees a sync that is missing: a disk that does none ends up with neither.
TEST(Identity, WithoutSyncsALossOfPowerLeavesNoIdentity) {
  int lost = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    FakeDisk disk(seed);
    ASSERT_TRUE(disk.CreateDirectory(kDirectory).ok());
    disk.set_ignores_file_sync(true);
    ASSERT_TRUE(WriteIdentity(disk, kDirectory, Member()).ok());
    disk.PowerOn();
    const auto read = ReadIdentity(disk, kDirectory);
    if (!read.ok() || !read->has_value()) ++lost;
  }
  EXPECT_GT(lost, 0);
}

TEST(Identity, AnotherVolumeOrNameIsAnotherId) {
  std::set<uint64_t> ids;
  for (const char* name : {"q1", "q2", "q11"}) {
    for (const char* volume : {kVolume, kOtherVolume}) ids.insert(MemberId(name, volume));
  }
  EXPECT_EQ(ids.size(), 6u);
  EXPECT_FALSE(ids.contains(0));
  EXPECT_FALSE(ids.contains(kAloneId));
}

TEST(IdentityFor, AnEmptyFolderIsANewReplica) {
  const auto identity = IdentityFor({.directory = kDirectory}, Q2());
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(identity->stage, Stage::kNew);
  EXPECT_EQ(identity->id, MemberId("q2", kOtherVolume));
  EXPECT_EQ(identity->cluster_id, 0u);
}

TEST(IdentityFor, AFolderKeepsItsIdentity) {
  const auto identity =
      IdentityFor({.directory = kDirectory, .identity = Member(), .has_queue = true}, Q2());
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(*identity, Member());
}

TEST(IdentityFor, AQueueWithoutAClusterIsTheFirstMembersAndKeepsItsId) {
  const auto identity = IdentityFor({.directory = kDirectory, .has_queue = true},
                                    {.name = "q1", .first = "q1", .fresh_volume = kVolume});
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(identity->id, kAloneId);
  EXPECT_EQ(identity->stage, Stage::kNew);
}

TEST(IdentityFor, AQueueWithoutAClusterIsRefusedOfAllOthers) {
  EXPECT_THAT(Refusal({.directory = kDirectory, .has_queue = true}), HasSubstr("only the first"));
}

TEST(IdentityFor, AFolderOfAnotherNameIsRefused) {
  EXPECT_THAT(Refusal({.directory = kDirectory, .identity = Member(), .has_queue = true},
                      {.name = "q3", .first = "q1", .fresh_volume = kOtherVolume}),
              HasSubstr("belongs to the cluster's member q2, and this is q3"));
}

TEST(IdentityFor, AMemberWhoseLogIsGoneIsRefused) {
  EXPECT_THAT(Refusal({.directory = kDirectory, .identity = Member()}),
              HasSubstr("has lost its log"));
}

TEST(IdentityFor, WhoseLogHasNotBegunMayBeginIt) {
  for (const Stage stage : {Stage::kNew, Stage::kFounding, Stage::kJoining}) {
    EXPECT_TRUE(IdentityFor({.directory = kDirectory, .identity = As(stage)}, Q2()).ok());
  }
}

TEST(Folder, ALogAStoreOrAReceivedSnapshotIsAQueue) {
  for (const char* name : {"log", "state", "incoming"}) {
    FakeDisk disk(1);
    ASSERT_TRUE(disk.CreateDirectory(kDirectory).ok());
    EXPECT_FALSE(LookAt(disk, kDirectory)->has_queue);
    disk.SetContents(Concat(kDirectory, "/", name), "");
    EXPECT_TRUE(LookAt(disk, kDirectory)->has_queue) << name;
  }
}

TEST(Folder, AReplicasIsNotOpenedWithoutItsCluster) {
  EXPECT_TRUE(CheckAlone({.directory = kDirectory, .has_queue = true}).ok());
  EXPECT_TRUE(CheckAlone({.directory = kDirectory, .identity = As(Stage::kNew)}).ok());
  const absl::Status refused = CheckAlone({.directory = kDirectory, .identity = Member()});
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("member q2 of cluster 0000000000000abc"));
}

}  // namespace
}  // namespace postfleet::queue::membership
