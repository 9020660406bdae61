// The log stores under comparison: what a committer thread needs, no more.
//
// Append makes a group of records durable: when it returns, they are on the
// disk. Records are at most kRecordBytesMax. Errors end the process: this is a
// benchmark.
#ifndef TESTS_BENCH_SHAPES_LOG_STORE_H_
#define TESTS_BENCH_SHAPES_LOG_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rocksdb {
class DB;
}

namespace postfleet::bench {

inline constexpr size_t kRecordBytesMax = 1 << 20;

struct Record {
  uint64_t term = 1;
  uint64_t index = 0;
  std::string_view payload;
};

class LogStore {
 public:
  virtual ~LogStore() = default;
  virtual void Append(const std::vector<Record>& group) = 0;
};

enum class Space { kGrowing, kFallocated, kZeroFilled };
enum class Sync { kFdatasync, kDsyncWrite, kDirect };

// Segment file: for each record a 32-byte header (magic, length, term, index,
// CRC-32C over header and payload) and the payload. kDirect goes round the
// page cache with O_DIRECT|O_DSYNC and pads each group to 4 KiB.
std::unique_ptr<LogStore> OpenSegmentLog(const std::string& directory, Space space, Sync sync,
                                         int64_t segment_bytes);

// RocksDB with its WAL as the log; one synced WriteBatch a group. With `trim`,
// entries more than 4,096 behind are cut by DeleteRange every 1,000, as a log
// whose state was flushed would be.
std::unique_ptr<LogStore> OpenRocksLog(const std::string& directory, bool trim);

// The same database for writers that come in by themselves.
std::unique_ptr<rocksdb::DB> OpenRocks(const std::string& directory);
void AppendOne(rocksdb::DB* db, const Record& record);

}  // namespace postfleet::bench

#endif  // TESTS_BENCH_SHAPES_LOG_STORE_H_
