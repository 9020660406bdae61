#include "services/queue/transport/snapshot_sender.h"

#include <pthread.h>

#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "libs/base/concat.h"
#include "services/queue/transport/snapshot_files.h"

namespace postfleet::queue::transport {
namespace {

namespace v1 = cluster::v1;
namespace fs = std::filesystem;

absl::Status ToStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// Sizes and checksums of what is to be sent; the bytes of all.
absl::StatusOr<uint64_t> Measure(const std::string& folder, v1::SnapshotManifest* manifest) {
  uint64_t all = 0;
  for (v1::SnapshotFile& file : *manifest->mutable_files()) {
    const std::string path = Concat(folder, "/", file.name());
    std::error_code error;
    const uintmax_t bytes = fs::file_size(path, error);
    if (error) return absl::InternalError(Concat(path, ": ", error.message()));
    const absl::StatusOr<uint32_t> checksum = ChecksumOfFile(path, bytes);
    if (!checksum.ok()) return checksum.status();
    file.set_bytes(bytes);
    file.set_crc32c(*checksum);
    all += bytes;
  }
  return all;
}

}  // namespace

SnapshotSender::~SnapshotSender() { Stop(); }

void SnapshotSender::Start(Prepare prepare, Report report) {
  prepare_ = std::move(prepare);
  report_ = std::move(report);
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "queue-snapshot");
    Run();
  });
}

void SnapshotSender::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    if (context_ != nullptr) context_->TryCancel();
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void SnapshotSender::SendSnapshot(PeerMessage message, uint64_t /*index*/) {
  std::lock_guard lock(mutex_);
  waiting_[message.to] = message.shard;
  wake_.notify_all();
}

void SnapshotSender::Run() {
  while (true) {
    uint64_t to = 0;
    uint16_t shard = 0;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      std::tie(to, shard) = *waiting_.begin();
      waiting_.erase(waiting_.begin());
    }
    const absl::Status sent = Send(shard, to);
    if (!sent.ok()) {
      world_.say(Concat("cluster: a snapshot did not come through: ", std::string(sent.message())));
    }
    report_(shard, to, sent.ok());
  }
}

absl::Status SnapshotSender::Send(uint16_t shard, uint64_t to) {
  absl::StatusOr<PreparedSnapshot> snapshot = prepare_(shard);
  if (!snapshot.ok()) return snapshot.status();
  const absl::Cleanup remove = [&snapshot] {
    std::error_code ignored;
    fs::remove_all(snapshot->folder, ignored);
  };
  snapshot->manifest.set_cluster_id(world_.cluster_id);
  snapshot->manifest.set_to(to);
  return SendFiles(*snapshot, to);
}

bool SnapshotSender::Throttle(uint64_t sent_bytes, std::chrono::steady_clock::time_point began) {
  std::unique_lock lock(mutex_);
  if (world_.rate_bytes == 0) return !stopping_;
  const std::chrono::duration<double> due(static_cast<double>(sent_bytes) /
                                          static_cast<double>(world_.rate_bytes));
  const auto at = began + std::chrono::duration_cast<std::chrono::steady_clock::duration>(due);
  return !wake_.wait_until(lock, at, [this] { return stopping_; });
}

absl::Status SnapshotSender::SendFiles(const PreparedSnapshot& snapshot, uint64_t to) {
  const std::shared_ptr<grpc::Channel> channel = world_.channel_to(to);
  if (channel == nullptr) return absl::NotFoundError("the replica is no member any more");
  v1::SnapshotManifest manifest = snapshot.manifest;
  const absl::StatusOr<uint64_t> all = Measure(snapshot.folder, &manifest);
  if (!all.ok()) return all.status();
  const auto stub = v1::Cluster::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kTransferMin +
                       std::chrono::seconds(*all / kBytesPerSecondMin));
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return absl::CancelledError("the queue stops");
    context_ = &context;
  }
  const absl::Cleanup forget = [this] {
    std::lock_guard lock(mutex_);
    context_ = nullptr;
  };
  const auto stream = stub->SendSnapshot(&context);
  // The receiver has ended it: it says why.
  const auto ended = [&stream]() -> absl::Status {
    const grpc::Status status = stream->Finish();
    return status.ok() ? absl::UnavailableError("the transfer broke off") : ToStatus(status);
  };
  const auto give_up = [&](absl::Status why) {
    context.TryCancel();
    stream->Finish();
    return why;
  };
  v1::SnapshotFrame first;
  *first.mutable_manifest() = manifest;
  v1::SnapshotProgress have;
  if (!stream->Write(first)) return ended();
  if (!stream->Read(&have)) return ended();
  if (have.have_bytes_size() != manifest.files_size()) {
    return give_up(absl::InternalError("the receiver's answer is not one to the manifest"));
  }
  const auto began = std::chrono::steady_clock::now();
  uint64_t sent_bytes = 0;
  bool some = false;
  for (int i = 0; i < manifest.files_size(); ++i) {
    const v1::SnapshotFile& file = manifest.files(i);
    std::ifstream in(Concat(snapshot.folder, "/", file.name()), std::ios::binary);
    uint64_t at = have.have_bytes(i);
    in.seekg(static_cast<std::streamoff>(at));
    while (at < file.bytes()) {
      v1::SnapshotFrame part;
      part.set_file(static_cast<uint32_t>(i));
      part.set_offset(at);
      std::string bytes(std::min<uint64_t>(kPartBytes, file.bytes() - at), '\0');
      if (!in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) {
        return give_up(absl::InternalError(Concat(file.name(), " cannot be read")));
      }
      at += bytes.size();
      sent_bytes += bytes.size();
      part.set_payload(std::move(bytes));
      some = true;
      if (!stream->Write(part)) return ended();
      if (!Throttle(sent_bytes, began)) return give_up(absl::CancelledError("the queue stops"));
    }
  }
  // All was there already: a part of nothing has it checked.
  if (!some) {
    v1::SnapshotFrame nothing;
    nothing.set_offset(have.have_bytes(0));
    if (!stream->Write(nothing)) return ended();
  }
  v1::SnapshotProgress last;
  if (!stream->Read(&last) || !last.complete()) return ended();
  stream->WritesDone();
  // What the receiver did with the stream then does not matter.
  context.TryCancel();
  stream->Finish();
  world_.say(Concat("cluster: a snapshot of ", *all, " bytes as of entry ", manifest.index(),
                    " was delivered, ", sent_bytes, " bytes of it now"));
  return absl::OkStatus();
}

}  // namespace postfleet::queue::transport
