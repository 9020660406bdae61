#include "services/queue/raft/sequencer.h"

#include <array>
#include <cstdlib>
#include <utility>

#include "services/queue/raft/core/sequencer_core.h"
#include "services/queue/raft/wire.h"

namespace postfleet::queue::raft {
namespace {

static_assert(sizeof(Reference) == 24, "core/storage.go copies it as it lies in memory");

// Bits of a Ready's first word, as in core/wire.go.
constexpr uint64_t kHasSnapshot = 1;
constexpr uint64_t kHasHardState = 2;
constexpr uint64_t kMustSync = 4;
constexpr uint64_t kHasSoftState = 8;
constexpr uint64_t kSnapshotWanted = 16;
constexpr uint64_t kMoreFollows = 32;

// A Ready of a few entries and messages fits at once.
constexpr size_t kBufferBytesMin = 16 << 10;
// What a large Ready leaves behind is given back.
constexpr size_t kBufferBytesKept = 1 << 20;

// Why Go refused.
using Text = std::array<char, 256>;

// Go takes pointers without const, and writes nothing there.
void* Readable(const void* bytes) { return const_cast<void*>(bytes); }

absl::Status Refused(int64_t answer, const char* text) {
  return absl::Status(static_cast<absl::StatusCode>(-answer), text);
}

// Lets `call(out, capacity)` fill in the buffer, which grows as it needs. Negative: refused.
template <typename Call>
int64_t Fill(std::vector<char>* buffer, Call call) {
  if (buffer->size() < kBufferBytesMin) buffer->resize(kBufferBytesMin);
  int64_t bytes = call(buffer->data(), buffer->size());
  if (bytes > static_cast<int64_t>(buffer->size())) {
    buffer->resize(bytes);
    bytes = call(buffer->data(), buffer->size());
  }
  return bytes;
}

std::string_view View(const std::vector<char>& buffer, int64_t bytes) {
  return {buffer.data(), static_cast<size_t>(bytes)};
}

void Write(const ConfState& members, WordWriter* out) {
  out->Ids(members.voters);
  out->Ids(members.learners);
}

void Write(const Snapshot& snapshot, WordWriter* out) {
  out->Words(snapshot.index, snapshot.term);
  Write(snapshot.conf_state, out);
}

void Write(const Entry& entry, WordWriter* out) {
  out->Words(entry.term, entry.index, entry.kind);
  out->Raw(&entry.reference, sizeof entry.reference);
  out->Bytes(entry.conf_change);
}

void Write(const Options& options, WordWriter* out) {
  out->Words(options.id, options.hard_state.term, options.hard_state.vote,
             options.hard_state.commit);
  Write(options.snapshot, out);
  Write(options.applied_conf_state.value_or(options.snapshot.conf_state), out);
  out->Words(options.applied, options.election_ticks, options.heartbeat_ticks,
             options.inflight_appends_max, options.append_entries_max,
             options.committed_entries_max);
  out->Words(options.append_payload_bytes_max, options.uncommitted_entries_max,
             options.log_entries_max, options.reads_per_tick_max);
  out->Word(options.entries.size());
  for (const Entry& entry : options.entries) Write(entry, out);
}

ConfState ReadConfState(WordReader* in) {
  ConfState members;
  members.voters = in->Ids();
  members.learners = in->Ids();
  return members;
}

Snapshot ReadSnapshot(WordReader* in) {
  Snapshot snapshot;
  snapshot.index = in->Word();
  snapshot.term = in->Word();
  snapshot.conf_state = ReadConfState(in);
  return snapshot;
}

HardState ReadHardState(WordReader* in) {
  HardState state;
  state.term = in->Word();
  state.vote = in->Word();
  state.commit = in->Word();
  return state;
}

SoftState ReadSoftState(WordReader* in) {
  SoftState state;
  state.leader = in->Word();
  state.role = static_cast<Role>(in->Word());
  return state;
}

Entry ReadEntry(WordReader* in) {
  Entry entry;
  entry.term = in->Word();
  entry.index = in->Word();
  entry.kind = static_cast<EntryKind>(in->Word());
  std::memcpy(&entry.reference, in->Raw(sizeof entry.reference).data(), sizeof entry.reference);
  entry.conf_change = in->Bytes();
  return entry;
}

// `all` has room: earlier spans into it must stay.
absl::Span<const Entry> ReadEntries(WordReader* in, std::vector<Entry>* all) {
  const size_t begin = all->size();
  const uint64_t count = in->Word();
  if (count > all->capacity() - begin) std::abort();
  for (uint64_t i = 0; i < count; ++i) all->push_back(ReadEntry(in));
  return absl::MakeConstSpan(all->data() + begin, count);
}

Message ReadMessage(WordReader* in, std::vector<Entry>* all) {
  Message message;
  message.type = static_cast<MessageType>(in->Word());
  message.from = in->Word();
  message.to = in->Word();
  message.term = in->Word();
  message.before_sync = in->Word() != 0;
  message.snapshot_index = in->Word();
  message.snapshot_term = in->Word();
  message.entries = ReadEntries(in, all);
  return message;
}

Progress ReadProgress(WordReader* in) {
  Progress progress;
  progress.id = in->Word();
  progress.match = in->Word();
  progress.next = in->Word();
  progress.state = static_cast<Progress::State>(in->Word());
  progress.learner = in->Word() != 0;
  progress.recent_active = in->Word() != 0;
  return progress;
}

}  // namespace

Sequencer::Sequencer(uint64_t handle) : handle_(handle) {}

Sequencer::~Sequencer() { postfleet_raft_end(handle_); }

absl::StatusOr<std::unique_ptr<Sequencer>> Sequencer::Start(const Options& options) {
  WordWriter in;
  Write(options, &in);
  Text text;
  const int64_t answer =
      postfleet_raft_start(in.buffer().data(), in.buffer().size(), text.data(), text.size());
  if (answer < 0) return Refused(answer, text.data());
  std::unique_ptr<Sequencer> sequencer(new Sequencer(answer));
  sequencer->has_ready_ = postfleet_raft_bits(answer) != 0;
  return sequencer;
}

void Sequencer::CheckThread() {
#ifndef NDEBUG
  if (thread_ == std::thread::id()) thread_ = std::this_thread::get_id();
  if (thread_ != std::this_thread::get_id()) std::abort();
#endif
}

void Sequencer::Enter() {
  CheckThread();
  if (std::exchange(owes_advance_, false)) has_ready_ = postfleet_raft_advance(handle_) != 0;
}

absl::Status Sequencer::Outcome(int64_t answer, const char* text) {
  if (answer < 0) return Refused(answer, text);
  has_ready_ = answer != 0;
  return absl::OkStatus();
}

void Sequencer::Tick() {
  Enter();
  has_ready_ = postfleet_raft_tick(handle_) != 0;
}

absl::Status Sequencer::Propose(absl::Span<const Reference> commands) {
  CheckThread();
  Text text;
  if (buffer_.size() < kBufferBytesMin) buffer_.resize(kBufferBytesMin);
  const int64_t answer = postfleet_raft_turn(
      handle_, std::exchange(owes_advance_, false) ? 1 : 0, Readable(commands.data()),
      commands.size() * sizeof(Reference), buffer_.data(),
      // What was taken, or waits there to be, must stay.
      ready_taken_ || ready_bytes_ > 0 ? 0 : buffer_.size(), text.data(), text.size());
  if (answer < 0) {
    has_ready_ = postfleet_raft_bits(handle_) != 0;
    return Refused(answer, text.data());
  }
  if (answer > 0 && static_cast<size_t>(answer) <= buffer_.size()) ready_bytes_ = answer;
  has_ready_ = true;
  return absl::OkStatus();
}

absl::Status Sequencer::ProposeConfChange(const ConfChange& change) {
  Enter();
  Text text;
  return Outcome(
      postfleet_raft_propose_conf_change(handle_, static_cast<uint64_t>(change.type), change.node,
                                         Readable(change.context.data()), change.context.size(),
                                         text.data(), text.size()),
      text.data());
}

absl::StatusOr<ConfChange> Sequencer::ParseConfChange(std::string_view conf_change) {
  Enter();
  Text text;
  std::vector<char> buffer;
  const int64_t answer = Fill(&buffer, [&](char* out, size_t capacity) {
    return postfleet_raft_parse_conf_change(Readable(conf_change.data()), conf_change.size(), out,
                                            capacity, text.data(), text.size());
  });
  if (answer < 0) return Refused(answer, text.data());
  WordReader in(View(buffer, answer));
  ConfChange change;
  change.type = static_cast<ConfChange::Type>(in.Word());
  change.node = in.Word();
  change.context = in.Bytes();
  return change;
}

ConfState Sequencer::ApplyConfChange(const ConfChange& change) {
  Enter();
  postfleet_raft_apply_conf_change(handle_, static_cast<uint64_t>(change.type), change.node);
  has_ready_ = true;
  std::vector<char> buffer;
  const int64_t answer = Fill(&buffer, [&](char* out, size_t capacity) {
    return postfleet_raft_members(handle_, out, capacity);
  });
  WordReader in(View(buffer, answer));
  return ReadConfState(&in);
}

absl::Status Sequencer::Step(uint64_t from, std::string_view message) {
  Enter();
  Text text;
  return Outcome(postfleet_raft_step(handle_, from, Readable(message.data()), message.size(),
                                     text.data(), text.size()),
                 text.data());
}

absl::StatusOr<Message> Sequencer::Inspect(std::string_view message) {
  Enter();
  Text text;
  const int64_t answer = Fill(&inspected_buffer_, [&](char* out, size_t capacity) {
    return postfleet_raft_inspect(Readable(message.data()), message.size(), out, capacity,
                                  text.data(), text.size());
  });
  if (answer < 0) return Refused(answer, text.data());
  WordReader in(View(inspected_buffer_, answer));
  inspected_.clear();
  inspected_.reserve(answer / sizeof(uint64_t));
  Message inspected = ReadMessage(&in, &inspected_);
  inspected.bytes = message;
  return inspected;
}

absl::Status Sequencer::ReadIndex(uint64_t context) {
  Enter();
  Text text;
  return Outcome(postfleet_raft_read_index(handle_, context, text.data(), text.size()),
                 text.data());
}

void Sequencer::TransferLeadership(uint64_t to) {
  Enter();
  has_ready_ = postfleet_raft_transfer(handle_, to) != 0;
}

void Sequencer::Campaign() {
  Enter();
  has_ready_ = postfleet_raft_campaign(handle_) != 0;
}

void Sequencer::ReportUnreachable(uint64_t id) {
  Enter();
  has_ready_ = postfleet_raft_report_unreachable(handle_, id) != 0;
}

void Sequencer::ReportSnapshot(uint64_t id, bool delivered) {
  Enter();
  has_ready_ = postfleet_raft_report_snapshot(handle_, id, delivered ? 1 : 0) != 0;
}

Ready Sequencer::TakeReady() {
  Enter();
  if (ready_taken_) std::abort();
  ready_taken_ = true;
  int64_t answer = std::exchange(ready_bytes_, 0);
  if (answer == 0) {
    answer = Fill(&buffer_, [&](char* out, size_t capacity) {
      return postfleet_raft_ready(handle_, out, capacity);
    });
  }
  WordReader in(View(buffer_, answer));
  Ready ready;
  const uint64_t bits = in.Word();
  entries_.reserve(in.Word());
  const HardState hard_state = ReadHardState(&in);
  const SoftState soft_state = ReadSoftState(&in);
  Snapshot snapshot = ReadSnapshot(&in);
  if (bits & kHasHardState) ready.hard_state = hard_state;
  if (bits & kHasSoftState) ready.soft_state = soft_state;
  if (bits & kHasSnapshot) ready.snapshot = std::move(snapshot);
  ready.must_sync = (bits & kMustSync) != 0;
  ready.snapshot_wanted = (bits & kSnapshotWanted) != 0;
  ready.entries = ReadEntries(&in, &entries_);
  ready.committed = ReadEntries(&in, &entries_);
  for (uint64_t count = in.Word(); count > 0; --count) {
    messages_.push_back(ReadMessage(&in, &entries_));
    messages_.back().bytes = in.Bytes();
  }
  for (uint64_t count = in.Word(); count > 0; --count) {
    const uint64_t context = in.Word();
    read_states_.push_back({context, in.Word()});
  }
  for (uint64_t count = in.Word(); count > 0; --count) ready.remarks.push_back(in.Bytes());
  ready.messages = messages_;
  ready.read_states = read_states_;
  has_ready_ = (bits & kMoreFollows) != 0;
  return ready;
}

// Go is told with the next call: one call less for each group of commands.
void Sequencer::Advance() {
  CheckThread();
  if (!ready_taken_) std::abort();
  ready_taken_ = false;
  entries_.clear();
  messages_.clear();
  read_states_.clear();
  if (buffer_.size() > kBufferBytesKept) {
    buffer_ = {};
    entries_ = {};
  }
  owes_advance_ = true;
}

Standing Sequencer::standing() {
  Enter();
  std::vector<char> buffer;
  const int64_t answer = Fill(&buffer, [&](char* out, size_t capacity) {
    return postfleet_raft_standing(handle_, out, capacity);
  });
  WordReader in(View(buffer, answer));
  Standing standing;
  standing.id = in.Word();
  standing.hard_state = ReadHardState(&in);
  standing.soft_state = ReadSoftState(&in);
  standing.applied = in.Word();
  standing.first_index = in.Word();
  standing.last_index = in.Word();
  standing.transferring_to = in.Word();
  standing.conf_state = ReadConfState(&in);
  for (uint64_t count = in.Word(); count > 0; --count) {
    standing.progress.push_back(ReadProgress(&in));
  }
  return standing;
}

void Sequencer::Compact(uint64_t index) {
  Enter();
  postfleet_raft_compact(handle_, index);
}

void Sequencer::SetSnapshot(const Snapshot& snapshot) {
  Enter();
  WordWriter in;
  Write(snapshot, &in);
  postfleet_raft_set_snapshot(handle_, in.buffer().data(), in.buffer().size());
}

void Sequencer::WithdrawSnapshot() {
  Enter();
  postfleet_raft_withdraw_snapshot(handle_);
}

void Sequencer::SeedRandomness(uint64_t seed) { postfleet_raft_seed_randomness(seed); }

}  // namespace postfleet::queue::raft
