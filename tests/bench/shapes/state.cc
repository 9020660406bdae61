// What a message costs in the state store: RocksDB without its WAL, five column
// families, one batch to enqueue and one to finish.
//
//   state [--rounds=3] [--only=text] [--messages=200000] [--dir=...]
//
// With fewer messages than a variant keeps open, nothing is finished: "finish us" is 0.
//
// Each variant runs in a process of its own, so that memory is its own: with
// glibc's malloc, or with jemalloc preloaded.
#include <endian.h>
#include <fcntl.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/table_properties_collectors.h>
#include <rocksdb/write_batch.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <utility>

#include "tests/bench/shapes/measure.h"

extern char** environ;

namespace postfleet::bench {
namespace {

constexpr char kJemalloc[] = "libjemalloc.so.2";
constexpr int kChunk = 20;
constexpr size_t kBodyBytes = 4096;

enum Family { kMessages, kRecipients, kBodies, kIndex, kMeta, kFamilies };
constexpr const char* kFamilyNames[] = {"messages", "recipients", "bodies", "index", "default"};

struct Setting {
  int messages_per_batch = 1;
  int window = 100;
  bool blobs = false;
  bool whole_key_filter = true;
  bool concurrent_memtable = false;
  bool unordered = false;
  bool gets = true;
  bool atomic_flush = true;
  int buffer_megabytes = 64;

  std::string Encode() const {
    std::ostringstream out;
    out << messages_per_batch << ' ' << window << ' ' << blobs << ' ' << whole_key_filter << ' '
        << concurrent_memtable << ' ' << unordered << ' ' << gets << ' ' << atomic_flush << ' '
        << buffer_megabytes;
    return out.str();
  }
  static Setting Decode(const std::string& text) {
    Setting s;
    std::istringstream in(text);
    in >> s.messages_per_batch >> s.window >> s.blobs >> s.whole_key_filter >>
        s.concurrent_memtable >> s.unordered >> s.gets >> s.atomic_flush >> s.buffer_megabytes;
    return s;
  }
};

double ThreadCpuMicroseconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

class State {
 public:
  State(const std::string& directory, const Setting& setting) : setting_(setting) {
    Open(directory);
    write_.disableWAL = true;
  }
  ~State() {
    for (auto* family : families_) db_->DestroyColumnFamilyHandle(family);
  }

  void Enqueue(uint64_t first, int count) {
    batch_.Clear();
    for (uint64_t id = first; id < first + count; ++id) {
      const Key key = MakeKey(id);
      Put(kMessages, key, {values_.data(), 200});
      Put(kRecipients, key, {values_.data(), 100});
      Put(kBodies, key, {values_.data(), kBodyBytes});
      Put(kIndex, key, {values_.data(), 30});
    }
    Commit();
  }

  void Finish(uint64_t first, int count) {
    batch_.Clear();
    rocksdb::PinnableSlice value;
    for (uint64_t id = first; id < first + count; ++id) {
      const Key key = MakeKey(id);
      if (setting_.gets) {
        for (Family family : {kMessages, kRecipients}) {
          value.Reset();
          BENCH_CHECK(
              db_->Get(rocksdb::ReadOptions(), families_[family], AsSlice(key), &value).ok());
          BENCH_CHECK(value.size() == (family == kMessages ? 200u : 100u));
        }
      }
      for (Family family : {kMessages, kRecipients, kBodies, kIndex}) {
        BENCH_CHECK(batch_.SingleDelete(families_[family], AsSlice(key)).ok());
      }
    }
    Commit();
  }

 private:
  using Key = std::array<char, 16>;

  static Key MakeKey(uint64_t id) {
    Key key{};
    const uint64_t ordered = htobe64(id);
    std::memcpy(key.data() + 8, &ordered, 8);
    return key;
  }
  static rocksdb::Slice AsSlice(const Key& key) { return {key.data(), key.size()}; }

  void Put(Family family, const Key& key, rocksdb::Slice value) {
    BENCH_CHECK(batch_.Put(families_[family], AsSlice(key), value).ok());
  }

  void Commit() {
    // The applied index: one row for the batch.
    const uint64_t index = ++applied_;
    char value[16] = {};
    std::memcpy(value, &index, 8);
    BENCH_CHECK(batch_.Put(families_[kMeta], "applied", {value, sizeof value}).ok());
    BENCH_CHECK(db_->Write(write_, &batch_).ok());
  }

  void Open(const std::string& directory) {
    rocksdb::Options options;
    options.create_if_missing = true;
    options.create_missing_column_families = true;
    options.atomic_flush = setting_.atomic_flush;
    options.db_write_buffer_size = size_t{1} * setting_.buffer_megabytes << 20;
    options.write_buffer_size = 64 << 20;
    options.max_write_buffer_number = 4;
    options.allow_concurrent_memtable_write = setting_.concurrent_memtable;
    options.unordered_write = setting_.unordered;
    options.compression = rocksdb::kNoCompression;
    options.max_background_jobs = 2;
    options.avoid_flush_during_shutdown = true;
    if (setting_.whole_key_filter) {
      // Costs 2 % of write_buffer_size in every memtable, empty ones too: with 16 MB of buffers in
      // all, five families flushed each 22 messages for ever.
      options.memtable_whole_key_filtering = true;
      options.memtable_prefix_bloom_size_ratio = 0.02;
    }
    rocksdb::BlockBasedTableOptions table;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    options.table_properties_collector_factories.push_back(
        rocksdb::NewCompactOnDeletionCollectorFactory(10000, 5000));
    std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
    for (const char* name : kFamilyNames) descriptors.emplace_back(name, options);
    if (setting_.blobs) {
      descriptors[kBodies].options.enable_blob_files = true;
      descriptors[kBodies].options.min_blob_size = 1024;
      descriptors[kBodies].options.enable_blob_garbage_collection = true;
    }
    rocksdb::DB* db = nullptr;
    const rocksdb::Status status =
        rocksdb::DB::Open(options, directory, descriptors, &families_, &db);
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
    BENCH_CHECK(status.ok());
    db_.reset(db);
  }

  const Setting setting_;
  const std::string values_ = std::string(kBodyBytes, 'x');
  std::vector<rocksdb::ColumnFamilyHandle*> families_;
  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::WriteOptions write_;
  rocksdb::WriteBatch batch_;
  uint64_t applied_ = 0;
};

std::vector<double> Measure(const std::string& directory, const Setting& setting,
                            uint64_t messages) {
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  std::vector<double> row;
  {
    State state(directory, setting);
    const double wall = WallSeconds(), cpu = CpuMicroseconds();
    const int64_t written = WrittenBytes();
    double enqueue = 0, finish = 0;
    const int step = setting.messages_per_batch;
    uint64_t finished = 0;
    for (uint64_t id = 0; id < messages; id += kChunk) {
      const double start = ThreadCpuMicroseconds();
      for (int i = 0; i < kChunk; i += step) state.Enqueue(id + i, step);
      const double middle = ThreadCpuMicroseconds();
      enqueue += middle - start;
      if (id + kChunk < static_cast<uint64_t>(setting.window)) continue;
      for (int i = 0; i < kChunk; i += step) state.Finish(finished + i, step);
      finished += kChunk;
      finish += ThreadCpuMicroseconds() - middle;
    }
    const double n = static_cast<double>(messages);
    const double total = CpuMicroseconds() - cpu;
    const double bytes = static_cast<double>(WrittenBytes() - written);
    row = {total / n,
           enqueue / n,
           finished == 0 ? 0 : finish / static_cast<double>(finished),
           (total - enqueue - finish) / n,
           n / (WallSeconds() - wall),
           bytes / n,
           bytes / (n * kBodyBytes),
           ResidentMegabytes()};
  }
  std::filesystem::remove_all(directory);
  return row;
}

// Runs a variant in a child; its last column is the child's peak memory.
std::vector<double> Spawn(const std::string& directory, const Setting& setting,
                          const std::string& messages, bool jemalloc) {
  int out[2];
  BENCH_CHECK(pipe2(out, O_CLOEXEC) == 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  std::vector<std::string> arguments = {"state", "--child=" + setting.Encode(),
                                        "--dir=" + directory, "--messages=" + messages};
  std::vector<char*> argv, environment;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::string preload = std::string("LD_PRELOAD=") + kJemalloc;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    environment.push_back(*entry);
  }
  if (jemalloc) environment.push_back(preload.data());
  environment.push_back(nullptr);
  pid_t pid;
  BENCH_CHECK(
      posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, argv.data(), environment.data()) == 0);
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]);
  std::string text;
  char part[512];
  for (ssize_t n; (n = read(out[0], part, sizeof part)) > 0;) text.append(part, n);
  close(out[0]);
  rusage usage;
  int status = 0;
  BENCH_CHECK(wait4(pid, &status, 0, &usage) == pid && status == 0);
  std::istringstream in(text);
  std::vector<double> row;
  for (double value; in >> value;) row.push_back(value);
  row.push_back(usage.ru_maxrss * 1024 / 1e6);
  return row;
}

struct Named {
  const char* name;
  Setting setting;
  bool jemalloc = false;
};

std::vector<Named> Settings() {
  return {
      {"base", {}},
      {"base, jemalloc", {}, true},
      {"no memtable filter", {.whole_key_filter = false}},
      {"concurrent memtable writes", {.concurrent_memtable = true}},
      {"unordered write", {.concurrent_memtable = true, .unordered = true}},
      {"no atomic flush", {.atomic_flush = false}},
      {"16 MB of buffers, no memtable filter", {.whole_key_filter = false, .buffer_megabytes = 16}},
      {"blob files", {.blobs = true}},
      {"without the Gets", {.gets = false}},
      {"20 a batch", {.messages_per_batch = 20}},
      {"20 a batch, jemalloc", {.messages_per_batch = 20}, true},
      {"20 a batch, no memtable filter", {.messages_per_batch = 20, .whole_key_filter = false}},
      {"20 a batch, blob files", {.messages_per_batch = 20, .blobs = true}},
      {"20 a batch, 50,000 open", {.messages_per_batch = 20, .window = 50000}},
      {"20 a batch, 50,000 open, blob files",
       {.messages_per_batch = 20, .window = 50000, .blobs = true}},
      {"20 a batch, 50,000 open, blob files, jemalloc",
       {.messages_per_batch = 20, .window = 50000, .blobs = true},
       true},
  };
}

int Main(int argc, char** argv) {
  const std::string directory =
      Flag(argc, argv, "dir", "/var/tmp/shapes_state." + std::to_string(getpid()));
  const std::string messages = Flag(argc, argv, "messages", "200000");
  const std::string child = Flag(argc, argv, "child", "");
  if (!child.empty()) {
    for (double value : Measure(directory, Setting::Decode(child), std::stoull(messages))) {
      std::printf("%.4f ", value);
    }
    return 0;
  }
  std::vector<Variant> variants;
  for (const Named& named : Settings()) {
    variants.push_back(
        {named.name, [=] { return Spawn(directory, named.setting, messages, named.jemalloc); }});
  }
  RunTable("State: RocksDB without its WAL, 4 KiB bodies",
           {"CPU us/message", "enqueue us", "finish us", "background us", "messages/s",
            "bytes written/message", "of the bodies", "RSS at the end, MB", "RSS peak, MB"},
           variants, std::stoi(Flag(argc, argv, "rounds", "3")), Flag(argc, argv, "only", ""));
  return 0;
}

}  // namespace
}  // namespace postfleet::bench

int main(int argc, char** argv) { return postfleet::bench::Main(argc, argv); }
