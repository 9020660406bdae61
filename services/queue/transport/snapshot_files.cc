#include "services/queue/transport/snapshot_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "libs/base/concat.h"
#include "libs/base/crc32c.h"

namespace postfleet::queue::transport {
namespace {

absl::Status Failed(const char* call, const std::string& path) {
  const int error = errno;
  const std::string text = Concat(call, " ", path, ": ", strerror(error));
  if (error == ENOENT) return absl::NotFoundError(text);
  return error == ENOSPC ? absl::ResourceExhaustedError(text) : absl::InternalError(text);
}

bool IsFileName(std::string_view name) {
  return !name.empty() && name.size() <= kFileNameBytesMax && name != "." && name != ".." &&
         name.find('/') == name.npos && name.find('\0') == name.npos;
}

}  // namespace

std::string IncomingFolder(const std::string& directory) { return directory + "/incoming"; }
std::string IncomingState(const std::string& directory) { return directory + "/incoming/state"; }
std::string IncomingManifest(const std::string& directory) {
  return directory + "/incoming/manifest";
}

absl::Status CheckManifest(const cluster::v1::SnapshotManifest& manifest) {
  if (manifest.index() == 0 || manifest.term() == 0 || manifest.membership().members().empty()) {
    return absl::InvalidArgumentError("a snapshot without its place in the log");
  }
  if (manifest.files_size() == 0 || manifest.files_size() > kFilesMax) {
    return absl::InvalidArgumentError(Concat("a snapshot of ", manifest.files_size(), " files"));
  }
  std::set<std::string_view> names;
  for (const cluster::v1::SnapshotFile& file : manifest.files()) {
    if (!IsFileName(file.name()) || !names.insert(file.name()).second) {
      return absl::InvalidArgumentError("a snapshot with a name that no file of it can have");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> ChecksumOfFile(const std::string& path, uint64_t bytes) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return Failed("open", path);
  const absl::Cleanup close_it = [file] { close(file); };
  std::vector<char> part(kPartBytes);
  uint32_t checksum = 0;
  uint64_t left = bytes;
  while (left > 0) {
    const ssize_t got = read(file, part.data(), std::min<uint64_t>(part.size(), left));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failed("read", path);
    if (got == 0) return absl::DataLossError(Concat(path, " is shorter than ", bytes, " bytes"));
    checksum = Crc32c({part.data(), static_cast<size_t>(got)}, checksum);
    left -= static_cast<uint64_t>(got);
  }
  return checksum;
}

absl::Status SyncFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return Failed("open", path);
  const absl::Cleanup close_it = [file] { close(file); };
  return fsync(file) == 0 ? absl::OkStatus() : Failed("fsync", path);
}

}  // namespace postfleet::queue::transport
