// Runs scenarios/*.txt: blocks of commands (scenario_world.h), a line `----`, and what they must
// make the scheduler do, up to an empty line. Lines that start with # and empty lines between
// blocks are kept as they are.
//
// SCENARIOS_REWRITE=1 writes what happened into the files instead of comparing:
//   ./dev test --test_env=SCENARIOS_REWRITE=1 //services/scheduler/core:scenario_test
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "services/scheduler/core/scenario_world.h"

namespace postfleet::scheduler {
namespace {

constexpr char kFolder[] = "services/scheduler/core/scenarios";

std::vector<std::filesystem::path> Scripts() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() == ".txt") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string Contents(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The script with what really happened in the place of what is expected.
std::string Replay(const std::string& script) {
  ScenarioWorld world;
  std::string replayed, happened;
  bool expected = false;
  std::istringstream lines(script);
  for (std::string line; std::getline(lines, line);) {
    if (expected && !line.empty()) continue;
    expected = line == "----";
    replayed += line + "\n";
    if (expected) {
      replayed += happened;
      happened.clear();
    } else if (!line.empty() && line[0] != '#') {
      happened += world.Run(line);
    }
  }
  // Commands after the last `----` must not do anything unseen.
  if (!happened.empty()) replayed += "----\n" + happened;
  return replayed;
}

class Scenario : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(Scenario, GoesAsWritten) {
  const std::string script = Contents(GetParam());
  const std::string replayed = Replay(script);
  if (std::getenv("SCENARIOS_REWRITE") != nullptr) {
    std::ofstream(std::filesystem::canonical(GetParam())) << replayed;
    return;
  }
  EXPECT_EQ(script, replayed);
}

INSTANTIATE_TEST_SUITE_P(All, Scenario, testing::ValuesIn(Scripts()),
                         [](const auto& info) { return info.param.stem().string(); });

}  // namespace
}  // namespace postfleet::scheduler
