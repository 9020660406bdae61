#include "services/queue/log/log.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <utility>

#include "libs/base/concat.h"

namespace postfleet::queue {
namespace {

constexpr char kZeroes[kRecordAlignment] = {};

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "queue/log: %s\n", what);
  std::abort();
}

uint64_t RandomSalt() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

iovec Slice(const void* bytes, size_t size) {
  return {.iov_base = const_cast<void*>(bytes), .iov_len = size};
}

uint64_t PayloadBytes(const Entry& entry) {
  uint64_t bytes = 0;
  for (std::string_view part : entry.parts) bytes += part.size();
  return bytes;
}

}  // namespace

Log::Log(const Options& options, FileSystem* file_system)
    : dir_(options.dir),
      segment_bytes_(options.segment_bytes),
      file_system_(file_system),
      random_(options.random ? options.random : RandomSalt) {}

Log::~Log() = default;

absl::Status Log::Append(absl::Span<const Entry> entries) {
  if (!failure_.ok()) return failure_;
  if (entries.empty()) return absl::OkStatus();
  Require(entries.front().id.index == last_index_ + 1, "an entry's index does not follow");
  // Only between groups: records of one group never lie in two segments, so that whatever is torn
  // is in the newest.
  if (file_ == nullptr || (end_ == synced_end_ && !RoomFor(entries))) {
    if (absl::Status started = StartSegment(); !started.ok()) return started;
  }
  const uint64_t end = BuildGroup(entries);
  absl::Status written = file_->Write(end_, absl::MakeSpan(slices_));
  if (absl::IsResourceExhausted(written)) return TakeBack(std::move(written));
  if (!written.ok()) return Fail(std::move(written));
  end_ = end;
  last_index_ = entries.back().id.index;
  if (end_ > file_bytes_) NoteSize(end_);
  return absl::OkStatus();
}

absl::Status Log::Reserve(uint64_t bytes) {
  if (!failure_.ok()) return failure_;
  const bool fits =
      file_ != nullptr && (end_ + bytes <= segment_bytes_ || end_ == sizeof(SegmentHeader));
  if (!fits && (file_ == nullptr || end_ == synced_end_)) {
    if (absl::Status started = StartSegment(); !started.ok()) return started;
  }
  if (end_ + bytes <= file_bytes_) return absl::OkStatus();
  absl::Status space = file_->Preallocate(end_ + bytes);
  if (absl::IsResourceExhausted(space)) return space;
  if (!space.ok()) return Fail(std::move(space));
  NoteSize(end_ + bytes);
  return absl::OkStatus();
}

absl::Status Log::Sync() {
  if (!failure_.ok()) return failure_;
  if (end_ == synced_end_) return absl::OkStatus();
  if (absl::Status synced = file_->Sync(); !synced.ok()) return Fail(std::move(synced));
  synced_end_ = end_;
  synced_index_ = last_index_;
  return absl::OkStatus();
}

bool Log::RoomFor(absl::Span<const Entry> entries) const {
  uint64_t bytes = end_;
  for (const Entry& entry : entries) bytes += RecordBytes(PayloadBytes(entry));
  // A group that no segment has room for gets one to itself.
  return bytes <= segment_bytes_ || end_ == sizeof(SegmentHeader);
}

// Fills headers_ and slices_; returns where the group ends.
uint64_t Log::BuildGroup(absl::Span<const Entry> entries) {
  headers_.resize(entries.size());  // first: slices point into it
  slices_.clear();
  uint64_t offset = end_;
  for (size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    const uint64_t bytes = PayloadBytes(entry);
    const uint64_t unsynced = offset - synced_end_;
    Require(entry.id.index == last_index_ + 1 + i, "an entry's index does not follow");
    Require(bytes <= std::numeric_limits<uint32_t>::max(), "a payload of 4 GiB");
    Require(unsynced <= std::numeric_limits<uint32_t>::max(), "4 GiB without a sync");
    SealRecord(segment_, offset, entry.id, entry.type, static_cast<uint32_t>(unsynced), entry.parts,
               &headers_[i]);
    slices_.push_back(Slice(&headers_[i], sizeof(RecordHeader)));
    for (std::string_view part : entry.parts) {
      if (!part.empty()) slices_.push_back(Slice(part.data(), part.size()));
    }
    if (const uint64_t padding = PaddedBytes(bytes) - bytes; padding > 0) {
      slices_.push_back(Slice(kZeroes, padding));
    }
    offset += RecordBytes(bytes);
  }
  return offset;
}

// The segment gets its name only when its header is durable, and records only when its name is. A
// file of that name can be there already: the newest of an earlier life, in which no record was
// found.
absl::Status Log::StartSegment() {
  const uint64_t first_index = last_index_ + 1;
  const std::string path = PathOf(first_index);
  Spare spare;
  auto file = TakeSpare(&spare);
  const bool recycled = file.ok();
  const std::string unnamed = recycled ? spare.path : Concat(path, kUnfinishedSuffix);
  const SegmentHeader header =
      MakeSegmentHeader(first_index, PreviousFirstIndex(first_index), random_(), recycled);

  absl::Status status = [&]() -> absl::Status {
    if (!recycled) {
      file = file_system_->Create(unnamed);
      if (!file.ok()) return file.status();
      if (absl::Status space = (*file)->Preallocate(segment_bytes_); !space.ok()) return space;
    }
    iovec slice = Slice(&header, sizeof(header));
    if (absl::Status write = (*file)->Write(0, absl::MakeSpan(&slice, 1)); !write.ok()) {
      return write;
    }
    if (absl::Status sync = (*file)->Sync(); !sync.ok()) return sync;
    return file_system_->Rename(unnamed, path);
  }();
  if (absl::IsResourceExhausted(status)) {
    file = absl::CancelledError();                // closes it
    file_system_->Remove(unnamed).IgnoreError();  // Open removes it too
    return status;
  }
  if (status.ok()) status = file_system_->SyncDirectory(dir_);
  if (!status.ok()) return Fail(std::move(status));

  file_ = *std::move(file);
  segment_ = header;
  end_ = synced_end_ = sizeof(SegmentHeader);
  file_bytes_ = recycled ? spare.bytes : segment_bytes_;
  AddSegment(first_index, file_bytes_);
  return absl::OkStatus();
}

// NotFound when there is none that can be opened.
absl::StatusOr<std::unique_ptr<File>> Log::TakeSpare(Spare* spare) {
  std::lock_guard lock(mutex_);
  while (!spares_.empty()) {
    *spare = std::move(spares_.back());
    spares_.pop_back();
    bytes_on_disk_ -= spare->bytes;
    auto file = file_system_->Open(spare->path);
    if (file.ok()) return file;
  }
  return absl::NotFoundError("no spare segment");
}

// What was written since the last sync may be on the disk already: without the sync here, an entry
// that was refused could be found again after a crash.
absl::Status Log::TakeBack(absl::Status cause) {
  if (absl::Status cut = file_->Truncate(synced_end_); !cut.ok()) return Fail(std::move(cut));
  if (absl::Status sync = file_->Sync(); !sync.ok()) return Fail(std::move(sync));
  end_ = synced_end_;
  last_index_ = synced_index_;
  NoteSize(end_);
  return cause;
}

absl::Status Log::Fail(absl::Status error) {
  // Never ResourceExhausted: that would say that the log goes on.
  failure_ = absl::IsResourceExhausted(error) ? absl::UnavailableError(error.message()) : error;
  return failure_;
}

absl::Status Log::CutBelow(uint64_t index) {
  std::lock_guard lock(mutex_);
  while (segments_.size() > 1 && segments_[1].first_index <= index) {
    if (absl::Status retired = Retire(segments_.front()); !retired.ok()) return retired;
    segments_.pop_front();
  }
  return absl::OkStatus();
}

absl::Status Log::Retire(const Segment& segment) {
  const std::string path = PathOf(segment.first_index);
  const std::string spare = Concat(path, kSpareSuffix);
  absl::Status retired;
  // One that came back may be a second name of a file that is in use.
  if (segment.in_chain && segment.bytes >= segment_bytes_ && spares_.size() < kSpareSegmentsMax) {
    retired = file_system_->Rename(path, spare);
    if (retired.ok()) {
      spares_.push_back({.path = spare, .bytes = segment.bytes});
      return absl::OkStatus();
    }
  } else {
    retired = file_system_->Remove(path);
  }
  if (!retired.ok() && !absl::IsNotFound(retired)) return retired;
  bytes_on_disk_ -= segment.bytes;
  return absl::OkStatus();
}

uint64_t Log::first_index() const {
  std::lock_guard lock(mutex_);
  for (const Segment& segment : segments_) {
    if (segment.in_chain) return segment.first_index;
  }
  return 1;
}

std::string Log::PathOf(uint64_t first_index) const {
  return Concat(dir_, '/', SegmentName(first_index));
}

uint64_t Log::PreviousFirstIndex(uint64_t first_index) const {
  std::lock_guard lock(mutex_);
  for (auto segment = segments_.rbegin(); segment != segments_.rend(); ++segment) {
    if (segment->first_index < first_index) return segment->first_index;
  }
  return 0;
}

void Log::AddSegment(uint64_t first_index, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  if (!segments_.empty() && segments_.back().first_index == first_index) {
    bytes_on_disk_ -= segments_.back().bytes;
    segments_.pop_back();
  }
  segments_.push_back({.first_index = first_index, .bytes = bytes});
  bytes_on_disk_ += bytes;
}

void Log::NoteSize(uint64_t bytes) {
  file_bytes_ = bytes;
  std::lock_guard lock(mutex_);
  bytes_on_disk_ += bytes - segments_.back().bytes;  // modulo 2^64: it may have shrunk
  segments_.back().bytes = bytes;
}

}  // namespace postfleet::queue
