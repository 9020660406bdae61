#include "services/delivery/privileged/maildir.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace postfleet::delivery::privileged {
namespace {

std::string ErrorText(int error_number) {
  if (error_number == ELOOP) return "a symbolic link in a mailbox path is not followed";
  char buffer[128];
  return strerror_r(error_number, buffer, sizeof(buffer));  // the GNU one
}

std::string TmpName(const Request& request) {
  static std::atomic<uint64_t> number{0};
  return std::to_string(request.seconds) + ".P" + std::to_string(getpid()) + "Q" +
         std::to_string(++number) + "." + request.host;
}

std::string NewName(const Request& request, const struct stat& file) {
  char unique[80];
  std::snprintf(unique, sizeof(unique), ".V%llxI%llxM%u.",
                static_cast<unsigned long long>(file.st_dev),
                static_cast<unsigned long long>(file.st_ino), request.microseconds);
  return std::to_string(request.seconds) + unique + request.host;
}

}  // namespace

Maildir::Maildir(System& system, DirectorySyncs& syncs, const Request& request,
                 const Target& target, std::vector<std::string> components)
    : system_(system),
      syncs_(syncs),
      request_(request),
      target_(target),
      components_(std::move(components)) {}

Maildir::~Maildir() {
  for (int fd : {base_, tmp_, new_, file_}) {
    if (fd >= 0) system_.Close(fd);
  }
}

bool Maildir::Create() {
  tmp_name_ = TmpName(request_);
  const std::string what = "create maildir file " + PathOf("tmp", tmp_name_);
  if (request_.file_bytes_max > 0 &&
      (target_.header.size() > request_.file_bytes_max ||
       request_.content_bytes > request_.file_bytes_max - target_.header.size())) {
    return Fail("error writing message", EFBIG);
  }
  base_ = system_.OpenBase(request_.base.c_str());
  if (base_ < 0) return Fail(what, errno);
  tmp_ = OpenFolder("tmp", /*for_sync=*/false);
  if (tmp_ < 0) return Fail(what, errno);
  file_ = system_.CreateFile(tmp_, tmp_name_.c_str());
  if (file_ < 0) return Fail(what, errno);
  in_tmp_ = true;
  return true;
}

bool Maildir::Write(std::string_view bytes) {
  struct iovec parts[2];
  int count = 0;
  if (!header_written_) {
    parts[count++] = {const_cast<char*>(target_.header.data()), target_.header.size()};
  }
  header_written_ = true;
  parts[count++] = {const_cast<char*>(bytes.data()), bytes.size()};
  return WriteAll(parts, count) || Fail("error writing message", errno);
}

bool Maildir::WriteAll(struct iovec* parts, int count) {
  while (count > 0) {
    if (parts->iov_len == 0) {
      ++parts, --count;
      continue;
    }
    const ssize_t written = system_.Write(file_, parts, count);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    auto rest = static_cast<size_t>(written);
    while (count > 0 && rest >= parts->iov_len) {
      rest -= parts->iov_len;
      ++parts, --count;
    }
    if (count > 0) *parts = {static_cast<char*>(parts->iov_base) + rest, parts->iov_len - rest};
  }
  return true;
}

// The order is the promise (see the header).
bool Maildir::Commit() {
  if (!header_written_ && !Write("")) return false;
  struct stat file;
  if (system_.Stat(file_, &file) != 0) return Fail("error writing message", errno);
  if (system_.Sync(file_) != 0) return Fail("error writing message", errno);
  const std::string name = NewName(request_, file);
  const std::string what = "create maildir file " + PathOf("new", name);
  new_ = OpenFolder("new", /*for_sync=*/true);
  if (new_ < 0) return Fail(what, errno);
  if (system_.Rename(tmp_, tmp_name_.c_str(), new_, name.c_str()) != 0) return Fail(what, errno);
  in_tmp_ = false;
  const int error = syncs_.Sync(new_);
  if (error != 0) return Fail("sync of " + PathOf("new", ""), error);
  return RootNew();
}

// new/ may have been made a moment ago by another delivery, or by a process that was cut off before
// it synced the entry: once in a process's life the folders above are synced, too.
bool Maildir::RootNew() {
  if (syncs_.IsRooted(new_)) return true;
  std::string path = ".";
  for (size_t depth = 0; depth <= components_.size(); ++depth) {
    if (depth > 0) path += "/" + components_[depth - 1];
    const int folder = system_.OpenBeneath(base_, path.c_str(), /*for_sync=*/true);
    // A folder that the user may not read is one where this user's deliveries make nothing.
    if (folder < 0 && errno == EACCES) continue;
    const int error = folder < 0 ? errno : syncs_.Sync(folder);
    if (folder >= 0) system_.Close(folder);
    if (error != 0) return Fail("sync of " + request_.base + "/" + path, error);
  }
  syncs_.MarkRooted(new_);
  return true;
}

void Maildir::Abandon() {
  if (in_tmp_) system_.Remove(tmp_, tmp_name_.c_str());
  in_tmp_ = false;
}

int Maildir::OpenFolder(const std::string& folder, bool for_sync) {
  std::string path;
  for (const std::string& component : components_) path += component + "/";
  path += folder;
  const int fd = system_.OpenBeneath(base_, path.c_str(), for_sync);
  if (fd >= 0 || errno != ENOENT) return fd;
  // As Postfix: cur/ comes with new/.
  if (folder == "new" && !MakeFolders("cur")) return -1;
  if (!MakeFolders(folder)) return -1;
  return system_.OpenBeneath(base_, path.c_str(), for_sync);
}

bool Maildir::MakeFolders(const std::string& folder) {
  std::vector<std::string> names = components_;
  names.push_back(folder);
  int at = base_;
  bool made = true;
  for (const std::string& name : names) {
    if (made = MakeFolder(at, name); !made) break;
    const int next = system_.OpenBeneath(at, name.c_str(), /*for_sync=*/false);
    if (at != base_) system_.Close(at);
    at = next;
    if (at < 0) return false;
  }
  const int error = errno;
  if (at != base_) system_.Close(at);
  errno = error;
  return made;
}

// Makes one folder if it is missing. Its entry above is synced by whoever made it, before anything
// in it is answered for.
bool Maildir::MakeFolder(int at, const std::string& name) {
  if (system_.MakeDirectory(at, name.c_str()) != 0) {
    if (errno == EEXIST) return true;
    // The user may lack the right to write above a folder that is there (EACCES, EROFS): looking
    // decides.
    const int error = errno;
    const int there = system_.OpenBeneath(at, name.c_str(), /*for_sync=*/false);
    if (there >= 0) system_.Close(there);
    errno = error;
    return there >= 0;
  }
  const int above = system_.OpenBeneath(at, ".", /*for_sync=*/true);
  if (above < 0) return false;
  errno = syncs_.Sync(above);
  const int error = errno;
  system_.Close(above);
  errno = error;
  return error == 0;
}

std::string Maildir::PathOf(const std::string& folder, const std::string& name) const {
  std::string path = request_.base;
  for (const std::string& component : components_) path += "/" + component;
  return path + "/" + folder + "/" + name;
}

bool Maildir::Fail(const std::string& what, int error_number) {
  error_ = {Code::kFailed, error_number, what + ": " + ErrorText(error_number)};
  failed_step_ = what;
  return false;
}

}  // namespace postfleet::delivery::privileged
