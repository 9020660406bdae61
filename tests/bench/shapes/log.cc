// What it costs to make small messages durable in groups.
//
//   log [--rounds=3] [--only=text] [--scale=1.0] [--dir=...]
//
// Writers wait, each with one message; a committer takes all that waits, writes
// it, syncs once, and wakes them. "events": the writers are states on one
// thread (as sessions on an event loop are), woken together; "threads": each
// writer is a thread that blocks.
#include <rocksdb/db.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>
#include <utility>

#include "tests/bench/shapes/log_store.h"
#include "tests/bench/shapes/measure.h"

namespace postfleet::bench {
namespace {

struct Load {
  int writers = 1;
  uint64_t messages = 0;
  size_t payload_bytes = 4096;
  bool threads = false;
};

// Collects what waits; one thread commits.
class Committer {
 public:
  explicit Committer(LogStore* store) : store_(store) {}

  uint64_t syncs() const { return syncs_; }

  // One thread commits until `messages` were made durable.
  void Run(uint64_t messages) {
    std::vector<Record> group;
    std::unique_lock<std::mutex> lock(mutex_);
    while (durable_ < messages) {
      work_.wait(lock, [this] { return !waiting_.empty(); });
      group.swap(waiting_);
      uint64_t index = durable_;
      for (Record& record : group) record.index = ++index;
      lock.unlock();
      store_->Append(group);
      lock.lock();
      ++syncs_;
      durable_ += group.size();
      group.clear();
      wake_.notify_all();
    }
  }

  // Blocks until the record is durable.
  void Commit(std::string_view payload) {
    std::unique_lock<std::mutex> lock(mutex_);
    waiting_.push_back({1, 0, payload});
    const uint64_t ticket = ++submitted_;
    if (waiting_.size() == 1) work_.notify_one();
    wake_.wait(lock, [&] { return durable_ >= ticket; });
  }

  // Keeps `writers` messages outstanding from this one thread.
  void CommitAll(const Load& load, std::string_view payload) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (durable_ < load.messages) {
      while (submitted_ < load.messages &&
             submitted_ - durable_ < static_cast<uint64_t>(load.writers)) {
        waiting_.push_back({1, 0, payload});
        ++submitted_;
      }
      work_.notify_one();
      const uint64_t seen = durable_;
      wake_.wait(lock, [&] { return durable_ > seen; });
    }
  }

 private:
  LogStore* const store_;
  std::mutex mutex_;
  std::condition_variable work_, wake_;
  std::vector<Record> waiting_;
  uint64_t submitted_ = 0;
  uint64_t durable_ = 0;
  uint64_t syncs_ = 0;
};

template <class Body>
void InThreads(const Load& load, Body body) {
  std::atomic<uint64_t> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < load.writers; ++i) {
    threads.emplace_back([&] {
      uint64_t index;
      while ((index = ++next) <= load.messages) body(index);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Counters around a run, for one message each.
class Meter {
 public:
  explicit Meter(const std::string& directory)
      : directory_(directory),
        wall_(WallSeconds()),
        cpu_(CpuMicroseconds()),
        written_(WrittenBytes()),
        device_(DeviceWrittenBytes(directory)) {}

  std::vector<double> Row(const Load& load, double syncs) const {
    const double seconds = WallSeconds() - wall_;
    const double messages = static_cast<double>(load.messages);
    return {(CpuMicroseconds() - cpu_) / messages, messages / seconds, syncs / seconds,
            (WrittenBytes() - written_) / messages,
            (DeviceWrittenBytes(directory_) - device_) / messages};
  }

 private:
  const std::string directory_;
  const double wall_, cpu_;
  const int64_t written_, device_;
};

std::vector<double> RunCommitter(const std::string& directory, LogStore* store, const Load& load) {
  const std::string payload(load.payload_bytes, 'x');
  Committer committer(store);
  Meter meter(directory);
  std::thread thread([&] { committer.Run(load.messages); });
  if (load.threads) {
    InThreads(load, [&](uint64_t) { committer.Commit(payload); });
  } else {
    committer.CommitAll(load, payload);
  }
  thread.join();
  return meter.Row(load, static_cast<double>(committer.syncs()));
}

std::vector<double> RunOwnGroups(const std::string& directory, const Load& load) {
  const std::string payload(load.payload_bytes, 'x');
  auto db = OpenRocks(directory);
  Meter meter(directory);
  InThreads(load, [&](uint64_t index) { AppendOne(db.get(), {1, index, payload}); });
  // RocksDB does not say how many groups it made without its statistics.
  return meter.Row(load, 0);
}

std::string SizeName(size_t bytes) { return std::to_string(bytes / 1024) + " KiB"; }

class Table {
 public:
  Table(std::string directory, double scale) : directory_(std::move(directory)), scale_(scale) {}

  void AddAll(const Load& load) {
    using enum Space;
    using enum Sync;
    AddSegment("growing + fdatasync", load, kGrowing, kFdatasync);
    AddSegment("fallocate + fdatasync", load, kFallocated, kFdatasync);
    AddSegment("recycled + fdatasync", load, kZeroFilled, kFdatasync);
    AddSegment("recycled + RWF_DSYNC", load, kZeroFilled, kDsyncWrite);
    AddSegment("recycled + O_DIRECT, O_DSYNC", load, kZeroFilled, kDirect);
    Load sized = Sized(load);
    auto rocks = [this, sized](bool trim) {
      Fresh();
      auto store = OpenRocksLog(directory_, trim);
      return RunCommitter(directory_, store.get(), sized);
    };
    Add("rocksdb, committer", load, [rocks] { return rocks(false); });
    Add("rocksdb, committer, trimmed", load, [rocks] { return rocks(true); });
    if (load.threads) {
      Add("rocksdb, its own groups", load, [this, sized] {
        Fresh();
        return RunOwnGroups(directory_, sized);
      });
    }
  }

  const std::vector<Variant>& variants() const { return variants_; }

 private:
  Load Sized(Load load) const {
    const int many = load.payload_bytes > 65536 ? 1500
                     : load.writers == 1        ? 1500
                     : load.writers == 8        ? 8000
                                                : 24000;
    load.messages = static_cast<uint64_t>(many * scale_);
    return load;
  }

  void AddSegment(const std::string& name, const Load& load, Space space, Sync sync) {
    const Load sized = Sized(load);
    Add("segment, " + name, load, [this, sized, space, sync] {
      Fresh();
      // Direct groups are padded: at worst one block for each message.
      const int64_t bytes = sized.messages * (sized.payload_bytes + 4096 + 32) + (1 << 20);
      auto store = OpenSegmentLog(directory_, space, sync, bytes);
      return RunCommitter(directory_, store.get(), sized);
    });
  }

  void Add(const std::string& name, const Load& load, std::function<std::vector<double>()> run) {
    variants_.push_back({std::to_string(load.writers) + " x " + SizeName(load.payload_bytes) +
                             (load.threads ? ", threads: " : ", events: ") + name,
                         std::move(run)});
  }

  void Fresh() const {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }

  const std::string directory_;
  const double scale_;
  std::vector<Variant> variants_;
};

int Main(int argc, char** argv) {
  const std::string directory =
      Flag(argc, argv, "dir", "/var/tmp/shapes_log." + std::to_string(getpid()));
  Table table(directory, std::stod(Flag(argc, argv, "scale", "1")));
  for (int writers : {1, 8, 50, 100}) table.AddAll({.writers = writers});
  table.AddAll({.writers = 50, .payload_bytes = 102400});
  table.AddAll({.writers = 50, .threads = true});
  RunTable(
      "Log: group commit",
      {"CPU us/message", "messages/s", "syncs/s", "write_bytes/message", "device bytes/message"},
      table.variants(), std::stoi(Flag(argc, argv, "rounds", "3")), Flag(argc, argv, "only", ""));
  std::filesystem::remove_all(directory);
  return 0;
}

}  // namespace
}  // namespace postfleet::bench

int main(int argc, char** argv) { return postfleet::bench::Main(argc, argv); }
