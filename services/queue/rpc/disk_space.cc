#include "services/queue/rpc/disk_space.h"

#include <rocksdb/options.h>

#include <filesystem>
#include <utility>

#include "libs/base/maillog.h"

namespace postfleet::queue {

DiskSpace::DiskSpace(Store* store, std::string directory)
    : store_(store), directory_(std::move(directory)) {
  loop_.Start();
}

DiskSpace::~DiskSpace() { Stop(); }

uint64_t DiskSpace::UsedBytes() const {
  uint64_t sum = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator file(directory_, error), end; !error && file != end;
       file.increment(error)) {
    std::error_code gone;  // RocksDB deletes files meanwhile
    const uint64_t size = file->file_size(gone);
    if (!gone) sum += size;
  }
  return sum;
}

void DiskSpace::Reclaim(Alive alive, std::function<void(uint64_t)> done) {
  loop_.Post([this, alive, done = std::move(done)] {
    Compact(alive);
    done(UsedBytes());
  });
}

void DiskSpace::Compact(Alive alive) {
  if (stopping_) return;
  absl::Status status = store_->Flush();
  for (size_t i = 0; i < kFamilyCount && status.ok() && !stopping_; ++i) {
    rocksdb::CompactRangeOptions options;
    options.exclusive_manual_compaction = false;
    options.canceled = &stopping_;
    if (alive == Alive::kMove && static_cast<Family>(i) == Family::kBody) {
      options.blob_garbage_collection_policy = rocksdb::BlobGarbageCollectionPolicy::kForce;
      options.blob_garbage_collection_age_cutoff = 1.0;
      options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
    }
    const rocksdb::Status compacted = store_->db()->CompactRange(
        options, store_->family(static_cast<Family>(i)), nullptr, nullptr);
    if (!compacted.IsIncomplete()) status = ToStatus(compacted, "compact the store");
  }
  if (!status.ok()) {
    maillog::Warning("queue", "disk space of deleted mail is not given back now: ",
                     std::string(status.message()));
  }
}

void DiskSpace::Stop() {
  stopping_ = true;
  loop_.Stop();
}

}  // namespace postfleet::queue
