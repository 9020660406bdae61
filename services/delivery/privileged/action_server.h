// The helper's side of actions (action_protocol.h): a thread for each, which serves one connection
// and ends.
//
// At once at most kActionsMax; past it, the answer is that there are too many. Memory of one: its
// thread, a request of at most kActionBytesMax, a buffer of content, and of a command's output what
// was asked for. A connection that the server closes calls its action off: a mailbox gets its old
// length, a command is killed.
#pragma once

#include <sys/resource.h>

#include <condition_variable>
#include <mutex>

#include "services/delivery/privileged/action_policy.h"
#include "services/delivery/privileged/directory_syncs.h"
#include "services/delivery/privileged/mailbox_turns.h"
#include "services/delivery/privileged/system.h"

namespace postfleet::delivery::privileged {

class ActionServer {
 public:
  static constexpr int kActionsMax = 500;

  // `open_files`: for commands.
  ActionServer(System& system, DirectorySyncs& syncs, ActionPolicy policy,
               const rlimit& open_files);
  // Waits for those that run.
  ~ActionServer();

  // Takes descriptors from `control` until its other end is closed.
  void Serve(int control);
  // One action on this connection, which is closed then, in the calling thread.
  void ServeOne(int fd);

 private:
  void Begin(int fd);

  System& system_;
  DirectorySyncs& syncs_;
  MailboxTurns turns_;
  const ActionPolicy policy_;
  const rlimit open_files_;
  std::mutex mutex_;
  std::condition_variable none_;
  int running_ = 0;  // guarded by mutex_
};

// The server's side of a new connection: sends `fd` over `control`. False with errno.
bool SendAction(int control, int fd);

}  // namespace postfleet::delivery::privileged
