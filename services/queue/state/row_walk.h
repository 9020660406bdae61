// Reads rows of one column family by key, cheaply when the keys ascend: one iterator for all of a
// command's ids, which steps where the next row is the one wanted. Sees the store as of its making,
// so it belongs to one command.
//
// Rows that were deleted in between cost nothing: past 64 of them it seeks instead of stepping.
#pragma once

#include <rocksdb/iterator.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {

class RowWalk {
 public:
  RowWalk(const Store* store, Family family);

  // At the first row that is not below `key`.
  void Seek(std::string_view key);
  // Only when Valid. Do not step past the last row that is wanted.
  void Next();
  bool Valid() const { return rows_->Valid(); }
  // The row here is one of `prefix`.
  bool In(std::string_view prefix) const { return Valid() && key().starts_with(prefix); }
  std::string_view key() const { return rows_->key().ToStringView(); }
  std::string_view value() const { return rows_->value().ToStringView(); }
  // Of an invalid walk: why. It may be used again for other keys.
  absl::Status status() const { return ToStatus(rows_->status(), "read the store"); }

 private:
  void Make(uint64_t skips_max);

  const Store* const store_;
  const Family family_;
  // Steps give up where too many deleted rows lie ahead.
  bool may_step_ = true;
  std::unique_ptr<rocksdb::Iterator> rows_;
};

}  // namespace postfleet::queue
