// maillog_file, opened with root's rights: it may lie in a folder of root's, as /var/log. A new one
// is given to mail_owner, so that the server can open it again after a rotation.
//
// The folder may be another one's, mail_owner's above all, who may be taken over: he must not have
// root write to a file of his choice. So, as Postfix's safe_open has it, no file with a second
// name, and no symbolic link but one of root's in a folder that only root may write (or of whoever
// starts this, if that is not root). A FIFO that nobody reads is an error and holds nothing up.
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"

namespace postfleet::launcher {

// For appending, closed on exec. An error says which file and why.
absl::StatusOr<int> OpenLogFile(const std::string& path, mode_t mode, uid_t owner, gid_t group);

}  // namespace postfleet::launcher
