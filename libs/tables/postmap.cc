#include "libs/tables/postmap.h"

#include <db.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "libs/base/concat.h"
#include "libs/config/file_text.h"
#include "libs/tables/alias_source.h"
#include "libs/tables/text_source.h"

namespace postfleet::tables {
namespace {

constexpr size_t kLmdbMapBytesMin = 16 << 20;

absl::Status Failed(std::string_view what, std::string_view path, std::string_view reason) {
  return absl::UnavailableError(Concat(what, ' ', path, ": ", reason));
}

absl::Status WriteHash(const std::string& path, DBTYPE type,
                       const std::vector<TextEntry>& entries) {
  DB* db = nullptr;
  int error = db_create(&db, nullptr, 0);
  if (error != 0) return Failed("create", path, db_strerror(error));
  error = db->open(db, nullptr, path.c_str(), nullptr, type, DB_CREATE | DB_TRUNCATE, 0644);
  for (const TextEntry& entry : entries) {
    if (error != 0) break;
    // Postfix's keys and values have their zero byte.
    DBT key{}, value{};
    key.data = const_cast<char*>(entry.key.c_str());
    key.size = static_cast<u_int32_t>(entry.key.size() + 1);
    value.data = const_cast<char*>(entry.value.c_str());
    value.size = static_cast<u_int32_t>(entry.value.size() + 1);
    error = db->put(db, nullptr, &key, &value, 0);
  }
  int close_error = db->close(db, 0);
  if (error == 0) error = close_error;
  return error == 0 ? absl::OkStatus() : Failed("write", path, db_strerror(error));
}

int PutAll(MDB_env* environment, const std::vector<TextEntry>& entries) {
  MDB_txn* transaction = nullptr;
  int error = mdb_txn_begin(environment, nullptr, 0, &transaction);
  if (error != 0) return error;
  MDB_dbi table;
  error = mdb_dbi_open(transaction, nullptr, 0, &table);
  for (const TextEntry& entry : entries) {
    if (error != 0) break;
    MDB_val key{entry.key.size() + 1, const_cast<char*>(entry.key.c_str())};
    MDB_val value{entry.value.size() + 1, const_cast<char*>(entry.value.c_str())};
    error = mdb_put(transaction, table, &key, &value, 0);
  }
  if (error == 0) return mdb_txn_commit(transaction);
  mdb_txn_abort(transaction);
  return error;
}

absl::Status WriteLmdb(const std::string& path, const std::vector<TextEntry>& entries) {
  size_t bytes = 0;
  for (const TextEntry& entry : entries) bytes += entry.key.size() + entry.value.size() + 64;
  MDB_env* environment = nullptr;
  int error = mdb_env_create(&environment);
  if (error != 0) return Failed("create", path, mdb_strerror(error));
  absl::Cleanup close_environment = [&] { mdb_env_close(environment); };
  // Pages are at worst half full.
  mdb_env_set_mapsize(environment, std::max(kLmdbMapBytesMin, bytes * 4));
  error = mdb_env_open(environment, path.c_str(), MDB_NOSUBDIR | MDB_NOLOCK, 0644);
  if (error == 0) error = PutAll(environment, entries);
  return error == 0 ? absl::OkStatus() : Failed("write", path, mdb_strerror(error));
}

struct BuiltTable {
  std::string type;
  std::string source;
  std::string path;
};

std::string_view ErrnoText() { return strerrordesc_np(errno); }

// Owner and mode follow the source; the bytes are on disk before the name is.
absl::Status Publish(const std::string& made, const std::string& path, const std::string& source) {
  struct stat status;
  if (stat(source.c_str(), &status) != 0) return Failed("stat", source, ErrnoText());
  int fd = open(made.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Failed("open", made, ErrnoText());
  absl::Cleanup close_fd = [fd] { close(fd); };
  // Only root can give files away; another user's table is that user's.
  if (geteuid() == 0 && fchown(fd, status.st_uid, status.st_gid) != 0) {
    return Failed("chown", made, ErrnoText());
  }
  if (fchmod(fd, status.st_mode & 0666) != 0) return Failed("chmod", made, ErrnoText());
  if (fsync(fd) != 0) return Failed("sync", made, ErrnoText());
  if (rename(made.c_str(), path.c_str()) != 0) return Failed("rename", made, ErrnoText());
  return absl::OkStatus();
}

}  // namespace

namespace {

absl::StatusOr<BuiltTable> NamesOf(std::string_view type_and_name) {
  const size_t colon = type_and_name.find(':');
  BuiltTable table = {.type = std::string(type_and_name.substr(0, colon))};
  if (colon == type_and_name.npos ||
      (table.type != "hash" && table.type != "btree" && table.type != "lmdb")) {
    return absl::InvalidArgumentError(Concat("unsupported table to build: ", type_and_name,
                                             "; specify hash:, btree: or lmdb: and a file"));
  }
  table.source = type_and_name.substr(colon + 1);
  table.path = Concat(table.source, table.type == "lmdb" ? ".lmdb" : ".db");
  return table;
}

absl::Status Build(const BuiltTable& table, const std::vector<TextEntry>& entries) {
  const std::string made = Concat(table.path, ".new.", static_cast<int64_t>(getpid()));
  absl::Cleanup remove_made = [&] { unlink(made.c_str()); };
  const absl::Status status =
      table.type == "lmdb" ? WriteLmdb(made, entries)
                           : WriteHash(made, table.type == "hash" ? DB_HASH : DB_BTREE, entries);
  return status.ok() ? Publish(made, table.path, table.source) : status;
}

}  // namespace

absl::Status BuildTable(std::string_view type_and_name, config::Diagnostics& diagnostics) {
  const absl::StatusOr<BuiltTable> table = NamesOf(type_and_name);
  if (!table.ok()) return table.status();
  const absl::StatusOr<std::string> text = config::ReadFileText(table->source);
  if (!text.ok()) return text.status();
  return Build(*table, ParseTextSource(*text, table->source, true, diagnostics));
}

absl::Status BuildAliasTable(std::string_view type_and_name, int64_t seconds, std::string_view host,
                             config::Diagnostics& diagnostics) {
  const absl::StatusOr<BuiltTable> table = NamesOf(type_and_name);
  if (!table.ok()) return table.status();
  const absl::StatusOr<std::string> text = config::ReadFileText(table->source);
  if (!text.ok()) return text.status();
  std::vector<TextEntry> entries = ParseAliasSource(*text, table->source, table->path, diagnostics);
  for (TextEntry& entry : AliasSignature(seconds, host)) entries.push_back(std::move(entry));
  return Build(*table, entries);
}

}  // namespace postfleet::tables
