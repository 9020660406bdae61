// Takes a snapshot's files (Cluster.SendSnapshot, the serving side) into the queue's folder
// (snapshot_files.h).
//
// The first frame has the manifest; the answer says how much of each file is there already, from a
// transfer that broke: files are known by name and size, and every one is checked by its CRC-32C in
// the end. One transfer at a time: a second is told to come back later. A transfer that is silent
// for kSilenceMax is ended by the next one.
//
// Errors, which end the call: FailedPrecondition: not for this replica, or the log has all of it
// already. InvalidArgument: frames that contradict the manifest. ResourceExhausted: less free space
// than the snapshot needs. DataLoss: a file that does not match its checksum; it is taken away.
//
// Threads: frames are written on gRPC's; checking and syncing has a thread of its own.
// `on_received` comes once, when the sender was told that all is durable.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "libs/base/clock.h"
#include "libs/rpc/payload.h"
#include "libs/rpc/stream.h"
#include "libs/runtime/event_loop.h"
#include "proto/postfleet/cluster/v1/cluster.pb.h"

namespace postfleet::queue::transport {

class SnapshotReceiver {
 public:
  static constexpr std::chrono::seconds kSilenceMax{30};

  struct World {
    std::string directory;
    uint64_t cluster_id = 0;
    uint64_t own_id = 0;
    // Up to where this replica has the log committed: less than that is not taken.
    std::function<uint64_t()> committed_index;
    std::function<void()> on_received;
    const Clock* clock = &SystemClock();
  };
  explicit SnapshotReceiver(World world);
  ~SnapshotReceiver();  // Stops

  rpc::ServerReactor* Accept(grpc::CallbackServerContext* context);
  // After the server.
  void Stop();

 private:
  struct Transfer;

  absl::Status OnFrame(const std::shared_ptr<Transfer>& transfer, const grpc::ByteBuffer& frame);
  absl::Status Begin(const std::shared_ptr<Transfer>& transfer,
                     const cluster::v1::SnapshotManifest& manifest);
  absl::Status CheckFits(const cluster::v1::SnapshotManifest& manifest) const;
  absl::Status Write(Transfer& transfer, const cluster::v1::SnapshotFrame& frame,
                     const rpc::Payload& payload) const;
  absl::Status Finish(const cluster::v1::SnapshotManifest& manifest) const;
  void End(const std::shared_ptr<Transfer>& transfer, absl::Status status);

  const World world_;
  runtime::EventLoop loop_{"queue-incoming"};
  std::mutex mutex_;
  std::shared_ptr<Transfer> current_;  // guarded by mutex_
  bool received_ = false;              // guarded by mutex_
};

}  // namespace postfleet::queue::transport
