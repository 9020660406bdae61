#include "services/queue/replica/node_log.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "libs/base/concat.h"
#include "libs/base/crc32c.h"

namespace postfleet::queue {
namespace {

constexpr size_t kEntryHeadBytes = 16;
constexpr size_t kHardStateBytes = 24;
constexpr size_t kStartHeadBytes = 17;

void Put(std::string* out, uint64_t number) {
  for (int shift = 0; shift < 64; shift += 8) out->push_back(static_cast<char>(number >> shift));
}

uint64_t Get(std::string_view bytes, size_t offset) {
  uint64_t number = 0;
  for (size_t i = 8; i-- > 0;) {
    number = number << 8 | static_cast<unsigned char>(bytes[offset + i]);
  }
  return number;
}

absl::Status Malformed(const EntryView& record) {
  return absl::DataLossError(Concat("record ", record.id.index,
                                    " of the log is whole, and says nothing that this program "
                                    "knows"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<NodeLog>> NodeLog::Open(const Log::Options& options,
                                                       Recovery* found) {
  absl::StatusOr<std::unique_ptr<Log>> log = Log::Open(options, found);
  if (!log.ok()) return log.status();
  std::unique_ptr<NodeLog> node(new NodeLog(*std::move(log)));
  if (absl::Status recovered = node->Recover(); !recovered.ok()) return recovered;
  return node;
}

// What is damaged is judged at the end: only then it is known which records are needed.
absl::Status NodeLog::Recover() {
  std::optional<Hole> last_hole;
  // What does not fit behind a hole, by shard, until that shard begins anew.
  std::map<uint16_t, absl::Status> behind_hole;
  recovering_ = true;
  const absl::Status read = log_->Replay(
      log_->first_index(),
      [&](const EntryView& record) {
        const absl::Status recalled = Recall(record);
        if (recalled.ok() && record.type == EntryType::kStart && !Parse(record)->keeps) {
          behind_hole.erase(record.id.shard);
        }
        // Behind a hole what it says may rest on what is missing.
        if (!recalled.ok() && last_hole) {
          behind_hole[record.id.shard] = recalled;
          return absl::OkStatus();
        }
        return recalled;
      },
      [&](const Hole& hole) {
        last_hole = hole;
        return absl::OkStatus();
      });
  recovering_ = false;
  if (!read.ok()) return read;
  for (const auto& [id, shard] : shards_) {
    if (shard.awaits_start && !last_hole) {
      return absl::DataLossError(Concat("the log has entries of shard ", id, " from ",
                                        shard.start.index + 1,
                                        " on, and does not say what they follow"));
    }
    if (shard.awaits_start) behind_hole[id] = absl::DataLossError(last_hole->ToString());
  }
  if (!last_hole) return absl::OkStatus();
  if (!behind_hole.empty() || shards_.empty() || last_hole->last_index >= FirstNeeded()) {
    return absl::DataLossError(last_hole->ToString());
  }
  return absl::OkStatus();
}

absl::Status NodeLog::Recall(const EntryView& record) {
  const absl::StatusOr<Pending> parsed = Parse(record);
  return parsed.ok() ? Note(*parsed, record.id.index) : parsed.status();
}

absl::StatusOr<NodeLog::Pending> NodeLog::Parse(const EntryView& record) {
  const std::string_view payload = record.payload;
  Pending pending{.shard = record.id.shard, .type = record.type, .term = record.id.term};
  switch (record.type) {
    case EntryType::kCommand:
      pending.index = record.id.index;
      pending.kind = raft::EntryKind::kCommand;
      pending.payload_bytes = payload.size();
      pending.crc32c = Crc32c(payload);
      break;
    case EntryType::kEntry:
      if (payload.size() < kEntryHeadBytes || payload[8] > 2) return Malformed(record);
      pending.index = Get(payload, 0);
      pending.kind = static_cast<raft::EntryKind>(payload[8]);
      pending.payload_bytes = payload.size() - kEntryHeadBytes;
      pending.crc32c = Crc32c(payload.substr(kEntryHeadBytes));
      break;
    case EntryType::kHardState:
      if (payload.size() != kHardStateBytes) return Malformed(record);
      pending.hard_state = {Get(payload, 0), Get(payload, 8), Get(payload, 16)};
      break;
    case EntryType::kStart:
      if (payload.size() < kStartHeadBytes) return Malformed(record);
      pending.start = {Get(payload, 0), Get(payload, 8),
                       std::string(payload.substr(kStartHeadBytes))};
      pending.keeps = payload[16] != 0;
      break;
    default:
      return Malformed(record);
  }
  return pending;
}

std::optional<LogEntry> NodeLog::EntryOf(const EntryView& record) {
  if (record.type != EntryType::kEntry && record.type != EntryType::kCommand) return std::nullopt;
  const absl::StatusOr<Pending> parsed = Parse(record);
  if (!parsed.ok()) return std::nullopt;
  LogEntry entry{.term = parsed->term,
                 .index = parsed->index,
                 .kind = parsed->kind,
                 .payload = record.payload};
  if (record.type == EntryType::kEntry) entry.payload.remove_prefix(kEntryHeadBytes);
  return entry;
}

std::optional<LogStart> NodeLog::StartOf(const EntryView& record, bool* keeps) {
  if (record.type != EntryType::kStart) return std::nullopt;
  absl::StatusOr<Pending> parsed = Parse(record);
  if (!parsed.ok()) return std::nullopt;
  *keeps = parsed->keeps;
  return std::move(parsed->start);
}

absl::Status NodeLog::BeginAnew(Log* log, uint16_t shard, const LogStart& start) {
  const Pending pending[] = {Make(shard, start, /*keeps=*/false),
                             Make(shard, raft::HardState{start.term, 0, start.index})};
  uint64_t number = log->last_index();
  for (const Pending& one : pending) {
    const std::string_view head = one.head;
    const Entry record{.id = {.shard = shard, .term = one.term, .index = ++number},
                       .type = one.type,
                       .parts = absl::MakeConstSpan(&head, 1)};
    if (absl::Status written = log->Append({&record, 1}); !written.ok()) return written;
  }
  return log->Sync();
}

absl::Status NodeLog::Note(const Pending& pending, uint64_t record) {
  Shard& shard = shards_[pending.shard];
  switch (pending.type) {
    case EntryType::kHardState:
      shard.hard_state = pending.hard_state;
      shard.hard_state_record = record;
      return absl::OkStatus();
    case EntryType::kStart:
      NoteStart(&shard, pending.start, pending.keeps, record);
      return absl::OkStatus();
    default: {
      // The first one that was not cut; its start comes later, but in an older folder.
      const bool is_first = shard.start_record == 0;
      const bool jumps = recovering_ && pending.index > shard.start.index + 1;
      // What came first was replaced later.
      const bool goes_back = shard.awaits_start && pending.index <= shard.start.index;
      if (goes_back) shard.places.clear();
      if (goes_back || (shard.places.empty() && (is_first || jumps))) {
        shard.start = {.index = pending.index - 1, .term = pending.term, .members = {}};
        shard.awaits_start = pending.type == EntryType::kEntry;
      }
      return NoteEntry(&shard, pending.index,
                       {.term = pending.term,
                        .record = record,
                        .bytes = static_cast<uint32_t>(pending.payload_bytes),
                        .crc32c = pending.crc32c,
                        .kind = pending.kind});
    }
  }
}

absl::Status NodeLog::NoteEntry(Shard* shard, uint64_t index, const Place& place) {
  // Cut off, or replaced by a snapshot, and still in a segment that is kept.
  if (index <= shard->start.index) return absl::OkStatus();
  const uint64_t at = index - shard->start.index - 1;
  if (at > shard->places.size()) {
    return absl::DataLossError(Concat("record ", place.record, ": entry ", index, " follows entry ",
                                      shard->start.index + shard->places.size()));
  }
  shard->places.resize(at);
  shard->places.push_back(place);
  return absl::OkStatus();
}

void NodeLog::NoteStart(Shard* shard, LogStart start, bool keeps, uint64_t record) {
  const uint64_t before = shard->start.index;
  std::deque<Place>& places = shard->places;
  // An older one that was written again; in recovery, what follows it was cut off, and a later one
  // is to come.
  if (keeps && start.index < before) return;
  if (!keeps) {
    places.clear();
  } else {
    const uint64_t gone = std::min<uint64_t>(start.index - before, places.size());
    places.erase(places.begin(), places.begin() + static_cast<ptrdiff_t>(gone));
  }
  shard->awaits_start = false;
  shard->start = std::move(start);
  shard->start_record = record;
}

uint64_t NodeLog::last_index(uint16_t shard) {
  const Shard& of = shards_[shard];
  return of.start.index + of.places.size();
}

const NodeLog::Place* NodeLog::Find(uint16_t shard, uint64_t index) {
  const Shard& of = shards_[shard];
  if (index <= of.start.index || index > of.start.index + of.places.size()) return nullptr;
  return &of.places[index - of.start.index - 1];
}

absl::Status NodeLog::Reserve(size_t records, uint64_t payload_bytes) {
  return log_->Reserve(payload_bytes + records * (RecordBytes(kEntryHeadBytes) + kRecordAlignment));
}

void NodeLog::Add(uint16_t shard, const NewEntry& entry) {
  Pending& pending = group_.emplace_back();
  pending.shard = shard;
  pending.type = EntryType::kEntry;
  pending.term = entry.term;
  pending.index = entry.index;
  pending.kind = entry.kind;
  pending.crc32c = entry.crc32c;
  Put(&pending.head, entry.index);
  pending.head.push_back(static_cast<char>(entry.kind));
  pending.head.append(kEntryHeadBytes - pending.head.size(), '\0');
  pending.parts.assign(entry.parts.begin(), entry.parts.end());
  for (const std::string_view part : entry.parts) pending.payload_bytes += part.size();
}

NodeLog::Pending NodeLog::Make(uint16_t shard, const raft::HardState& state) {
  Pending pending{.shard = shard, .type = EntryType::kHardState, .term = state.term};
  pending.hard_state = state;
  for (const uint64_t number : {state.term, state.vote, state.commit}) Put(&pending.head, number);
  return pending;
}

NodeLog::Pending NodeLog::Make(uint16_t shard, const LogStart& start, bool keeps) {
  Pending pending{.shard = shard, .type = EntryType::kStart, .term = start.term};
  pending.start = start;
  Put(&pending.head, start.index);
  Put(&pending.head, start.term);
  pending.head.push_back(keeps ? 1 : 0);
  pending.keeps = keeps;
  pending.head += start.members;
  return pending;
}

void NodeLog::Add(uint16_t shard, const raft::HardState& state) {
  group_.push_back(Make(shard, state));
}
void NodeLog::Add(uint16_t shard, const LogStart& start) {
  group_.push_back(Make(shard, start, /*keeps=*/false));
}
void NodeLog::Compact(uint16_t shard, const LogStart& start) {
  group_.push_back(Make(shard, start, /*keeps=*/true));
}

absl::Status NodeLog::Write() {
  if (group_.empty()) return absl::OkStatus();
  std::vector<std::vector<std::string_view>> slices(group_.size());
  std::vector<Entry> records;
  records.reserve(group_.size());
  uint64_t number = log_->last_index();
  for (size_t i = 0; i < group_.size(); ++i) {
    slices[i].reserve(group_[i].parts.size() + 1);
    slices[i].push_back(group_[i].head);
    slices[i].insert(slices[i].end(), group_[i].parts.begin(), group_[i].parts.end());
    records.push_back({.id = {.shard = group_[i].shard, .term = group_[i].term, .index = ++number},
                       .type = group_[i].type,
                       .parts = slices[i]});
  }
  if (absl::Status appended = log_->Append(records); !appended.ok()) return appended;
  number -= group_.size();
  for (const Pending& pending : group_) {
    if (absl::Status noted = Note(pending, ++number); !noted.ok()) {
      std::fprintf(stderr, "queue/replica: %s\n", std::string(noted.message()).c_str());
      std::abort();
    }
  }
  group_.clear();
  return absl::OkStatus();
}

absl::Status NodeLog::Read(uint16_t shard, uint64_t first,
                           absl::FunctionRef<bool(const LogEntry&)> visit) {
  const Place* place = Find(shard, first);
  if (place == nullptr) return absl::NotFoundError(Concat("entry ", first, " is not in the log"));
  uint64_t index = first;
  const absl::Status end = absl::CancelledError();
  const absl::Status read = log_->Replay(place->record, [&](const EntryView& record) {
    const Place* wanted = Find(shard, index);
    if (wanted == nullptr) return end;
    // Others', and what was replaced.
    if (record.id.index != wanted->record) return absl::OkStatus();
    std::string_view payload = record.payload;
    if (record.type == EntryType::kEntry) payload.remove_prefix(kEntryHeadBytes);
    const bool goes_on = visit({wanted->term, index, wanted->kind, payload});
    ++index;
    return goes_on ? absl::OkStatus() : end;
  });
  return absl::IsCancelled(read) ? absl::OkStatus() : read;
}

absl::Status NodeLog::ReadOne(uint16_t shard, uint64_t index,
                              absl::FunctionRef<void(const LogEntry&)> visit) {
  const Place* place = Find(shard, index);
  if (place == nullptr) return absl::NotFoundError(Concat("entry ", index, " is not in the log"));
  const uint64_t segment = log_->SegmentOf(place->record);
  auto cursor = std::find_if(cursors_.begin(), cursors_.end(), [&](const Log::Cursor& cursor) {
    return cursor.IsBefore(place->record, segment);
  });
  if (cursor == cursors_.end()) cursor = cursors_.begin() + oldest_cursor_++ % kCursors;
  return log_->Read(place->record, &*cursor, [&](const EntryView& record) {
    std::string_view payload = record.payload;
    if (record.type == EntryType::kEntry) payload.remove_prefix(kEntryHeadBytes);
    visit({place->term, index, place->kind, payload});
  });
}

uint64_t NodeLog::FirstNeeded() const {
  uint64_t first = log_->last_index() + 1;
  for (const auto& [id, shard] : shards_) {
    if (!shard.places.empty()) first = std::min(first, shard.places.front().record);
    if (shard.start_record != 0) first = std::min(first, shard.start_record);
    if (shard.hard_state_record != 0) first = std::min(first, shard.hard_state_record);
  }
  return first;
}

void NodeLog::PrepareCut() {
  uint64_t kept = log_->last_index() + 1;
  for (const auto& [id, shard] : shards_) {
    if (!shard.places.empty()) kept = std::min(kept, shard.places.front().record);
  }
  for (const auto& [id, shard] : shards_) {
    if (shard.start_record != 0 && shard.start_record < kept) Compact(id, shard.start);
    if (shard.hard_state_record != 0 && shard.hard_state_record < kept) Add(id, shard.hard_state);
  }
}

uint64_t NodeLog::CuttableRecord() const { return FirstNeeded(); }

}  // namespace postfleet::queue
