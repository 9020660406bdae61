#include "services/queue/state/store.h"

#include <rocksdb/cache.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/table_properties_collectors.h>

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "libs/base/concat.h"
#include "services/queue/state/keys.h"
#include "services/queue/state/rows.pb.h"

namespace postfleet::queue {
namespace {

constexpr std::string_view kFormat = "1";

constexpr std::array<const char*, kFamilyCount> kFamilyNames = {
    "default", "message", "recipient", "body", "intake", "job", "due", "upload", "submission"};

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
  // Spreads the write-back of a flush, which otherwise stands in the way of the log's syncs.
  database.bytes_per_sync = 1 << 20;
  database.max_open_files = 1'000;
  database.keep_log_file_num = 2;
  database.max_log_file_size = 4 << 20;
  database.stats_dump_period_sec = 0;
  database.stats_persist_period_sec = 0;
  return database;
}

rocksdb::ColumnFamilyOptions FamilyOptions(Family family, const StoreOptions& options,
                                           const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions result;
  // The bound over all of them is db_write_buffer_size; one alone must not flush earlier.
  result.write_buffer_size = options.write_buffer_bytes;
  result.arena_block_size = std::min<size_t>(1 << 20, options.write_buffer_bytes / 64);
  result.compression = rocksdb::kNoCompression;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  result.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  // Most rows live for seconds. Files in which tombstones gather are compacted, or scans get slow.
  result.table_properties_collector_factories.push_back(
      rocksdb::NewCompactOnDeletionCollectorFactory(4'096, 1'024));
  if (family == Family::kBody) {
    result.enable_blob_files = true;
    result.min_blob_size = options.blob_bytes_min;
    result.enable_blob_garbage_collection = true;
  }
  return result;
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
  void OnFlushCompleted(rocksdb::DB*, const rocksdb::FlushJobInfo&) override {
    if (armed_.load(std::memory_order_acquire)) listener_();
  }
  void Set(std::function<void()> listener) {
    listener_ = std::move(listener);
    armed_.store(true, std::memory_order_release);
  }

 private:
  std::atomic<bool> armed_{false};
  std::function<void()> listener_;
};

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const StoreOptions& options) {
  std::unique_ptr<Store> store(new Store());
  store->listener_ = std::make_shared<Listener>();
  rocksdb::DBOptions database = DatabaseOptions(options);
  database.listeners = options.listeners;
  database.listeners.push_back(store->listener_);
  const auto cache = rocksdb::NewLRUCache(options.block_cache_bytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (size_t i = 0; i < kFamilyCount; ++i) {
    families.emplace_back(kFamilyNames[i], FamilyOptions(static_cast<Family>(i), options, cache));
  }
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(database, options.path, families, &handles, &db);
  if (!status.ok()) return ToStatus(status, Concat("open the queue's store in ", options.path));
  store->db_.reset(db);
  std::copy(handles.begin(), handles.end(), store->handles_.begin());
  if (absl::Status format = store->CheckFormat(); !format.ok()) {
    return absl::Status(format.code(),
                        Concat(options.path, ": ",
                               std::string_view(format.message().data(), format.message().size())));
  }
  return store;
}

Store::~Store() {
  if (db_ == nullptr) return;
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    if (handle != nullptr) db_->DestroyColumnFamilyHandle(handle);
  }
  db_->Close().PermitUncheckedError();
}

absl::Status Store::CheckFormat() {
  std::string format;
  const rocksdb::Slice key(kFormatKey.data(), kFormatKey.size());
  const rocksdb::Status status = db_->Get({}, family(Family::kDefault), key, &format);
  if (status.ok()) {
    if (format == kFormat) return absl::OkStatus();
    return absl::FailedPreconditionError(Concat("the queue's store has format ", format,
                                                "; this program reads and writes format ",
                                                kFormat));
  }
  if (!status.IsNotFound()) return ToStatus(status, "read the store's format");
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    std::unique_ptr<rocksdb::Iterator> rows(db_->NewIterator({}, handle));
    rows->SeekToFirst();
    if (rows->Valid()) return absl::DataLossError("the queue's store has rows but no format");
    if (!rows->status().ok()) return ToStatus(rows->status(), "read the new store");
  }
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

uint64_t Store::MemoryBytes() const {
  uint64_t sum = 0;
  uint64_t bytes = 0;
  if (db_->GetAggregatedIntProperty("rocksdb.cur-size-all-mem-tables", &bytes)) sum += bytes;
  if (db_->GetAggregatedIntProperty("rocksdb.estimate-table-readers-mem", &bytes)) sum += bytes;
  return sum;
}

}  // namespace postfleet::queue
