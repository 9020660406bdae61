#include "services/queue/verify/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <set>

#include "libs/base/concat.h"
#include "services/queue/verify/planted.h"

namespace postfleet::queue {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Matcher;
using ::testing::Not;

// The row of number 0.
std::string Key(std::string_view queue_id, uint32_t number = 0) {
  return NumberedKey(queue_id, number);
}

TEST(Verify, AQueueWithMessagesInEveryStateHasNothingWrong) {
  Planted planted;
  const Verified verified = Verify(planted.store());
  EXPECT_TRUE(verified.status.ok()) << verified.status;
  EXPECT_THAT(verified.findings, IsEmpty());
  EXPECT_TRUE(verified.last.done());
  EXPECT_EQ(verified.last.findings_total(), 0u);
  EXPECT_EQ(verified.last.messages(), 7u);
  EXPECT_EQ(verified.last.recipients(), 10u);
  EXPECT_EQ(verified.last.chunks(), 8u);
  EXPECT_EQ(verified.last.bytes(), 64u);
}

TEST(Verify, ANewStoreHasNothingWrong) {
  QueueUnderTest queue;
  EXPECT_THAT(Verify(queue.store()).findings, IsEmpty());
}

struct Damage {
  const char* name;
  std::function<void(Planted&)> plant;
  // Each is part of one finding; there are no others.
  std::vector<std::string> findings;
};

void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.name; }

class PlantedDamage : public ::testing::TestWithParam<Damage> {};

TEST_P(PlantedDamage, IsFoundAndNothingElse) {
  Planted planted;
  GetParam().plant(planted);
  const Verified verified = Verify(planted.store());
  EXPECT_TRUE(verified.status.ok()) << verified.status;
  std::vector<Matcher<std::string>> expected;
  for (const std::string& finding : GetParam().findings) expected.push_back(HasSubstr(finding));
  EXPECT_THAT(verified.findings, ::testing::UnorderedElementsAreArray(expected));
  EXPECT_EQ(verified.last.findings_total(), GetParam().findings.size());
}

const std::vector<Damage> kChunks = {
    {"AFlippedBitOfAChunk",
     [](Planted& planted) {
       std::string chunk = Get(planted.store(), Family::kBody, Key("A1"));
       chunk.back() ^= 1;
       Put(planted.store(), Family::kBody, Key("A1"), chunk);
     },
     {"message A1: chunk 0 does not match its checksum"}},
    {"AChunkThatIsMissing",
     [](Planted& planted) { Erase(planted.store(), Family::kBody, Key("A3")); },
     {"message A3: it has 1 chunks of 8 bytes; there are 0 chunks of 0 bytes"}},
    {"AFirstChunkThatIsMissing",
     [](Planted& planted) {
       const std::string chunk = Get(planted.store(), Family::kBody, Key("A3"));
       Erase(planted.store(), Family::kBody, Key("A3"));
       Put(planted.store(), Family::kBody, Key("A3", 1), chunk);
     },
     {"message A3: chunk 0 is missing"}},
    {"AChunkOfNoMessage",
     [](Planted& planted) {
       Put(planted.store(), Family::kBody, Key("ZZ"),
           Get(planted.store(), Family::kBody, Key("A1")));
     },
     {"chunks of ZZ belong to no message"}},
    {"AChunkWithoutItsChecksum",
     [](Planted& planted) { Put(planted.store(), Family::kBody, Key("A1"), "abc"); },
     {"message A1: chunk row A1\\x00\\x00\\x00\\x00\\x00 is damaged"}},
    {"ARequeuedMessagesChunksMissing",
     [](Planted& planted) { Erase(planted.store(), Family::kBody, Key("A5")); },
     {"chunks of A5 are missing or are another message's"}},
    {"ChunksThatTwoMessagesShare",
     [](Planted& planted) {
       Change<state::MessageRow>(planted.store(), Family::kMessage, "A1",
                                 [](auto& row) { row.set_body_id("A5"); });
       Erase(planted.store(), Family::kBody, Key("A1"));
     },
     {"chunks of A5 are shared by 2 messages",
      "the count of requeued messages' bodies is 1; there are 2"}},
    {"ChunksThatTheirOwnerHasToo",
     [](Planted& planted) {
       Change<state::MessageRow>(planted.store(), Family::kMessage, planted.requeued_id,
                                 [](auto& row) { row.set_body_id("A1"); });
     },
     {"chunks of A1 are missing or are another message's", "chunks of A5 belong to no message"}},
    {"AnUploadOfAnotherLength",
     [](Planted& planted) {
       Change<state::UploadRow>(planted.store(), Family::kUpload, "A6",
                                [](auto& row) { row.set_bytes(9); });
     },
     {"message A6: it has 1 chunks of 9 bytes; there are 1 chunks of 8 bytes"}},
    {"AnUploadThatIsMissing",
     [](Planted& planted) { Erase(planted.store(), Family::kUpload, "A6"); },
     {"chunks of A6 belong to no message", "the count of uploads is 1; there are 0"}},
    {"AnUploadOfAMessageThatIsThere",
     [](Planted& planted) {
       Put(planted.store(), Family::kUpload, "A1", Get(planted.store(), Family::kUpload, "A6"));
     },
     {"message A1: it is there, and it is being sent in",
      "the count of uploads is 1; there are 2"}},
};

const std::vector<Damage> kRows = {
    {"ARecipientThatIsMissing",
     [](Planted& planted) { Erase(planted.store(), Family::kRecipient, Key("A1")); },
     {"message A1: it counts 1 pending, 0 deferred and 0 bounced recipients; there are 0, 0 and "
      "0"}},
    {"ARecipientPastTheLast",
     [](Planted& planted) {
       Change<state::MessageRow>(planted.store(), Family::kMessage, "A2",
                                 [](auto& row) { row.set_recipients_total(2); });
     },
     {"message A2: recipient 2 is past its 2"}},
    {"ARecipientThatDoesNotParse",
     [](Planted& planted) { Put(planted.store(), Family::kRecipient, Key("A1"), "\xff\xff"); },
     {"message A1: recipient row A1\\x00\\x00\\x00\\x00\\x00 is damaged"}},
    {"ARecipientInNoState",
     [](Planted& planted) {
       Change<state::RecipientRow>(planted.store(), Family::kRecipient, Key("A1"),
                                   [](auto& row) { row.clear_state(); });
     },
     {"message A1: recipient 0 is in no state"}},
    {"ANoticeAboutNothing",
     [](Planted& planted) {
       Change<state::RecipientRow>(planted.store(), Family::kRecipient, Key("A7", 1),
                                   [](auto& row) { row.mutable_last()->clear_notice_owed(); });
     },
     {"message A7: recipient 1 waits for a notice about nothing"}},
    {"ARecipientOfNoMessage",
     [](Planted& planted) {
       Put(planted.store(), Family::kRecipient, Key("ZZ"),
           Get(planted.store(), Family::kRecipient, Key("A1")));
     },
     {"message ZZ: it has recipients or jobs, and there is no such message"}},
    {"AMessageWithoutRecipients",
     [](Planted& planted) {
       Erase(planted.store(), Family::kRecipient, Key("A7"));
       Erase(planted.store(), Family::kRecipient, Key("A7", 1));
       Change<state::MessageRow>(planted.store(), Family::kMessage, "A7",
                                 [](auto& row) { row.clear_bounced(); });
     },
     {"message A7: it has no recipients left",
      "message A7: it has a place in the intake index, and should have none",
      "message A7: its intake row", "the count of incoming messages is 4; there are 3"}},
    {"AMessageThatDoesNotParse",
     [](Planted& planted) { Put(planted.store(), Family::kMessage, "A3", "\xff\xff"); },
     {"message A3: its row is damaged", "the count of deferred messages is 1; there are 0",
      "the count of bytes is 56; there are 48", "the count of deferred bytes is 8; there are 0"}},
    {"AJobThatIsMissing",
     [](Planted& planted) { Erase(planted.store(), Family::kJob, Key("A3")); },
     {"message A3: recipient 0 waits in job 0, which does not have it", "message A3: its due row"}},
    {"AJobWithARecipientTooMany",
     [](Planted& planted) {
       Change<state::JobRow>(planted.store(), Family::kJob, Key("A2"),
                             [](auto& row) { row.add_recipient_numbers(2); });
     },
     {"message A2: job 0 has recipient 2, which does not wait in it"}},
    {"AJobWithARecipientTwice",
     [](Planted& planted) {
       Change<state::JobRow>(planted.store(), Family::kJob, Key("A2"),
                             [](auto& row) { row.add_recipient_numbers(1); });
     },
     {"message A2: job 0 has recipient 1 twice"}},
    {"AJobThatDoesNotParse",
     [](Planted& planted) { Put(planted.store(), Family::kJob, Key("A4"), "\xff\xff"); },
     {"message A4: job row A4\\x00\\x00\\x00\\x00\\x00 is damaged"}},
    {"AJobOfTheFuture",
     [](Planted& planted) {
       Change<state::JobRow>(planted.store(), Family::kJob, Key("A4"),
                             [](auto& row) { row.set_index(4'711); });
     },
     {"message A4: job 0 is of a command that was not applied, 4711"}},
};

const std::vector<Damage> kIndexes = {
    {"ADueRowThatIsMissing",
     [](Planted& planted) {
       Erase(planted.store(), Family::kDue, KeyWith(planted.store(), Family::kDue, "A3"));
     },
     {"message A3: its due row"}},
    {"ADueRowOfAHeldMessage",
     [](Planted& planted) {
       const auto job = Get(planted.store(), Family::kJob, Key("A4"));
       state::JobRow row;
       ASSERT_TRUE(row.ParseFromString(job));
       Put(planted.store(), Family::kDue, EncodeDueKey({0, row.due_ms(), "A4", 0}),
           EncodeIndex(row.index()));
     },
     {"message A4: its due row"}},
    {"ADueRowWithAnotherIndex",
     [](Planted& planted) {
       Put(planted.store(), Family::kDue, KeyWith(planted.store(), Family::kDue, "A3"),
           EncodeIndex(1));
     },
     {"has a wrong value"}},
    {"ADueRowThatIsNone",
     [](Planted& planted) { Put(planted.store(), Family::kDue, "x", ""); },
     {"due row x is damaged"}},
    {"AnIntakeRowThatIsMissing",
     [](Planted& planted) {
       Erase(planted.store(), Family::kIntake, KeyWith(planted.store(), Family::kIntake, "A1"));
     },
     {"message A1: its intake row"}},
    {"AnIntakeRowTooMany",
     [](Planted& planted) {
       Put(planted.store(), Family::kIntake, EncodeIntakeKey({0, 1, 0}), "A1");
     },
     {"message A1: its intake row \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01\\x00\\x00\\x00"
      "\\x00 should not be there"}},
    {"AnIntakePlaceThatIsNotSaid",
     [](Planted& planted) {
       Change<state::MessageRow>(planted.store(), Family::kMessage, "A1",
                                 [](auto& row) { row.clear_intake_index(); });
     },
     {"message A1: it has no place in the intake index", "should not be there"}},
    {"AQueueRowThatIsMissing",
     [](Planted& planted) {
       Erase(planted.store(), Family::kQueue, QueueKey(v1::QUEUE_NAME_HOLD, "A4"));
     },
     {"message A4: its queue row"}},
    {"AQueueRowOfAnotherQueue",
     [](Planted& planted) {
       Put(planted.store(), Family::kQueue, QueueKey(v1::QUEUE_NAME_HOLD, "A3"), "");
     },
     {"message A3: its queue row"}},
    {"ASiteRowThatIsMissing",
     [](Planted& planted) {
       Erase(planted.store(), Family::kSite, SiteKey("example.com", "A3", 0));
     },
     {"message A3: its site row example.com\\x00A3"}},
    {"ASiteRowOfAPendingRecipient",
     [](Planted& planted) {
       Put(planted.store(), Family::kSite, SiteKey("example.com", "A2", 2), EncodeTime(1));
     },
     {"message A2: its site row example.com\\x00A2"}},
    {"ASiteRowWithAnotherTime",
     [](Planted& planted) {
       Put(planted.store(), Family::kSite, SiteKey("example.com", "A3", 0), EncodeTime(1));
     },
     {"has a wrong value"}},
    {"ACountThatIsWrong",
     [](Planted& planted) {
       Change<state::StateRow>(planted.store(), Family::kDefault, kStateKey, [](auto& row) {
         row.mutable_counts()->set_deferred_messages(2);
         row.mutable_counts()->set_hold_messages(0);
         row.mutable_counts()->set_corrupt_messages(3);
       });
     },
     {"the count of deferred messages is 2; there are 1", "the count of held messages is 0",
      "the count of corrupt messages is 3; there are 1"}},
    {"AStateRowThatDoesNotParse",
     [](Planted& planted) { Put(planted.store(), Family::kDefault, kStateKey, "\xff\xff"); },
     {"the state row is damaged"}},
    {"AStateRowThatIsUnknown",
     [](Planted& planted) { Put(planted.store(), Family::kDefault, "other", ""); },
     {"state row other is unknown"}},
    {"ASubmissionThatDoesNotParse",
     [](Planted& planted) {
       Put(planted.store(), Family::kSubmission, SubmissionKey(1, 1), "\xff\xff");
     },
     {"submission row"}},
    {"ASubmissionOfNoIncarnation",
     [](Planted& planted) { Put(planted.store(), Family::kSubmission, SubmissionKey(9, 1), ""); },
     {"submissions of incarnation 9, which was not given"}},
    {"MoreSubmissionsThanTheWindow",
     [](Planted& planted) {
       Put(planted.store(), Family::kSubmission, SubmissionKey(1, 65'536), "");
     },
     {"submissions of incarnation 1: more than 65536 are kept"}},
};

std::string NameOfDamage(const ::testing::TestParamInfo<Damage>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Chunks, PlantedDamage, ::testing::ValuesIn(kChunks), NameOfDamage);
INSTANTIATE_TEST_SUITE_P(Rows, PlantedDamage, ::testing::ValuesIn(kRows), NameOfDamage);
INSTANTIATE_TEST_SUITE_P(Indexes, PlantedDamage, ::testing::ValuesIn(kIndexes), NameOfDamage);

TEST(Verify, ADamagedCorruptMessageIsSaidToBeInCorrupt) {
  Planted planted;
  Erase(planted.store(), Family::kBody, Key("A8"));
  EXPECT_THAT(
      Verify(planted.store()).findings,
      ::testing::ElementsAre(AllOf(HasSubstr("message A8"), HasSubstr("(it is in corrupt)"))));
}

TEST(Verify, FindingsAreToldUpToABoundAndCountedAll) {
  Planted planted;
  const std::string chunk = Get(planted.store(), Family::kBody, Key("A1"));
  for (int i = 0; i < 1'500; ++i) {
    Put(planted.store(), Family::kBody, Key(Concat("Z", i)), chunk);
  }
  const Verified verified = Verify(planted.store());
  EXPECT_EQ(verified.findings.size(), kFindingsToldMax);
  EXPECT_EQ(verified.last.findings_total(), 1'500u);
}

TEST(Verify, AListenerThatWantsNoMoreEndsThePass) {
  Planted planted;
  const std::string chunk = Get(planted.store(), Family::kBody, Key("A1"));
  for (int i = 0; i < 20'000; ++i) {
    Put(planted.store(), Family::kBody, Key(Concat("Z", i)), chunk);
  }
  int calls = 0;
  const absl::Status status = VerifyStore(planted.store(), [&](const v1::VerifyProgress&) {
    ++calls;
    return false;
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 1);
}

TEST(Verify, WhatIsWrittenMeanwhileIsNotSeen) {
  QueueUnderTest queue;
  Open(queue);
  for (int i = 0; i < 10'000; ++i) Enqueue(queue, Concat("A", i));
  Verified verified;
  const VerifyListener collect = CollectInto(&verified);
  bool written = false;
  const absl::Status status = VerifyStore(queue.store(), [&](const v1::VerifyProgress& progress) {
    if (!written) {
      Delete(queue, {"A0", "A9999"});
      Enqueue(queue, "Z");
    }
    written = true;
    return collect(progress);
  });
  EXPECT_TRUE(status.ok() && written);
  EXPECT_THAT(verified.findings, IsEmpty());
  EXPECT_EQ(verified.last.messages(), 10'000u);
}

// ---- Damage of files

// Flips bits of a file of the store, at this part of its length.
void FlipInFile(Store& store, const std::string& path, double part) {
  rocksdb::Env* env = store.db()->GetEnv();
  std::string bytes;
  ASSERT_TRUE(rocksdb::ReadFileToString(env, path, &bytes).ok()) << path;
  const size_t place = static_cast<size_t>(static_cast<double>(bytes.size()) * part);
  for (size_t i = place; i < place + 8; ++i) bytes[i] = static_cast<char>(bytes[i] ^ 0x55);
  ASSERT_TRUE(rocksdb::WriteStringToFile(env, bytes, path).ok()) << path;
}

std::string TableOf(Store& store, const std::string& family) {
  std::vector<rocksdb::LiveFileMetaData> files;
  store.db()->GetLiveFilesMetaData(&files);
  for (const auto& file : files) {
    if (file.column_family_name == family) return file.db_path + file.name;
  }
  ADD_FAILURE() << "no file of " << family;
  return {};
}

std::string BlobFileOf(Store& store) {
  std::vector<std::string> names;
  EXPECT_TRUE(store.db()->GetEnv()->GetChildren(store.db()->GetName(), &names).ok());
  for (const std::string& name : names) {
    if (name.ends_with(".blob")) return store.db()->GetName() + "/" + name;
  }
  ADD_FAILURE() << "no blob file";
  return {};
}

class DamagedFile : public ::testing::Test {
 protected:
  static constexpr int kMessages = 3'000;
  DamagedFile() {
    Open(queue_);
    for (int i = 0; i < kMessages; ++i) Enqueue(queue_, Concat("A", 10'000 + i), 1, contents_);
    EXPECT_TRUE(queue_.store().Flush().ok());
  }
  Verified FlipAndVerify(const std::string& path, double part) {
    FlipInFile(queue_.store(), path, part);
    queue_.Crash();
    return Verify(queue_.store());
  }

  QueueUnderTest queue_;
  const std::string contents_ = std::string(2'000, 'x');
};

TEST_F(DamagedFile, ABlockOfRecipientsThatCannotBeReadIsLeftOut) {
  const Verified verified = FlipAndVerify(TableOf(queue_.store(), "recipient"), 0.3);
  EXPECT_TRUE(verified.status.ok());
  EXPECT_THAT(verified.findings, Contains(AllOf(HasSubstr("recipient rows behind A1"),
                                                HasSubstr("cannot be read: Corruption"))));
  EXPECT_THAT(verified.findings, Contains(HasSubstr(": recipients of it cannot be read")));
  EXPECT_EQ(verified.last.messages(), static_cast<uint64_t>(kMessages));
  // One block of 16 KiB is missing, and no more.
  EXPECT_LT(verified.last.recipients(), static_cast<uint64_t>(kMessages));
  EXPECT_GT(verified.last.recipients(), static_cast<uint64_t>(kMessages) * 8 / 10);
  EXPECT_EQ(verified.last.findings_total(), 1 + kMessages - verified.last.recipients());
}

TEST_F(DamagedFile, ABlockOfMessagesThatCannotBeReadIsLeftOut) {
  const Verified verified = FlipAndVerify(TableOf(queue_.store(), "message"), 0.5);
  EXPECT_THAT(verified.findings, Contains(HasSubstr("message rows behind A1")));
  EXPECT_THAT(verified.findings, Not(Contains(HasSubstr("there is no such message"))));
  EXPECT_THAT(verified.findings, Not(Contains(HasSubstr("should not be there"))));
  EXPECT_LT(verified.last.messages(), static_cast<uint64_t>(kMessages));
  EXPECT_GT(verified.last.messages(), static_cast<uint64_t>(kMessages) * 8 / 10);
  EXPECT_EQ(verified.last.recipients(), static_cast<uint64_t>(kMessages));
}

TEST_F(DamagedFile, ABodyThatCannotBeReadIsNamed) {
  const Verified verified = FlipAndVerify(BlobFileOf(queue_.store()), 0.4001);
  EXPECT_THAT(verified.findings, Contains(HasSubstr(": chunks of it cannot be read")));
  EXPECT_EQ(verified.findings.size(), 2u);
  EXPECT_EQ(verified.last.chunks(), static_cast<uint64_t>(kMessages) - 1);
}

TEST_F(DamagedFile, DamageOfTwoFamiliesIsFoundInBoth) {
  FlipInFile(queue_.store(), TableOf(queue_.store(), "intake"), 0.5);
  const Verified verified = FlipAndVerify(TableOf(queue_.store(), "recipient"), 0.7);
  EXPECT_THAT(verified.findings, Contains(HasSubstr("recipient rows behind")));
  EXPECT_THAT(verified.findings, Contains(HasSubstr("intake rows behind")));
  EXPECT_THAT(verified.findings, Not(Contains(HasSubstr("its intake row"))));
}

// RocksDB would take no more writes.
TEST_F(DamagedFile, AQueueGoesOnWhenACompactionMeetsIt) {
  FlipInFile(queue_.store(), TableOf(queue_.store(), "recipient"), 0.5);
  queue_.Crash();
  Store& store = queue_.store();
  rocksdb::CompactRangeOptions options;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  EXPECT_TRUE(store.db()
                  ->CompactRange(options, store.family(Family::kRecipient), nullptr, nullptr)
                  .IsCorruption());
  EXPECT_GT(store.damaged_compactions(), 0u);
  const uint64_t before = queue_.machine().counts().incoming_messages();
  Enqueue(queue_, "B1");
  EXPECT_EQ(queue_.machine().counts().incoming_messages(), before + 1);
  EXPECT_TRUE(store.Flush().ok());
}

// ---- Random commands

class RandomQueue {
 public:
  explicit RandomQueue(unsigned seed) : random_(seed) { Open(queue); }

  void Step() {
    queue.now_ms += Pick(2'000);
    switch (Pick(12)) {
      case 0:
      case 1:
      case 2:
        Enqueue(queue, NewId(), 1 + Pick(4));
        return;
      case 3:
      case 4:
      case 5:
        return ReportSome();
      case 6:
        Notify(queue, AnyId(), {0, 1, 2, 3}, Pick(2) == 0 ? NewId() : "");
        return;
      case 7:
        SendChunk(queue, NewId(), std::string(static_cast<size_t>(Pick(50)), 'c'));
        return;
      case 8:
        Flush(queue, {AnyId()});
        return;
      case 9:
        if (Pick(20) == 0) {
          MarkCorrupt(queue, AnyId(), "said so");
        } else {
          PutOff(queue, AnyId(), {0, 1}, queue.now_ms + Pick(5'000));
        }
        return;
      default:
        return ActOnSome();
    }
  }
  int Pick(int bound) { return static_cast<int>(random_() % static_cast<unsigned>(bound)); }

  QueueUnderTest queue;

 private:
  std::string NewId() {
    ids_.push_back(Concat("A", 1'000 + ids_.size()));
    return ids_.back();
  }
  std::string AnyId() {
    return ids_.empty() ? "none" : ids_[static_cast<size_t>(Pick(static_cast<int>(ids_.size())))];
  }
  void ReportSome() {
    std::vector<std::pair<uint32_t, Action>> outcomes;
    for (uint32_t number = 0; number < 4; ++number) {
      const int kind = Pick(5);
      if (kind < 2) outcomes.emplace_back(number, kDeferred);
      if (kind == 2) outcomes.emplace_back(number, kSent);
      if (kind == 3) outcomes.emplace_back(number, kBounced);
    }
    state::Command command = OutcomeCommand(queue, AnyId(), outcomes, queue.now_ms + Pick(5'000));
    queue.Apply(Pick(3) == 0 ? OweNotices(std::move(command)) : std::move(command));
  }
  void ActOnSome() {
    static constexpr v1::Action kActions[] = {
        v1::ACTION_DELETE,  v1::ACTION_HOLD,           v1::ACTION_HOLD,
        v1::ACTION_RELEASE, v1::ACTION_REQUEUE,        v1::ACTION_REQUEUE,
        v1::ACTION_EXPIRE,  v1::ACTION_EXPIRE_RELEASE, v1::ACTION_FLUSH};
    const Effects& effects = Administer(queue, kActions[Pick(9)], {AnyId(), AnyId()});
    for (const std::string& queue_id : effects.new_queue_ids) ids_.push_back(queue_id);
  }

  std::mt19937 random_;
  std::vector<std::string> ids_;
};

class RandomCommands : public ::testing::TestWithParam<unsigned> {
 protected:
  static unsigned SeedOfDay() {
    const char* seed = std::getenv("POSTFLEET_TEST_SEED");
    return seed != nullptr ? static_cast<unsigned>(std::atoi(seed)) : std::random_device()();
  }
  // 0 is a new seed each time.
  const unsigned seed_ = GetParam() != 0 ? GetParam() : SeedOfDay();
  ::testing::ScopedTrace trace_{__FILE__, __LINE__, Concat("POSTFLEET_TEST_SEED=", seed_)};
};

TEST_P(RandomCommands, LeaveNothingWrong) {
  RandomQueue random(seed_);
  for (int step = 0; step < 600; ++step) {
    random.Step();
    if (random.Pick(30) != 0) continue;
    const Verified verified = Verify(random.queue.store());
    ASSERT_TRUE(verified.status.ok()) << verified.status;
    ASSERT_THAT(verified.findings, IsEmpty()) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomCommands, ::testing::Values(1u, 2u, 3u, 0u));

}  // namespace
}  // namespace postfleet::queue
