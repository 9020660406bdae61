// hash: and btree: tables, Berkeley DB files as Postfix's postmap writes them.
#include <db.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "libs/base/concat.h"
#include "libs/tables/stored_table.h"
#include "libs/tables/table_types.h"

namespace postfleet::tables {
namespace {

// A shared lock while reading: postmap rewrites the file in place under an exclusive one. May block
// for as long as it runs.
class ReadLock {
 public:
  explicit ReadLock(int fd) : fd_(fd) {
    while (flock(fd_, LOCK_SH) != 0 && errno == EINTR) {
    }
  }
  ~ReadLock() { flock(fd_, LOCK_UN); }
  ReadLock(const ReadLock&) = delete;
  ReadLock& operator=(const ReadLock&) = delete;

 private:
  int fd_;
};

class HashTable final : public StoredTable {
 public:
  using StoredTable::StoredTable;
  ~HashTable() override { Close(); }

 private:
  void Close() override {
    if (db_ != nullptr) db_->close(db_, 0);
    db_ = nullptr;
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  int Open() override {
    fd_ = open(path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) return errno;
    ReadLock lock(fd_);
    int error = db_create(&db_, nullptr, 0);
    if (error != 0) {
      db_ = nullptr;
      return error;
    }
    db_->set_errcall(db_, [](const DB_ENV*, const char*, const char*) {});
    return db_->open(db_, nullptr, path().c_str(), nullptr, DB_UNKNOWN, DB_RDONLY, 0);
  }

  // The pages that we hold may be older than the file: any error may be one of these.
  bool IsStale(int) const override { return true; }
  std::string_view Explain(int error) const override { return db_strerror(error); }

  // Postfix writes keys with their zero byte; other programs leave it away.
  int Find(std::string_view key, std::optional<std::string>& value) override {
    ReadLock lock(fd_);
    std::string with_zero = Concat(key, '\0');
    int error = Get(with_zero, value);
    return error == DB_NOTFOUND ? NotFoundIsFine(Get(with_zero.substr(0, key.size()), value))
                                : error;
  }

  static int NotFoundIsFine(int error) { return error == DB_NOTFOUND ? 0 : error; }

  int Get(const std::string& key, std::optional<std::string>& value) {
    DBT key_slice{}, value_slice{};
    key_slice.data = const_cast<char*>(key.data());
    key_slice.size = static_cast<u_int32_t>(key.size());
    value_slice.flags = DB_DBT_MALLOC;
    int error = db_->get(db_, nullptr, &key_slice, &value_slice, 0);
    if (error != 0) return error;
    absl::Cleanup release = [&] { free(value_slice.data); };
    value = StoredValue(value_slice.data, value_slice.size);
    return 0;
  }

  DB* db_ = nullptr;
  int fd_ = -1;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Table>> MakeHashTable(std::string name, std::string argument,
                                                     const OpenOptions& options) {
  return std::make_unique<HashTable>(std::move(name), argument + ".db", options.clock);
}

}  // namespace postfleet::tables
