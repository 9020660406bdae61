#include "libs/tables/file_watch.h"

namespace postfleet::tables {

FileWatch::Stamp FileWatch::Take() const {
  struct stat status;
  if (stat(path_.c_str(), &status) != 0) return {};
  return {status.st_dev, status.st_ino, status.st_size,
          int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
}

bool FileWatch::NeedsLoad() {
  std::chrono::steady_clock::time_point now = clock_->Monotonic();
  if (looked_ && now - last_look_ < std::chrono::seconds(1)) return false;
  Stamp stamp = Take();
  bool needed = !looked_ || !loaded_ || !(stamp == stamp_);
  looked_ = true;
  last_look_ = now;
  stamp_ = stamp;
  return needed;
}

}  // namespace postfleet::tables
