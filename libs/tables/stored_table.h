// A lookup table in a file that a library opens (Berkeley DB, LMDB): opened at the first lookup,
// again when the file has changed, and once more when a lookup fails as it does on an old view of
// a file that was rewritten. Internal to libs/tables.
//
// A storage says how it opens, finds and closes, in its library's error numbers; 0 is success.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "libs/tables/file_watch.h"
#include "libs/tables/table.h"

namespace postfleet::tables {

class StoredTable : public Table {
 public:
  StoredTable(std::string name, std::string path, const Clock* clock)
      : Table(std::move(name), /*has_fixed_keys=*/true), watch_(std::move(path), clock) {}

  absl::StatusOr<std::optional<std::string>> Lookup(std::string_view key) final;

 protected:
  const std::string& path() const { return watch_.path(); }

 private:
  // After an error Close comes next.
  virtual int Open() = 0;
  // Of an open table. A key that is not there is 0 and leaves `value` empty.
  virtual int Find(std::string_view key, std::optional<std::string>& value) = 0;
  // Also of one that is not open; the destructor of the storage calls its own.
  virtual void Close() = 0;
  // True: Find may succeed after opening again.
  virtual bool IsStale(int error) const = 0;
  virtual std::string_view Explain(int error) const = 0;

  void Reopen();

  FileWatch watch_;
  absl::Status failure_;  // of the last Open
};

// A value as Postfix's postmap writes it, with its zero byte, or as other programs do, without.
std::string StoredValue(const void* data, size_t bytes);

}  // namespace postfleet::tables
