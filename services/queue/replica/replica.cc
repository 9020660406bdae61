#include "services/queue/replica/replica.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"

namespace postfleet::queue {
namespace {

using raft::EntryKind;

uint32_t ChecksumOf(const rpc::Payload& payload) {
  uint32_t checksum = 0;
  for (const grpc::Slice& slice : payload) checksum = Crc32c(rpc::AsView(slice), checksum);
  return checksum;
}

std::vector<std::string_view> ViewsOf(const rpc::Payload& payload) {
  std::vector<std::string_view> views;
  views.reserve(payload.size());
  for (const grpc::Slice& slice : payload) views.push_back(rpc::AsView(slice));
  return views;
}

rpc::Payload CopyOf(std::string_view bytes) {
  rpc::Payload payload;
  if (!bytes.empty()) payload.push_back(grpc::Slice(bytes.data(), bytes.size()));
  return payload;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Replica>> Replica::Open(const ReplicaOptions& options,
                                                       const MembersCodec& codec, NodeLog* log) {
  std::unique_ptr<Replica> replica(new Replica(options, codec, log));
  if (absl::Status begun = replica->Begin(); !begun.ok()) return begun;
  return replica;
}

absl::Status Replica::Begin() {
  const LogStart& start = log_->start(options_.shard);
  raft::Options raft;
  raft.id = options_.id;
  raft.hard_state = log_->hard_state(options_.shard);
  raft.applied = std::max(options_.applied, start.index);
  raft.election_ticks = options_.election_ticks;
  raft.heartbeat_ticks = options_.heartbeat_ticks;
  members_ = start.members;
  if (start.index != 0) {
    auto conf_state = codec_.conf_state(start.members);
    if (!conf_state.ok()) return conf_state.status();
    raft.snapshot = {start.index, start.term, *std::move(conf_state)};
  }
  const uint64_t last = log_->last_index(options_.shard);
  // Founded, or taken over: nobody has voted in the term of what it begins with.
  const NodeLog::Place* newest = log_->Find(options_.shard, last);
  const uint64_t term = newest != nullptr ? newest->term : start.term;
  if (raft.hard_state.term < term) raft.hard_state = {term, 0, raft.applied};
  if (raft.applied > last) {
    return absl::DataLossError(
        Concat("the log ends with entry ", last, ", but entry ", raft.applied, " was applied"));
  }
  std::vector<raft::Entry> entries;
  std::deque<std::string> conf_changes;  // what the entries' views point to
  entries.reserve(last - start.index);
  for (uint64_t index = start.index + 1; index <= last; ++index) {
    const NodeLog::Place& place = *log_->Find(options_.shard, index);
    raft::Entry& entry = entries.emplace_back();
    entry.term = place.term;
    entry.index = index;
    entry.kind = place.kind;
    entry.reference.bytes = place.bytes;
    entry.reference.crc32c = place.crc32c;
    if (place.kind != EntryKind::kConfChange) continue;
    const absl::Status read = log_->Read(options_.shard, index, [&](const LogEntry& found) {
      conf_changes.emplace_back(found.payload);
      return false;
    });
    if (!read.ok()) return read;
    entry.conf_change = conf_changes.back();
  }
  raft.entries = entries;
  // Changes behind the start that were applied before: parsed by a sequencer, so in a second step.
  auto sequencer = raft::Sequencer::Start(raft);
  if (!sequencer.ok()) return sequencer.status();
  bool changed = false;
  for (const raft::Entry& entry : entries) {
    if (entry.kind != EntryKind::kConfChange || entry.index > raft.applied) continue;
    const auto change = (*sequencer)->ParseConfChange(entry.conf_change);
    if (!change.ok()) return change.status();
    members_ = codec_.changed(members_, *change, entry.index);
    changed = true;
  }
  if (changed) {
    auto conf_state = codec_.conf_state(members_);
    if (!conf_state.ok()) return conf_state.status();
    raft.applied_conf_state = *std::move(conf_state);
    sequencer->reset();
    sequencer = raft::Sequencer::Start(raft);
    if (!sequencer.ok()) return sequencer.status();
  }
  sequencer_ = *std::move(sequencer);
  term_ = raft.hard_state.term;
  committed_index_ = raft.applied;
  return absl::OkStatus();
}

absl::Status Replica::Step(PeerMessage message) {
  const auto inspected = sequencer_->Inspect(message.raft);
  if (!inspected.ok()) return inspected.status();
  if (inspected->type == raft::MessageType::kSnapshot) {
    return absl::InvalidArgumentError("a snapshot comes as files, and is taken over by a start");
  }
  if (absl::Status taken = TakePayloads(*inspected, message.payload); !taken.ok()) return taken;
  return sequencer_->Step(message.from, message.raft);
}

// Before raft sees the entries: one without its payload could never be applied.
absl::Status Replica::TakePayloads(const raft::Message& message, const rpc::Payload& payload) {
  rpc::PayloadReader reader(payload);
  std::vector<std::pair<std::pair<uint64_t, uint64_t>, rpc::Payload>> taken;
  for (const raft::Entry& entry : message.entries) {
    if (entry.kind != EntryKind::kCommand) continue;
    rpc::Payload own;
    if (!reader.Take(entry.reference.bytes, &own)) {
      return absl::InvalidArgumentError("an append without the payloads of its entries");
    }
    if (ChecksumOf(own) != entry.reference.crc32c) {
      return absl::InvalidArgumentError(
          Concat("the payload of entry ", entry.index, " came damaged"));
    }
    taken.emplace_back(std::pair(entry.index, entry.term), std::move(own));
  }
  for (auto& [key, own] : taken) arrived_[key] = std::move(own);
  return absl::OkStatus();
}

void Replica::Propose(std::vector<Proposal> proposals) {
  std::vector<raft::Reference> references;
  references.reserve(proposals.size());
  const uint64_t first = last_sequence_ + 1;
  for (Proposal& proposal : proposals) {
    references.push_back({.origin = options_.origin,
                          .sequence = ++last_sequence_,
                          .bytes = static_cast<uint32_t>(rpc::PayloadBytes(proposal.payload)),
                          .crc32c = ChecksumOf(proposal.payload)});
    waiting_[last_sequence_] = {.payload = std::move(proposal.payload),
                                .done = std::move(proposal.done)};
  }
  const absl::Status proposed = sequencer_->Propose(references);
  if (proposed.ok()) return;
  for (uint64_t sequence = first; sequence <= last_sequence_; ++sequence) {
    auto node = waiting_.extract(sequence);
    node.mapped().done(proposed);
  }
}

absl::Status Replica::Change(const raft::ConfChange& change) {
  return sequencer_->ProposeConfChange(change);
}

// What an entry that raft hands out stands for: proposed here, come with a message, or kept.
rpc::Payload Replica::PayloadOf(const raft::Entry& entry) {
  if (entry.kind == EntryKind::kConfChange) return CopyOf(entry.conf_change);
  if (entry.kind == EntryKind::kEmpty) return {};
  if (entry.reference.origin == options_.origin) {
    const auto waiting = waiting_.find(entry.reference.sequence);
    if (waiting != waiting_.end() && !waiting->second.placed) {
      waiting->second.placed = true;
      return std::move(waiting->second.payload);
    }
  }
  const auto arrived = arrived_.find({entry.index, entry.term});
  if (arrived != arrived_.end()) return arrived->second;
  std::fprintf(stderr, "queue/replica: entry %llu has no payload\n",
               static_cast<unsigned long long>(entry.index));
  std::abort();
}

void Replica::Keep(uint64_t index, uint64_t term, rpc::Payload payload) {
  const uint64_t bytes = rpc::PayloadBytes(payload);
  kept_bytes_ += bytes;
  kept_[index] = {term, std::move(payload), bytes};
}

void Replica::DropFrom(uint64_t index) {
  const auto first = kept_.lower_bound(index);
  for (auto at = first; at != kept_.end(); ++at) kept_bytes_ -= at->second.bytes;
  kept_.erase(first, kept_.end());
}

void Replica::DropOld() {
  while (kept_bytes_ > options_.recent_bytes_max && !kept_.empty() &&
         kept_.begin()->first <= committed_index_) {
    kept_bytes_ -= kept_.begin()->second.bytes;
    kept_.erase(kept_.begin());
  }
}

void Replica::Collect(std::vector<PeerMessage>* early) {
  ready_ = sequencer_->TakeReady();
  for (const std::string_view remark : ready_->remarks) remarks_.emplace_back(remark);
  if (ready_->soft_state) Lead(*ready_->soft_state);
  slices_.clear();
  if (!ready_->entries.empty()) DropFrom(ready_->entries.front().index);
  for (const raft::Entry& entry : ready_->entries) {
    Keep(entry.index, entry.term, PayloadOf(entry));
    slices_.push_back(ViewsOf(kept_.at(entry.index).payload));
    log_->Add(options_.shard, NodeLog::NewEntry{.term = entry.term,
                                                .index = entry.index,
                                                .kind = entry.kind,
                                                .crc32c = entry.reference.crc32c,
                                                .parts = slices_.back()});
  }
  arrived_.clear();
  DropLostProposals();
  if (ready_->hard_state) {
    term_ = ready_->hard_state->term;
    log_->Add(options_.shard, *ready_->hard_state);
  }
  for (const raft::Message& message : ready_->messages) {
    if (!message.before_sync) continue;
    PeerMessage out;
    if (Attach(message, &out).ok()) early->push_back(std::move(out));
  }
}

// The payloads of an append's entries. An error: they cannot be read now; raft sends them again.
absl::Status Replica::Attach(const raft::Message& message, PeerMessage* out) {
  out->shard = options_.shard;
  out->from = message.from;
  out->to = message.to;
  out->raft = std::string(message.bytes);
  out->snapshot_index = message.snapshot_index;
  for (const raft::Entry& entry : message.entries) {
    if (entry.kind != EntryKind::kCommand) continue;
    absl::StatusOr<rpc::Payload> payload = Find(entry.index, entry.term);
    if (!payload.ok()) return payload.status();
    out->payload.insert(out->payload.end(), payload->begin(), payload->end());
  }
  return absl::OkStatus();
}

absl::StatusOr<rpc::Payload> Replica::Find(uint64_t index, uint64_t term) {
  const auto kept = kept_.find(index);
  if (kept != kept_.end() && kept->second.term == term) return kept->second.payload;
  rpc::Payload payload;
  bool found = false;
  const absl::Status read = log_->ReadOne(options_.shard, index, [&](const LogEntry& entry) {
    found = entry.term == term;
    payload = CopyOf(entry.payload);
  });
  if (!read.ok()) return read;
  if (!found) return absl::NotFoundError(Concat("entry ", index, " of term ", term));
  return payload;
}

absl::Status Replica::Settle(std::vector<PeerMessage>* late, Apply apply) {
  for (const raft::Message& message : ready_->messages) {
    if (message.before_sync) continue;
    PeerMessage out;
    if (const absl::Status attached = Attach(message, &out); !attached.ok()) {
      remarks_.push_back(std::string(attached.message()));
      continue;
    }
    late->push_back(std::move(out));
  }
  snapshot_wanted_ = snapshot_wanted_ || ready_->snapshot_wanted;
  for (const raft::Entry& entry : ready_->committed) {
    if (absl::Status settled = SettleEntry(entry, apply); !settled.ok()) return settled;
  }
  ready_.reset();
  sequencer_->Advance();
  DropOld();
  return absl::OkStatus();
}

absl::Status Replica::SettleEntry(const raft::Entry& entry, Apply apply) {
  committed_index_ = entry.index;
  settled_term_ = entry.term;
  if (entry.kind == EntryKind::kConfChange) {
    const auto change = sequencer_->ParseConfChange(entry.conf_change);
    if (!change.ok()) return change.status();
    sequencer_->ApplyConfChange(*change);
    members_ = codec_.changed(members_, *change, entry.index);
    changes_.push_back(*change);
  }
  const rpc::Payload none;
  if (entry.kind != EntryKind::kCommand) {
    apply({.term = entry.term, .index = entry.index, .payload = &none});
    return absl::OkStatus();
  }
  absl::StatusOr<rpc::Payload> payload = Find(entry.index, entry.term);
  if (!payload.ok()) return payload.status();
  std::map<uint64_t, Waiting>::node_type waiting;
  if (entry.reference.origin == options_.origin) {
    waiting = waiting_.extract(entry.reference.sequence);
  }
  const bool own = !waiting.empty() && waiting.mapped().done;
  apply({.term = entry.term, .index = entry.index, .payload = &*payload, .own = own});
  if (own) waiting.mapped().done(entry.index);
  return absl::OkStatus();
}

// Who led and does not any more knows of nothing that it proposed whether it will be committed.
void Replica::Lead(const raft::SoftState& state) {
  const bool led = leads();
  soft_state_ = state;
  if (led && !leads()) EndProposals(absl::AbortedError("not the leader"));
}

void Replica::EndProposals(const absl::Status& why) {
  std::vector<Done> ended;
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    if (at->second.done) ended.push_back(std::exchange(at->second.done, nullptr));
    // One that raft has not placed yet needs its payload when it is.
    at = at->second.placed ? waiting_.erase(at) : std::next(at);
  }
  for (const Done& done : ended) done(why);
}

void Replica::OfferSnapshot(uint64_t index) {
  snapshot_wanted_ = false;
  const absl::StatusOr<LogStart> start = StartAt(index);
  if (!start.ok()) return sequencer_->WithdrawSnapshot();
  auto conf_state = codec_.conf_state(start->members);
  if (!conf_state.ok()) return sequencer_->WithdrawSnapshot();
  sequencer_->SetSnapshot({start->index, start->term, *std::move(conf_state)});
}

// Raft has given a place to all that it took: what has none was replaced before.
void Replica::DropLostProposals() {
  std::vector<Done> ended;
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    if (at->second.placed) {
      ++at;
      continue;
    }
    if (at->second.done) ended.push_back(std::move(at->second.done));
    at = waiting_.erase(at);
  }
  for (const Done& done : ended) done(absl::AbortedError("not the leader"));
}

// The members as of `index`: all changes up to it, from the log's own.
absl::StatusOr<LogStart> Replica::StartAt(uint64_t index) {
  const LogStart& start = log_->start(options_.shard);
  if (index == start.index) return start;
  const NodeLog::Place* last = log_->Find(options_.shard, index);
  if (last == nullptr) return absl::NotFoundError(Concat("entry ", index, " is not in the log"));
  LogStart later{.index = index, .term = last->term, .members = start.members};
  for (uint64_t at = start.index + 1; at <= index; ++at) {
    const NodeLog::Place& place = *log_->Find(options_.shard, at);
    if (place.kind != EntryKind::kConfChange) continue;
    absl::Status parsed;
    const absl::Status read = log_->Read(options_.shard, at, [&](const LogEntry& found) {
      const auto change = sequencer_->ParseConfChange(found.payload);
      parsed = change.status();
      if (change.ok()) later.members = codec_.changed(later.members, *change, at);
      return false;
    });
    if (!read.ok()) return read;
    if (!parsed.ok()) return parsed;
  }
  return later;
}

void Replica::Forget(uint64_t index, uint64_t keep_entries_max) {
  const raft::Standing now = standing();
  index = std::min({index, committed_index_, now.applied});
  uint64_t needed = index;
  for (const raft::Progress& progress : now.progress) needed = std::min(needed, progress.match);
  if (index - needed > keep_entries_max) needed = index - keep_entries_max;
  if (needed <= log_->start(options_.shard).index) return;
  const absl::StatusOr<LogStart> start = StartAt(needed);
  if (!start.ok()) return;  // it is said when it is needed
  sequencer_->Compact(needed);
  log_->Compact(options_.shard, *start);
}

}  // namespace postfleet::queue
