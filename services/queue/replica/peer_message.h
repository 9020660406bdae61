// What one replica says to another, and who carries it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libs/rpc/payload.h"

namespace postfleet::queue {

struct PeerMessage {
  uint16_t shard = 0;
  uint64_t from = 0;
  uint64_t to = 0;
  // raft::Message::bytes.
  std::string raft;
  // What its entries stand for, one after another, in their order (raft::Reference::bytes each).
  rpc::Payload payload;
  // Of a snapshot, whose files travel by themselves (SnapshotPort); otherwise 0.
  uint64_t snapshot_index = 0;

  // Without entries: heartbeats, votes, answers. They go ahead of appends.
  bool is_urgent() const { return payload.empty(); }
};

class PeerSender {
 public:
  virtual ~PeerSender() = default;
  // Never blocks. What cannot be sent is dropped: raft says it again.
  virtual void Send(std::vector<PeerMessage> messages) = 0;
};

class SnapshotPort {
 public:
  virtual ~SnapshotPort() = default;
  // Begins to bring the files of that snapshot to the member `to`; the message of the snapshot is
  // to be stepped there once they are there, and the end of it reported here. Never blocks.
  virtual void SendSnapshot(PeerMessage message, uint64_t index) = 0;
};

}  // namespace postfleet::queue
