// For tests: a partition with its holder, over a store in memory.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "services/queue/dispatch/dispatcher.h"
#include "services/queue/state/queue_under_test.h"

namespace postfleet::queue {

struct Partition {
  explicit Partition(const DispatchLimits& limits = {}) : dispatcher(&queue.reader(), 0, limits) {
    Reopen();
  }

  // Tells the dispatcher, as the pipeline does.
  const Effects& Tell(const Effects& effects) {
    if (effects.open.opened) dispatcher.Open(effects.open.epoch, queue.machine().flush_index());
    dispatcher.OnEffects(effects);
    return effects;
  }
  void Reopen() {
    state::Command command;
    command.mutable_open();
    Tell(queue.Apply(command));
  }
  void Enqueue(const std::string& queue_id, int recipients = 1,
               const std::string& contents = "contents") {
    Tell(postfleet::queue::Enqueue(queue, queue_id, recipients, contents));
  }
  void Report(const std::string& queue_id, const std::vector<std::pair<uint32_t, Action>>& outcomes,
              int64_t retry_ms = 0) {
    Tell(postfleet::queue::Report(queue, queue_id, outcomes, queue.now_ms + retry_ms));
  }
  DispatchBatch Take(size_t budget_bytes = 1 << 20) {
    return *dispatcher.Take(queue.now_ms, budget_bytes);
  }
  const Effects& Act(v1::Action action, const std::vector<std::string>& queue_ids) {
    state::Command command;
    command.mutable_administer()->set_action(action);
    for (const std::string& id : queue_ids) command.mutable_administer()->add_queue_ids(id);
    return Tell(queue.Apply(command));
  }
  void Hold(const std::string& queue_id) { Act(v1::ACTION_HOLD, {queue_id}); }
  void Unhold(const std::string& queue_id) { Act(v1::ACTION_RELEASE, {queue_id}); }
  void Purge() {
    state::Command command;
    command.mutable_purge();
    Tell(queue.Apply(command));
  }
  // Overwrites the first chunk's bytes.
  void DamageContents(const std::string& queue_id) {
    rocksdb::WriteOptions write;
    write.disableWAL = true;
    ASSERT_TRUE(queue.store()
                    .db()
                    ->Put(write, queue.store().family(Family::kBody), NumberedKey(queue_id, 0),
                          ChunkHeader(1) + "other contents")
                    .ok());
  }
  // Plants a key that is none, behind all others of the partition.
  void DamageIndex(Family family) {
    rocksdb::WriteOptions write;
    write.disableWAL = true;
    ASSERT_TRUE(queue.store()
                    .db()
                    ->Put(write, queue.store().family(family), PartitionPrefix(0) + "\x7f", "A1")
                    .ok());
  }
  // Ids of all that goes out now.
  std::vector<std::string> TakeIds() {
    std::vector<std::string> ids;
    for (bool more = true; more;) {
      const DispatchBatch batch = Take();
      for (const Activated& activated : batch.activations) {
        ids.push_back(activated.activation.queue_id());
      }
      more = batch.more;
    }
    return ids;
  }

  QueueUnderTest queue;
  Dispatcher dispatcher;
};

inline std::vector<uint32_t> Numbers(const v1::Activation& activation) {
  std::vector<uint32_t> numbers;
  for (const auto& recipient : activation.recipients()) numbers.push_back(recipient.number());
  return numbers;
}

}  // namespace postfleet::queue
