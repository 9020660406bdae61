#include "commands/folder_check.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "libs/base/concat.h"
#include "libs/server/instance.h"

namespace postfleet::commands {
namespace {

namespace fs = std::filesystem;

struct User {
  uid_t uid = 0;
  std::string name;
};

std::string NameOf(uid_t uid) {
  const passwd* entry = getpwuid(uid);
  return entry != nullptr ? entry->pw_name : Concat("user ", uid);
}

class Faults {
 public:
  // A link is looked at itself.
  void CheckOwner(const std::string& path, const User& owner) {
    const std::optional<struct stat> status = Look(path);
    if (status && status->st_uid != owner.uid) Add(Concat("not owned by ", owner.name), path);
  }
  void CheckMode(const std::string& path, mode_t forbidden, std::string_view words) {
    const std::optional<struct stat> status = Look(path);
    if (status && !S_ISLNK(status->st_mode) && (status->st_mode & forbidden) != 0) Add(words, path);
  }
  void CheckLink(const std::string& path) {
    std::error_code error;
    const fs::path target = fs::read_symlink(path, error);
    if (!error && target.string().find('/') != std::string::npos) {
      Add("symlink leaves directory", path);
    }
  }
  std::vector<std::string> Take() { return std::move(faults_); }

 private:
  static std::optional<struct stat> Look(const std::string& path) {
    struct stat status;
    if (lstat(path.c_str(), &status) != 0) return std::nullopt;
    return status;
  }
  void Add(std::string_view words, const std::string& path) {
    faults_.push_back(Concat(words, ": ", path));
  }
  std::vector<std::string> faults_;
};

constexpr mode_t kWritable = S_IWGRP | S_IWOTH;
constexpr std::string_view kWritableWords = "group or other writable";

void CheckConfigFolder(const config::Config& config, const User& root, Faults& faults) {
  faults.CheckOwner(config.directory(), root);
  faults.CheckMode(config.directory(), kWritable, kWritableWords);
  // An instance to play with may keep these beside its main.cf: they have owners of their own.
  const std::string queue = config.GetString("queue_directory");
  const std::string log = config.GetString("maillog_file");
  const std::string mailboxes = config.GetString("virtual_mailbox_base");
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(config.directory(), error)) {
    const std::string path = entry.path().string();
    if (path == queue || path == log || path == mailboxes) continue;
    faults.CheckOwner(path, root);
    faults.CheckMode(path, kWritable, kWritableWords);
    faults.CheckLink(path);
  }
}

void CheckOwnFolder(const std::string& folder, const User& owner, Faults& faults) {
  faults.CheckOwner(folder, owner);
  faults.CheckMode(folder, S_IRWXG | S_IRWXO, "group or other may enter what holds the mail");
  std::error_code error;
  int left = kPathsMax;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end && left-- > 0;
       at.increment(error)) {
    faults.CheckOwner(at->path().string(), owner);
  }
}

}  // namespace

absl::StatusOr<std::vector<std::string>> FindFolderFaults(const config::Config& config,
                                                          uid_t user) {
  User root = {user, NameOf(user)};
  User owner = root;
  if (user == 0) {
    owner.name = config.GetString("mail_owner");
    const passwd* entry = getpwnam(owner.name.c_str());
    if (entry == nullptr) {
      return absl::NotFoundError(
          Concat("main.cf configuration error: mail_owner: unknown user name value: ", owner.name,
                 "; create the user, or set mail_owner to an existing one that owns nothing else"));
    }
    owner.uid = entry->pw_uid;
  }
  Faults faults;
  const std::string queue = config.GetString("queue_directory");
  faults.CheckOwner(queue, root);
  faults.CheckMode(queue, kWritable, kWritableWords);
  CheckConfigFolder(config, root, faults);
  CheckOwnFolder(Concat(queue, server::kOwnFolder), owner, faults);
  const std::string open_to_all = Concat(queue, server::kPublicFolder);
  faults.CheckOwner(open_to_all, owner);
  faults.CheckMode(open_to_all, kWritable, kWritableWords);
  return faults.Take();
}

RightsOf::RightsOf(const std::string& name) {
  const passwd* entry = getpwnam(name.c_str());
  if (geteuid() != 0 || entry == nullptr) return;
  const int count = getgroups(0, nullptr);
  groups_.resize(count > 0 ? static_cast<size_t>(count) : 0);
  if (getgroups(count, groups_.data()) != count) return;
  const uid_t uid = entry->pw_uid;
  const gid_t gid = entry->pw_gid;
  changed_ = true;
  if (initgroups(name.c_str(), gid) == 0 && setegid(gid) == 0 && seteuid(uid) == 0) return;
  std::perror("postfix: fatal: take the rights of mail_owner");
  std::abort();
}

RightsOf::~RightsOf() {
  if (!changed_) return;
  if (seteuid(0) == 0 && setegid(0) == 0 && setgroups(groups_.size(), groups_.data()) == 0) return;
  std::perror("postfix: fatal: become root again");
  std::abort();
}

}  // namespace postfleet::commands
