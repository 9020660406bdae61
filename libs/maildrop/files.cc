#include "libs/maildrop/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "libs/base/concat.h"
#include "libs/base/queue_id.h"

namespace postfleet::maildrop {
namespace {

constexpr mode_t kUnfinishedMode = 0644;
constexpr mode_t kReadyMode = 0744;
constexpr size_t kBufferBytes = 64 * 1024;
constexpr int kCreateAttemptsMax = 100;
constexpr int kHex = 16;

absl::Status Failed(std::string_view what) {
  const int error = errno;
  std::string text = Concat(what, ": ", std::string_view(strerror(error)));
  switch (error) {
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(std::move(text));
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(std::move(text));
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(std::move(text));
    case EFBIG:
      return absl::OutOfRangeError(std::move(text));
    default:
      return absl::UnavailableError(std::move(text));
  }
}

}  // namespace

absl::StatusOr<NewFile> NewFile::Create(const std::string& folder, const Clock& clock) {
  for (int attempt = 0; attempt < kCreateAttemptsMax; ++attempt) {
    const int64_t now_us = clock.WallMicros();
    const auto microseconds = static_cast<int32_t>(now_us % 1'000'000);
    const std::string first = Concat(folder, "/", microseconds, ".", getpid());
    const int fd =
        open(first.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kUnfinishedMode);
    if (fd < 0 && errno == EEXIST) continue;
    if (fd < 0) return Failed(Concat("create file ", first));
    NewFile file;
    file.fd_ = fd;
    file.path_ = first;
    struct stat status;
    if (fstat(fd, &status) != 0) return Failed(Concat("look at ", first));
    // Unique among the files that there are: the inode is this one's.
    file.name_ = FormatQueueId(now_us / 1'000'000, microseconds, status.st_ino);
    const std::string path = Concat(folder, "/", file.name_);
    if (rename(first.c_str(), path.c_str()) != 0) return Failed(Concat("rename ", first));
    file.path_ = path;
    return file;
  }
  return absl::UnavailableError(Concat("create a file in ", folder, ": all names are taken"));
}

NewFile::NewFile(NewFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      name_(std::move(other.name_)),
      path_(std::move(other.path_)),
      buffer_(std::move(other.buffer_)),
      bytes_(other.bytes_) {}

NewFile::~NewFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(path_.c_str());
}

absl::Status NewFile::Append(std::string_view bytes, uint64_t bytes_max) {
  bytes_ += bytes.size();
  if (bytes_max > 0 && bytes_ > bytes_max) return absl::OutOfRangeError(strerror(EFBIG));
  buffer_.append(bytes);
  return buffer_.size() < kBufferBytes ? absl::OkStatus() : Flush();
}

absl::Status NewFile::Flush() {
  std::string_view left = buffer_;
  while (!left.empty()) {
    const ssize_t written = write(fd_, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failed(Concat("write ", path_));
    left.remove_prefix(static_cast<size_t>(written));
  }
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status NewFile::Commit() {
  if (absl::Status flushed = Flush(); !flushed.ok()) return flushed;
  // Before the sync, which keeps it with the rest: a file that a power failure left unfinished
  // would be removed, though its sender was told that it is sent. Whoever reads it before that has
  // it on the disk of the queue.
  if (fchmod(fd_, kReadyMode) != 0) return Failed(Concat("change the mode of ", path_));
  if (fsync(fd_) != 0) return Failed(Concat("sync ", path_));
  close(std::exchange(fd_, -1));
  return absl::OkStatus();
}

std::optional<FileName> ParseFileName(std::string_view name) {
  const size_t dot = name.find('.');
  FileName parsed;
  parsed.id = name.substr(0, dot);
  if (!IsQueueId(parsed.id)) return std::nullopt;
  if (dot == name.npos) return parsed;
  const std::string_view rest = name.substr(dot);
  if (rest == kBroken) {
    parsed.broken = true;
    return parsed;
  }
  const size_t dash = rest.find('-');
  if (dash == rest.npos) return std::nullopt;
  Mark mark;
  const char* const middle = rest.data() + dash;
  const char* const end = rest.data() + rest.size();
  const auto first = std::from_chars(rest.data() + 1, middle, mark.incarnation, kHex);
  const auto second = std::from_chars(middle + 1, end, mark.sequence, kHex);
  if (first.ec != std::errc() || first.ptr != middle || second.ec != std::errc() ||
      second.ptr != end) {
    return std::nullopt;
  }
  parsed.mark = mark;
  return parsed;
}

std::string FormatFileName(std::string_view id, const Mark& mark) {
  char digits[2][17];
  const auto text = [](uint64_t number, char* out) {
    return std::string_view(
        out, static_cast<size_t>(std::to_chars(out, out + 17, number, kHex).ptr - out));
  };
  return Concat(id, ".", text(mark.incarnation, digits[0]), "-", text(mark.sequence, digits[1]));
}

absl::StatusOr<Folder> Folder::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return Failed(Concat("open ", path));
  DIR* entries = fdopendir(fd);
  if (entries == nullptr) {
    absl::Status failed = Failed(Concat("read ", path));
    close(fd);
    return failed;
  }
  return Folder(path, entries);
}

Folder::Folder(Folder&& other) noexcept
    : path_(std::move(other.path_)), entries_(std::exchange(other.entries_, nullptr)) {}

Folder::~Folder() {
  if (entries_ != nullptr) closedir(entries_);
}

bool Folder::Lock() const { return flock(dirfd(entries_), LOCK_EX | LOCK_NB) == 0; }

std::optional<std::string> Folder::Next() {
  while (const dirent* entry = readdir(entries_)) {
    if (entry->d_name[0] != '.') return entry->d_name;
  }
  return std::nullopt;
}

void Folder::Rewind() { rewinddir(entries_); }

namespace {

void Judge(const struct stat& status, Folder::File* file) {
  file->owner = status.st_uid;
  file->bytes = static_cast<uint64_t>(status.st_size);
  file->modified_ms = status.st_mtim.tv_sec * 1000 + status.st_mtim.tv_nsec / 1'000'000;
  file->state = Folder::File::kStrange;
  if (!S_ISREG(status.st_mode)) {
    file->what = "uncommon file type";
  } else if (status.st_nlink > 1) {
    file->what = Concat("file has ", status.st_nlink, " hard links");
  } else if ((status.st_mode & S_IXUSR) == 0) {
    file->state = Folder::File::kUnfinished;
  } else {
    file->state = Folder::File::kReady;
  }
}

Folder::File Missing(int error) {
  if (error == ENOENT) return {};
  return {.state = Folder::File::kStrange, .what = strerror(error)};
}

}  // namespace

Folder::File Folder::LookAt(const std::string& name) const {
  struct stat status;
  if (fstatat(dirfd(entries_), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return Missing(errno);
  }
  File file;
  Judge(status, &file);
  return file;
}

Folder::File Folder::OpenFile(const std::string& name) const {
  // A device is not even opened.
  File seen = LookAt(name);
  if (seen.state != File::kReady) return seen;
  const int fd =
      openat(dirfd(entries_), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return Missing(errno);
  absl::Cleanup close_fd = [fd] { close(fd); };
  struct stat status;
  if (fstat(fd, &status) != 0) return Missing(errno);
  File file;
  Judge(status, &file);
  if (file.state != File::kReady) return file;
  std::move(close_fd).Cancel();
  file.fd = fd;
  return file;
}

absl::Status Folder::Rename(const std::string& from, const std::string& to) const {
  const int fd = dirfd(entries_);
  if (renameat(fd, from.c_str(), fd, to.c_str()) == 0) return absl::OkStatus();
  return Failed(Concat("rename ", path_, "/", from, " to ", to));
}

absl::Status Folder::Remove(const std::string& name) const {
  if (unlinkat(dirfd(entries_), name.c_str(), 0) == 0 || errno == ENOENT) return absl::OkStatus();
  return Failed(Concat("remove ", path_, "/", name));
}

absl::Status Folder::Sync() const {
  if (fsync(dirfd(entries_)) == 0) return absl::OkStatus();
  return Failed(Concat("sync ", path_));
}

}  // namespace postfleet::maildrop
