// The machine's system calls for tests: written down in order, each can be made to fail, and
// credentials can be imagined.
#pragma once

#include <fcntl.h>

#include <cerrno>
#include <climits>
#include <map>
#include <mutex>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "services/delivery/privileged/system.h"

namespace postfleet::delivery::privileged {

class RecordingSystem : public System {
 public:
  // The process's own; 0 imagines root: then changes of credentials are recorded and not done.
  uid_t real_uid = System::RealUid();
  gid_t real_gid = System::RealGid();
  bool imagine_credentials = false;

  // The calls of this name fail with this errno.
  void Fail(const std::string& call, int error_number) { failures_[call] = error_number; }
  void Succeed(const std::string& call) { failures_.erase(call); }
  // The call of this number, counted from 1 and from now, fails once; 0: none.
  void FailCall(int number, int error_number) { FailCalls(number, number, error_number); }
  // From that one on nothing is done any more: the machine has stopped.
  void StopAt(int number) { FailCalls(number, INT_MAX, EIO); }
  // Whether a failure of FailCall was reached.
  bool has_failed() const { return first_failure_ > 0 && count_ >= first_failure_; }

  std::vector<std::string> TakeCalls() {
    std::lock_guard lock(mutex_);
    return std::exchange(calls_, {});
  }

  int OpenBase(const char* path) override {
    return Do("base", "", [&] { return System::OpenBase(path); });
  }
  int OpenBeneath(int at, const char* path, bool for_sync) override {
    const int fd = Do("open", "", [&] { return System::OpenBeneath(at, path, for_sync); });
    std::lock_guard lock(mutex_);
    names_[fd] = path;
    return fd;
  }
  int MakeDirectory(int at, const char* name) override {
    return Do("mkdir", name, [&] { return System::MakeDirectory(at, name); });
  }
  int CreateFile(int at, const char* name) override {
    const int fd = Do("create", NameOf(at), [&] { return System::CreateFile(at, name); });
    std::lock_guard lock(mutex_);
    names_[fd] = "file";
    return fd;
  }
  int Stat(int fd, struct stat* stat) override {
    return Do("", "", [&] { return System::Stat(fd, stat); });
  }
  ssize_t Write(int fd, const struct iovec* parts, int count) override {
    const struct iovec half = {parts->iov_base, (parts->iov_len + 1) / 2};
    return Do("write", "", [&] {
      return write_halves ? System::Write(fd, &half, 1) : System::Write(fd, parts, count);
    });
  }
  int Sync(int fd) override {
    return Do("sync", NameOf(fd), [&] { return System::Sync(fd); });
  }
  int Rename(int from_at, const char* from, int to_at, const char* to) override {
    return Do("rename", NameOf(from_at) + " to " + NameOf(to_at),
              [&] { return System::Rename(from_at, from, to_at, to); });
  }
  int Remove(int at, const char* name) override {
    return Do("remove", NameOf(at), [&] { return System::Remove(at, name); });
  }
  int OpenFile(const char* path, int flags) override {
    const int fd = Do((flags & O_CREAT) != 0 ? "make" : "open", "mbox",
                      [&] { return System::OpenFile(path, flags); });
    std::lock_guard lock(mutex_);
    names_[fd] = "mbox";
    return fd;
  }
  int StatPath(const char* path, struct stat* stat) override {
    return Do("", "", [&] { return System::StatPath(path, stat); });
  }
  int Truncate(int fd, off_t bytes) override {
    return Do("truncate", NameOf(fd), [&] { return System::Truncate(fd, bytes); });
  }
  int GiveTo(int fd, uid_t uid, gid_t gid) override {
    return Do("give", NameOf(fd),
              [&] { return imagine_credentials ? 0 : System::GiveTo(fd, uid, gid); });
  }
  int LockByFcntl(int fd) override {
    return Do("fcntl", NameOf(fd), [&] { return System::LockByFcntl(fd); });
  }
  int LockByFlock(int fd) override {
    return Do("flock", NameOf(fd), [&] { return System::LockByFlock(fd); });
  }
  int CreateLockFile(const char* path) override {
    return Do("dotlock", "", [&] { return System::CreateLockFile(path); });
  }
  int RemovePath(const char* path) override {
    return Do("unlock", "", [&] { return System::RemovePath(path); });
  }
  uid_t RealUid() override { return real_uid; }
  gid_t RealGid() override { return real_gid; }
  int SetGroups(gid_t only) override {
    return Do("groups", std::to_string(only),
              [&] { return imagine_credentials ? 0 : System::SetGroups(only); });
  }
  int SetEffectiveGid(gid_t gid) override {
    return Do("gid", std::to_string(gid),
              [&] { return imagine_credentials ? 0 : System::SetEffectiveGid(gid); });
  }
  int SetEffectiveUid(uid_t uid) override {
    return Do("uid", std::to_string(uid),
              [&] { return imagine_credentials ? 0 : System::SetEffectiveUid(uid); });
  }

  bool write_halves = false;

 private:
  void FailCalls(int first, int last, int error_number) {
    std::lock_guard lock(mutex_);
    count_ = 0;
    first_failure_ = first;
    last_failure_ = last;
    numbered_error_ = error_number;
  }

  template <typename Call>
  std::invoke_result_t<Call> Do(const std::string& call, const std::string& what,
                                Call system_call) {
    {
      std::lock_guard lock(mutex_);
      if (!call.empty()) calls_.push_back(what.empty() ? call : call + " " + what);
      if (++count_ >= first_failure_ && count_ <= last_failure_) {
        errno = numbered_error_;
        return -1;
      }
      const auto failure = failures_.find(call + " " + what);
      const auto any = failure != failures_.end() ? failure : failures_.find(call);
      if (any != failures_.end()) {
        errno = any->second;
        return -1;
      }
    }
    return system_call();
  }
  std::string NameOf(int fd) {
    std::lock_guard lock(mutex_);
    return names_[fd];
  }

  std::mutex mutex_;
  std::vector<std::string> calls_;
  std::map<int, std::string> names_;
  std::map<std::string, int> failures_;
  int count_ = 0;
  int first_failure_ = 0;
  int last_failure_ = 0;
  int numbered_error_ = 0;
};

}  // namespace postfleet::delivery::privileged
