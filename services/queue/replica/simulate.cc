// simulate FIRST SEEDS VOTERS: that many seeds of the simulation, from FIRST on. Prints what
// happened; ends with 1 at the first seed that fails, whose number it prints.
#include <cstdio>
#include <cstdlib>

#include "services/queue/replica/group_simulation.h"

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("usage: simulate FIRST SEEDS VOTERS\n", stderr);
    return 2;
  }
  const uint64_t first = std::strtoull(argv[1], nullptr, 10);
  const uint64_t seeds = std::strtoull(argv[2], nullptr, 10);
  const int voters = std::atoi(argv[3]);
  if (seeds == 0 || voters < 1 || voters > 9) {
    std::fputs("simulate: SEEDS is at least 1, VOTERS 1 to 9\n", stderr);
    return 2;
  }
  postfleet::queue::SimulationResult all;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    const auto result = postfleet::queue::Simulate({.seed = seed, .voters = voters});
    if (!result.failure.empty()) {
      std::printf("%s\n", result.failure.c_str());
      return 1;
    }
    all.acknowledged += result.acknowledged;
    all.leaders += result.leaders;
    all.crashes += result.crashes;
    all.cuts_of_power += result.cuts_of_power;
    all.log_cuts += result.log_cuts;
  }
  std::printf(
      "%llu seeds of %d voters: %llu acknowledged, %llu leaders, %llu crashes, %llu cuts of "
      "power, %llu cuts of a log; nothing lost\n",
      static_cast<unsigned long long>(seeds), voters,
      static_cast<unsigned long long>(all.acknowledged),
      static_cast<unsigned long long>(all.leaders), static_cast<unsigned long long>(all.crashes),
      static_cast<unsigned long long>(all.cuts_of_power),
      static_cast<unsigned long long>(all.log_cuts));
  return 0;
}
