#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "libs/base/concat.h"
#include "services/queue/log/file_system.h"

namespace postfleet::queue {
namespace {

// ResourceExhausted must mean a full disk alone: the log goes on after it.
absl::Status ErrorOf(int error, std::string_view call, const std::string& path) {
  absl::Status status = absl::ErrnoToStatus(error, Concat(call, " ", path));
  if (!absl::IsResourceExhausted(status) || error == ENOSPC || error == EDQUOT) return status;
  return absl::UnavailableError(status.message());
}

absl::Status StatusOf(int result, std::string_view call, const std::string& path) {
  return result == 0 ? absl::OkStatus() : ErrorOf(errno, call, path);
}

class PosixFile : public File {
 public:
  PosixFile(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  ~PosixFile() override { close(descriptor_); }

  absl::Status Write(uint64_t offset, absl::Span<iovec> slices) override {
    while (!slices.empty()) {
      const int count = static_cast<int>(std::min<size_t>(slices.size(), IOV_MAX));
      const ssize_t written =
          pwritev(descriptor_, slices.data(), count, static_cast<off_t>(offset));
      if (written < 0) {
        if (errno == EINTR) continue;
        return ErrorOf(errno, "write", path_);
      }
      offset += static_cast<uint64_t>(written);
      if (!Advance(&slices, static_cast<size_t>(written))) {
        return absl::UnavailableError(Concat("write ", path_, ": nothing was taken"));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> Read(uint64_t offset, size_t bytes, char* to) override {
    size_t done = 0;
    while (done < bytes) {
      const ssize_t got =
          pread(descriptor_, to + done, bytes - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return ErrorOf(errno, "read", path_);
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    return done;
  }

  // Never repeated after an error, EINTR included: a second fdatasync proves nothing.
  absl::Status Sync() override { return StatusOf(fdatasync(descriptor_), "fdatasync", path_); }

  absl::Status Preallocate(uint64_t bytes) override {
    int result;
    do {
      result = fallocate(descriptor_, 0, 0, static_cast<off_t>(bytes));
    } while (result != 0 && errno == EINTR);
    // A file system without it serves as well, only slower.
    if (result != 0 && errno == EOPNOTSUPP) return absl::OkStatus();
    return StatusOf(result, "fallocate", path_);
  }

  absl::Status Truncate(uint64_t bytes) override {
    return StatusOf(ftruncate(descriptor_, static_cast<off_t>(bytes)), "truncate", path_);
  }

  absl::StatusOr<uint64_t> Size() override {
    struct stat attributes;
    if (fstat(descriptor_, &attributes) != 0) return ErrorOf(errno, "stat", path_);
    return static_cast<uint64_t>(attributes.st_size);
  }

 private:
  // Drops what was written from the front. False when nothing was although something should have
  // been.
  static bool Advance(absl::Span<iovec>* slices, size_t written) {
    const bool progress = written > 0;
    while (!slices->empty() && written >= slices->front().iov_len) {
      written -= slices->front().iov_len;
      slices->remove_prefix(1);
    }
    if (slices->empty()) return true;
    iovec& rest = slices->front();
    rest.iov_base = static_cast<char*>(rest.iov_base) + written;
    rest.iov_len -= written;
    return progress;
  }

  const int descriptor_;
  const std::string path_;
};

class Posix : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<File>> Create(const std::string& path) override {
    return OpenWith(path, O_RDWR | O_CREAT | O_TRUNC, "create");
  }
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path) override {
    return OpenWith(path, O_RDWR, "open");
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return StatusOf(rename(from.c_str(), to.c_str()), "rename", from);
  }
  absl::Status Remove(const std::string& path) override {
    return StatusOf(unlink(path.c_str()), "remove", path);
  }

  absl::StatusOr<std::vector<std::string>> List(const std::string& dir) override {
    std::error_code error;
    std::vector<std::string> names;
    std::filesystem::directory_iterator entry(dir, error);
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      names.push_back(entry->path().filename().string());
    }
    if (error) return ErrorOf(error.value(), "list", dir);
    return names;
  }

  absl::Status CreateDirectory(const std::string& dir) override {
    // One that exists may be the work of a life that ended before the sync below.
    if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) return ErrorOf(errno, "mkdir", dir);
    const std::string parent = std::filesystem::path(dir).parent_path().string();
    return SyncDirectory(parent.empty() ? "." : parent);
  }

  absl::Status SyncDirectory(const std::string& dir) override {
    const int descriptor = open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return ErrorOf(errno, "open", dir);
    const absl::Status status = StatusOf(fsync(descriptor), "fsync", dir);
    close(descriptor);
    return status;
  }

 private:
  static absl::StatusOr<std::unique_ptr<File>> OpenWith(const std::string& path, int flags,
                                                        std::string_view call) {
    const int descriptor = open(path.c_str(), flags | O_CLOEXEC, 0600);
    if (descriptor < 0) return ErrorOf(errno, call, path);
    return std::make_unique<PosixFile>(descriptor, path);
  }
};

}  // namespace

FileSystem& PosixFileSystem() {
  static Posix* const kFileSystem = new Posix;
  return *kFileSystem;
}

}  // namespace postfleet::queue
