// The user that the calling thread acts as. One object for each thread; starts as what the process
// is, and ends as that.
//
// Refused: uid 0 and gid 0 (root is never a mailbox's owner), uids below the minimum given at
// start; and in a process that was not started as root, everybody but itself. A thread that cannot
// come back to root ends the process: it must not go on as somebody else.
#pragma once

#include <sys/types.h>

#include <string>

#include "services/delivery/privileged/system.h"

namespace postfleet::delivery::privileged {

class Identity {
 public:
  Identity(System& system, uid_t minimum_uid);
  ~Identity() { Return(); }
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;

  // Why this user may not be served here; empty: it may be.
  std::string Refusal(uid_t uid, gid_t gid) const;

  // Acts as this user with this one group from now on; costs nothing when it does already. False
  // with errno: still root. Only for users that are not refused.
  bool Become(uid_t uid, gid_t gid);
  // As started.
  void Return();

 private:
  System& system_;
  const uid_t minimum_uid_;
  const uid_t own_uid_;
  const gid_t own_gid_;
  bool changed_ = false;
  uid_t uid_;
  gid_t gid_;
};

}  // namespace postfleet::delivery::privileged
