#include "services/delivery/privileged/mbox.h"

#include <fcntl.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

namespace postfleet::delivery::privileged {
namespace {

// A reader that replaces the file (writes another one, renames) makes us open it again.
constexpr int kReopensMax = 10;
constexpr mode_t kExecutable = S_IXUSR | S_IXGRP | S_IXOTH;

bool IsSame(const struct stat& one, const struct stat& other) {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

}  // namespace

Mbox::Mbox(System& system, DirectorySyncs& syncs, MailboxTurns& turns, const ActionRequest& request,
           Wait wait)
    : system_(system),
      syncs_(syncs),
      turns_(turns),
      request_(request),
      wait_(std::move(wait)),
      lock_path_(request.path + ".lock") {}

Mbox::~Mbox() { Unlock(); }

bool Mbox::Open() {
  turn_.emplace(turns_, request_.path);
  for (int i = 0; i < kReopensMax; ++i) {
    if (!OpenFile() || !CheckFile() || !LockAll()) return false;
    if (!is_regular_ || IsStillThere()) {
      end_ = static_cast<uint64_t>(stat_.st_size);
      // Whoever made it may not have come to sync its name: empty, it is as if we had.
      return !is_regular_ || end_ > 0 || SyncFolder();
    }
    turn_.reset();
    Unlock();
    turn_.emplace(turns_, request_.path);
  }
  return Fail("unable to lock for exclusive access", EAGAIN);
}

bool Mbox::OpenFile() {
  const char* path = request_.path.c_str();
  constexpr int kFlags = O_WRONLY | O_APPEND;
  file_ = system_.OpenFile(path, kFlags);
  was_made_ = file_ < 0 && errno == ENOENT;
  if (was_made_) {
    file_ = system_.OpenFile(path, kFlags | O_CREAT | O_EXCL);
    // Made by another one a moment ago.
    if (file_ < 0 && errno == EEXIST) {
      was_made_ = false;
      file_ = system_.OpenFile(path, kFlags);
    }
  }
  if (file_ < 0 && errno == ELOOP) return Fail("file is a symbolic link", 0);
  if (file_ < 0) return FailToOpen(errno);
  if (was_made_ && request_.owner_uid != 0 &&
      system_.GiveTo(file_, request_.owner_uid, request_.owner_gid) != 0) {
    const int error_number = errno;
    // Left behind it would be root's, and so refused for ever.
    system_.RemovePath(path);
    return Fail("unable to change ownership", error_number);
  }
  return true;
}

// In Postfix's words, which makes the lock file first.
bool Mbox::FailToOpen(int error_number) {
  if (!was_made_) return Fail("cannot open file", error_number);
  was_made_ = false;
  if (request_.dotlock && !request_.is_any_file) {
    return Fail("unable to create lock file " + lock_path_, error_number);
  }
  return Fail("cannot create file exclusively", error_number);
}

bool Mbox::CheckFile() {
  if (system_.Stat(file_, &stat_) != 0) return Fail("unable to look at the file", errno);
  is_regular_ = S_ISREG(stat_.st_mode);
  if (request_.is_any_file && (stat_.st_mode & kExecutable) != 0) {
    return Refuse("file is executable");
  }
  if (!is_regular_) {
    return request_.is_any_file ||
           Refuse("destination " + request_.path + " is not a regular file");
  }
  if (stat_.st_nlink > 1) {
    return Fail("file has " + std::to_string(stat_.st_nlink) + " hard links", 0);
  }
  const uid_t owner = request_.owner_uid != 0 ? request_.owner_uid : request_.uid;
  if (request_.must_be_owned && stat_.st_uid != owner) {
    return Refuse("destination " + request_.path + " is not owned by recipient");
  }
  return true;
}

// Under the locks: the name may have another file by now, and this one another length.
bool Mbox::IsStillThere() {
  struct stat there = {};
  return system_.StatPath(request_.path.c_str(), &there) == 0 && IsSame(there, stat_) &&
         system_.Stat(file_, &stat_) == 0 && stat_.st_nlink == 1;
}

// All or none: while it waits it holds nothing. A reader that takes the locks in another order
// would else hold one, wait for ours, and both would wait for nothing.
bool Mbox::LockAll() {
  if (!is_regular_) return true;
  for (uint32_t i = 0; i < std::max<uint32_t>(request_.lock_tries, 1); ++i) {
    if (i > 0 && !wait_(request_.lock_delay_ms)) {
      result_.code = ActionCode::kAbandoned;
      return false;
    }
    if (TakeLocks()) return true;
    ReleaseLocks();
    if (result_.error_number != EAGAIN && result_.error_number != EEXIST) break;
  }
  return false;
}

bool Mbox::TakeLocks() {
  constexpr char kNoLock[] = "unable to lock for exclusive access";
  if (request_.dotlock && !TakeLockFile()) {
    return Fail("unable to create lock file " + lock_path_, errno);
  }
  if (request_.fcntl_lock && system_.LockByFcntl(file_) != 0) return Fail(kNoLock, errno);
  if (request_.flock_lock && system_.LockByFlock(file_) != 0) return Fail(kNoLock, errno);
  return true;
}

void Mbox::ReleaseLocks() {
  if (has_lock_file_) system_.RemovePath(lock_path_.c_str());
  has_lock_file_ = false;
  system_.UnlockFile(file_);
}

bool Mbox::TakeLockFile() {
  const int fd = system_.CreateLockFile(lock_path_.c_str());
  if (fd >= 0) {
    system_.Close(fd);
    has_lock_file_ = true;
    return true;
  }
  // Where one may write a file but not beside it, the other locks must do.
  if (errno == EACCES && request_.is_any_file) return true;
  if (errno != EEXIST) return false;
  struct stat other = {};
  if (system_.StatPath(lock_path_.c_str(), &other) == 0) {
    const int64_t age_ms = (static_cast<int64_t>(time(nullptr)) - other.st_mtime) * 1000;
    if (age_ms > static_cast<int64_t>(request_.lock_stale_ms)) {
      system_.RemovePath(lock_path_.c_str());
    }
  }
  errno = EEXIST;
  return false;
}

void Mbox::Unlock() {
  if (has_lock_file_) system_.RemovePath(lock_path_.c_str());
  has_lock_file_ = false;
  // The other locks are the descriptor's.
  if (file_ >= 0) system_.Close(file_);
  file_ = -1;
  turn_.reset();
}

bool Mbox::Write(std::string_view bytes) {
  if (!header_written_) {
    header_written_ = true;
    if (!Write(request_.header)) return false;
  }
  const uint64_t size = end_ + written_ + bytes.size();
  if (is_regular_ && request_.file_bytes_max > 0 && size > request_.file_bytes_max) {
    return Fail("error writing message", EFBIG);
  }
  return WriteAll(bytes) || Fail("error writing message", errno);
}

bool Mbox::WriteAll(std::string_view bytes) {
  while (!bytes.empty()) {
    const struct iovec part = {const_cast<char*>(bytes.data()), bytes.size()};
    const ssize_t written = system_.Write(file_, &part, 1);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    written_ += static_cast<uint64_t>(written);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

bool Mbox::Commit() {
  if (!header_written_ && !Write("")) return false;
  if (is_regular_ && (system_.Sync(file_) != 0)) return Fail("error writing message", errno);
  result_.code = ActionCode::kDone;
  written_ = 0;
  Unlock();
  return true;
}

// A folder that the user may not read is one whose owner syncs it: the name is made durable with
// the next thing that is.
bool Mbox::SyncFolder() {
  const std::string folder = request_.path.substr(0, request_.path.rfind('/') + 1);
  const int fd = system_.OpenFile(folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (fd < 0) return errno == EACCES || Fail("unable to open " + folder, errno);
  const int error = syncs_.Sync(fd);
  system_.Close(fd);
  return error == 0 || Fail("sync of " + folder, error);
}

void Mbox::Abandon() {
  if (file_ >= 0 && is_regular_ && written_ > 0) {
    system_.Truncate(file_, static_cast<off_t>(end_));
    system_.Sync(file_);
  }
  written_ = 0;
  Unlock();
}

bool Mbox::Fail(std::string what, int error_number) {
  result_.code = ActionCode::kFailed;
  result_.error_number = error_number;
  result_.text = std::move(what);
  return false;
}

bool Mbox::Refuse(std::string why) {
  result_.code = ActionCode::kRefused;
  result_.text = std::move(why);
  return false;
}

}  // namespace postfleet::delivery::privileged
