// Mail that waits in maildrop (libs/maildrop), which the queue does not know of yet: as postqueue
// lists it and postsuper -d deletes it, with the ids of its files.
//
// For who may read the folder, root and mail_owner: to others there is none.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "libs/config/config.h"
#include "libs/maildrop/files.h"
#include "proto/postfleet/queue/v1/queue.pb.h"

namespace postfleet::commands {

class WaitingMail {
 public:
  explicit WaitingMail(const config::Config& config);

  // One after the other, in no order; `message` has everything but a queue. False: no more is
  // wanted. What is no mail, or not whole, is left out.
  void ForEach(const std::function<bool(const queue::v1::ListedMessage& message)>& message);

  // The file that has it; nullopt: there is no such mail.
  std::optional<std::string> PathOf(const std::string& id);

  // What it had of disk space; nullopt: there is no such mail. `dry_run`: it stays.
  std::optional<uint64_t> Remove(const std::string& id, bool dry_run);
  struct Removed {
    uint64_t messages = 0;
    uint64_t bytes = 0;
  };
  Removed RemoveAll(bool dry_run);

 private:
  std::optional<maildrop::Folder> folder_;
};

}  // namespace postfleet::commands
