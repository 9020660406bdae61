// The queue of a mail system that is down, opened by the command itself: what postsuper, postcat
// and postqueue -p do with Postfix's queue files. The queue service runs in this process, with
// nobody who delivers.
//
// Only for who may administer the instance, and only when its queue lies on this machine. Before
// anything is opened, root becomes the folder's owner for good: no file of root's is left behind
// that the server could not write. While it is open, a server that starts is refused the store.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "commands/console.h"
#include "libs/config/config.h"
#include "services/queue/queue.h"

namespace postfleet::commands {

// Root becomes the owner of the queue's folder, for good. PermissionDenied: this user cannot.
absl::Status BecomeQueueOwner(const std::string& folder);

class DirectQueue {
 public:
  // True if the mail system is down and its queue can be opened here.
  static bool IsWanted(const config::Config& config);
  // Errors name the file and what is wrong with it. The queue's log lines go to the console's mail
  // log, else nowhere. `repaired`: as in QueueOptions.
  static absl::StatusOr<std::unique_ptr<DirectQueue>> Open(
      const config::Config& config, const Console& console,
      std::vector<std::string>* repaired = nullptr);
  // Commits and closes.
  ~DirectQueue();

  std::shared_ptr<grpc::Channel> channel() const;

 private:
  DirectQueue() = default;
  std::unique_ptr<queue::Queue> queue_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace postfleet::commands
