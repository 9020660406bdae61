// Whose the folders and files of an instance are, and who may write them, as `postfix check` has
// it:
//
//   queue_directory, config_directory and what lies directly in it: root's, writable for no group
//   and no others; no links out of config_directory
//   queue_directory/postfleet and all below it: mail_owner's; nobody else may enter it
//   queue_directory/postfleet-public: mail_owner's, writable for nobody else
//
// Where an instance belongs to a user, it is this user instead of root and mail_owner. Each fault
// is one line in Postfix's words: "not owned by root: PATH", "group or other writable: PATH". What
// does not exist yet is no fault. The queue's own folder is read as far as kPathsMax paths.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "libs/config/config.h"

namespace postfleet::commands {

inline constexpr int kPathsMax = 100'000;

// `user` is who asks: 0 expects root and mail_owner. NotFound: mail_owner does not exist.
absl::StatusOr<std::vector<std::string>> FindFolderFaults(const config::Config& config, uid_t user);

// The rights of mail_owner for a while, if root asks; of no one else. Not with other threads about.
class RightsOf {
 public:
  // `name`: mail_owner. An unknown user: nothing changes.
  explicit RightsOf(const std::string& name);
  ~RightsOf();
  RightsOf(const RightsOf&) = delete;
  RightsOf& operator=(const RightsOf&) = delete;

 private:
  bool changed_ = false;
  std::vector<gid_t> groups_;
};

}  // namespace postfleet::commands
