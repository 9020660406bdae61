// The system calls of the helper, one method each, so that a test can record their order and let
// any of them fail.
//
// All return what the call returns: -1 and errno for an error. Thread-safe.
//
// Credentials: on Linux they belong to the thread. glibc's setresuid() changes them in *all*
// threads, by a signal to each (POSIX wants processes to have users); here every thread delivers
// for another user, so the raw calls are right and the wrappers would be a hole. Only the
// *effective* ids change: the thread's real and saved ids stay root's, which is how it comes back,
// and why the user can neither signal nor trace it. With an effective uid other than 0 the kernel
// takes the effective capabilities away: files are opened with the user's rights, not root's.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

namespace postfleet::delivery::privileged {

class System {
 public:
  virtual ~System() = default;

  // ---- Files ----
  // A directory by an absolute path that the administrator chose: symbolic links are followed.
  virtual int OpenBase(const char* path);
  // A directory below `at`: no symbolic link anywhere in `path`, nothing above `at`. For looking
  // things up, or for syncing.
  virtual int OpenBeneath(int at, const char* path, bool for_sync);
  virtual int MakeDirectory(int at, const char* name);  // 0700
  virtual int CreateFile(int at, const char* name);     // 0600, must be new
  virtual int Stat(int fd, struct stat* stat);
  virtual ssize_t Write(int fd, const struct iovec* parts, int count);
  virtual int Sync(int fd);  // fsync
  // To a name that must be new (RENAME_NOREPLACE; link and unlink where the file system lacks it).
  virtual int Rename(int from_at, const char* from, int to_at, const char* to);
  virtual int Remove(int at, const char* name);
  // A file by an absolute path: no symbolic link as its last part, never waits for a FIFO's other
  // end. `flags` of open(2).
  virtual int OpenFile(const char* path, int flags);
  virtual int StatPath(const char* path, struct stat* stat);  // of a link: its own
  virtual int Truncate(int fd, off_t bytes);
  virtual int GiveTo(int fd, uid_t uid, gid_t gid);
  // For writing, exclusive, at once or EAGAIN. The lock is the descriptor's, not the process': two
  // threads exclude each other, and readers that use fcntl's F_SETLK are excluded, too.
  virtual int LockByFcntl(int fd);
  virtual int LockByFlock(int fd);
  virtual void UnlockFile(int fd);               // of both
  virtual int CreateLockFile(const char* path);  // must be new; the descriptor
  virtual int RemovePath(const char* path);
  virtual void Close(int fd);

  // ---- Credentials of the calling thread ----
  virtual uid_t RealUid();
  virtual gid_t RealGid();
  virtual int SetGroups(gid_t only);
  virtual int SetEffectiveGid(gid_t gid);
  virtual int SetEffectiveUid(uid_t uid);
};

}  // namespace postfleet::delivery::privileged
