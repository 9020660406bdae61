// rocks_writer <folder> <keys>: puts keys with a synced write-ahead log and says each number once
// it is acknowledged.
#include <rocksdb/db.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

void Check(const rocksdb::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "rocks_writer: %s\n", status.ToString().c_str());
  std::exit(1);
}

}  // namespace

int main(int, char** argv) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.max_background_jobs = 2;
  rocksdb::DB* db = nullptr;
  Check(rocksdb::DB::Open(options, argv[1], &db));
  rocksdb::WriteOptions synced;
  synced.sync = true;
  const int keys = std::atoi(argv[2]);
  for (int key = 0; key < keys; ++key) {
    Check(
        db->Put(synced, std::to_string(key), std::string(1000, static_cast<char>('a' + key % 26))));
    const std::string line = std::to_string(key) + "\n";
    if (write(1, line.data(), line.size()) < 0) return 1;
    if (key % 20 == 19) Check(db->Flush(rocksdb::FlushOptions()));
  }
  delete db;
  return 0;
}
