#include "services/delivery/privileged/directory_syncs.h"

#include <cerrno>

namespace postfleet::delivery::privileged {

int DirectorySyncs::Sync(int directory_fd) {
  struct stat stat;
  if (system_.Stat(directory_fd, &stat) != 0) return errno;
  const Key key(stat.st_dev, stat.st_ino);

  std::unique_lock lock(mutex_);
  Directory& directory = directories_[key];
  ++directory.users;
  // A sync that runs already may have begun before our rename.
  const uint64_t wanted = directory.started + 1;
  while (directory.ended < wanted && directory.started != directory.ended) {
    directory.changed.wait(lock);
  }
  if (directory.ended < wanted) {
    const uint64_t number = ++directory.started;
    lock.unlock();
    const int error = system_.Sync(directory_fd) == 0 ? 0 : errno;
    lock.lock();
    directory.ended = number;
    if (error != 0) {
      directory.last_error = error;
      directory.last_error_number = number;
    }
    directory.changed.notify_all();
  }
  // A later sync that went well proves nothing about an earlier one that failed.
  const int error = directory.last_error_number >= wanted ? directory.last_error : 0;
  if (--directory.users == 0) directories_.erase(key);
  return error;
}

bool DirectorySyncs::IsRooted(int directory_fd) {
  struct stat directory;
  if (system_.Stat(directory_fd, &directory) != 0) return false;
  std::lock_guard lock(mutex_);
  return rooted_.contains({directory.st_dev, directory.st_ino});
}

void DirectorySyncs::MarkRooted(int directory_fd) {
  struct stat directory;
  if (system_.Stat(directory_fd, &directory) != 0) return;
  std::lock_guard lock(mutex_);
  if (rooted_.size() >= kRootedMax) rooted_.clear();
  rooted_.insert({directory.st_dev, directory.st_ino});
}

}  // namespace postfleet::delivery::privileged
