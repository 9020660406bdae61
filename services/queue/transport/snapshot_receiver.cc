#include "services/queue/transport/snapshot_receiver.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <utility>
#include <vector>

#include "libs/base/concat.h"
#include "libs/rpc/outbox.h"
#include "libs/rpc/payload.h"
#include "services/queue/log/file_system.h"
#include "services/queue/transport/snapshot_files.h"

namespace postfleet::queue::transport {

namespace v1 = cluster::v1;
namespace fs = std::filesystem;

struct SnapshotReceiver::Transfer {
  std::shared_ptr<rpc::Stream> stream;
  rpc::Outbox<v1::SnapshotProgress> answers;

  // on_frame only.
  bool began = false;
  v1::SnapshotManifest manifest;
  int open_file = -1;
  int open_descriptor = -1;
  std::vector<uint64_t> have_bytes;
  uint64_t missing_bytes = 0;

  std::atomic<int64_t> last_frame_ms = 0;
  std::mutex mutex;
  absl::Status end;  // guarded by mutex
  bool complete = false;

  void CloseFile() {
    if (open_descriptor >= 0) close(open_descriptor);
    open_descriptor = -1;
    open_file = -1;
  }
  ~Transfer() { CloseFile(); }
};

namespace {

absl::Status Failed(std::string_view call, const std::string& path) {
  const int error = errno;
  const std::string text = Concat(call, " ", path, ": ", strerror(error));
  return error == ENOSPC ? absl::ResourceExhaustedError(text) : absl::InternalError(text);
}

uint64_t FreeBytes(const std::string& directory) {
  struct statvfs facts;
  if (statvfs(directory.c_str(), &facts) != 0) return 0;
  return static_cast<uint64_t>(facts.f_bavail) * facts.f_frsize;
}

}  // namespace

SnapshotReceiver::SnapshotReceiver(World world) : world_(std::move(world)) { loop_.Start(); }

SnapshotReceiver::~SnapshotReceiver() { Stop(); }

void SnapshotReceiver::Stop() { loop_.Stop(); }

rpc::ServerReactor* SnapshotReceiver::Accept(grpc::CallbackServerContext*) {
  auto transfer = std::make_shared<Transfer>();
  return rpc::AcceptStream(
      [&](std::shared_ptr<rpc::Stream> stream) {
        transfer->stream = std::move(stream);
        return rpc::StreamCallbacks{
            .next_frame =
                [transfer](grpc::ByteBuffer* frame) {
                  std::vector<v1::SnapshotProgress> answers =
                      transfer->answers.Take(0, [](const auto&) { return size_t{1}; });
                  if (answers.empty()) return false;
                  *frame = rpc::EncodeFrame(answers.front(), {});
                  return true;
                },
            .on_frame =
                [this, transfer](const grpc::ByteBuffer& frame) {
                  const absl::Status taken = OnFrame(transfer, frame);
                  if (!taken.ok()) End(transfer, taken);
                },
            .on_closed =
                [this, transfer](const grpc::Status&) {
                  bool is_last = false;
                  {
                    std::lock_guard lock(mutex_);
                    if (current_ == transfer) current_ = nullptr;
                    is_last = transfer->complete && !std::exchange(received_, true);
                  }
                  transfer->stream.reset();
                  if (is_last) world_.on_received();
                }};
      },
      [transfer] {
        std::lock_guard lock(transfer->mutex);
        return grpc::Status(static_cast<grpc::StatusCode>(transfer->end.code()),
                            std::string(transfer->end.message()));
      });
}

void SnapshotReceiver::End(const std::shared_ptr<Transfer>& transfer, absl::Status status) {
  {
    std::lock_guard lock(transfer->mutex);
    transfer->end = std::move(status);
  }
  transfer->stream->Cancel();
}

absl::Status SnapshotReceiver::OnFrame(const std::shared_ptr<Transfer>& transfer,
                                       const grpc::ByteBuffer& bytes) {
  v1::SnapshotFrame frame;
  rpc::Payload payload;
  if (!rpc::DecodeFrame(bytes, &frame, &payload)) {
    return absl::InvalidArgumentError("not a frame of a snapshot");
  }
  transfer->last_frame_ms = world_.clock->WallMillis();
  if (!transfer->began) {
    if (!frame.has_manifest()) return absl::InvalidArgumentError("a snapshot without a manifest");
    return Begin(transfer, frame.manifest());
  }
  if (absl::Status written = Write(*transfer, frame, payload); !written.ok()) return written;
  if (transfer->missing_bytes > 0) return absl::OkStatus();
  transfer->CloseFile();
  loop_.Post([this, transfer] {
    const absl::Status finished = Finish(transfer->manifest);
    if (!finished.ok()) return End(transfer, finished);
    {
      std::lock_guard lock(mutex_);
      transfer->complete = true;
    }
    v1::SnapshotProgress progress;
    progress.set_complete(true);
    transfer->answers.Add(std::move(progress));
    transfer->stream->Kick();
  });
  return absl::OkStatus();
}

absl::Status SnapshotReceiver::CheckFits(const v1::SnapshotManifest& manifest) const {
  if (absl::Status checked = CheckManifest(manifest); !checked.ok()) return checked;
  if (manifest.cluster_id() != world_.cluster_id || manifest.to() != world_.own_id) {
    return absl::FailedPreconditionError("the snapshot is for another replica");
  }
  if (manifest.index() <= world_.committed_index()) {
    return absl::FailedPreconditionError("this replica has all of the snapshot already");
  }
  return absl::OkStatus();
}

absl::Status SnapshotReceiver::Begin(const std::shared_ptr<Transfer>& transfer,
                                     const v1::SnapshotManifest& manifest) {
  if (absl::Status fits = CheckFits(manifest); !fits.ok()) return fits;
  std::shared_ptr<Transfer> silent;
  {
    std::lock_guard lock(mutex_);
    if (received_) return absl::UnavailableError("a snapshot is being taken over");
    if (current_ != nullptr) {
      const int64_t silent_ms = world_.clock->WallMillis() - current_->last_frame_ms;
      if (silent_ms < std::chrono::milliseconds(kSilenceMax).count()) {
        return absl::UnavailableError("another snapshot is on its way");
      }
    }
    silent = std::exchange(current_, transfer);
  }
  if (silent != nullptr) {
    End(silent, absl::DeadlineExceededError("the transfer was silent for too long"));
  }
  const std::string state = IncomingState(world_.directory);
  std::error_code error;
  fs::create_directories(state, error);
  if (error) return absl::InternalError(Concat("make ", state, ": ", error.message()));
  std::set<std::string> wanted;
  v1::SnapshotProgress have;
  for (const v1::SnapshotFile& file : manifest.files()) {
    wanted.insert(file.name());
    const uintmax_t bytes = fs::file_size(Concat(state, "/", file.name()), error);
    const uint64_t here = error || bytes > file.bytes() ? 0 : bytes;
    transfer->have_bytes.push_back(here);
    transfer->missing_bytes += file.bytes() - here;
    have.add_have_bytes(here);
  }
  for (const auto& entry : fs::directory_iterator(state, error)) {
    if (!wanted.contains(entry.path().filename())) fs::remove_all(entry.path(), error);
  }
  const uint64_t free_bytes = FreeBytes(state);
  if (transfer->missing_bytes > free_bytes) {
    return absl::ResourceExhaustedError(Concat("the snapshot needs ", transfer->missing_bytes,
                                               " bytes, and ", free_bytes, " are free"));
  }
  transfer->manifest = manifest;
  transfer->began = true;
  transfer->answers.Add(std::move(have));
  transfer->stream->Kick();
  return absl::OkStatus();
}

absl::Status SnapshotReceiver::Write(Transfer& transfer, const v1::SnapshotFrame& frame,
                                     const rpc::Payload& payload) const {
  const int index = static_cast<int>(frame.file());
  if (frame.file() >= static_cast<uint32_t>(transfer.manifest.files_size())) {
    return absl::InvalidArgumentError("a part of a file that the manifest does not name");
  }
  const v1::SnapshotFile& file = transfer.manifest.files(index);
  uint64_t& have = transfer.have_bytes[frame.file()];
  const uint64_t bytes = rpc::PayloadBytes(payload);
  if (frame.offset() != have || bytes > file.bytes() - have || bytes > transfer.missing_bytes) {
    return absl::InvalidArgumentError(Concat("a part of ", file.name(), " that does not follow"));
  }
  const std::string path = Concat(IncomingState(world_.directory), "/", file.name());
  if (transfer.open_file != index) {
    transfer.CloseFile();
    transfer.open_descriptor =
        open(path.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (transfer.open_descriptor < 0) return Failed("create", path);
    transfer.open_file = index;
    // What was longer than it can be is written from its beginning.
    if (ftruncate(transfer.open_descriptor, static_cast<off_t>(have)) != 0) {
      return Failed("truncate", path);
    }
  }
  for (const grpc::Slice& slice : payload) {
    std::string_view rest = rpc::AsView(slice);
    while (!rest.empty()) {
      const ssize_t wrote =
          pwrite(transfer.open_descriptor, rest.data(), rest.size(), static_cast<off_t>(have));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) return Failed("write", path);
      rest.remove_prefix(static_cast<size_t>(wrote));
      have += static_cast<uint64_t>(wrote);
      transfer.missing_bytes -= static_cast<uint64_t>(wrote);
    }
  }
  return absl::OkStatus();
}

// Checks all files and makes them durable, then says so by the manifest.
absl::Status SnapshotReceiver::Finish(const v1::SnapshotManifest& manifest) const {
  const std::string state = IncomingState(world_.directory);
  for (const v1::SnapshotFile& file : manifest.files()) {
    const std::string path = Concat(state, "/", file.name());
    // An empty one had no part.
    if (file.bytes() == 0) std::ofstream(path, std::ios::trunc).flush();
    const absl::StatusOr<uint32_t> checksum = ChecksumOfFile(path, file.bytes());
    if (!checksum.ok()) return checksum.status();
    if (*checksum != file.crc32c()) {
      std::error_code ignored;
      fs::remove(path, ignored);
      return absl::DataLossError(Concat(file.name(), " came damaged"));
    }
    if (absl::Status synced = SyncFile(path); !synced.ok()) return synced;
  }
  FileSystem& files = PosixFileSystem();
  if (absl::Status synced = files.SyncDirectory(state); !synced.ok()) return synced;
  const std::string path = IncomingManifest(world_.directory);
  const std::string unfinished = path + ".new";
  {
    std::ofstream out(unfinished, std::ios::binary | std::ios::trunc);
    if (!manifest.SerializeToOstream(&out) || !out.flush()) return Failed("write", unfinished);
  }
  if (absl::Status synced = SyncFile(unfinished); !synced.ok()) return synced;
  if (absl::Status renamed = files.Rename(unfinished, path); !renamed.ok()) return renamed;
  const std::string folder = IncomingFolder(world_.directory);
  if (absl::Status synced = files.SyncDirectory(folder); !synced.ok()) return synced;
  return files.SyncDirectory(world_.directory);
}

}  // namespace postfleet::queue::transport
