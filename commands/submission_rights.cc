#include "commands/submission_rights.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "libs/base/concat.h"
#include "libs/maildrop/files.h"

namespace postfleet::commands {
namespace {

constexpr mode_t kProgramMode = 02755;
constexpr mode_t kModeBits = 07777;
// With powers, postdrop takes no other from users, unless this one's main.cf names it.
constexpr std::string_view kUsersDirectory = "/etc/postfix";

std::string MaildropOf(const config::Config& config) {
  return Concat(config.GetString("queue_directory"), maildrop::kFolder);
}

absl::Status Failed(std::string_view what) {
  return absl::UnavailableError(Concat(what, ": ", std::string_view(strerror(errno))));
}

// By descriptor: what lies there may be a link to something else.
absl::Status Change(const std::string& path, int flags, uid_t user, gid_t group, mode_t mode) {
  const int fd = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | flags);
  if (fd < 0) return Failed(Concat("open ", path));
  absl::Cleanup close_fd = [fd] { close(fd); };
  // A change of the owner takes the set-gid bit away, so the mode comes second.
  if (fchown(fd, user, group) != 0) return Failed(Concat("change the owner of ", path));
  return fchmod(fd, mode) == 0 ? absl::OkStatus() : Failed(Concat("change the mode of ", path));
}

}  // namespace

std::vector<std::string> FindSubmissionFaults(const config::Config& config,
                                              const std::string& postdrop) {
  std::vector<std::string> faults;
  const std::string name = config.GetString("setgid_group");
  const group* entry = getgrnam(name.c_str());
  if (geteuid() != 0 || entry == nullptr) return faults;
  struct stat status;
  const auto check_group = [&](const std::string& path) {
    if (status.st_gid == entry->gr_gid) return;
    faults.push_back(Concat("not owned by group ", name, ": ", path));
  };
  const std::string folder = MaildropOf(config);
  if (lstat(folder.c_str(), &status) == 0) {
    check_group(folder);
    if ((status.st_mode & kModeBits) != maildrop::kFolderMode) {
      faults.push_back(Concat("mode is not 1730: ", folder));
    }
  }
  if (config.directory() == kUsersDirectory && stat(postdrop.c_str(), &status) == 0) {
    if (status.st_uid != 0) faults.push_back(Concat("not owned by root: ", postdrop));
    check_group(postdrop);
    constexpr mode_t kNeeded = S_ISGID | S_IXUSR | S_IXGRP | S_IXOTH;
    if ((status.st_mode & kNeeded) != kNeeded) {
      faults.push_back(Concat("not set-gid or not owner+group+world executable: ", postdrop));
    }
  }
  return faults;
}

absl::Status SetSubmissionRights(const config::Config& config, const std::string& postdrop) {
  if (geteuid() != 0)
    return absl::PermissionDeniedError("use of this command is reserved for root");
  const std::string owner = config.GetString("mail_owner");
  const std::string name = config.GetString("setgid_group");
  const passwd* user = getpwnam(owner.c_str());
  if (user == nullptr) {
    return absl::NotFoundError(
        Concat("main.cf configuration error: mail_owner: unknown user name value: ", owner));
  }
  const group* submitters = getgrnam(name.c_str());
  if (submitters == nullptr) {
    return absl::NotFoundError(
        Concat("main.cf configuration error: setgid_group: unknown group name value: ", name,
               "; create it, for nothing else: groupadd --system ", name));
  }
  absl::Status status = Change(postdrop, 0, 0, submitters->gr_gid, kProgramMode);
  const std::string folder = MaildropOf(config);
  if (status.ok() && access(folder.c_str(), F_OK) == 0) {
    status = Change(folder, O_DIRECTORY, user->pw_uid, submitters->gr_gid, maildrop::kFolderMode);
  }
  return status;
}

}  // namespace postfleet::commands
