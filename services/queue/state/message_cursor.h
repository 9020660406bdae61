// Walks messages by queue id: all of them, or those of some queues by the queue index. Goes on
// behind damaged rows, which it finds by the rows of their recipients, or of their contents.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "services/queue/state/message_queue.h"
#include "services/queue/state/reader_rows.h"
#include "services/queue/state/rows.pb.h"

namespace postfleet::queue {

// Reads a message's row. False: there is none. DataLoss: it is damaged.
absl::StatusOr<bool> GetMessage(const Store& store, const rocksdb::Snapshot* snapshot,
                                std::string_view queue_id, state::MessageRow* row);

class MessageCursor {
 public:
  // Begins behind `after`. `indexed`: only messages of these queues, of which each is indexed;
  // empty: all.
  MessageCursor(const Store& store, const rocksdb::Snapshot* snapshot,
                const std::vector<v1::QueueName>& indexed, std::string_view after);

  // To the next message; false: there is none. DataLoss: what is behind cannot be found.
  absl::StatusOr<bool> Next();

  const std::string& queue_id() const { return queue_id_; }
  // The row here cannot be read; row() is empty.
  bool damaged() const { return damaged_; }
  const state::MessageRow& row() const { return row_; }

 private:
  absl::StatusOr<bool> NextByRow();
  absl::StatusOr<bool> NextByIndex();
  // The next message that has rows in one of the families in which each has some.
  absl::StatusOr<bool> NextByGuide();
  absl::StatusOr<bool> NextBy(Family guide);
  // The index that has the next id; null: none.
  absl::StatusOr<Rows*> LeastIndex();

  const Store& store_;
  const rocksdb::Snapshot* const snapshot_;
  std::vector<std::unique_ptr<Rows>> indexes_;
  Rows messages_;
  bool begun_ = false;
  // messages_ is not at queue_id_.
  bool astray_ = false;
  bool damaged_ = false;
  std::string queue_id_;
  state::MessageRow row_;
};

}  // namespace postfleet::queue
