// lmdb: tables as Postfix's postmap writes them. LMDB's own lock file is not used, as in Postfix; a
// transaction lasts one lookup.
#include <lmdb.h>
#include <sys/file.h>

#include <cerrno>
#include <utility>

#include "libs/base/concat.h"
#include "libs/tables/file_watch.h"
#include "libs/tables/table_types.h"

namespace postfleet::tables {
namespace {

class LmdbTable : public Table {
 public:
  LmdbTable(std::string name, std::string path, const Clock* clock)
      : Table(std::move(name), true), watch_(std::move(path), clock) {}
  ~LmdbTable() override { Close(); }

  absl::StatusOr<std::optional<std::string>> Lookup(std::string_view key) override {
    if (key.empty()) return std::nullopt;
    if (watch_.NeedsLoad()) Reopen();
    if (environment_ == nullptr) return failure_;
    std::optional<std::string> value;
    int error = Find(key, value);
    if (error == MDB_MAP_RESIZED || error == MDB_CORRUPTED || error == MDB_PAGE_NOTFOUND) {
      Reopen();
      if (environment_ == nullptr) return failure_;
      error = Find(key, value);
    }
    if (error != 0) return LookupFailure(name(), mdb_strerror(error));
    return value;
  }

 private:
  void Close() {
    if (environment_ != nullptr) mdb_env_close(environment_);
    environment_ = nullptr;
  }

  void Reopen() {
    Close();
    int error = Open();
    if (error != 0) {
      Close();
      failure_ = LookupFailure(
          name(), Concat("open ", watch_.path(), ": ", std::string_view(mdb_strerror(error))));
    }
    watch_.Loaded(error == 0);
  }

  int Open() {
    int error = mdb_env_create(&environment_);
    if (error != 0) {
      environment_ = nullptr;
      return error;
    }
    return mdb_env_open(environment_, watch_.path().c_str(), MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK,
                        0);
  }

  void Lock(int operation) {
    mdb_filehandle_t fd;
    if (mdb_env_get_fd(environment_, &fd) != 0) return;
    while (flock(fd, operation) != 0 && errno == EINTR) {
    }
  }

  int Find(std::string_view key, std::optional<std::string>& value) {
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
    value.emplace(static_cast<const char*>(found.mv_data), found.mv_size);
    if (!value->empty() && value->back() == '\0') value->pop_back();
    return 0;
  }

  FileWatch watch_;
  MDB_env* environment_ = nullptr;
  absl::Status failure_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Table>> MakeLmdbTable(std::string name, std::string argument,
                                                     const OpenOptions& options) {
  return std::make_unique<LmdbTable>(std::move(name), argument + ".lmdb", options.clock);
}

}  // namespace postfleet::tables
