#include "services/queue/state/store.h"

#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/sst_file_reader.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/table_properties_collectors.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdarg>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "services/queue/state/keys.h"
#include "services/queue/state/rows.pb.h"

namespace postfleet::queue {
namespace {

constexpr std::string_view kFormat = "2";

constexpr std::array<const char*, kFamilyCount> kFamilyNames = {
    "default", "message", "recipient",  "body",  "intake", "job",
    "due",     "upload",  "submission", "queue", "site"};

// Says nothing: a store that is only read gets no log of RocksDB's, which would be another user's
// file in it.
class SilentLogger : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

rocksdb::DBOptions DatabaseOptions(const StoreOptions& options) {
  rocksdb::DBOptions database;
  database.create_if_missing = true;
  database.create_missing_column_families = true;
  if (options.env != nullptr) database.env = options.env;
  database.atomic_flush = true;
  database.avoid_flush_during_shutdown = true;
  database.db_write_buffer_size = options.write_buffer_bytes;
  // One thread writes, and it does not wait for a sync: nothing to gain from groups or pipelines.
  database.allow_concurrent_memtable_write = false;
  database.enable_write_thread_adaptive_yield = false;
  database.max_background_jobs = 2;
  // Spreads the write-back of a flush, which otherwise stands in the way of the log's syncs. A rate
  // limit is not needed beside it: compactions move keys and short rows, not bodies.
  database.bytes_per_sync = 1 << 20;
  // A million messages of 4 KiB are about 150 blob files and as many tables. Below the usual limit
  // of 1,024 descriptors, of which sessions need their part.
  database.max_open_files = 500;
  // Opening reads the manifest, not a block of every table.
  database.skip_stats_update_on_db_open = true;
  database.keep_log_file_num = 2;
  database.max_log_file_size = 4 << 20;
  database.stats_dump_period_sec = 0;
  database.stats_persist_period_sec = 0;
  if (options.read_only) database.info_log = std::make_shared<SilentLogger>();
  return database;
}

// Whether rows are asked for by their key. The others are only scanned: a filter would be memory
// and CPU for nothing.
bool IsReadByKey(Family family) {
  return family == Family::kMessage || family == Family::kRecipient || family == Family::kBody ||
         family == Family::kJob;
}

rocksdb::BlockBasedTableOptions TableOptions(Family family,
                                             const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  // Listings and bulk jobs scan; and a quarter of the index entries that 4 KiB blocks need.
  table.block_size = 16 << 10;
  if (IsReadByKey(family)) table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.optimize_filters_for_memory = true;
  // The memory of table readers is the cache's, however many messages wait.
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  return table;
}

// Bodies are written to blob files once, by the flush, and are not copied by the compactions of
// their keys. A blob file goes once nothing in it is alive. What survives in the oldest quarter is
// moved when half of that is garbage, and a look at it is taken at least once a day.
void SetBlobOptions(const StoreOptions& options, rocksdb::ColumnFamilyOptions* family) {
  family->enable_blob_files = true;
  family->min_blob_size = options.blob_bytes_min;
  family->enable_blob_garbage_collection = true;
  family->blob_garbage_collection_age_cutoff = 0.25;
  family->blob_garbage_collection_force_threshold = 0.5;
  family->periodic_compaction_seconds = 24 * 3'600;
}

rocksdb::ColumnFamilyOptions FamilyOptions(Family family, const StoreOptions& options,
                                           const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions result;
  // The bound over all of them is db_write_buffer_size; one alone must not flush earlier.
  result.write_buffer_size = options.write_buffer_bytes;
  result.arena_block_size = std::min<size_t>(1 << 20, options.write_buffer_bytes / 64);
  result.compression = rocksdb::kNoCompression;
  result.table_factory.reset(rocksdb::NewBlockBasedTableFactory(TableOptions(family, cache)));
  // Flushes are small (all families together are one write buffer), and keys come in the order of
  // time: what a flush brings overlaps the newest file of the last level, which is then written
  // again.
  result.target_file_size_base = 1 << 20;
  result.max_bytes_for_level_base = 64 << 20;
  result.level_compaction_dynamic_level_bytes = true;
  // Most rows live for seconds. Files in which tombstones gather are compacted, or scans get slow.
  result.table_properties_collector_factories.push_back(
      rocksdb::NewCompactOnDeletionCollectorFactory(4'096, 1'024));
  // A write never waits for a compaction: the thread that applies would, and all mail with it.
  // Until compactions have caught up, reads cost more instead.
  result.level0_slowdown_writes_trigger = 1'000;
  result.level0_stop_writes_trigger = 1'000;
  result.soft_pending_compaction_bytes_limit = 0;
  result.hard_pending_compaction_bytes_limit = 0;
  if (family == Family::kBody) SetBlobOptions(options, &result);
  return result;
}

constexpr std::chrono::milliseconds kLockPoll{50};

bool IsLocked(const rocksdb::Status& status) {
  return status.IsIOError() && status.ToString().find("/LOCK: ") != std::string::npos;
}

absl::Status JudgeFormat(std::string_view format) {
  if (format == kFormat) return absl::OkStatus();
  return absl::FailedPreconditionError(
      Concat("the queue's store has format ", format, "; this program reads and writes format ",
             kFormat, "; deliver what is in it with the version that wrote it"));
}

// ": PATH is damaged" for tables of a store that does not open: RocksDB names the manifest for some
// of them.
std::string DamagedTables(const rocksdb::Status& status, rocksdb::Env* env,
                          const std::string& folder) {
  rocksdb::Options table;
  table.env = env;
  std::vector<std::string> names;
  if (!status.IsCorruption() || !env->GetChildren(folder, &names).ok()) return {};
  std::string text;
  for (const std::string& name : names) {
    if (!name.ends_with(".sst")) continue;
    const std::string path = Concat(folder, "/", name);
    rocksdb::SstFileReader reader(table);
    rocksdb::Status checked = reader.Open(path);
    if (checked.ok()) checked = reader.VerifyChecksum();
    if (checked.IsCorruption()) ConcatTo(&text, ": ", path, " is damaged");
  }
  return text;
}

bool IsIndex(std::string_view name) {
  for (const Family family : {Family::kIntake, Family::kDue, Family::kQueue, Family::kSite}) {
    if (name == kFamilyNames[static_cast<size_t>(family)]) return true;
  }
  return false;
}

// Whether the rest goes on without it. A table of a lower level hides its own range of keys; one
// of the level where files overlap keeps its whole column family from being scanned, which only
// the indexes bear: mail is found without them.
bool IsBearable(const rocksdb::LiveFileMetaData& table) {
  if (table.column_family_name == rocksdb::kDefaultColumnFamilyName) return false;
  return table.level > 0 || IsIndex(table.column_family_name);
}

// A store with tables that cannot be opened: says which. False: it cannot go on like that.
bool GoesOnWithout(rocksdb::DB* db, rocksdb::Env* env) {
  rocksdb::Options options;
  options.env = env;
  std::vector<rocksdb::LiveFileMetaData> tables;
  db->GetLiveFilesMetaData(&tables);
  std::vector<std::string> warnings;
  for (const rocksdb::LiveFileMetaData& table : tables) {
    const std::string path = table.db_path + table.name;
    const rocksdb::Status opened = rocksdb::SstFileReader(options).Open(path);
    if (opened.ok()) continue;
    if (!opened.IsCorruption() || !IsBearable(table)) return false;
    warnings.push_back(Concat("the store's table ", path, " (", table.column_family_name,
                              ") cannot be opened: ", opened.ToString(),
                              "; what is in it is not delivered; see `postfleet queue verify`"));
  }
  for (const std::string& warning : warnings) maillog::Warning("queue", warning);
  // Without any it was something else.
  return !warnings.empty();
}

// The format of a store that is there; empty: it was never written, an interrupted first opening.
absl::StatusOr<std::string> ReadFormat(const rocksdb::DBOptions& database,
                                       const std::string& path) {
  rocksdb::DBOptions quiet = database;
  quiet.info_log = std::make_shared<SilentLogger>();
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  families.emplace_back(rocksdb::kDefaultColumnFamilyName, rocksdb::ColumnFamilyOptions());
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::OpenForReadOnly(quiet, path, families, &handles, &opened);
  if (!status.ok()) {
    return ToStatus(status, Concat("open the queue's store in ", path,
                                   DamagedTables(status, database.env, path)));
  }
  const std::unique_ptr<rocksdb::DB> db(opened);
  std::string format;
  const rocksdb::Status got =
      db->Get({}, handles[0], rocksdb::Slice(kFormatKey.data(), kFormatKey.size()), &format);
  db->DestroyColumnFamilyHandle(handles[0]);
  if (got.IsNotFound()) return std::string();
  if (!got.ok()) return ToStatus(got, Concat("read the format of ", path));
  return format;
}

// Another version's store is refused before it is opened: opening adds our column families and
// writes a manifest, and then that version could not open it either.
absl::Status CheckBeforeOpening(const rocksdb::DBOptions& database, const std::string& path) {
  std::vector<std::string> names;
  // None yet, or nothing that can be opened: then opening says why.
  if (!rocksdb::DB::ListColumnFamilies(database, path, &names).ok()) return absl::OkStatus();
  const auto format = ReadFormat(database, path);
  if (!format.ok()) return format.status();
  if (format->empty()) return absl::OkStatus();
  if (absl::Status judged = JudgeFormat(*format); !judged.ok()) {
    return absl::Status(
        judged.code(),
        Concat(path, ": ", std::string_view(judged.message().data(), judged.message().size())));
  }
  const std::set<std::string> ours(kFamilyNames.begin(), kFamilyNames.end());
  if (std::set<std::string>(names.begin(), names.end()) == ours) return absl::OkStatus();
  return absl::DataLossError(Concat(path, ": its column families are not those of its format"));
}

}  // namespace

absl::Status ToStatus(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = Concat(what, ": ", status.ToString());
  if (status.IsNotFound()) return absl::NotFoundError(text);
  if (status.IsCorruption()) return absl::DataLossError(text);
  if (status.IsInvalidArgument()) return absl::FailedPreconditionError(text);
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(text);
  return absl::InternalError(text);
}

// RocksDB tells of each column family; all of one atomic flush are installed before the first is
// told of.
class Store::Listener : public rocksdb::EventListener {
 public:
  void OnFlushCompleted(rocksdb::DB* db, const rocksdb::FlushJobInfo&) override {
    CompactAgain(db);
    if (armed_.load(std::memory_order_acquire)) listener_();
  }

  // RocksDB would take no more writes because of one damaged block that a compaction has read.
  // Nothing is lost by going on: the compaction has changed nothing, and whoever reads the block is
  // told.
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override {
    if (reason != rocksdb::BackgroundErrorReason::kCompaction || !error->IsCorruption()) return;
    *error = rocksdb::Status::OK();
  }

  // RocksDB would try it again each second, for ever.
  void OnCompactionCompleted(rocksdb::DB* db, const rocksdb::CompactionJobInfo& job) override {
    if (!job.status.IsCorruption()) return;
    ++damaged_compactions_;
    const auto* families = families_.load(std::memory_order_acquire);
    for (size_t i = 0; i < kFamilyCount; ++i) {
      if (job.cf_name != kFamilyNames[i]) continue;
      maillog::Warning("queue", "the store is damaged: ", job.status.ToString(),
                       "; its column family ", job.cf_name, " is compacted again in ",
                       kCompactAgain.count(), " minutes; see `postfleet queue verify`");
      compact_again_[i] = Now() + kCompactAgain;
      any_off_ = true;
      if (families != nullptr) SetCompactions(db, (*families)[i], false);
    }
  }

  void Set(std::function<void()> listener) {
    listener_ = std::move(listener);
    armed_.store(true, std::memory_order_release);
  }
  // Null: there are none any more.
  void SetFamilies(const std::array<rocksdb::ColumnFamilyHandle*, kFamilyCount>* families) {
    families_.store(families, std::memory_order_release);
  }
  uint64_t damaged_compactions() const { return damaged_compactions_.load(); }

 private:
  static constexpr std::chrono::minutes kCompactAgain{10};
  using Time = std::chrono::steady_clock::time_point;
  static Time Now() { return std::chrono::steady_clock::now(); }

  static void SetCompactions(rocksdb::DB* db, rocksdb::ColumnFamilyHandle* family, bool on) {
    db->SetOptions(family, {{"disable_auto_compactions", on ? "false" : "true"}})
        .PermitUncheckedError();
  }
  // What was damaged may be deleted by now.
  void CompactAgain(rocksdb::DB* db) {
    const auto* families = families_.load(std::memory_order_acquire);
    if (!any_off_ || families == nullptr) return;
    bool any = false;
    for (size_t i = 0; i < kFamilyCount; ++i) {
      const Time again = compact_again_[i];
      if (again == Time()) continue;
      if (again > Now()) {
        any = true;
        continue;
      }
      compact_again_[i] = Time();
      SetCompactions(db, (*families)[i], true);
    }
    any_off_ = any;
  }

  std::atomic<bool> armed_{false};
  std::function<void()> listener_;
  std::atomic<const std::array<rocksdb::ColumnFamilyHandle*, kFamilyCount>*> families_{nullptr};
  std::atomic<uint64_t> damaged_compactions_{0};
  // When families whose compactions are off have them again.
  std::atomic<bool> any_off_{false};
  std::array<std::atomic<Time>, kFamilyCount> compact_again_{};
};

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const StoreOptions& options) {
  std::unique_ptr<Store> store(new Store());
  store->listener_ = std::make_shared<Listener>();
  rocksdb::DBOptions database = DatabaseOptions(options);
  if (absl::Status check = CheckBeforeOpening(database, options.path); !check.ok()) return check;
  database.listeners = options.listeners;
  database.listeners.push_back(store->listener_);
  const auto cache = rocksdb::NewLRUCache(options.block_cache_bytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (size_t i = 0; i < kFamilyCount; ++i) {
    families.emplace_back(kFamilyNames[i], FamilyOptions(static_cast<Family>(i), options, cache));
  }
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const auto open = [&] {
    return options.read_only
               ? rocksdb::DB::OpenForReadOnly(database, options.path, families, &handles, &db)
               : rocksdb::DB::Open(database, options.path, families, &handles, &db);
  };
  rocksdb::Status status = open();
  const auto wait_until = std::chrono::steady_clock::now() + options.lock_wait_max;
  while (IsLocked(status) && std::chrono::steady_clock::now() < wait_until) {
    std::this_thread::sleep_for(kLockPoll);
    status = open();
  }
  if (IsLocked(status)) {
    return absl::UnavailableError(
        Concat(options.path, ": another server or command has this queue open"));
  }
  if (status.IsCorruption()) {
    database.paranoid_checks = false;
    if (open().ok() && !GoesOnWithout(db, database.env)) {
      for (rocksdb::ColumnFamilyHandle* handle : handles) db->DestroyColumnFamilyHandle(handle);
      delete std::exchange(db, nullptr);
    }
    if (db != nullptr) status = rocksdb::Status::OK();
  }
  if (!status.ok()) {
    return ToStatus(status, Concat("open the queue's store in ", options.path,
                                   DamagedTables(status, database.env, options.path)));
  }
  store->db_.reset(db);
  std::copy(handles.begin(), handles.end(), store->handles_.begin());
  store->listener_->SetFamilies(&store->handles_);
  if (absl::Status format = store->CheckFormat(options.read_only); !format.ok()) {
    return absl::Status(format.code(),
                        Concat(options.path, ": ",
                               std::string_view(format.message().data(), format.message().size())));
  }
  return store;
}

Store::~Store() {
  if (db_ == nullptr) return;
  listener_->SetFamilies(nullptr);
  // No listener runs behind it.
  rocksdb::CancelAllBackgroundWork(db_.get(), true);
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    if (handle != nullptr) db_->DestroyColumnFamilyHandle(handle);
  }
  db_->Close().PermitUncheckedError();
}

absl::Status Store::CheckFormat(bool read_only) {
  std::string format;
  const rocksdb::Slice key(kFormatKey.data(), kFormatKey.size());
  const rocksdb::Status status = db_->Get({}, family(Family::kDefault), key, &format);
  if (status.ok()) return JudgeFormat(format);
  if (!status.IsNotFound()) return ToStatus(status, "read the store's format");
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    std::unique_ptr<rocksdb::Iterator> rows(db_->NewIterator({}, handle));
    rows->SeekToFirst();
    if (rows->Valid()) return absl::DataLossError("the queue's store has rows but no format");
    if (!rows->status().ok()) return ToStatus(rows->status(), "read the new store");
  }
  if (read_only) return absl::NotFoundError("the queue's store was never written to");
  rocksdb::WriteOptions write;
  write.disableWAL = true;
  const rocksdb::Status put = db_->Put(write, family(Family::kDefault), key,
                                       rocksdb::Slice(kFormat.data(), kFormat.size()));
  if (!put.ok()) return ToStatus(put, "write the store's format");
  return Flush();
}

absl::StatusOr<uint64_t> Store::FlushedIndex() const {
  rocksdb::ReadOptions read;
  // Skips the memtables, those that are being flushed too: what is found is in a file that the
  // manifest names.
  read.read_tier = rocksdb::kPersistedTier;
  std::string bytes;
  const rocksdb::Status status = db_->Get(
      read, family(Family::kDefault), rocksdb::Slice(kStateKey.data(), kStateKey.size()), &bytes);
  if (status.IsNotFound()) return 0;
  if (!status.ok()) return ToStatus(status, "read the flushed index");
  state::StateRow row;
  if (!row.ParseFromString(bytes)) return absl::DataLossError("the store's state row is damaged");
  return row.applied_index();
}

void Store::SetFlushListener(std::function<void()> listener) {
  listener_->Set(std::move(listener));
}

absl::Status Store::RequestFlush() {
  rocksdb::FlushOptions options;
  options.wait = false;
  // Two flushes in a row would otherwise wait for the first, on the thread that applies.
  options.allow_write_stall = true;
  return ToStatus(db_->Flush(options, {handles_.begin(), handles_.end()}), "flush the store");
}

absl::Status Store::Flush() {
  return ToStatus(db_->Flush({}, {handles_.begin(), handles_.end()}), "flush the store");
}

uint64_t Store::damaged_compactions() const { return listener_->damaged_compactions(); }

uint64_t Store::MemoryBytes() const {
  uint64_t sum = 0;
  uint64_t bytes = 0;
  if (db_->GetAggregatedIntProperty("rocksdb.cur-size-all-mem-tables", &bytes)) sum += bytes;
  if (db_->GetAggregatedIntProperty("rocksdb.estimate-table-readers-mem", &bytes)) sum += bytes;
  return sum;
}

}  // namespace postfleet::queue
