// lmdb: tables as Postfix's postmap writes them. LMDB's own lock file is not used, as in Postfix; a
// transaction lasts one lookup.
#include <lmdb.h>
#include <sys/file.h>

#include <cerrno>
#include <utility>

#include "libs/base/concat.h"
#include "libs/tables/stored_table.h"
#include "libs/tables/table_types.h"

namespace postfleet::tables {
namespace {

class LmdbTable final : public StoredTable {
 public:
  using StoredTable::StoredTable;
  ~LmdbTable() override { Close(); }

 private:
  void Close() override {
    if (environment_ != nullptr) mdb_env_close(environment_);
    environment_ = nullptr;
  }

  int Open() override {
    int error = mdb_env_create(&environment_);
    if (error != 0) {
      environment_ = nullptr;
      return error;
    }
    return mdb_env_open(environment_, path().c_str(), MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0);
  }

  bool IsStale(int error) const override {
    return error == MDB_MAP_RESIZED || error == MDB_CORRUPTED || error == MDB_PAGE_NOTFOUND;
  }
  std::string_view Explain(int error) const override { return mdb_strerror(error); }

  void Lock(int operation) {
    mdb_filehandle_t fd;
    if (mdb_env_get_fd(environment_, &fd) != 0) return;
    while (flock(fd, operation) != 0 && errno == EINTR) {
    }
  }

  int Find(std::string_view key, std::optional<std::string>& value) override {
    Lock(LOCK_SH);
    int error = FindLocked(key, value);
    Lock(LOCK_UN);
    return error;
  }

  int FindLocked(std::string_view key, std::optional<std::string>& value) {
    MDB_txn* transaction = nullptr;
    int error = mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &transaction);
    if (error != 0) return error;
    MDB_dbi table;
    error = mdb_dbi_open(transaction, nullptr, 0, &table);
    std::string with_zero = Concat(key, '\0');
    if (error == 0) error = Get(transaction, table, with_zero, value);
    if (error == MDB_NOTFOUND) error = Get(transaction, table, key, value);
    mdb_txn_abort(transaction);
    // A key that is longer than LMDB's limit cannot be in the table.
    return error == MDB_NOTFOUND || error == MDB_BAD_VALSIZE ? 0 : error;
  }

  static int Get(MDB_txn* transaction, MDB_dbi table, std::string_view key,
                 std::optional<std::string>& value) {
    MDB_val key_slice{key.size(), const_cast<char*>(key.data())};
    MDB_val found;
    int error = mdb_get(transaction, table, &key_slice, &found);
    if (error != 0) return error;
    value = StoredValue(found.mv_data, found.mv_size);
    return 0;
  }

  MDB_env* environment_ = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Table>> MakeLmdbTable(std::string name, std::string argument,
                                                     const OpenOptions& options) {
  return std::make_unique<LmdbTable>(std::move(name), argument + ".lmdb", options.clock);
}

}  // namespace postfleet::tables
