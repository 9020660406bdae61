// SIMULATION_SEED=n runs that seed only; SIMULATION_SEEDS=n runs n seeds.
#include "services/queue/replica/group_simulation.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "libs/base/concat.h"

namespace postfleet::queue {
namespace {

uint64_t Setting(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

void RunSeeds(int voters, uint64_t seeds) {
  const uint64_t only = Setting("SIMULATION_SEED", 0);
  const uint64_t first = only > 0 ? only : 1;
  const uint64_t last = only > 0 ? only : Setting("SIMULATION_SEEDS", seeds);
  SimulationResult all;
  for (uint64_t seed = first; seed <= last; ++seed) {
    const SimulationResult result = Simulate({.seed = seed, .voters = voters});
    ASSERT_EQ(result.failure, "");
    all.acknowledged += result.acknowledged;
    all.leaders += result.leaders;
    all.crashes += result.crashes;
    all.cuts_of_power += result.cuts_of_power;
    all.log_cuts += result.log_cuts;
  }
  if (only > 0) return;
  // Events that never lead there would prove nothing.
  EXPECT_GT(all.acknowledged, 10 * seeds);
  EXPECT_GT(all.leaders, 2 * seeds);
  EXPECT_GT(all.crashes, seeds);
  EXPECT_GT(all.cuts_of_power, seeds);
  EXPECT_GT(all.log_cuts, seeds);
}

TEST(GroupSimulation, OneVoterKeepsThePromises) { RunSeeds(1, 20); }
TEST(GroupSimulation, ThreeVotersKeepThePromises) { RunSeeds(3, 150); }
TEST(GroupSimulation, FiveVotersKeepThePromises) { RunSeeds(5, 40); }

class PlantedDefect : public testing::TestWithParam<Defect> {};

TEST_P(PlantedDefect, IsFound) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    if (!Simulate({.seed = seed, .defect = GetParam()}).failure.empty()) return;
  }
  FAIL() << "no seed finds it";
}

INSTANTIATE_TEST_SUITE_P(All, PlantedDefect,
                         testing::Values(Defect::kAcknowledgesBeforeTheSync,
                                         Defect::kForgetsItsVote, Defect::kCutsTooEarly,
                                         Defect::kEmptyDiskVotes));

}  // namespace
}  // namespace postfleet::queue
