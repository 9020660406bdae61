#include "libs/tables/stored_table.h"

#include "libs/base/concat.h"
#include "libs/tables/table_types.h"

namespace postfleet::tables {

absl::StatusOr<std::optional<std::string>> StoredTable::Lookup(std::string_view key) {
  if (key.empty()) return std::nullopt;
  if (watch_.NeedsLoad()) Reopen();
  if (!failure_.ok()) return failure_;
  std::optional<std::string> value;
  int error = Find(key, value);
  if (error != 0 && IsStale(error)) {
    Reopen();
    if (!failure_.ok()) return failure_;
    error = Find(key, value);
  }
  if (error != 0) return LookupFailure(name(), Explain(error));
  return value;
}

void StoredTable::Reopen() {
  Close();
  const int error = Open();
  failure_ = absl::OkStatus();
  if (error != 0) {
    failure_ = LookupFailure(name(), Concat("open ", path(), ": ", Explain(error)));
    Close();
  }
  watch_.Loaded(error == 0);
}

std::string StoredValue(const void* data, size_t bytes) {
  std::string value(static_cast<const char*>(data), bytes);
  if (!value.empty() && value.back() == '\0') value.pop_back();
  return value;
}

}  // namespace postfleet::tables
