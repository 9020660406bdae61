// What the helper does for the server, and what it never does.
//
// The server runs as mail_owner and may be taken over: whoever has it can do, with a local user's
// rights, what local(8) may: write that user's files, read them, run commands as that user. It
// cannot become root by this: for uid 0 and gid 0 nothing is done, but for
//   * a mailbox directly in the spool folder (the launcher's word, not the server's), which is made
//     as root where the folder is nobody else's to write, and root's own mailbox there;
//   * reading root's own .forward files.
// User and group are the server's word, any but 0, as they are pipe(8)'s and virtual(8)'s by what
// main.cf and master.cf say: a group that owns devices (disk), secrets (shadow) or a daemon's
// socket is root to who runs a command with it. virtual_minimum_uid is virtual's own rule, not one
// here: users of this machine may lie below it. In a process that was not started as root
// everything is done as its own user, and only for it.
#pragma once

#include <sys/types.h>

#include <string>

#include "services/delivery/privileged/action_protocol.h"

namespace postfleet::delivery::privileged {

struct ActionPolicy {
  uid_t own_uid = 0;
  gid_t own_gid = 0;
  std::string mail_spool;  // mail_spool_directory, without "/" at its end; empty: none
  std::string root_home = "/root";

  // Empty: it may be done. `as_root`: without taking on a user's rights.
  std::string Refusal(const ActionRequest& request, bool* as_root) const;

 private:
  bool IsInSpool(const std::string& path) const;
};

}  // namespace postfleet::delivery::privileged
