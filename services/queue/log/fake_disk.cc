#include "services/queue/log/fake_disk.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "libs/base/concat.h"

namespace postfleet::queue {
namespace {

constexpr uint64_t kSectorBytes = 512;

std::string DirectoryOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

absl::Status NoPower() { return absl::UnavailableError("no power"); }

}  // namespace

class FakeFile : public File {
 public:
  FakeFile(FakeDisk* disk, std::shared_ptr<FakeDisk::Inode> inode, std::string path)
      : disk_(disk), inode_(std::move(inode)), path_(std::move(path)), life_(disk->life_) {}

  absl::Status Write(uint64_t offset, absl::Span<iovec> slices) override {
    if (!Lives()) return NoPower();
    std::string bytes;
    for (const iovec& slice : slices) {
      bytes.append(static_cast<const char*>(slice.iov_base), slice.iov_len);
    }
    const absl::Status step = disk_->Step();
    if (!step.ok()) bytes.resize(disk_->random_() % (bytes.size() + 1));
    const uint64_t size = inode_->seen.size();
    const uint64_t room = disk_->space_bytes_ - std::min(disk_->space_bytes_, disk_->UsedBytes());
    const uint64_t end_max = size + std::min(room, UINT64_MAX - size);
    const bool full = offset + bytes.size() > end_max;
    if (full) bytes.resize(end_max > offset ? end_max - offset : 0);
    Put(offset, bytes);
    if (!step.ok()) return step;
    return full ? absl::ResourceExhaustedError(Concat("write ", path_)) : absl::OkStatus();
  }

  absl::StatusOr<size_t> Read(uint64_t offset, size_t bytes, char* to) override {
    if (!Lives()) return NoPower();
    const std::string& seen = inode_->seen;
    if (offset >= seen.size()) return 0;
    bytes = std::min<size_t>(bytes, seen.size() - offset);
    std::memcpy(to, seen.data() + offset, bytes);
    return bytes;
  }

  absl::Status Sync() override {
    if (!Lives()) return NoPower();
    if (absl::Status step = disk_->Step(); !step.ok()) return step;
    if (disk_->ignores_file_sync_) return absl::OkStatus();
    if (disk_->fail_next_sync_) {
      disk_->fail_next_sync_ = false;
      inode_->dirty.clear();
      return absl::InternalError(Concat("fdatasync ", path_, ": Input/output error"));
    }
    inode_->durable.resize(inode_->seen.size());
    for (uint64_t sector : inode_->dirty) FakeDisk::WriteBack(inode_.get(), sector);
    inode_->dirty.clear();
    inode_->size_dirty = false;
    return absl::OkStatus();
  }

  absl::Status Preallocate(uint64_t bytes) override {
    if (!Lives()) return NoPower();
    if (absl::Status step = disk_->Step(); !step.ok()) return step;
    const uint64_t size = inode_->seen.size();
    if (bytes <= size) return absl::OkStatus();
    if (disk_->UsedBytes() + (bytes - size) > disk_->space_bytes_) {
      return absl::ResourceExhaustedError(Concat("fallocate ", path_));
    }
    inode_->seen.resize(bytes);
    inode_->size_dirty = true;
    return absl::OkStatus();
  }

  absl::Status Truncate(uint64_t bytes) override {
    if (!Lives()) return NoPower();
    if (absl::Status step = disk_->Step(); !step.ok()) return step;
    // What is cut off may have reached the disk before.
    auto& dirty = inode_->dirty;
    for (auto sector = dirty.lower_bound(bytes / kSectorBytes); sector != dirty.end(); ++sector) {
      if (disk_->Whim(0.5)) FakeDisk::WriteBack(inode_.get(), *sector);
    }
    dirty.erase(dirty.lower_bound((bytes + kSectorBytes - 1) / kSectorBytes), dirty.end());
    inode_->seen.resize(bytes);
    inode_->size_dirty = true;
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> Size() override {
    if (!Lives()) return NoPower();
    return inode_->seen.size();
  }

 private:
  bool Lives() const { return life_ == disk_->life_ && !disk_->power_is_off_; }

  void Put(uint64_t offset, const std::string& bytes) {
    if (bytes.empty()) return;
    if (inode_->seen.size() < offset + bytes.size()) {
      inode_->seen.resize(offset + bytes.size());
      inode_->size_dirty = true;
    }
    for (uint64_t sector = offset / kSectorBytes; sector * kSectorBytes < offset + bytes.size();
         ++sector) {
      // An older version may have reached the disk before.
      if (!inode_->dirty.insert(sector).second && disk_->Whim(0.3)) {
        FakeDisk::WriteBack(inode_.get(), sector);
      }
    }
    std::memcpy(inode_->seen.data() + offset, bytes.data(), bytes.size());
  }

  FakeDisk* const disk_;
  const std::shared_ptr<FakeDisk::Inode> inode_;
  const std::string path_;
  const uint64_t life_;
};

absl::Status FakeDisk::Step() {
  if (power_is_off_) return NoPower();
  if (operations_until_cut_ == 0 || --operations_until_cut_ > 0) return absl::OkStatus();
  power_is_off_ = true;
  return NoPower();
}

uint64_t FakeDisk::UsedBytes() const {
  uint64_t bytes = 0;
  for (const auto& [name, inode] : names_) bytes += inode->seen.size();
  return bytes;
}

void FakeDisk::WriteBack(Inode* inode, uint64_t sector) {
  const uint64_t begin = sector * kSectorBytes;
  if (begin >= inode->seen.size()) return;
  const uint64_t bytes = std::min(kSectorBytes, inode->seen.size() - begin);
  if (inode->durable.size() < begin + bytes) inode->durable.resize(begin + bytes);
  std::memcpy(inode->durable.data() + begin, inode->seen.data() + begin, bytes);
}

void FakeDisk::Apply(const Change& change, std::map<std::string, std::shared_ptr<Inode>>* names) {
  if (!change.removed.empty()) names->erase(change.removed);
  if (!change.added.empty()) (*names)[change.added] = change.inode;
}

void FakeDisk::Make(const Change& change) {
  Apply(change, &names_);
  pending_.push_back(change);
}

absl::StatusOr<std::unique_ptr<File>> FakeDisk::Create(const std::string& path) {
  if (absl::Status step = Step(); !step.ok()) return step;
  auto inode = std::make_shared<Inode>();
  Make({.removed = "", .added = path, .inode = inode});
  return std::make_unique<FakeFile>(this, inode, path);
}

absl::StatusOr<std::unique_ptr<File>> FakeDisk::Open(const std::string& path) {
  if (power_is_off_) return NoPower();
  const auto found = names_.find(path);
  if (found == names_.end()) return absl::NotFoundError(Concat("open ", path));
  return std::make_unique<FakeFile>(this, found->second, path);
}

absl::Status FakeDisk::Rename(const std::string& from, const std::string& to) {
  if (absl::Status step = Step(); !step.ok()) return step;
  const auto found = names_.find(from);
  if (found == names_.end()) return absl::NotFoundError(Concat("rename ", from));
  Make({.removed = from, .added = to, .inode = found->second});
  return absl::OkStatus();
}

absl::Status FakeDisk::Remove(const std::string& path) {
  if (absl::Status step = Step(); !step.ok()) return step;
  if (!names_.contains(path)) return absl::NotFoundError(Concat("remove ", path));
  Make({.removed = path, .added = "", .inode = nullptr});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> FakeDisk::List(const std::string& dir) {
  if (power_is_off_) return NoPower();
  if (!directories_.contains(dir)) return absl::NotFoundError(Concat("list ", dir));
  std::vector<std::string> names;
  for (const auto& [path, inode] : names_) {
    if (DirectoryOf(path) == dir) names.push_back(path.substr(dir.size() + 1));
  }
  return names;
}

absl::Status FakeDisk::CreateDirectory(const std::string& dir) {
  if (absl::Status step = Step(); !step.ok()) return step;
  directories_.insert(dir);
  return absl::OkStatus();
}

absl::Status FakeDisk::SyncDirectory(const std::string& dir) {
  if (absl::Status step = Step(); !step.ok()) return step;
  if (ignores_directory_sync_) return absl::OkStatus();
  for (const Change& change : pending_) {
    if (DirectoryOf(change.added.empty() ? change.removed : change.added) == dir) {
      Apply(change, &durable_names_);
    }
  }
  std::erase_if(pending_, [&](const Change& change) {
    return DirectoryOf(change.added.empty() ? change.removed : change.added) == dir;
  });
  return absl::OkStatus();
}

void FakeDisk::LosePower(Inode* inode, double probability) {
  for (uint64_t sector : inode->dirty) {
    if (Whim(probability)) WriteBack(inode, sector);
  }
  if (inode->size_dirty && Whim(probability)) inode->durable.resize(inode->seen.size());
  inode->dirty.clear();
  inode->size_dirty = false;
  inode->seen = inode->durable;
}

void FakeDisk::PowerOn() {
  constexpr double kProbabilities[] = {0, 0.1, 0.5, 0.9, 1};
  ++life_;
  power_is_off_ = false;
  operations_until_cut_ = 0;
  fail_next_sync_ = false;
  const double data = kProbabilities[random_() % std::size(kProbabilities)];
  const double names = kProbabilities[random_() % std::size(kProbabilities)];
  for (const Change& change : pending_) {
    if (Whim(names)) Apply(change, &durable_names_);
  }
  pending_.clear();
  names_ = durable_names_;
  for (auto& [name, inode] : names_) LosePower(inode.get(), data);
}

const std::string& FakeDisk::Contents(const std::string& path) const {
  return names_.at(path)->seen;
}

void FakeDisk::SetContents(const std::string& path, std::string contents) {
  directories_.insert(DirectoryOf(path));
  auto inode = std::make_shared<Inode>();
  inode->seen = inode->durable = std::move(contents);
  names_[path] = durable_names_[path] = inode;
}

}  // namespace postfleet::queue
