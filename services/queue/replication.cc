#include "services/queue/replication.h"

#include <utility>

namespace postfleet::queue {

Replication::Replication(const World& world)
    : links_({.cluster_id = world.cluster_id,
              .own = world.own,
              .version = world.versions.version,
              .version_min = world.versions.version_min,
              .connect = world.connect,
              .on_unreachable = nullptr,
              .say = world.say}),
      peer_receiver_({.cluster_id = world.cluster_id,
                      .own_id = world.own.id(),
                      .version = world.versions.version,
                      .version_min = world.versions.version_min,
                      .receive =
                          [this](PeerMessage message) {
                            if (Queue* queue = queue_) queue->Receive(std::move(message));
                          },
                      .on_caller = [this](const auto& caller) { links_.OnCaller(caller); }}),
      snapshot_sender_({.cluster_id = world.cluster_id,
                        .rate_bytes = world.snapshot_rate_bytes,
                        .channel_to = [this](uint64_t id) { return links_.ChannelTo(id); },
                        .say = world.say}),
      snapshot_receiver_({.directory = world.directory,
                          .cluster_id = world.cluster_id,
                          .own_id = world.own.id(),
                          .committed_index =
                              [this] {
                                Queue* const queue = queue_;
                                return queue == nullptr ? 0 : queue->committed_index();
                              },
                          .on_received = world.on_received}) {
  links_.Start([this](uint64_t id) {
    if (Queue* queue = queue_) queue->ReportUnreachable(id);
  });
}

void Replication::Attach(Queue* queue) {
  queue_ = queue;
  snapshot_sender_.Start([queue](uint16_t shard) { return queue->MakeSnapshot(shard); },
                         [queue](uint16_t shard, uint64_t to, bool delivered) {
                           queue->ReportSnapshot(shard, to, delivered);
                         });
}

membership::PeerStreams Replication::streams() {
  return {.exchange = [this](auto* context) { return peer_receiver_.Accept(context); },
          .send_snapshot = [this](auto* context) { return snapshot_receiver_.Accept(context); }};
}

void Replication::Stop() {
  snapshot_sender_.Stop();
  links_.Stop();
  snapshot_receiver_.Stop();
}

}  // namespace postfleet::queue
