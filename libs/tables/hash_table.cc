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
#include "libs/tables/file_watch.h"
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

class HashTable : public Table {
 public:
  HashTable(std::string name, std::string path, const Clock* clock)
      : Table(std::move(name), true), watch_(std::move(path), clock) {}
  ~HashTable() override { Close(); }

  absl::StatusOr<std::optional<std::string>> Lookup(std::string_view key) override {
    if (key.empty()) return std::nullopt;
    if (watch_.NeedsLoad()) Reopen();
    if (db_ == nullptr) return failure_;
    std::optional<std::string> value;
    int error = Find(key, value);
    if (error != 0) {
      // The pages that we hold may be older than the file.
      Reopen();
      if (db_ == nullptr) return failure_;
      error = Find(key, value);
    }
    if (error != 0) return LookupFailure(name(), db_strerror(error));
    return value;
  }

 private:
  void Close() {
    if (db_ != nullptr) db_->close(db_, 0);
    db_ = nullptr;
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  void Reopen() {
    Close();
    int error = Open();
    if (error != 0) {
      Close();
      failure_ = LookupFailure(
          name(), Concat("open ", watch_.path(), ": ", std::string_view(db_strerror(error))));
    }
    watch_.Loaded(error == 0);
  }

  int Open() {
    fd_ = open(watch_.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) return errno;
    ReadLock lock(fd_);
    int error = db_create(&db_, nullptr, 0);
    if (error != 0) {
      db_ = nullptr;
      return error;
    }
    db_->set_errcall(db_, [](const DB_ENV*, const char*, const char*) {});
    return db_->open(db_, nullptr, watch_.path().c_str(), nullptr, DB_UNKNOWN, DB_RDONLY, 0);
  }

  // Postfix writes keys with their zero byte; other programs leave it away.
  int Find(std::string_view key, std::optional<std::string>& value) {
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
    value.emplace(static_cast<const char*>(value_slice.data), value_slice.size);
    if (!value->empty() && value->back() == '\0') value->pop_back();
    return 0;
  }

  FileWatch watch_;
  DB* db_ = nullptr;
  int fd_ = -1;
  absl::Status failure_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Table>> MakeHashTable(std::string name, std::string argument,
                                                     const OpenOptions& options) {
  return std::make_unique<HashTable>(std::move(name), argument + ".db", options.clock);
}

}  // namespace postfleet::tables
