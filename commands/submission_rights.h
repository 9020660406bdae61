// The rights by which every user may put mail into maildrop, and nobody sees that of others: those
// of the folder (libs/maildrop/files.h) and of the program postdrop.
//
//   queue_directory/maildrop    mail_owner's, of the group setgid_group, mode 1730
//   postdrop                    root's, of that group, set-group-id, executable for all
//
// Of an instance that belongs to a user, or where the group does not exist, nothing is expected; of
// the program only where the configuration is the one that users get, /etc/postfix.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "libs/config/config.h"

namespace postfleet::commands {

// Each fault in a line, in Postfix's words: "not owned by group postdrop: PATH", "not set-gid or
// not owner+group+world executable: PATH". What is not there is no fault. `postdrop` is the
// program's path.
std::vector<std::string> FindSubmissionFaults(const config::Config& config,
                                              const std::string& postdrop);

// `postfix set-permissions`. Errors: only root may; there is no such user, group or program; what
// could not be changed.
absl::Status SetSubmissionRights(const config::Config& config, const std::string& postdrop);

}  // namespace postfleet::commands
