// A command with a user's rights, in a session of its own.
//
// Set in the child, in this order: standard input from a pipe, standard output and error to
// another, no other descriptor; default signals, none blocked; limits of open files as the helper
// was started with; umask 077; a new session; chroot; groups, gid and uid of the user and nothing
// else (real, effective, saved: it cannot come back); the folder; SIGKILL should the helper die.
// Set-uid programs work, but not in a chroot whose folder others than root can write to.
// The environment is the request's alone, argv[0] is looked for in its PATH, no shell is used.
//
// Not safe to use from a process whose other threads change credentials of the whole process (this
// one's do not, system.h).
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <chrono>
#include <string>

#include "services/delivery/privileged/action_protocol.h"

namespace postfleet::delivery::privileged {

class RunningCommand {
 public:
  // `open_files`: what the command gets; the helper may have raised its own.
  explicit RunningCommand(const rlimit& open_files) : open_files_(open_files) {}
  // Kills what runs.
  ~RunningCommand();
  RunningCommand(const RunningCommand&) = delete;
  RunningCommand& operator=(const RunningCommand&) = delete;

  // Waits until it runs: the folder and the program may lie where its user lets nobody get on.
  // False: `failure` says which step ("fork", "chroot", "chdir", "execvp") and why; or kTimedOut at
  // the deadline, kAbandoned when the other end of `server` was closed (-1: none).
  bool Start(const ActionRequest& request, int server,
             std::chrono::steady_clock::time_point deadline, ActionAnswer* failure);

  int input() const { return input_; }    // non-blocking; -1: closed
  int output() const { return output_; }  // non-blocking; -1: closed
  int ended() const { return pidfd_; }    // readable once it has ended
  void CloseInput();
  void CloseOutput();

  // SIGKILL to it and what it has started in its session's group.
  void Kill();
  // Blocks until it has ended. The code and value of an answer.
  void Wait(ActionAnswer* answer);

 private:
  const rlimit open_files_;
  pid_t pid_ = -1;
  int pidfd_ = -1;
  int input_ = -1;
  int output_ = -1;
};

}  // namespace postfleet::delivery::privileged
