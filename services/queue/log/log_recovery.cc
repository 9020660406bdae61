// Opening and replaying: what of the segment files is the log.
#include <algorithm>
#include <cstring>
#include <utility>

#include "libs/base/concat.h"
#include "services/queue/log/log.h"
#include "services/queue/log/segment_reader.h"

namespace postfleet::queue {
namespace {

constexpr uint64_t kRewriteBytesMax = 1 << 20;

// A process that ended after a failed sync leaves bytes that can be read and are on no disk;
// syncing again would not write them. Writing them again does.
absl::Status WriteAgain(File* file, uint64_t begin, uint64_t end) {
  if (begin >= end) return absl::OkStatus();
  std::string bytes;
  for (uint64_t offset = begin; offset < end; offset += bytes.size()) {
    bytes.resize(std::min(end - offset, kRewriteBytesMax));
    auto read = file->Read(offset, bytes.size(), bytes.data());
    if (!read.ok()) return read.status();
    if (*read != bytes.size()) return absl::DataLossError("the file shrank while it was read");
    iovec slice{.iov_base = bytes.data(), .iov_len = bytes.size()};
    if (absl::Status write = file->Write(offset, absl::MakeSpan(&slice, 1)); !write.ok()) {
      return write;
    }
  }
  return file->Sync();
}

// Reads to the end of the newest segment: past damage, to the first place behind which nothing was
// ever durable. `*damaged`: there was some.
absl::StatusOr<SegmentReader::Rest> ReadToEnd(SegmentReader* segment, bool* damaged) {
  for (*damaged = false;; *damaged = true) {
    EntryView entry;
    absl::StatusOr<bool> more = true;
    while (*more) {
      more = segment->Next(&entry);
      if (!more.ok()) return more.status();
    }
    const auto rest = segment->LookAtRest();
    if (!rest.ok() || rest->proof_offset == 0) return rest;
    const uint64_t damage = segment->offset();
    const auto skipped = segment->SkipDamage();
    if (!skipped.ok()) return skipped.status();
    if (!*skipped) {
      return absl::DataLossError(Concat(segment->path(), ": damaged at offset ", damage,
                                        ": what lies behind does not follow what lies before"));
    }
  }
}

}  // namespace

std::string Hole::ToString() const {
  return Concat(path, ": damaged at offset ", offset, ": ",
                first_index == last_index ? Concat("record ", first_index)
                                          : Concat("records ", first_index, " to ", last_index),
                " cannot be read");
}

absl::StatusOr<std::unique_ptr<Log>> Log::Open(const Options& options, Recovery* found) {
  *found = Recovery();
  FileSystem* file_system =
      options.file_system != nullptr ? options.file_system : &PosixFileSystem();
  std::unique_ptr<Log> log(new Log(options, file_system));
  if (absl::Status status = log->FindSegments(); !status.ok()) return status;
  if (absl::Status status = log->FindEnd(found); !status.ok()) return status;
  log->synced_index_ = log->last_index_;
  std::lock_guard lock(log->mutex_);
  found->segments = static_cast<int>(log->segments_.size());
  found->last_index = log->last_index_;
  for (const Segment& segment : log->segments_) {
    if (!segment.in_chain) continue;
    found->first_index = segment.first_index;
    break;
  }
  return log;
}

// The log is the newest segment, the one that it names as its predecessor, and so on. What lies
// before a gap in this chain came back after CutBelow deleted it, or lost its successor: Replay
// tells which, since it knows what is needed.
absl::Status Log::FindSegments() {
  if (absl::Status made = file_system_->CreateDirectory(dir_); !made.ok()) return made;
  auto names = file_system_->List(dir_);
  if (!names.ok()) return names.status();
  std::lock_guard lock(mutex_);
  for (const std::string& name : *names) {
    uint64_t first_index;
    if (name.ends_with(kUnfinishedSuffix)) {
      file_system_->Remove(Concat(dir_, '/', name)).IgnoreError();
    } else if (name.ends_with(kSpareSuffix)) {
      AdoptSpare(Concat(dir_, '/', name));
    } else if (ParseSegmentName(name, &first_index)) {
      segments_.push_back({.first_index = first_index, .in_chain = false});
    }
  }
  std::sort(segments_.begin(), segments_.end(),
            [](const Segment& a, const Segment& b) { return a.first_index < b.first_index; });
  bool in_chain = true;
  for (size_t i = segments_.size(); i-- > 0;) {
    segments_[i].in_chain = in_chain;
    const std::string path = PathOf(segments_[i].first_index);
    auto reader = SegmentReader::Open(file_system_, path, segments_[i].first_index);
    if (reader.ok()) {
      segments_[i].bytes = (*reader)->file_bytes();
      bytes_on_disk_ += segments_[i].bytes;
      in_chain = in_chain && i > 0 &&
                 (*reader)->header().previous_first_index == segments_[i - 1].first_index;
    } else if (absl::IsDataLoss(reader.status()) && i + 1 < segments_.size()) {
      // Damage, or a file that was in use again: matters only if what it held is needed.
      segments_[i].in_chain = in_chain = false;
    } else {
      return reader.status();
    }
  }
  // Names that a life before saw, but did not sync.
  return segments_.empty() ? absl::OkStatus() : file_system_->SyncDirectory(dir_);
}

// One that cannot be kept is removed; if that fails, the next opening tries again.
void Log::AdoptSpare(const std::string& path) {
  auto file = file_system_->Open(path);
  absl::StatusOr<uint64_t> bytes = file.ok() ? (*file)->Size() : file.status();
  if (bytes.ok() && *bytes >= segment_bytes_ && spares_.size() < kSpareSegmentsMax) {
    spares_.push_back({.path = path, .bytes = *bytes});
    bytes_on_disk_ += *bytes;
  } else {
    file_system_->Remove(path).IgnoreError();
  }
}

// Reads the newest segment; older ones were durable to their end before it was begun.
absl::Status Log::FindEnd(Recovery* found) {
  std::lock_guard lock(mutex_);
  if (segments_.empty()) return absl::OkStatus();
  Segment& newest = segments_.back();
  auto opened = SegmentReader::Open(file_system_, PathOf(newest.first_index), newest.first_index);
  if (!opened.ok()) return opened.status();
  SegmentReader& segment = **opened;
  bool damaged = false;
  const auto rest = ReadToEnd(&segment, &damaged);
  if (!rest.ok()) return rest.status();
  const uint64_t end = segment.offset();
  if (absl::Status written = WriteAgain(&segment.file(), segment.durable_end(), end);
      !written.ok()) {
    return written;
  }
  last_index_ = segment.next_index() - 1;
  if (rest->torn) {
    found->torn_file = segment.path();
    found->torn_offset = end;
    found->remark = Concat(segment.path(), ": torn tail at offset ", end,
                           " left out, never acknowledged; the last record is ", last_index_);
  }
  // Gives back what was preallocated. Nothing hangs on it: records go into a new segment, which
  // ends this one. A damaged file stays as it is: Replay may refuse it.
  if (!damaged && newest.bytes > end && segment.file().Truncate(end).ok()) {
    bytes_on_disk_ -= newest.bytes - end;
    newest.bytes = end;
  }
  return absl::OkStatus();
}

absl::Status Log::Replay(uint64_t from_index,
                         absl::FunctionRef<absl::Status(const EntryView&)> visit) {
  return Replay(from_index, visit,
                [](const Hole& hole) { return absl::DataLossError(hole.ToString()); });
}

absl::Status Log::Replay(uint64_t from_index,
                         absl::FunctionRef<absl::Status(const EntryView&)> visit,
                         absl::FunctionRef<absl::Status(const Hole&)> lost) {
  if (from_index > last_index_ + 1) {
    return absl::DataLossError(Concat(dir_, ": the log ends with record ", last_index_,
                                      ", but record ", from_index - 1, " was applied"));
  }
  std::vector<Segment> segments;
  {
    std::lock_guard lock(mutex_);
    segments.assign(segments_.begin(), segments_.end());
  }
  uint64_t first = 1;
  for (const Segment& segment : segments) {
    if (!segment.in_chain) continue;
    first = segment.first_index;
    break;
  }
  if (from_index < first) {
    return absl::DataLossError(Concat(dir_, ": record ", from_index,
                                      " is needed; the segment before ", PathOf(first),
                                      " is missing or damaged"));
  }
  for (size_t i = 0; i < segments.size(); ++i) {
    const uint64_t end_index =
        i + 1 < segments.size() ? segments[i + 1].first_index : last_index_ + 1;
    if (!segments[i].in_chain || end_index <= from_index) continue;
    absl::Status status = ReplaySegment(PathOf(segments[i].first_index), segments[i].first_index,
                                        end_index, from_index, visit, lost);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

Log::Cursor::Cursor() = default;
Log::Cursor::~Cursor() = default;

bool Log::Cursor::IsBefore(uint64_t index, uint64_t first_of_segment) const {
  return segment_ != nullptr && first_index_ == first_of_segment && segment_->next_index() <= index;
}

uint64_t Log::SegmentOf(uint64_t index) const {
  std::lock_guard lock(mutex_);
  for (auto segment = segments_.rbegin(); segment != segments_.rend(); ++segment) {
    if (segment->in_chain && segment->first_index <= index) return segment->first_index;
  }
  return 0;
}

absl::Status Log::Read(uint64_t index, Cursor* cursor,
                       absl::FunctionRef<void(const EntryView&)> visit) {
  const uint64_t first_index = SegmentOf(index);
  // What was written behind the place where a reader stands it may have seen as it was before.
  for (bool fresh = !cursor->IsBefore(index, first_index);; fresh = true) {
    if (fresh) {
      auto opened = SegmentReader::Open(file_system_, PathOf(first_index), first_index);
      if (!opened.ok()) return opened.status();
      cursor->segment_ = *std::move(opened);
      cursor->first_index_ = first_index;
    }
    SegmentReader& segment = *cursor->segment_;
    absl::StatusOr<bool> more = true;
    while (*more && segment.next_index() <= index) {
      EntryView entry;
      more = segment.Next(&entry);
      if (!more.ok()) return more.status();
      if (!*more || entry.id.index != index) continue;
      visit(entry);
      return absl::OkStatus();
    }
    if (fresh) {
      return absl::DataLossError(Concat(segment.path(), ": record ", index, " cannot be read"));
    }
  }
}

absl::Status Log::ReplaySegment(const std::string& path, uint64_t first_index, uint64_t end_index,
                                uint64_t from_index,
                                absl::FunctionRef<absl::Status(const EntryView&)> visit,
                                absl::FunctionRef<absl::Status(const Hole&)> lost) {
  auto segment = SegmentReader::Open(file_system_, path, first_index);
  if (!segment.ok()) return segment.status();
  while ((*segment)->next_index() < end_index) {
    EntryView entry;
    auto more = (*segment)->Next(&entry);
    if (!more.ok()) return more.status();
    if (!*more) {
      Hole hole{.path = path,
                .offset = (*segment)->offset(),
                .first_index = (*segment)->next_index(),
                .last_index = end_index - 1};
      const auto skipped = (*segment)->SkipDamage();
      if (!skipped.ok()) return skipped.status();
      if (*skipped) hole.last_index = std::min(hole.last_index, (*segment)->next_index() - 1);
      // What was applied and flushed is not needed.
      const absl::Status judged = hole.last_index < from_index ? absl::OkStatus() : lost(hole);
      if (!judged.ok() || !*skipped) return judged;
      continue;
    }
    if (entry.id.index < from_index) continue;
    if (absl::Status visited = visit(entry); !visited.ok()) return visited;
  }
  return absl::OkStatus();
}

}  // namespace postfleet::queue
