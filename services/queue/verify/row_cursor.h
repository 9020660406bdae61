// Walks over all rows of one column family, and over what cannot be read of it.
//
// RocksDB ends an iterator at a damaged block. Where the next readable row is, nobody knows: it is
// looked for, at growing distances behind the last row that was read, and then between the last
// place that failed and the first that did not. A stretch that was left out is a finding and is
// remembered, so that what lay in it is not called missing. Cost of a stretch: a few hundred seeks.
#pragma once

#include <rocksdb/db.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "services/queue/state/store.h"
#include "services/queue/verify/finding_list.h"

namespace postfleet::queue {

// The column family's name, for findings.
std::string_view NameOf(Family family);
// A key as it can be printed: other bytes than letters, digits and the like as \x00.
std::string Printable(std::string_view key);

// Stretches of one family that could not be read.
class Gaps {
 public:
  // Both ends exclusive; `end` empty: to the end of the family.
  void Add(std::string_view begin, std::string_view end);
  // A row that does not parse: as bad as one that is not there.
  void AddRow(std::string_view key) { Add(key, std::string(key) + '\0'); }
  // Some of [begin, end) may lie in one. `end` empty: no end.
  bool Touch(std::string_view begin, std::string_view end) const;
  // Rows of this message, in a family of numbered keys.
  bool TouchMessage(std::string_view queue_id) const;
  bool empty() const { return gaps_.empty(); }
  void Clear() { gaps_.clear(); }

 private:
  // Past it the last ones become one.
  static constexpr size_t kGapsMax = 1'024;
  struct Gap {
    std::string begin;
    std::string end;
  };
  std::vector<Gap> gaps_;
};

class RowCursor {
 public:
  // At the first row. All must outlive this.
  RowCursor(const Store* store, Family family, const rocksdb::Snapshot* snapshot,
            FindingList* findings, Gaps* gaps);

  bool Valid() const { return rows_->Valid(); }
  std::string_view key() const { return rows_->key().ToStringView(); }
  std::string_view value() const { return rows_->value().ToStringView(); }
  bool In(std::string_view prefix) const { return Valid() && key().starts_with(prefix); }
  void Next();

 private:
  void Renew();
  void LeaveOutUnreadable();
  // True: a row or the end is there.
  bool TrySeek(std::string_view key);
  // The nearest place tried that can be read; `low` is the farthest that cannot. Empty: there is
  // none.
  std::string Gallop(std::string* low);

  const Store* const store_;
  const Family family_;
  const rocksdb::Snapshot* const snapshot_;
  FindingList* const findings_;
  Gaps* const gaps_;
  std::unique_ptr<rocksdb::Iterator> rows_;
  // The last row that was read; empty: none.
  std::string last_;
};

}  // namespace postfleet::queue
