// The disk as the log sees it, so that tests can take its power away (fake_disk.h).
//
// Errors: ResourceExhausted for a full disk or quota, NotFound for a missing file, otherwise what
// errno says. Messages name the call and the path. Offsets and sizes are bytes.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace postfleet::queue {

class File {
 public:
  virtual ~File() = default;

  // Writes all slices one after another. On an error any part may have been written. `slices` is
  // used up.
  virtual absl::Status Write(uint64_t offset, absl::Span<iovec> slices) = 0;
  // Reads up to `bytes` at `offset`; fewer only at the end of the file.
  virtual absl::StatusOr<size_t> Read(uint64_t offset, size_t bytes, char* to) = 0;
  // Contents and size are durable when this returns; the name is not (SyncDirectory).
  virtual absl::Status Sync() = 0;
  // Reserves space up to `bytes`, which becomes the size; zeroes where nothing was.
  virtual absl::Status Preallocate(uint64_t bytes) = 0;
  virtual absl::Status Truncate(uint64_t bytes) = 0;
  virtual absl::StatusOr<uint64_t> Size() = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // A new, empty file; replaces one of that name.
  virtual absl::StatusOr<std::unique_ptr<File>> Create(const std::string& path) = 0;
  virtual absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path) = 0;
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Remove(const std::string& path) = 0;
  // Names of the entries, in no order.
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& dir) = 0;
  // OK when it exists already. Its own entry is durable when this returns.
  virtual absl::Status CreateDirectory(const std::string& dir) = 0;
  virtual absl::Status SyncDirectory(const std::string& dir) = 0;
};

// The machine's. Lives as long as the process.
FileSystem& PosixFileSystem();

}  // namespace postfleet::queue
