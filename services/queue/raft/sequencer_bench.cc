// What crossing to Go costs: a proposal with one voter is Propose, TakeReady and Advance.
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "services/queue/raft/sequencer.h"

namespace postfleet::queue::raft {
namespace {

std::unique_ptr<Sequencer> SingleLeader() {
  Options options;
  options.id = 1;
  options.snapshot = {1, 1, {{1}, {}}};
  options.hard_state = {1, 0, 1};
  options.applied = 1;
  auto started = Sequencer::Start(options);
  if (!started.ok()) std::abort();
  std::unique_ptr<Sequencer> sequencer = *std::move(started);
  sequencer->Campaign();
  while (sequencer->HasReady()) {
    sequencer->TakeReady();
    sequencer->Advance();
  }
  return sequencer;
}

// Items are entries. A compaction for every 4,096 is in it.
void ProposeBatch(benchmark::State& state) {
  const std::unique_ptr<Sequencer> sequencer = SingleLeader();
  const std::vector<Reference> batch(state.range(0), Reference{7, 1, 10240, 0});
  uint64_t applied = 1, compacted = 1;
  for (auto _ : state) {
    if (!sequencer->Propose(batch).ok()) std::abort();
    while (sequencer->HasReady()) {
      const Ready ready = sequencer->TakeReady();
      if (!ready.committed.empty()) applied = ready.committed.back().index;
      sequencer->Advance();
    }
    if (applied > compacted + 4096) sequencer->Compact(compacted = applied);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(ProposeBatch)->Arg(1)->Arg(16)->Arg(256);

// One crossing that does next to nothing.
void Tick(benchmark::State& state) {
  const std::unique_ptr<Sequencer> sequencer = SingleLeader();
  for (auto _ : state) sequencer->Tick();
}
BENCHMARK(Tick);

// A batch through three voters in one thread, with everything they say to each other.
void ReplicateBatch(benchmark::State& state) {
  std::vector<std::unique_ptr<Sequencer>> group;
  for (uint64_t id = 1; id <= 3; ++id) {
    Options options;
    options.id = id;
    options.snapshot = {1, 1, {{1, 2, 3}, {}}};
    options.hard_state = {1, 0, 1};
    options.applied = 1;
    group.push_back(*Sequencer::Start(options));
  }
  uint64_t applied = 1, compacted = 1;
  const auto settle = [&] {
    for (bool moved = true; moved;) {
      moved = false;
      for (auto& sequencer : group) {
        if (!sequencer->HasReady()) continue;
        moved = true;
        const Ready ready = sequencer->TakeReady();
        for (const Message& message : ready.messages) {
          if (!group[message.to - 1]->Step(message.from, message.bytes).ok()) std::abort();
        }
        if (!ready.committed.empty()) applied = ready.committed.back().index;
        sequencer->Advance();
      }
    }
  };
  group[0]->Campaign();
  settle();
  const std::vector<Reference> batch(state.range(0), Reference{7, 1, 10240, 0});
  for (auto _ : state) {
    if (!group[0]->Propose(batch).ok()) std::abort();
    settle();
    if (applied <= compacted + 4096) continue;
    for (auto& sequencer : group) sequencer->Compact(sequencer->standing().applied);
    compacted = applied;
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(ReplicateBatch)->Arg(1)->Arg(16)->Arg(256);

}  // namespace
}  // namespace postfleet::queue::raft
