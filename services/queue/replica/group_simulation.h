// A group of replicas in one thread, for tests: the real Replica and NodeLog on simulated disks
// that lose power, and a network that loses, delays, repeats and cuts, all drawn from one seed.
//
// What is judged, at every step: an index has the same entry on all replicas that applied it; what
// was acknowledged is in every later leader's log, and is applied once by each; in a term one
// replica leads. At the end, with nothing at fault, all apply the same.
//
// The state of a replica is what it applied, in order; it is durable now and then, as a store that
// is flushed, and forgotten behind that by a crash.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "services/queue/log/fake_disk.h"
#include "services/queue/replica/replica.h"

namespace postfleet::queue {

// What is taken out of the code, to see that the simulation finds it.
enum class Defect {
  kNone,
  kAcknowledgesBeforeTheSync,
  kForgetsItsVote,
  kCutsTooEarly,
  kEmptyDiskVotes,
};

struct SimulationOptions {
  uint64_t seed = 1;
  int voters = 3;  // 1,000 steps for each
  Defect defect = Defect::kNone;
};

struct SimulationResult {
  // What is wrong; empty: nothing.
  std::string failure;
  uint64_t acknowledged = 0;
  uint64_t leaders = 0;
  uint64_t crashes = 0;
  uint64_t cuts_of_power = 0;
  uint64_t log_cuts = 0;
};

SimulationResult Simulate(const SimulationOptions& options);

}  // namespace postfleet::queue
