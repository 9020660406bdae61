// The table types, each made by one function. Internal to libs/tables.
//
// `name` is "type:name" as written; `argument` what follows the type. Errors: what is wrong in the
// specification itself.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "libs/tables/table.h"

namespace postfleet::tables {

using TableMaker = absl::StatusOr<std::unique_ptr<Table>> (*)(std::string name,
                                                              std::string argument,
                                                              const OpenOptions& options);

absl::StatusOr<std::unique_ptr<Table>> MakeHashTable(std::string name, std::string argument,
                                                     const OpenOptions& options);
absl::StatusOr<std::unique_ptr<Table>> MakeLmdbTable(std::string name, std::string argument,
                                                     const OpenOptions& options);
absl::StatusOr<std::unique_ptr<Table>> MakeTextHashTable(std::string name, std::string argument,
                                                         const OpenOptions& options);
absl::StatusOr<std::unique_ptr<Table>> MakeInlineTable(std::string name, std::string argument,
                                                       const OpenOptions& options);
absl::StatusOr<std::unique_ptr<Table>> MakeStaticTable(std::string name, std::string argument,
                                                       const OpenOptions& options);
absl::StatusOr<std::unique_ptr<Table>> MakeCidrTable(std::string name, std::string argument,
                                                     const OpenOptions& options);
absl::StatusOr<std::unique_ptr<Table>> MakeRegexpTable(std::string name, std::string argument,
                                                       const OpenOptions& options);
absl::StatusOr<std::unique_ptr<Table>> MakePcreTable(std::string name, std::string argument,
                                                     const OpenOptions& options);
absl::StatusOr<std::unique_ptr<Table>> MakeAccountTable(std::string name, std::string argument,
                                                        const OpenOptions& options);

// "hash:/x: <reason>", the form of every failed lookup.
absl::Status LookupFailure(const std::string& name, std::string_view reason);

}  // namespace postfleet::tables
