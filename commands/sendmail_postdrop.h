// postdrop at work for sendmail: one process for one mail (postdrop.h).
//
// Writes wait for postdrop, as postdrop waits for the disk. What is not committed is given up:
// nothing of it stays in maildrop.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace postfleet::commands {

// The path of a program that lies beside this one.
std::string Beside(std::string_view program);

class PostdropProcess {
 public:
  // Errors: it cannot be run.
  static absl::StatusOr<PostdropProcess> Start(const std::string& config_directory);
  PostdropProcess(PostdropProcess&& other) noexcept;
  PostdropProcess& operator=(PostdropProcess&&) = delete;
  ~PostdropProcess();

  // Of the file in maildrop; empty: there is none, and Commit will say why. Waits for it.
  std::string QueueId();
  // Records (libs/maildrop). What fails is said by Commit.
  void Write(std::string_view records);
  // The mail is on disk, or: OutOfRange (over message_size_limit), PermissionDenied (the sender is
  // not allowed), FailedPrecondition (maildrop is not to be written), Unavailable (postdrop has
  // failed). Of the last two postdrop has said more on standard error.
  absl::Status Commit();

 private:
  PostdropProcess() = default;
  std::string ReadLine();
  int Wait();

  pid_t process_ = -1;
  int input_ = -1;   // of the process
  int output_ = -1;  // the same
  std::string said_;
  bool has_id_ = false;
};

}  // namespace postfleet::commands
