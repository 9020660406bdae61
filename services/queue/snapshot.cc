#include "services/queue/snapshot.h"

#include <rocksdb/utilities/checkpoint.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>

#include "libs/base/concat.h"
#include "services/queue/log/file_system.h"
#include "services/queue/replica/node_log.h"
#include "services/queue/rpc/commit_pipeline.h"
#include "services/queue/transport/snapshot_files.h"

namespace postfleet::queue {
namespace {

namespace fs = std::filesystem;

absl::Status Removed(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return absl::InternalError(Concat("remove ", path, ": ", error.message()));
  return absl::OkStatus();
}

absl::StatusOr<cluster::v1::SnapshotManifest> ReadManifest(const std::string& path) {
  cluster::v1::SnapshotManifest manifest;
  std::ifstream in(path, std::ios::binary);
  if (!manifest.ParseFromIstream(&in) || !transport::CheckManifest(manifest).ok()) {
    return absl::DataLossError(
        Concat(path, " cannot be read; remove it, and the leader sends a snapshot again"));
  }
  return manifest;
}

// The log begins anew behind the snapshot. False: it has passed it.
absl::StatusOr<bool> BeginBehind(const cluster::v1::SnapshotManifest& manifest,
                                 const Log::Options& options) {
  constexpr uint16_t kShard = CommitPipeline::kShard;
  Recovery found;
  const auto log = NodeLog::Open(options, &found);
  if (!log.ok()) return log.status();
  const uint64_t begun = (*log)->start(kShard).index;
  if (begun == manifest.index()) return true;
  if (std::max(begun, (*log)->hard_state(kShard).commit) >= manifest.index()) return false;
  (*log)->Add(kShard, LogStart{.index = manifest.index(),
                               .term = manifest.term(),
                               .members = manifest.membership().SerializeAsString()});
  if (absl::Status written = (*log)->Write(); !written.ok()) return written;
  if (absl::Status synced = (*log)->Sync(); !synced.ok()) return synced;
  return true;
}

}  // namespace

absl::StatusOr<uint64_t> MakeCheckpoint(Store* store, const std::string& folder) {
  std::error_code error;
  fs::create_directories(fs::path(folder).parent_path(), error);
  if (error) return absl::InternalError(Concat("make ", folder, ": ", error.message()));
  rocksdb::Checkpoint* made = nullptr;
  if (const auto status = rocksdb::Checkpoint::Create(store->db(), &made); !status.ok()) {
    return ToStatus(status, "prepare a checkpoint");
  }
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
  // 0: the write buffers are flushed, since no log of the store has them.
  if (const auto status = checkpoint->CreateCheckpoint(folder, /*log_size_for_flush=*/0);
      !status.ok()) {
    return ToStatus(status, Concat("make the checkpoint ", folder));
  }
  const auto copy = Store::Open({.path = folder, .read_only = true});
  if (!copy.ok()) return copy.status();
  return (*copy)->FlushedIndex();
}

absl::StatusOr<bool> TakeOverReceived(const std::string& directory, const Log::Options& log) {
  const std::string incoming = transport::IncomingFolder(directory);
  const std::string manifest_path = transport::IncomingManifest(directory);
  const std::string received = transport::IncomingState(directory);
  const std::string state = directory + "/state";
  const std::string old = directory + "/state.old";
  FileSystem& files = PosixFileSystem();
  if (!fs::exists(manifest_path)) return false;
  const auto manifest = ReadManifest(manifest_path);
  if (!manifest.ok()) return manifest.status();
  const absl::StatusOr<bool> begun = BeginBehind(*manifest, log);
  if (!begun.ok()) return begun.status();
  if (*begun && fs::exists(received)) {
    // The store of before is not needed any more once the log begins behind it.
    if (fs::exists(state)) {
      if (absl::Status gone = Removed(old); !gone.ok()) return gone;
      if (absl::Status moved = files.Rename(state, old); !moved.ok()) return moved;
    }
    if (absl::Status moved = files.Rename(received, state); !moved.ok()) return moved;
    if (absl::Status synced = files.SyncDirectory(directory); !synced.ok()) return synced;
  }
  if (absl::Status gone = Removed(incoming); !gone.ok()) return gone;
  if (absl::Status gone = Removed(old); !gone.ok()) return gone;
  return *begun;
}

}  // namespace postfleet::queue
