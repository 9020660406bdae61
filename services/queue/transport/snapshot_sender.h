// Brings snapshots to replicas that lag (Cluster.SendSnapshot, the calling side; snapshot_files.h).
//
// What is asked for waits in a line, one for each replica; one transfer at a time. Each begins with
// a new checkpoint, by `prepare`; what the receiver has of its files already, from one that broke,
// is not sent again. It is throttled to rate_bytes, and ended when it takes much longer than that
// (kBytesPerSecondMin). How it ended is told by `report`, always.
//
// Threads: one of its own; SendSnapshot from any.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/postfleet/cluster/v1/cluster.grpc.pb.h"
#include "services/queue/replica/peer_message.h"

namespace postfleet::queue::transport {

// The files are in `folder`, under the manifest's names; sizes and checksums are filled in when
// they are sent.
struct PreparedSnapshot {
  std::string folder;
  cluster::v1::SnapshotManifest manifest;
};

class SnapshotSender final : public SnapshotPort {
 public:
  static constexpr uint64_t kBytesPerSecondMin = 1 << 20;
  static constexpr std::chrono::seconds kTransferMin{60};

  struct World {
    uint64_t cluster_id = 0;
    uint64_t rate_bytes = 0;  // a second; 0: unlimited
    // nullptr: nobody is called that.
    std::function<std::shared_ptr<grpc::Channel>(uint64_t id)> channel_to;
    // A line for the log.
    std::function<void(const std::string&)> say;
  };
  explicit SnapshotSender(World world) : world_(std::move(world)) {}
  ~SnapshotSender() override;  // Stops

  using Prepare = std::function<absl::StatusOr<PreparedSnapshot>(uint16_t shard)>;
  using Report = std::function<void(uint16_t shard, uint64_t to, bool delivered)>;
  void Start(Prepare prepare, Report report);
  // Ends what is under way.
  void Stop();

  void SendSnapshot(PeerMessage message, uint64_t index) override;

 private:
  void Run();
  absl::Status Send(uint16_t shard, uint64_t to);
  absl::Status SendFiles(const PreparedSnapshot& snapshot, uint64_t to);
  // Until the rate allows for more. False: it stops.
  bool Throttle(uint64_t sent_bytes, std::chrono::steady_clock::time_point began);

  const World world_;
  Prepare prepare_;
  Report report_;
  std::thread thread_;

  std::mutex mutex_;  // protects all below
  std::condition_variable wake_;
  std::map<uint64_t, uint16_t> waiting_;  // shard by replica
  grpc::ClientContext* context_ = nullptr;
  bool stopping_ = false;
};

}  // namespace postfleet::queue::transport
