#include "services/delivery/privileged/system.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace postfleet::delivery::privileged {

int System::OpenBase(const char* path) { return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC); }

int System::OpenBeneath(int at, const char* path, bool for_sync) {
  struct open_how how = {};
  how.flags = (for_sync ? O_RDONLY : O_PATH) | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(syscall(SYS_openat2, at, path, &how, sizeof(how)));
}

int System::MakeDirectory(int at, const char* name) { return mkdirat(at, name, 0700); }

int System::CreateFile(int at, const char* name) {
  return openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

int System::Stat(int fd, struct stat* stat) { return fstat(fd, stat); }

ssize_t System::Write(int fd, const struct iovec* parts, int count) {
  return writev(fd, parts, count);
}

int System::Sync(int fd) { return fsync(fd); }

int System::Rename(int from_at, const char* from, int to_at, const char* to) {
  const int result = renameat2(from_at, from, to_at, to, RENAME_NOREPLACE);
  if (result == 0 || errno != EINVAL) return result;
  // NFS and others know no flags.
  if (linkat(from_at, from, to_at, to, 0) != 0) return -1;
  return unlinkat(from_at, from, 0);
}

int System::Remove(int at, const char* name) { return unlinkat(at, name, 0); }

int System::OpenFile(const char* path, int flags) {
  return open(path, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
}

int System::StatPath(const char* path, struct stat* stat) { return lstat(path, stat); }

int System::Truncate(int fd, off_t bytes) { return ftruncate(fd, bytes); }

int System::GiveTo(int fd, uid_t uid, gid_t gid) { return fchown(fd, uid, gid); }

int System::LockByFcntl(int fd) {
  struct flock whole = {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  return fcntl(fd, F_OFD_SETLK, &whole);
}

int System::LockByFlock(int fd) { return flock(fd, LOCK_EX | LOCK_NB); }

void System::UnlockFile(int fd) {
  struct flock whole = {};
  whole.l_type = F_UNLCK;
  whole.l_whence = SEEK_SET;
  fcntl(fd, F_OFD_SETLK, &whole);
  flock(fd, LOCK_UN);
}

int System::CreateLockFile(const char* path) {
  return open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

int System::RemovePath(const char* path) { return unlink(path); }

void System::Close(int fd) { close(fd); }

uid_t System::RealUid() { return getuid(); }
gid_t System::RealGid() { return getgid(); }

int System::SetGroups(gid_t only) {
  return static_cast<int>(syscall(SYS_setgroups, size_t{1}, &only));
}

int System::SetEffectiveGid(gid_t gid) {
  return static_cast<int>(syscall(SYS_setresgid, gid_t(-1), gid, gid_t(-1)));
}

int System::SetEffectiveUid(uid_t uid) {
  return static_cast<int>(syscall(SYS_setresuid, uid_t(-1), uid, uid_t(-1)));
}

}  // namespace postfleet::delivery::privileged
