// For tests: a queue with messages in every state, whose rows can be changed behind its back.
//
//   A1  one pending recipient
//   A2  recipients 0 and 1 deferred (job 0), 2 pending
//   A3  recipient 0 deferred
//   A4  recipient 0 deferred, held
//   A5  gone: requeued as requeued_id, which has its chunk
//   A6  an upload of one chunk
//   A7  recipient 0 bounced, 1 sent with a notice owed
//   A8  recipient 0 pending, corrupt
#pragma once

#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "services/queue/state/keys.h"
#include "services/queue/state/queue_under_test.h"
#include "services/queue/state/rows.pb.h"
#include "services/queue/verify/verify.h"

namespace postfleet::queue {

inline rocksdb::Slice SliceOf(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

inline std::string Get(const Store& store, Family family, std::string_view key) {
  std::string value;
  if (!store.db()->Get({}, store.family(family), SliceOf(key), &value).ok()) std::abort();
  return value;
}

inline void Put(const Store& store, Family family, std::string_view key, std::string_view value) {
  rocksdb::WriteOptions write;
  write.disableWAL = true;
  if (!store.db()->Put(write, store.family(family), SliceOf(key), SliceOf(value)).ok())
    std::abort();
}

inline void Erase(const Store& store, Family family, std::string_view key) {
  // A key that is not there would be no damage.
  Get(store, family, key);
  rocksdb::WriteOptions write;
  write.disableWAL = true;
  if (!store.db()->Delete(write, store.family(family), SliceOf(key)).ok()) std::abort();
}

template <typename Row>
void Change(const Store& store, Family family, std::string_view key,
            const std::function<void(Row&)>& change) {
  Row row;
  if (!row.ParseFromString(Get(store, family, key))) std::abort();
  change(row);
  Put(store, family, key, row.SerializeAsString());
}

// The key of the family's only row that has `part` in key or value.
inline std::string KeyWith(const Store& store, Family family, std::string_view part) {
  std::unique_ptr<rocksdb::Iterator> rows(store.db()->NewIterator({}, store.family(family)));
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
    if (rows->key().ToStringView().find(part) != std::string_view::npos ||
        rows->value().ToStringView().find(part) != std::string_view::npos) {
      return rows->key().ToString();
    }
  }
  std::abort();
}

inline void SendChunk(QueueUnderTest& queue, const std::string& queue_id,
                      const std::string& contents) {
  state::Command command;
  std::string payload;
  AddMessage(queue, queue_id, 1, contents, &command, &payload)->clear_message();
  queue.Apply(std::move(command), std::move(payload));
}

struct Planted {
  Planted() {
    Open(queue);
    Enqueue(queue, "A1");
    Enqueue(queue, "A2", 3);
    Report(queue, "A2", {{0, kDeferred}, {1, kDeferred}}, queue.now_ms + 1'000);
    for (const char* queue_id : {"A3", "A4"}) {
      Enqueue(queue, queue_id);
      Report(queue, queue_id, {{0, kDeferred}}, queue.now_ms + 1'000);
    }
    Administer(queue, v1::ACTION_HOLD, {"A4"});
    Enqueue(queue, "A5");
    requeued_id = Administer(queue, v1::ACTION_REQUEUE, {"A5"}).new_queue_ids.at(0);
    SendChunk(queue, "A6", "contents");
    Enqueue(queue, "A7", 2);
    queue.Apply(OweNotices(OutcomeCommand(queue, "A7", {{0, kBounced}, {1, kSent}})));
    Enqueue(queue, "A8");
    MarkCorrupt(queue, "A8", "its chunk was damaged");
  }
  const Store& store() { return queue.store(); }

  QueueUnderTest queue;
  std::string requeued_id;
};

struct Verified {
  absl::Status status;
  std::vector<std::string> findings;
  v1::VerifyProgress last;
};

inline VerifyListener CollectInto(Verified* verified) {
  return [verified](const v1::VerifyProgress& progress) {
    for (const std::string& finding : progress.findings()) verified->findings.push_back(finding);
    verified->last = progress;
    return true;
  };
}

inline Verified Verify(const Store& store) {
  Verified verified;
  verified.status = VerifyStore(store, CollectInto(&verified));
  return verified;
}

}  // namespace postfleet::queue
