// The types of lookup tables (libs/tables/table.h), for checks that open no table.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postfleet::config {

bool IsTableType(std::string_view type);
// "hash, btree, ..., cidr and unix", for messages.
std::string TableTypeNames();

// As `postconf -m` lists them; "proxy" is one of them.
std::vector<std::string> SortedTableTypes();

struct TableReference {
  std::string_view type;
  std::string_view argument;
};
// "type:name", also behind "proxy:". nullopt: a path, a domain, "[::1]"; it names no type.
std::optional<TableReference> ParseTableReference(std::string_view item);

}  // namespace postfleet::config
