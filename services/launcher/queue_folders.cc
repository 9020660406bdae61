#include "services/launcher/queue_folders.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "libs/base/concat.h"
#include "libs/maildrop/files.h"

namespace postfleet::launcher {
namespace {

constexpr int kLockWaitMs = 200;
constexpr int kLockPollMs = 10;

absl::Status Failed(std::string_view what) {
  const std::string reason = strerror(errno);
  return absl::UnavailableError(Concat(what, ": ", reason));
}

// A name is durable once the folder that it lies in was synced.
absl::Status SyncFolder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // A folder that this user may not read is one where it cannot have made anything either.
  if (fd < 0 && errno == EACCES) return absl::OkStatus();
  if (fd < 0) return Failed("sync folder " + path);
  absl::Cleanup close_fd = [fd] { close(fd); };
  return fsync(fd) == 0 ? absl::OkStatus() : Failed("sync folder " + path);
}

absl::Status MakeFolder(const std::string& path, mode_t mode, const Owner& owner) {
  if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) {
    return Failed(
        Concat("make ", path, " (queue_directory must be writable for the user that starts)"));
  }
  // By descriptor: what lies there may be a link to something that is not ours to give away.
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return Failed("open " + path);
  absl::Cleanup close_fd = [fd] { close(fd); };
  if (geteuid() == 0 && (fchown(fd, owner.uid, owner.gid) != 0 || fchmod(fd, mode) != 0)) {
    return Failed("change the owner of " + path);
  }
  return absl::OkStatus();
}

absl::Status MakeMaildrop(const std::string& queue_directory, const Owner& owner) {
  Owner shared = owner;
  shared.gid = owner.submitters.value_or(owner.gid);
  return MakeFolder(Concat(queue_directory, maildrop::kFolder),
                    owner.submitters ? maildrop::kFolderMode : 0700, shared);
}

// The owner's rights for a while: the folder is the owner's, and what it makes of the file must not
// be done by root.
class AsOwner {
 public:
  explicit AsOwner(const Owner& owner)
      : root_(geteuid() == 0), ok_(!root_ || Become(owner.uid, owner.gid)) {}
  ~AsOwner() {
    if (!root_ || (seteuid(0) == 0 && setegid(0) == 0)) return;
    std::perror("postfix/master: fatal: become root again");
    std::abort();
  }
  bool ok() const { return ok_; }

 private:
  static bool Become(uid_t uid, gid_t gid) { return setegid(gid) == 0 && seteuid(uid) == 0; }
  const bool root_;
  const bool ok_;
};

// Commands look at the lock for an instant, too.
bool LockWithin(int fd, int milliseconds) {
  for (;; milliseconds -= kLockPollMs) {
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno != EWOULDBLOCK || milliseconds <= 0) return false;
    usleep(kLockPollMs * 1000);
  }
}

absl::Status AlreadyRunning(const server::ServerProgram& program, const std::string& path) {
  return absl::AlreadyExistsError(
      Concat(program.queue ? "the mail system" : program.name, " is already running (", path,
             " is locked); stop it with `postfix stop`, or use another queue_directory"));
}

}  // namespace

absl::Status MakeQueueFolders(const std::string& queue_directory, const Owner& owner) {
  if (mkdir(queue_directory.c_str(), 0755) != 0 && errno != EEXIST) {
    return Failed(Concat("make queue_directory ", queue_directory,
                         " (create the folder above it, or set queue_directory in main.cf)"));
  }
  absl::Status made = MakeFolder(Concat(queue_directory, server::kOwnFolder), 0700, owner);
  if (made.ok()) made = MakeFolder(Concat(queue_directory, server::kPublicFolder), 0755, owner);
  if (made.ok()) made = MakeMaildrop(queue_directory, owner);
  if (made.ok()) made = SyncFolder(queue_directory + "/..");
  return made.ok() ? SyncFolder(queue_directory) : made;
}

absl::StatusOr<int> TakeLock(const std::string& queue_directory,
                             const server::ServerProgram& program, const Owner& owner) {
  const AsOwner as_owner(owner);
  if (!as_owner.ok()) return Failed("become mail_owner");
  const std::string path = Concat(queue_directory, server::kOwnFolder, program.pid_file);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) return Failed("open lock file " + path);
  absl::Cleanup close_fd = [fd] { close(fd); };
  if (!LockWithin(fd, kLockWaitMs)) {
    return errno == EWOULDBLOCK ? AlreadyRunning(program, path) : Failed("lock " + path);
  }
  const std::string text = Concat(getpid(), "\n", program.name, "\n");
  if (ftruncate(fd, 0) != 0 || pwrite(fd, text.data(), text.size(), 0) < 0) {
    return Failed("write " + path);
  }
  std::move(close_fd).Cancel();
  return fd;
}

}  // namespace postfleet::launcher
