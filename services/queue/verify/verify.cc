#include "services/queue/verify/verify.h"

#include <rocksdb/env.h>

#include <memory>

#include "libs/base/concat.h"
#include "services/queue/state/snapshot.h"
#include "services/queue/verify/finding_list.h"
#include "services/queue/verify/log_check.h"
#include "services/queue/verify/store_check.h"

namespace postfleet::queue {
namespace {

// RocksDB's own lock, which each server has as long as it has the store.
class StoreLock {
 public:
  explicit StoreLock(const std::string& path) : env_(rocksdb::Env::Default()) {
    // It makes the file, which would then be root's, and shut the server out.
    taken_ = env_->FileExists(path + "/LOCK").ok() && env_->LockFile(path + "/LOCK", &lock_).ok();
  }
  ~StoreLock() {
    if (taken_) env_->UnlockFile(lock_).PermitUncheckedError();
  }
  StoreLock(const StoreLock&) = delete;
  StoreLock& operator=(const StoreLock&) = delete;
  bool taken() const { return taken_; }

 private:
  rocksdb::Env* const env_;
  rocksdb::FileLock* lock_ = nullptr;
  bool taken_ = false;
};

absl::Status CheckStore(const Store& store, FindingList* findings) {
  const Snapshot snapshot(store.db());
  // Of some hundred kilobytes: not for a thread's stack.
  const auto check = std::make_unique<StoreCheck>(&store, snapshot.get(), findings);
  return check->Run();
}

}  // namespace

absl::Status VerifyStore(const Store& store, const VerifyListener& listener) {
  FindingList findings(&listener);
  const absl::Status checked = CheckStore(store, &findings);
  if (checked.ok()) findings.Done();
  return checked;
}

absl::StatusOr<FolderVerified> VerifyFolder(const std::string& path,
                                            const VerifyListener& listener) {
  const std::string state = path + "/state";
  if (!rocksdb::Env::Default()->FileExists(state + "/CURRENT").ok()) {
    return absl::NotFoundError(Concat("there is no queue in ", path));
  }
  const StoreLock lock(state);
  if (!lock.taken()) {
    return absl::FailedPreconditionError(
        Concat(state,
               "/LOCK cannot be locked: a server has this queue, it is another user's, or it is "
               "missing (of a copied folder: make an empty one)"));
  }
  auto store = Store::Open({.path = state, .read_only = true});
  if (!store.ok()) return store.status();
  FindingList findings(&listener);
  if (absl::Status checked = CheckStore(**store, &findings); !checked.ok()) return checked;
  const auto flushed = (*store)->FlushedIndex();
  if (!flushed.ok()) {
    findings.Done();
    return FolderVerified{.replay = "nothing starts: the state row cannot be read"};
  }
  auto verified = CheckLog(path + "/log", *flushed, &findings);
  if (verified.ok()) findings.Done();
  return verified;
}

}  // namespace postfleet::queue
