#include "services/queue/verify/log_check.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "libs/base/concat.h"
#include "services/queue/log/file_system.h"
#include "services/queue/log/record.h"
#include "services/queue/log/segment_reader.h"
#include "services/queue/replica/node_log.h"

namespace postfleet::queue {
namespace {

struct Segment {
  uint64_t first_index = 0;
  std::string path;
  // Null: its header is damaged.
  std::unique_ptr<SegmentReader> reader;
  // It and all behind it name one another.
  bool in_chain = false;
};

// The entries that the log has, as far as it was read: from first to last.
struct Entries {
  uint64_t first = 1;
  uint64_t last = 0;
  bool any = false;

  void Note(const EntryView& record) {
    bool keeps = false;
    if (const std::optional<LogEntry> entry = NodeLog::EntryOf(record)) {
      if (!any) first = entry->index;
      last = entry->index;
      any = true;
    } else if (const std::optional<LogStart> start = NodeLog::StartOf(record, &keeps)) {
      first = keeps && any ? std::max(first, start->index + 1) : start->index + 1;
      last = keeps ? std::max(last, start->index) : start->index;
      any = true;
    }
  }
};

absl::StatusOr<std::vector<Segment>> FindSegments(const std::string& dir, FindingList* findings) {
  const auto names = PosixFileSystem().List(dir);
  std::vector<Segment> segments;
  if (absl::IsNotFound(names.status())) return segments;
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    Segment segment;
    if (!ParseSegmentName(name, &segment.first_index)) continue;
    segment.path = Concat(dir, '/', name);
    segments.push_back(std::move(segment));
  }
  std::sort(segments.begin(), segments.end(),
            [](const Segment& a, const Segment& b) { return a.first_index < b.first_index; });
  bool in_chain = true;
  for (size_t i = segments.size(); i-- > 0;) {
    Segment& segment = segments[i];
    auto reader = SegmentReader::Open(&PosixFileSystem(), segment.path, segment.first_index);
    segment.in_chain = in_chain;
    if (reader.ok()) {
      segment.reader = *std::move(reader);
      in_chain = in_chain && i > 0 &&
                 segment.reader->header().previous_first_index == segments[i - 1].first_index;
    } else {
      findings->Add(std::string(reader.status().message()));
      in_chain = false;
    }
  }
  return segments;
}

// Reads the records up to `end_index` (exclusive; 0: to the end of the log, where a torn tail may
// be). True: all of them are there. DataLoss: what is wrong.
absl::StatusOr<bool> ReadSegment(const Segment& segment, uint64_t end_index, Entries* entries,
                                 Entries* here, FindingList* findings) {
  SegmentReader& reader = *segment.reader;
  absl::StatusOr<bool> more = true;
  while (*more && (end_index == 0 || reader.next_index() < end_index)) {
    EntryView record;
    more = reader.Next(&record);
    if (!more.ok()) return more.status();
    if (!*more) continue;
    entries->Note(record);
    here->Note(record);
    if (!findings->Step()) return false;
  }
  const std::string place = Concat(segment.path, ": damaged at offset ", reader.offset());
  if (end_index != 0) {
    if (reader.next_index() >= end_index) return true;
    return absl::DataLossError(Concat(place, ": record ", reader.next_index(), " does not check"));
  }
  const auto rest = reader.LookAtRest();
  if (!rest.ok()) return rest.status();
  if (rest->proof_offset == 0) return true;
  return absl::DataLossError(Concat(place, ": the record at offset ", rest->proof_offset,
                                    " was written when this place was synced"));
}

// True: the segment has its records; else there is a finding.
bool IsWhole(const Segment& segment, uint64_t end_index, Entries* entries, Entries* here,
             FindingList* findings) {
  if (segment.reader == nullptr) return false;
  const auto whole = ReadSegment(segment, end_index, entries, here, findings);
  if (whole.ok()) return *whole;
  findings->Add(std::string(whole.status().message()));
  return false;
}

FolderVerified Refuses(std::string_view why) {
  return {.replay = Concat("replay refuses: ", why), .replayable = false};
}

FolderVerified Judge(const std::string& dir, uint64_t flushed_index, const Entries& entries) {
  const auto [first, last, any] = entries;
  if (last < flushed_index) {
    return Refuses(
        Concat(dir, " ends with record ", last, ", but record ", flushed_index, " was applied"));
  }
  // A group that was founded has nothing before its first entry.
  if (std::max<uint64_t>(flushed_index, 1) + 1 < first) {
    return Refuses(Concat("record ", flushed_index + 1, " is needed, and ", dir,
                          " begins with record ", first));
  }
  const uint64_t next = std::max(flushed_index + 1, first);
  if (last < next) return {.replay = "replay applies nothing", .replayable = true};
  return {
      .replay = Concat("replay applies ", last + 1 - next, " records (", next, " to ", last, ")"),
      .replayable = true};
}

}  // namespace

absl::StatusOr<FolderVerified> CheckLog(const std::string& dir, uint64_t flushed_index,
                                        FindingList* findings) {
  auto segments = FindSegments(dir, findings);
  if (!segments.ok()) return segments.status();
  Entries entries;
  std::string damaged;  // the first segment that is, and has what is needed
  for (size_t i = 0; i < segments->size(); ++i) {
    const Segment& segment = (*segments)[i];
    // What lies before a gap is no part of the log any more.
    if (!segment.in_chain) continue;
    const uint64_t end_index = i + 1 < segments->size() ? (*segments)[i + 1].first_index : 0;
    Entries here;
    const bool whole = IsWhole(segment, end_index, &entries, &here, findings);
    if (!findings->wanted()) return absl::CancelledError("the listener wants no more");
    // All that lies before was applied, whatever it was.
    if (here.any && here.first <= std::max<uint64_t>(flushed_index, 1) + 1) damaged.clear();
    if (!whole && damaged.empty()) damaged = segment.path;
  }
  if (!damaged.empty()) return Refuses(Concat(damaged, " is damaged"));
  return Judge(dir, flushed_index, entries);
}

}  // namespace postfleet::queue
