// Words that all of the state machine's reading shares.
#pragma once

#include <google/protobuf/message_lite.h>

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/base/concat.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {

inline rocksdb::Slice AsSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

inline absl::Status Damaged(std::string_view what, std::string_view queue_id) {
  return absl::DataLossError(Concat("the store has a damaged ", what, " row of ", queue_id));
}

inline bool ParseRow(std::string_view bytes, google::protobuf::MessageLite* row) {
  return row->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

// Reads and parses a row. False: it is not there. DataLoss: it is damaged.
inline absl::StatusOr<bool> LoadRow(const Store& store, Family family, std::string_view key,
                                    google::protobuf::MessageLite* row, std::string_view what) {
  rocksdb::PinnableSlice bytes;
  const rocksdb::Status status = store.db()->Get({}, store.family(family), AsSlice(key), &bytes);
  if (status.IsNotFound()) return false;
  if (!status.ok()) return ToStatus(status, Concat("read a ", what, " row"));
  if (!ParseRow(bytes.ToStringView(), row)) return Damaged(what, key);
  return true;
}

}  // namespace postfleet::queue
