// alias_maps: the tables of aliases(5), and whose rights their commands and files have.
//
// Tables are asked in their order, each by the whole name; an error of one ends the search. The
// rights of a value are its table's owner's: of the file that is read (hash:/x: /x.db); values that
// stand in main.cf are root's. In patterns $1 is refused, as in Postfix: whoever sends mail must
// not write commands. Lookups read files and may block.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/tables/table.h"

namespace postfleet::delivery {

class AliasTables {
 public:
  struct Found {
    std::string value;
    std::string table;           // "hash:/etc/aliases"
    std::optional<uid_t> owner;  // nullopt: cannot be known
  };

  // What is wrong in a specification makes every lookup fail that comes to that table.
  AliasTables(const std::vector<std::string>& items, const tables::OpenOptions& options);

  absl::StatusOr<std::optional<Found>> Find(const std::string& name);

 private:
  std::vector<absl::StatusOr<std::unique_ptr<tables::Table>>> tables_;
};

}  // namespace postfleet::delivery
