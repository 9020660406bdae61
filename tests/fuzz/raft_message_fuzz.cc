// What a member of the group sends, in any order and however wrong, beside ticks, proposals and the
// rest of a replica's life: Step answers by a status, the process goes on, what was committed
// stays, and commits come in order. A first byte of 255: the rest is one message as it stands.
// Otherwise each byte, or a few, is an event.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "services/queue/raft/peer_message.h"
#include "services/queue/raft/sequencer.h"

namespace {

using namespace postfleet::queue::raft;

constexpr int kEventsMax = 200;

void Check(bool holds) {
  if (!holds) std::abort();
}

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), end_(data + size) {}
  bool empty() const { return data_ == end_; }
  uint8_t Byte() { return empty() ? 0 : *data_++; }
  // Mostly small, as terms and indices of a short run are; sometimes at an edge.
  uint64_t Number() {
    const uint8_t byte = Byte();
    if (byte < 240) return byte % 16;
    return (uint64_t{1} << (byte - 240) * 4) - (byte & 1);
  }
  std::string_view Rest() {
    return {reinterpret_cast<const char*>(data_), static_cast<size_t>(end_ - data_)};
  }

 private:
  const uint8_t* data_;
  const uint8_t* end_;
};

class Replica {
 public:
  Replica() {
    Options options;
    options.id = 1;
    options.snapshot = {2, 1, {{1, 2, 3}, {4}}};
    options.hard_state = {2, 0, 2};
    options.applied = applied_;
    options.log_entries_max = 64;
    options.reads_per_tick_max = 8;
    auto started = Sequencer::Start(options);
    Check(started.ok());
    sequencer_ = *std::move(started);
  }

  Sequencer& sequencer() { return *sequencer_; }

  void Turn() {
    if (!sequencer_->HasReady()) return;
    const Ready ready = sequencer_->TakeReady();
    if (ready.snapshot) {
      Check(ready.snapshot->index > applied_);
      applied_ = ready.snapshot->index;
    }
    for (const Message& message : ready.messages) Check(message.from == 1 && message.to != 1);
    for (const Entry& entry : ready.committed) {
      Check(entry.index == ++applied_);
      if (entry.kind != EntryKind::kConfChange) continue;
      const auto change = sequencer_->ParseConfChange(entry.conf_change);
      Check(change.ok());
      sequencer_->ApplyConfChange(*change);
    }
    sequencer_->Advance();
    if (applied_ % 7 == 0) sequencer_->Compact(applied_);
  }

 private:
  std::unique_ptr<Sequencer> sequencer_;
  uint64_t applied_ = 2;
};

void AddEntries(Input& input, PeerMessage* message) {
  uint64_t index = message->index, term = message->log_term;
  for (int count = input.Byte() % 5; count > 0; --count) {
    const uint8_t shape = input.Byte();
    PeerMessage::LogEntry entry{term += shape & 1, ++index, 0, std::string(24, 'r')};
    if (shape < 32) entry.data.clear();
    if (shape >= 200) {
      entry.type = 1;
      entry.data.clear();
      PeerMessage::Number(&entry.data, 2, shape % 5);
      PeerMessage::Number(&entry.data, 3, input.Number());
    }
    if (shape == 255) entry.index = input.Number();
    message->entries.push_back(std::move(entry));
  }
}

std::string MessageFrom(Input& input, uint64_t* from) {
  PeerMessage message;
  message.type = input.Byte() % 20;
  message.to = 1;
  message.from = *from = 2 + input.Byte() % 4;
  message.term = input.Number();
  message.log_term = input.Number();
  message.index = input.Number();
  message.commit = input.Number();
  const uint8_t flags = input.Byte();
  message.reject = flags & 1;
  message.reject_hint = flags & 2 ? input.Number() : 0;
  if (flags & 4) message.context = flags & 8 ? "CampaignTransfer" : std::string(16, 'c');
  if (message.type == 3) AddEntries(input, &message);
  if (message.type == 15 || message.type == 16) message.entries = {{0, 0, 0, std::string(16, 'c')}};
  if (message.type == 15) message.term = 0;
  if (message.type == 7) {
    message.snapshot = {
        .index = input.Number(), .term = input.Number(), .voters = {1, 2 + input.Number()}};
  }
  return message.Encode();
}

void Live(Replica& replica, Input& input) {
  Sequencer& sequencer = replica.sequencer();
  uint64_t from = 0;
  switch (const uint8_t event = input.Byte(); event % 16) {
    case 0:
      return sequencer.Tick();
    case 1:
      return sequencer.Campaign();
    case 2:
      return sequencer.Propose(Reference{7, event, 1, 0}).IgnoreError();
    case 3:
      return sequencer.ReadIndex(event).IgnoreError();
    case 4:
      return sequencer.TransferLeadership(event / 16 % 5);
    case 5:
      return sequencer.ReportSnapshot(event / 16 % 5, event & 128);
    case 6:
      return sequencer.ReportUnreachable(event / 16 % 5);
    case 7:
      return sequencer.ProposeConfChange({ConfChange::Type::kRemove, event / uint64_t{16} % 5, ""})
          .IgnoreError();
    case 8:
    case 9:
      return replica.Turn();
    default: {
      const std::string bytes = MessageFrom(input, &from);
      const bool parsed = sequencer.Inspect(bytes).ok();
      Check(parsed || absl::IsInvalidArgument(sequencer.Step(from, bytes)));
      if (parsed) sequencer.Step(from, bytes).IgnoreError();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Sequencer::SeedRandomness(1);
  Replica replica;
  Input input(data, size);
  if (size > 0 && data[0] == 255) {
    input.Byte();
    for (const uint64_t from : {2, 3}) replica.sequencer().Step(from, input.Rest()).IgnoreError();
    replica.sequencer().Inspect(input.Rest()).IgnoreError();
  }
  for (int event = 0; event < kEventsMax && !input.empty(); ++event) Live(replica, input);
  while (replica.sequencer().HasReady()) replica.Turn();
  Check(replica.sequencer().standing().id == 1);
  return 0;
}
