#include "services/queue/replica/group_simulation.h"

#include <algorithm>
#include <utility>

#include "libs/base/concat.h"

namespace postfleet::queue {
namespace {

constexpr uint16_t kShard = 0;
constexpr char kDirectory[] = "/log";

// "1,2,3": all vote.
MembersCodec TextCodec() {
  return {.conf_state = [](std::string_view members) -> absl::StatusOr<raft::ConfState> {
            raft::ConfState state;
            uint64_t id = 0;
            for (const char c : std::string(members) + ",") {
              if (c == ',') {
                state.voters.push_back(std::exchange(id, 0));
              } else {
                id = id * 10 + static_cast<uint64_t>(c - '0');
              }
            }
            return state;
          },
          .changed = [](std::string_view members, const raft::ConfChange&,
                        uint64_t) { return std::string(members); }};
}

std::string TextOf(const rpc::Payload& payload) {
  std::string text;
  for (const grpc::Slice& slice : payload) text += rpc::AsView(slice);
  return text;
}

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options) : options_(options), random_(options.seed) {
    raft::Sequencer::SeedRandomness(options.seed);
    for (int id = 1; id <= options.voters; ++id) {
      nodes_.push_back(std::make_unique<Node>(random_()));
      nodes_.back()->id = static_cast<uint64_t>(id);
      ConcatTo(&members_, id == 1 ? "" : ",", id);
    }
  }

  SimulationResult Run() {
    for (const auto& node : nodes_) Found(*node);
    for (int step = 0; step < 1'000 * options_.voters && result_.failure.empty(); ++step) Step();
    if (result_.failure.empty()) Heal();
    return std::move(result_);
  }

 private:
  struct Node {
    explicit Node(uint64_t seed) : disk(std::make_unique<FakeDisk>(seed)) {}
    uint64_t id = 0;
    std::unique_ptr<FakeDisk> disk;
    std::unique_ptr<NodeLog> log;
    std::unique_ptr<Replica> replica;
    bool cut_off = false;
    int stopped_for = 0;
    // Applied, by index; and how far that is durable.
    std::map<uint64_t, std::string> state;
    uint64_t durable_index = 1;
    uint64_t salt = 0;
    uint64_t life = 0;
    // A snapshot whose files are durable, and whose start is not in the log yet.
    std::optional<LogStart> taken_over;
    bool runs() const { return replica != nullptr; }
  };

  uint32_t Roll(uint32_t sides) {
    return std::uniform_int_distribution<uint32_t>(0, sides - 1)(random_);
  }
  Node& Any() { return *nodes_[Roll(static_cast<uint32_t>(nodes_.size()))]; }
  void Fail(std::string what) {
    if (result_.failure.empty()) result_.failure = Concat("seed ", options_.seed, ": ", what);
  }

  void OpenLog(Node& node) {
    Recovery found;
    auto log = NodeLog::Open({.dir = kDirectory,
                              .segment_bytes = 8192,
                              .file_system = node.disk.get(),
                              .random = [&node] { return ++node.salt * 0x9E3779B97F4A7C15; }},
                             &found);
    if (!log.ok() && node.disk->power_is_off()) return CutPower(node);
    if (!log.ok()) {
      return Fail(Concat("replica ", node.id, ": ", std::string(log.status().message())));
    }
    node.log = *std::move(log);
  }

  // All begin with the same members, as a group that was founded by all of them.
  void Found(Node& node) {
    OpenLog(node);
    node.log->Add(kShard, LogStart{.index = 1, .term = 1, .members = members_});
    if (!node.log->Write().ok() || !node.log->Sync().ok()) Fail("a group is not founded");
    Open(node);
  }

  void Open(Node& node) {
    if (!node.log) OpenLog(node);
    if (!node.log || !TakeOver(node)) return;
    auto replica = Replica::Open({.shard = kShard,
                                  .id = node.id,
                                  .origin = node.id << 32 | ++node.life,
                                  .applied = node.durable_index,
                                  .recent_bytes_max = 600},
                                 TextCodec(), node.log.get());
    if (!replica.ok()) {
      return Fail(Concat("replica ", node.id, ": ", std::string(replica.status().message())));
    }
    node.replica = *std::move(replica);
  }

  void Crash(Node& node) {
    if (!node.runs()) return;
    ++result_.crashes;
    node.replica.reset();
    node.log.reset();
    node.disk->PowerOn();
    node.state.erase(node.state.upper_bound(node.durable_index), node.state.end());
    if (options_.defect == Defect::kEmptyDiskVotes && Roll(3) == 0) {
      node.disk = std::make_unique<FakeDisk>(random_());
      node.state.clear();
      node.durable_index = 1;
      return Found(node);
    }
    if (options_.defect == Defect::kForgetsItsVote) {
      OpenLog(node);
      if (node.log == nullptr) return;
      raft::HardState state = node.log->hard_state(kShard);
      state.vote = 0;
      node.log->Add(kShard, state);
      if (!node.log->Write().ok() || !node.log->Sync().ok()) return Fail("cannot forget");
    }
    node.stopped_for = static_cast<int>(Roll(60));
  }

  void Step() {
    for (const auto& node : nodes_) {
      if (node->runs() || node->stopped_for-- > 0) continue;
      Open(*node);
    }
    const uint32_t roll = Roll(1000);
    if (roll < 8) {
      Crash(Any());
    } else if (roll < 14) {
      Node& node = Any();
      if (node.runs()) node.disk->CutPowerAt(1 + Roll(12));
    } else if (roll < 22) {
      Any().cut_off = Roll(2) == 0;
    } else if (roll < 30) {
      Flush(Any());
    } else if (roll < 330) {
      Propose();
    } else if (roll < 480) {
      Node& node = Any();
      if (node.runs()) node.replica->Tick();
    } else if (roll < 490) {
      for (const auto& node : nodes_) {
        for (int i = 0; i < 12 && node->runs(); ++i) node->replica->Tick();
      }
    } else {
      Deliver();
    }
    for (const auto& node : nodes_) Turn(*node);
  }

  void Propose() {
    Node& node = Any();
    if (!node.runs()) return;
    std::vector<Replica::Proposal> proposals;
    for (uint32_t count = 1 + Roll(3); count > 0; --count) {
      const std::string command = Concat("c", ++proposed_, std::string(Roll(200), '.'));
      proposals.push_back({.payload = {grpc::Slice(command)},
                           .done = [this, command](const absl::StatusOr<uint64_t>& index) {
                             if (index.ok()) Acknowledge(*index, command);
                           }});
    }
    node.replica->Propose(std::move(proposals));
  }

  void Acknowledge(uint64_t index, const std::string& command) {
    ++result_.acknowledged;
    acknowledged_[index] = command;
    const auto known = order_.find(index);
    if (known == order_.end() || known->second != command) {
      Fail(Concat("entry ", index, " was acknowledged and is another one"));
    }
  }

  void Deliver() {
    if (network_.empty()) return;
    const uint32_t at = Roll(std::min<uint32_t>(static_cast<uint32_t>(network_.size()), 8));
    PeerMessage message = network_[at];
    if (Roll(20) != 0) network_.erase(network_.begin() + at);  // else it comes again
    Node& to = *nodes_[message.to - 1];
    if (!to.runs() || to.cut_off || nodes_[message.from - 1]->cut_off || Roll(30) == 0) return;
    to.replica->Step(std::move(message)).IgnoreError();
  }

  void Send(std::vector<PeerMessage> messages) {
    for (PeerMessage& message : messages) {
      if (message.snapshot_index != 0) {
        SendSnapshot(message);
      } else if (network_.size() < 400) {
        network_.push_back(std::move(message));
      }
    }
  }

  // Files, which come at once: the state up to the start of the sender's log, and a new start.
  void SendSnapshot(const PeerMessage& message) {
    Node& from = *nodes_[message.from - 1];
    Node& to = *nodes_[message.to - 1];
    const LogStart start = from.log->start(kShard);
    const bool arrives = to.runs() && !to.cut_off && !from.cut_off && !to.disk->power_is_off();
    // Who has it, by appends or an answer that was lost, says so.
    if (arrives && start.index > to.replica->committed_index()) {
      to.replica.reset();
      to.log.reset();
      to.state.clear();
      for (const auto& [index, command] : from.state) {
        if (index <= start.index) to.state[index] = command;
      }
      to.durable_index = start.index;
      to.taken_over = start;
      Open(to);
    }
    from.replica->ReportSnapshot(message.to, arrives);
  }

  // False: the power went.
  bool TakeOver(Node& node) {
    if (!node.taken_over) return true;
    if (node.log->start(kShard).index < node.taken_over->index) {
      node.log->Add(kShard, *node.taken_over);
      if (!node.log->Write().ok() || !node.log->Sync().ok()) {
        CutPower(node);
        return false;
      }
    }
    node.taken_over.reset();
    return true;
  }

  // As the node's log thread does it.
  void Turn(Node& node) {
    while (node.runs() && node.replica->HasReady()) {
      std::vector<PeerMessage> messages;
      node.replica->Collect(&messages);
      NoteLeader(node);
      Send(std::exchange(messages, {}));
      const bool early = options_.defect == Defect::kAcknowledgesBeforeTheSync;
      absl::Status durable = node.log->Write();
      if (durable.ok() && !early) durable = node.log->Sync();
      if (!durable.ok()) {
        node.replica.reset();
        return CutPower(node);
      }
      const absl::Status settled = node.replica->Settle(
          &messages, [&](const Replica::Committed& committed) { Apply(node, committed); });
      if (!settled.ok()) return Fail(std::string(settled.message()));
      Send(std::move(messages));
      if (node.replica->snapshot_wanted())
        node.replica->OfferSnapshot(node.log->start(kShard).index);
      if (early && Roll(4) == 0 && !node.log->Sync().ok()) return CutPower(node);
    }
    if (node.runs() && node.disk->power_is_off()) CutPower(node);
  }

  void CutPower(Node& node) {
    ++result_.cuts_of_power;
    node.replica.reset();
    node.log.reset();
    node.disk->PowerOn();
    node.state.erase(node.state.upper_bound(node.durable_index), node.state.end());
    node.stopped_for = static_cast<int>(Roll(30));
  }

  void NoteLeader(Node& node) {
    if (!node.replica->leads()) return;
    const uint64_t term = node.replica->standing().hard_state.term;
    const auto [known, is_new] = leaders_.emplace(term, node.id);
    result_.leaders += is_new;
    if (known->second != node.id) {
      Fail(Concat("replicas ", known->second, " and ", node.id, " lead in term ", term));
    }
  }

  void Apply(Node& node, const Replica::Committed& committed) {
    std::string command = TextOf(*committed.payload);
    const uint64_t last = node.state.empty() ? 0 : node.state.rbegin()->first;
    if (committed.index <= last) {
      return Fail(Concat("replica ", node.id, " applies entry ", committed.index, " after ", last));
    }
    const auto [known, is_new] = order_.emplace(committed.index, command);
    if (known->second != command) {
      Fail(Concat("replica ", node.id, " has another entry ", committed.index));
    }
    node.state[committed.index] = std::move(command);
  }

  // The state is durable up to here, and the log is cut.
  void Flush(Node& node) {
    if (!node.runs()) return;
    const uint64_t applied = node.replica->committed_index();
    if (applied <= node.durable_index && Roll(3) > 0) return;
    const bool too_early = options_.defect == Defect::kCutsTooEarly;
    if (!too_early) node.durable_index = std::max(node.durable_index, applied);
    node.replica->Forget(applied, /*keep_entries_max=*/Roll(60));
    node.log->PrepareCut();
    if (!node.log->Write().ok() || !node.log->Sync().ok()) return CutPower(node);
    if (node.log->Cut(node.log->CuttableRecord()).ok()) ++result_.log_cuts;
  }

  // Nothing is at fault any more: all come to the same.
  void Heal() {
    for (const auto& node : nodes_) {
      node->cut_off = false;
      if (!node->runs()) Open(*node);
    }
    for (int round = 0; round < 4'000 && result_.failure.empty(); ++round) {
      for (const auto& node : nodes_) {
        if (!node->runs()) Open(*node);
        if (node->runs() && round % 8 == 0) node->replica->Tick();
      }
      for (int i = 0; i < 20; ++i) {
        if (network_.empty()) break;
        PeerMessage message = std::move(network_.front());
        network_.pop_front();
        Node& to = *nodes_[message.to - 1];
        if (to.runs()) to.replica->Step(std::move(message)).IgnoreError();
        for (const auto& node : nodes_) Turn(*node);
      }
      for (const auto& node : nodes_) Turn(*node);
      if (round > 600 && AllAgree()) return;
    }
    if (result_.failure.empty()) Fail("they do not come to the same state");
  }

  bool AllAgree() {
    bool some_leads = false;
    for (const auto& node : nodes_) {
      if (!node->runs()) return false;
      some_leads = some_leads || node->replica->may_serve();
      if (node->state != nodes_.front()->state) return false;
    }
    if (!some_leads) return false;
    for (const auto& [index, command] : acknowledged_) {
      const auto found = nodes_.front()->state.find(index);
      if (found == nodes_.front()->state.end() || found->second != command) {
        Fail(Concat("entry ", index, " was acknowledged and is lost"));
        return true;
      }
    }
    return true;
  }

  const SimulationOptions options_;
  std::mt19937_64 random_;
  std::string members_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::deque<PeerMessage> network_;
  std::map<uint64_t, std::string> order_;         // what each index is, as first applied
  std::map<uint64_t, std::string> acknowledged_;  // by index
  std::map<uint64_t, uint64_t> leaders_;          // by term
  uint64_t proposed_ = 0;
  SimulationResult result_;
};

}  // namespace

SimulationResult Simulate(const SimulationOptions& options) { return Simulation(options).Run(); }

}  // namespace postfleet::queue
