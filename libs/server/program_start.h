// What a program was started with, so that it can begin anew in the same process: the same file,
// the same arguments, the same environment, the same descriptors from outside; process id and locks
// stay.
//
//   const ProgramStart start = ProgramStart::Of(argc, argv);   // before anything is opened
//   ...
//   absl::Status failed = start.Again();                       // does not return when it went well
//
// All that the process opened itself is closed, whatever its flags are: sockets that it listened on
// are free for the new beginning. Threads end where they are, as in a crash: what has to be on the
// disk must be there already.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace postfleet::server {

class ProgramStart {
 public:
  static ProgramStart Of(int argc, char** argv);

  // Any thread. The file is the one that runs, even if another one lies in its place by now.
  // Errors: what the kernel says; then the process goes on, but will lose its own descriptors with
  // the next exec.
  absl::Status Again() const;

 private:
  // What stands behind a number may change: it is kept open only if it is still the same.
  struct Inherited {
    int fd;
    dev_t device;
    ino_t inode;
  };

  std::vector<std::string> arguments_;
  std::vector<Inherited> inherited_;
};

}  // namespace postfleet::server
