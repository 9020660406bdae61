// What the reader's files share: rows in key order.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "services/queue/state/keys.h"
#include "services/queue/state/row_access.h"
#include "services/queue/state/snapshot.h"
#include "services/queue/state/store.h"

namespace postfleet::queue {

// The rows that begin with `prefix`; never walks over tombstones behind them.
class Rows {
 public:
  // Not positioned yet.
  Rows(const Store& store, Family family, std::string_view prefix,
       const rocksdb::Snapshot* snapshot = nullptr, uint64_t skips_max = 0)
      : end_(PrefixEnd(prefix)), bound_(end_) {
    rocksdb::ReadOptions read;
    read.snapshot = snapshot;
    read.max_skippable_internal_keys = skips_max;
    if (!end_.empty()) read.iterate_upper_bound = &bound_;
    rows_.reset(store.db()->NewIterator(read, store.family(family)));
  }
  Rows(const Store& store, Family family, std::string_view prefix, std::string_view from,
       const rocksdb::Snapshot* snapshot = nullptr)
      : Rows(store, family, prefix, snapshot) {
    Seek(from);
  }
  void Seek(std::string_view key) { rows_->Seek(AsSlice(key)); }
  // Seek, by a step where that is enough: for keys that ascend.
  void Approach(std::string_view wanted) {
    if (Valid() && key() < wanted) rows_->Next();
    if (!Valid() || key() < wanted) Seek(wanted);
  }
  bool Valid() const { return rows_->Valid(); }
  void Next() { rows_->Next(); }
  std::string_view key() const { return rows_->key().ToStringView(); }
  std::string_view value() const { return rows_->value().ToStringView(); }
  // DataLoss: a block is damaged.
  absl::Status status() const { return ToStatus(rows_->status(), "read the store"); }
  bool Parse(google::protobuf::MessageLite* row) const { return ParseRow(value(), row); }

 private:
  const std::string end_;
  const rocksdb::Slice bound_;
  std::unique_ptr<rocksdb::Iterator> rows_;
};

// The least key above `key`.
inline std::string Behind(std::string_view key) {
  std::string behind(key);
  behind.push_back('\0');
  return behind;
}

}  // namespace postfleet::queue
