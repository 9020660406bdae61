#include "services/delivery/local/alias_tables.h"

#include <sys/stat.h>

#include <string_view>
#include <utility>

namespace postfleet::delivery {
namespace {

// The file whose owner is the table's; "": none.
std::string FileOf(const std::string& table) {
  const size_t colon = table.find(':');
  const std::string_view type = std::string_view(table).substr(0, colon);
  const std::string path = table.substr(colon + 1);
  if (path.starts_with('{') || type == "inline" || type == "static" || type == "unix") return "";
  if (type == "hash" || type == "btree") return path + ".db";
  if (type == "lmdb") return path + ".lmdb";
  return path;
}

std::optional<uid_t> OwnerOf(const std::string& table) {
  const std::string path = FileOf(table);
  if (path.empty()) return 0;
  struct stat status;
  if (stat(path.c_str(), &status) != 0) return std::nullopt;
  return status.st_uid;
}

}  // namespace

AliasTables::AliasTables(const std::vector<std::string>& items,
                         const tables::OpenOptions& options) {
  for (const std::string& item : items) {
    auto table = tables::OpenTable(item, options);
    tables_.push_back(std::move(table));
  }
}

absl::StatusOr<std::optional<AliasTables::Found>> AliasTables::Find(const std::string& name) {
  for (const auto& opened : tables_) {
    if (!opened.ok()) return opened.status();
    const std::unique_ptr<tables::Table>& table = *opened;
    auto value = table->Lookup(name);
    if (!value.ok()) return value.status();
    if (!*value) continue;
    return Found{
        .value = **std::move(value), .table = table->name(), .owner = OwnerOf(table->name())};
  }
  return std::nullopt;
}

}  // namespace postfleet::delivery
