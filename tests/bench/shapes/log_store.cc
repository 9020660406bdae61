#include "tests/bench/shapes/log_store.h"

#include <endian.h>
#include <fcntl.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstring>
#include <filesystem>

#include "libs/base/crc32c.h"
#include "tests/bench/shapes/measure.h"

namespace postfleet::bench {
namespace {

constexpr size_t kHeaderBytes = 32;
constexpr size_t kBlockBytes = 4096;
constexpr uint32_t kMagic = 0x50464c31;
constexpr uint64_t kTrimEvery = 1000;
constexpr uint64_t kTrimBehind = 4096;

using Header = std::array<char, kHeaderBytes>;

Header EncodeHeader(const Record& record) {
  Header header{};
  const uint32_t length = record.payload.size();
  std::memcpy(&header[4], &kMagic, 4);
  std::memcpy(&header[8], &length, 4);
  std::memcpy(&header[16], &record.term, 8);
  std::memcpy(&header[24], &record.index, 8);
  const uint32_t crc = Crc32c(record.payload, Crc32c({&header[4], kHeaderBytes - 4}));
  std::memcpy(&header[0], &crc, 4);
  return header;
}

class SegmentLog final : public LogStore {
 public:
  SegmentLog(const std::string& directory, Space space, Sync sync, int64_t segment_bytes)
      : sync_(sync) {
    std::filesystem::create_directories(directory);
    const std::string path = directory + "/segment";
    int flags = O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC;
    descriptor_ = open(path.c_str(), flags, 0600);
    BENCH_CHECK(descriptor_ >= 0);
    Prepare(space, segment_bytes);
    if (sync == Sync::kDirect) {
      close(descriptor_);
      descriptor_ = open(path.c_str(), O_RDWR | O_CLOEXEC | O_DIRECT | O_DSYNC);
      BENCH_CHECK(descriptor_ >= 0);
      BENCH_CHECK(posix_memalign(&aligned_, kBlockBytes, kAlignedBytes) == 0);
    }
  }

  ~SegmentLog() override {
    close(descriptor_);
    std::free(aligned_);
  }

  void Append(const std::vector<Record>& group) override {
    if (sync_ == Sync::kDirect) return AppendDirect(group);
    std::vector<Header> headers(group.size());
    std::vector<iovec> parts;
    parts.reserve(2 * group.size());
    for (size_t i = 0; i < group.size(); ++i) {
      headers[i] = EncodeHeader(group[i]);
      parts.push_back({headers[i].data(), kHeaderBytes});
      parts.push_back({const_cast<char*>(group[i].payload.data()), group[i].payload.size()});
    }
    Write(&parts);
    if (sync_ == Sync::kFdatasync) BENCH_CHECK(fdatasync(descriptor_) == 0);
  }

 private:
  static constexpr size_t kAlignedBytes = 8 << 20;

  void Prepare(Space space, int64_t bytes) {
    if (space == Space::kGrowing) return;
    BENCH_CHECK(fallocate(descriptor_, 0, 0, bytes) == 0);
    if (space == Space::kZeroFilled) {
      const std::string zeros(1 << 20, '\0');
      for (int64_t at = 0; at < bytes; at += zeros.size()) {
        BENCH_CHECK(pwrite(descriptor_, zeros.data(), zeros.size(), at) ==
                    static_cast<ssize_t>(zeros.size()));
      }
    }
    BENCH_CHECK(fsync(descriptor_) == 0);
  }

  void Write(std::vector<iovec>* parts) {
    for (size_t first = 0; first < parts->size();) {
      const int count = std::min<size_t>(parts->size() - first, IOV_MAX);
      const bool last = first + count == parts->size();
      const int flags = sync_ == Sync::kDsyncWrite && last ? RWF_DSYNC : 0;
      ssize_t expected = 0;
      for (int i = 0; i < count; ++i) expected += (*parts)[first + i].iov_len;
      BENCH_CHECK(pwritev2(descriptor_, parts->data() + first, count, offset_, flags) == expected);
      offset_ += expected;
      first += count;
    }
  }

  void AppendDirect(const std::vector<Record>& group) {
    char* out = static_cast<char*>(aligned_);
    for (const Record& record : group) {
      const Header header = EncodeHeader(record);
      std::memcpy(out, header.data(), kHeaderBytes);
      std::memcpy(out + kHeaderBytes, record.payload.data(), record.payload.size());
      out += kHeaderBytes + record.payload.size();
    }
    const size_t used = out - static_cast<char*>(aligned_);
    const size_t padded = (used + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    BENCH_CHECK(padded <= kAlignedBytes);
    std::memset(out, 0, padded - used);
    BENCH_CHECK(pwrite(descriptor_, aligned_, padded, offset_) == static_cast<ssize_t>(padded));
    offset_ += padded;
  }

  const Sync sync_;
  int descriptor_ = -1;
  int64_t offset_ = 0;
  void* aligned_ = nullptr;
};

rocksdb::Slice Key(uint64_t index, char* bytes) {
  const uint64_t shard = htobe64(1), ordered = htobe64(index);
  std::memcpy(bytes, &shard, 8);
  std::memcpy(bytes + 8, &ordered, 8);
  return {bytes, 16};
}

void Put(const Record& record, rocksdb::WriteBatch* batch) {
  char key[16];
  const rocksdb::Slice value[] = {{reinterpret_cast<const char*>(&record.term), 8},
                                  {record.payload.data(), record.payload.size()}};
  const rocksdb::Slice key_slice = Key(record.index, key);
  BENCH_CHECK(batch->Put(rocksdb::SliceParts(&key_slice, 1), rocksdb::SliceParts(value, 2)).ok());
}

void Write(rocksdb::DB* db, rocksdb::WriteBatch* batch) {
  rocksdb::WriteOptions options;
  options.sync = true;
  BENCH_CHECK(db->Write(options, batch).ok());
}

class RocksLog final : public LogStore {
 public:
  RocksLog(const std::string& directory, bool trim) : db_(OpenRocks(directory)), trim_(trim) {}

  void Append(const std::vector<Record>& group) override {
    batch_.Clear();
    for (const Record& record : group) Put(record, &batch_);
    const uint64_t last = group.back().index;
    if (trim_ && last > trimmed_ + kTrimEvery + kTrimBehind) {
      char from[16], to[16];
      const rocksdb::Slice first = Key(trimmed_, from);
      const rocksdb::Slice end = Key(last - kTrimBehind, to);
      BENCH_CHECK(batch_.DeleteRange(first, end).ok());
      trimmed_ = last - kTrimBehind;
    }
    Write(db_.get(), &batch_);
  }

 private:
  std::unique_ptr<rocksdb::DB> db_;
  const bool trim_;
  rocksdb::WriteBatch batch_;
  uint64_t trimmed_ = 0;
};

}  // namespace

std::unique_ptr<LogStore> OpenSegmentLog(const std::string& directory, Space space, Sync sync,
                                         int64_t segment_bytes) {
  return std::make_unique<SegmentLog>(directory, space, sync, segment_bytes);
}

std::unique_ptr<rocksdb::DB> OpenRocks(const std::string& directory) {
  std::filesystem::create_directories(directory);
  rocksdb::Options options;
  options.create_if_missing = true;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.manual_wal_flush = false;
  // 7.8 sets this back to 0 under kTolerateCorruptedTailRecords without a word;
  // what is in effect is printed below.
  options.recycle_log_file_num = 4;
  options.write_buffer_size = 64 << 20;
  options.max_write_buffer_number = 4;
  options.compression = rocksdb::kNoCompression;
  options.enable_pipelined_write = false;
  options.allow_concurrent_memtable_write = false;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, directory, &db);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  BENCH_CHECK(status.ok());
  static bool said = false;
  if (!said) {
    said = true;
    std::fprintf(stderr, "recycle_log_file_num in effect: %zu\n",
                 db->GetDBOptions().recycle_log_file_num);
  }
  return std::unique_ptr<rocksdb::DB>(db);
}

void AppendOne(rocksdb::DB* db, const Record& record) {
  rocksdb::WriteBatch batch(record.payload.size() + 64);
  Put(record, &batch);
  Write(db, &batch);
}

std::unique_ptr<LogStore> OpenRocksLog(const std::string& directory, bool trim) {
  return std::make_unique<RocksLog>(directory, trim);
}

}  // namespace postfleet::bench
