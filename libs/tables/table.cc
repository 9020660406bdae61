#include "libs/tables/table.h"

#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "libs/base/concat.h"
#include "libs/tables/table_types.h"

namespace postfleet::tables {
namespace {

struct TypeRow {
  std::string_view type;
  TableMaker make;
  bool folds;  // keys are compared in lower case
};
constexpr std::array<TypeRow, 10> kTypes = {{{"hash", MakeHashTable, true},
                                             {"btree", MakeHashTable, true},
                                             {"lmdb", MakeLmdbTable, true},
                                             {"texthash", MakeTextHashTable, true},
                                             {"inline", MakeInlineTable, true},
                                             {"static", MakeStaticTable, false},
                                             {"cidr", MakeCidrTable, false},
                                             {"regexp", MakeRegexpTable, false},
                                             {"pcre", MakePcreTable, false},
                                             {"unix", MakeAccountTable, true}}};

// Asks the table below in lower case.
class FoldedTable : public Table {
 public:
  explicit FoldedTable(std::unique_ptr<Table> table)
      : Table(table->name(), table->has_fixed_keys()), table_(std::move(table)) {}

  absl::StatusOr<std::optional<std::string>> Lookup(std::string_view key) override {
    if (key.empty()) return std::nullopt;
    return table_->Lookup(absl::AsciiStrToLower(absl::string_view(key.data(), key.size())));
  }

 private:
  std::unique_ptr<Table> table_;
};

absl::Status UnsupportedType(std::string_view name, std::string_view type) {
  return absl::InvalidArgumentError(Concat("unsupported dictionary type: ", type, " (in \"", name,
                                           "\"); supported are hash, btree, lmdb, texthash, "
                                           "inline, static, cidr, regexp, pcre and unix"));
}

}  // namespace

absl::Status LookupFailure(const std::string& name, std::string_view reason) {
  return absl::UnavailableError(Concat(name, ": ", reason));
}

bool LooksLikeTable(std::string_view item) {
  size_t colon = item.find(':');
  if (colon == std::string_view::npos || colon == 0 || item.front() == '[') return false;
  for (char c : item.substr(0, colon)) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-') return false;
  }
  return true;
}

absl::StatusOr<std::unique_ptr<Table>> OpenTable(std::string_view type_and_name,
                                                 const OpenOptions& options) {
  std::string name(type_and_name);
  // A proxied table is read directly: there is no chroot to get out of.
  while (name.starts_with("proxy:")) name.erase(0, 6);
  if (!LooksLikeTable(name)) name = Concat(options.default_type, ':', name);
  size_t colon = name.find(':');
  std::string type = name.substr(0, colon);
  std::string argument = name.substr(colon + 1);
  if (argument.empty()) {
    return absl::InvalidArgumentError(Concat("open \"", name, "\": need \"type:name\" form"));
  }
  for (const TypeRow& row : kTypes) {
    if (row.type != type) continue;
    absl::StatusOr<std::unique_ptr<Table>> table = row.make(name, argument, options);
    if (!table.ok() || !row.folds || !options.fold_keys) return table;
    return std::make_unique<FoldedTable>(*std::move(table));
  }
  return UnsupportedType(name, type);
}

}  // namespace postfleet::tables
