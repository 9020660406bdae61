// A disk for tests that loses power.
//
// What a process wrote and did not sync reaches the disk by whim: each 512-byte sector, each change
// of a size, each entry of a directory may be there or not after PowerOn, drawn from the seed. A
// sync that failed marks its bytes as clean, as Linux does: they can be read until the power fails,
// and a later sync does not write them.
//
// One thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "services/queue/log/file_system.h"

namespace postfleet::queue {

class FakeDisk : public FileSystem {
 public:
  explicit FakeDisk(uint64_t seed) : random_(seed) {}

  absl::StatusOr<std::unique_ptr<File>> Create(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& dir) override;
  absl::Status CreateDirectory(const std::string& dir) override;
  absl::Status SyncDirectory(const std::string& dir) override;

  // The power fails during the n-th operation from now on that changes or syncs something (1: the
  // next). From then on everything is Unavailable, open files for good.
  void CutPowerAt(uint64_t operation) { operations_until_cut_ = operation; }
  bool power_is_off() const { return power_is_off_; }
  // Loses what was not durable, at any time.
  void PowerOn();

  // Space for the sizes of all files together.
  void set_space_bytes(uint64_t bytes) { space_bytes_ = bytes; }
  void FailNextSync() { fail_next_sync_ = true; }
  // Mutants: a sync that says OK and does nothing.
  void set_ignores_file_sync(bool ignores) { ignores_file_sync_ = ignores; }
  void set_ignores_directory_sync(bool ignores) { ignores_directory_sync_ = ignores; }

  // A file as processes see it.
  const std::string& Contents(const std::string& path) const;
  // Durable at once.
  void SetContents(const std::string& path, std::string contents);
  bool Exists(const std::string& path) const { return names_.contains(path); }

 private:
  friend class FakeFile;

  struct Inode {
    std::string seen;          // by processes
    std::string durable;       // by the next PowerOn
    std::set<uint64_t> dirty;  // sectors of `seen`
    bool size_dirty = false;
  };
  struct Change {  // of names; a rename is one
    std::string removed;
    std::string added;
    std::shared_ptr<Inode> inode;
  };

  absl::Status Step();  // counts an operation
  uint64_t UsedBytes() const;
  bool Whim(double probability) { return std::bernoulli_distribution(probability)(random_); }
  void Make(const Change& change);
  static void Apply(const Change& change, std::map<std::string, std::shared_ptr<Inode>>* names);
  static void WriteBack(Inode* inode, uint64_t sector);
  void LosePower(Inode* inode, double probability);

  std::mt19937_64 random_;
  std::map<std::string, std::shared_ptr<Inode>> names_;
  std::map<std::string, std::shared_ptr<Inode>> durable_names_;
  std::vector<Change> pending_;
  std::set<std::string> directories_;
  uint64_t space_bytes_ = UINT64_MAX;
  uint64_t operations_until_cut_ = 0;  // 0: never
  uint64_t life_ = 0;
  bool power_is_off_ = false;
  bool fail_next_sync_ = false;
  bool ignores_file_sync_ = false;
  bool ignores_directory_sync_ = false;
};

}  // namespace postfleet::queue
