// Who hands mail in on this machine, and what he may: authorized_submit_users and
// local_login_sender_maps (postconf(5), postdrop(1)).
//
// Errors: PermissionDenied, in Postfix's words; others where a list or table cannot be read.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/config/config.h"

namespace postfleet::commands {

// Empty: the user has none.
std::string LoginName(uid_t user);

// "User NAME(UID) is not allowed to submit mail".
absl::Status CheckSubmitter(const config::Config& config, uid_t user);

// The envelope senders that a user may name.
class AllowedSenders {
 public:
  static absl::StatusOr<AllowedSenders> Open(const config::Config& config, uid_t user);

  // `sender` is in internal form; its address extension does not count. "not authorized to use
  // sender='...'".
  absl::Status Check(std::string_view sender) const;

 private:
  bool all_ = false;
  std::vector<std::string> patterns_;  // lower case
  std::string recipient_delimiter_;
  std::string null_sender_key_;
};

}  // namespace postfleet::commands
