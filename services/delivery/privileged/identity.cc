#include "services/delivery/privileged/identity.h"

#include <cerrno>
#include <cstdlib>

namespace postfleet::delivery::privileged {

Identity::Identity(System& system, uid_t minimum_uid)
    : system_(system),
      minimum_uid_(minimum_uid),
      own_uid_(system.RealUid()),
      own_gid_(system.RealGid()),
      uid_(own_uid_),
      gid_(own_gid_) {}

std::string Identity::Refusal(uid_t uid, gid_t gid) const {
  if (uid == 0 || gid == 0) return "root is never the owner of a mailbox";
  // -1 means "leave as it is" to the system calls.
  if (uid == uid_t(-1) || gid == gid_t(-1)) return "no such user id";
  if (uid < minimum_uid_) {
    return "user id " + std::to_string(uid) + " is below the minimum of " +
           std::to_string(minimum_uid_);
  }
  if (own_uid_ != 0 && (uid != own_uid_ || gid != own_gid_)) {
    return "the delivery helper was not started as root: it can deliver as uid " +
           std::to_string(own_uid_) + " gid " + std::to_string(own_gid_) + " only, not as uid " +
           std::to_string(uid) + " gid " + std::to_string(gid);
  }
  return "";
}

bool Identity::Become(uid_t uid, gid_t gid) {
  if (uid_ == uid && gid_ == gid) return true;
  Return();
  // Groups first: only root may set them.
  changed_ = true;
  if (system_.SetGroups(gid) != 0 || system_.SetEffectiveGid(gid) != 0 ||
      system_.SetEffectiveUid(uid) != 0) {
    const int error = errno;
    Return();
    errno = error;
    return false;
  }
  uid_ = uid;
  gid_ = gid;
  return true;
}

void Identity::Return() {
  if (!changed_) return;
  // The uid first: it brings the right to set the others.
  if (system_.SetEffectiveUid(own_uid_) != 0 || system_.SetEffectiveGid(own_gid_) != 0 ||
      system_.SetGroups(own_gid_) != 0) {
    std::abort();
  }
  changed_ = false;
  uid_ = own_uid_;
  gid_ = own_gid_;
}

}  // namespace postfleet::delivery::privileged
