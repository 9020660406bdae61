// Power fails at random operations, disks fill, syncs fail; after each crash the log must hold
// every entry that a Sync covered, and none that was never appended or was refused. And this test
// must be able to fail: it does when the disk ignores syncs.
#include <cstdlib>
#include <map>
#include <random>

#include "gtest/gtest.h"
#include "libs/base/concat.h"
#include "services/queue/log/fake_disk.h"
#include "services/queue/log/log.h"

namespace postfleet::queue {
namespace {

class Crashes {
 public:
  explicit Crashes(uint64_t seed) : random_(seed), disk_(seed) {}

  FakeDisk& disk() { return disk_; }

  // The first broken promise; empty when all were kept.
  std::string Run(int lives) {
    for (int life = 0; life < lives && broken_.empty(); ++life) {
      LiveAndDie();
      if (!broken_.empty()) broken_ = Concat("life ", life, ": ", broken_);
    }
    return broken_;
  }

  int crashes() const { return crashes_; }
  int torn_tails() const { return torn_tails_; }
  int refusals() const { return refusals_; }
  int spares() const { return spares_; }

 private:
  uint64_t Below(uint64_t limit) { return random_() % limit; }

  void LiveAndDie() {
    disk_.set_space_bytes(UINT64_MAX);
    // Opening may meet a power cut itself.
    if (Below(4) == 0) disk_.CutPowerAt(1 + Below(6));
    std::unique_ptr<Log> log = OpenAndCheck();
    if (log == nullptr) return disk_.power_is_off() ? Die() : void();
    if (Below(10) != 0) disk_.CutPowerAt(1 + Below(60));
    const uint64_t turns = Below(40);
    for (uint64_t turn = 0; turn < turns && broken_.empty(); ++turn) {
      if (!Turn(log.get())) break;
    }
    log.reset();
    if (Below(8) != 0) Die();  // else only the process ends
  }

  void Die() {
    ++crashes_;
    disk_.PowerOn();
  }

  std::unique_ptr<Log> OpenAndCheck() {
    Recovery found;
    auto log = Log::Open({.dir = "log",
                          .segment_bytes = 4096,
                          .file_system = &disk_,
                          .random = [this] { return random_(); }},
                         &found);
    if (!log.ok()) {
      if (absl::IsDataLoss(log.status())) broken_ = Concat("open: ", log.status().ToString());
      return nullptr;
    }
    torn_tails_ += !found.torn_file.empty();
    Check(log->get());
    return broken_.empty() ? *std::move(log) : nullptr;
  }

  void Check(Log* log) {
    uint64_t last = cut_below_ - 1;
    absl::Status replayed = log->Replay(cut_below_, [&](const EntryView& entry) {
      const auto expected = appended_.find(entry.id.index);
      if (expected == appended_.end()) return absl::DataLossError("an entry that nobody wrote");
      if (expected->second != entry.payload) return absl::DataLossError("another payload");
      last = entry.id.index;
      return absl::OkStatus();
    });
    if (disk_.power_is_off()) return;
    if (!replayed.ok()) {
      broken_ = Concat("replay after ", last, ": ", replayed.ToString());
    } else if (last < acknowledged_) {
      broken_ = Concat("ends with ", last, ", acknowledged was ", acknowledged_);
    }
    // What an opening found is durable.
    acknowledged_ = last;
    appended_.erase(appended_.upper_bound(last), appended_.end());
  }

  // False when the log has ended.
  bool Turn(Log* log) {
    switch (Below(12)) {
      case 0:
        disk_.set_space_bytes(Below(3) == 0 ? 0 : UINT64_MAX);
        return true;
      case 1:
        if (Below(10) == 0) disk_.FailNextSync();
        return true;
      case 2: {
        const uint64_t index = 1 + Below(acknowledged_ + 1);
        cut_below_ = std::max(cut_below_, index);
        if (!log->CutBelow(index).ok() || disk_.power_is_off()) return false;
        const auto names = disk_.List("log");
        for (const std::string& name : *names) spares_ += name.ends_with(".spare");
        return true;
      }
      default:
        return Append(log) && (Below(4) == 0 || Sync(log));
    }
  }

  bool Append(Log* log) {
    std::vector<std::string> payloads(1 + Below(5));
    std::vector<std::string_view> parts;
    std::vector<Entry> entries;
    const uint64_t first = log->last_index() + 1;
    for (std::string& payload : payloads) {
      payload = Concat("entry ", ++written_, ' ');
      payload.resize(payload.size() + Below(Below(10) == 0 ? 6000 : 300), 'x');
      parts.push_back(payload);
    }
    for (size_t i = 0; i < payloads.size(); ++i) {
      entries.push_back({.id = {.index = first + i}, .parts = absl::MakeConstSpan(&parts[i], 1)});
      appended_[first + i] = payloads[i];
    }
    const absl::Status appended = log->Append(entries);
    if (absl::IsResourceExhausted(appended)) {
      ++refusals_;
      if (log->last_index() != acknowledged_) broken_ = "not taken back to the last sync";
      appended_.erase(appended_.upper_bound(acknowledged_), appended_.end());
      return true;
    }
    return appended.ok();
  }

  bool Sync(Log* log) {
    if (!log->Sync().ok()) return false;
    acknowledged_ = log->last_index();
    return true;
  }

  std::mt19937_64 random_;
  FakeDisk disk_;
  std::map<uint64_t, std::string> appended_;  // may be found
  uint64_t acknowledged_ = 0;                 // must be found up to here
  uint64_t cut_below_ = 1;
  uint64_t written_ = 0;
  int crashes_ = 0;
  int torn_tails_ = 0;
  int refusals_ = 0;
  int spares_ = 0;
  std::string broken_;
};

uint64_t Seed() {
  const char* seed = std::getenv("LOG_CRASH_SEED");
  return seed != nullptr ? std::strtoull(seed, nullptr, 10) : 20261122;
}

TEST(LogCrashTest, EveryAcknowledgedEntrySurvivesAndNoneIsInvented) {
  int crashes = 0, torn_tails = 0, refusals = 0, spares = 0;
  for (uint64_t seed = Seed(); seed < Seed() + 100; ++seed) {
    Crashes crashes_of_seed(seed);
    ASSERT_EQ(crashes_of_seed.Run(100), "") << "LOG_CRASH_SEED=" << seed;
    crashes += crashes_of_seed.crashes();
    torn_tails += crashes_of_seed.torn_tails();
    refusals += crashes_of_seed.refusals();
    spares += crashes_of_seed.spares();
  }
  // Otherwise it proves nothing.
  EXPECT_GT(crashes, 5000);
  EXPECT_GT(torn_tails, 500);
  EXPECT_GT(refusals, 500);
  EXPECT_GT(spares, 500);
  RecordProperty("crashes", crashes);
  printf("%d crashes, %d torn tails, %d refusals, %d spares\n", crashes, torn_tails, refusals,
         spares);
}

int FailuresWith(void (*mutate)(FakeDisk*)) {
  int failures = 0;
  for (uint64_t seed = Seed(); seed < Seed() + 20; ++seed) {
    Crashes crashes(seed);
    mutate(&crashes.disk());
    failures += !crashes.Run(100).empty();
  }
  return failures;
}

TEST(LogCrashTest, LosesEntriesWhenFileSyncsAreIgnored) {
  EXPECT_EQ(FailuresWith([](FakeDisk* disk) { disk->set_ignores_file_sync(true); }), 20);
}

TEST(LogCrashTest, LosesEntriesWhenDirectorySyncsAreIgnored) {
  EXPECT_EQ(FailuresWith([](FakeDisk* disk) { disk->set_ignores_directory_sync(true); }), 20);
}

}  // namespace
}  // namespace postfleet::queue
