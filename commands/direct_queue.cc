#include "commands/direct_queue.h"

#include <grp.h>
#include <grpcpp/server_builder.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>

#include "commands/server_lock.h"
#include "libs/base/concat.h"
#include "libs/base/maillog.h"
#include "libs/config/cluster_members.h"
#include "libs/config/queue_addresses.h"
#include "libs/rpc/payload.h"
#include "libs/server/instance.h"

namespace postfleet::commands {
namespace {

std::string FolderOf(const config::Config& config) {
  return Concat(config.GetString("queue_directory"), server::kOwnFolder);
}

}  // namespace

absl::Status BecomeQueueOwner(const std::string& folder) {
  struct stat status;
  if (stat(folder.c_str(), &status) != 0) {
    return absl::UnavailableError(Concat("look at ", folder, ": ", strerror(errno)));
  }
  if (geteuid() == status.st_uid) return absl::OkStatus();
  if (setgroups(0, nullptr) == 0 && setresgid(status.st_gid, status.st_gid, status.st_gid) == 0 &&
      setresuid(status.st_uid, status.st_uid, status.st_uid) == 0) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(
      Concat("become user ", status.st_uid, ", whom ", folder, " belongs to: ", strerror(errno)));
}

bool DirectQueue::IsWanted(const config::Config& config) {
  const std::vector<std::string> addresses = config::QueueAddressesOf(config);
  if (addresses.size() > 1) return false;
  if (addresses.size() == 1 && !addresses.front().starts_with("unix:")) return false;
  // A replica's folder is changed by its group alone.
  if (!config::ClusterMembersOf(config).empty()) return false;
  if (!MayAdminister(config, geteuid())) return false;
  if (access(Concat(FolderOf(config), "/state/CURRENT").c_str(), F_OK) != 0) return false;
  const auto server = FindServer(ServerLockPath(config));
  return server.ok() && !server->has_value();
}

absl::StatusOr<std::unique_ptr<DirectQueue>> DirectQueue::Open(const config::Config& config,
                                                               const Console& console,
                                                               std::vector<std::string>* repaired) {
  const std::string folder = FolderOf(config);
  if (absl::Status became = BecomeQueueOwner(folder); !became.ok()) return became;
  if (!console.logs()) {
    if (absl::Status opened = maillog::Open({.path = "/dev/null"}); !opened.ok()) return opened;
  }
  queue::QueueOptions options;
  options.directory = folder;
  // Who only looks must not carry on with a job that somebody stopped the system to stop.
  options.resume_jobs = false;
  options.repaired = repaired;
  options.on_fatal = [](const absl::Status& status) {
    maillog::Fatal("queue", std::string(status.message()));
    const std::string line = Concat("fatal: ", std::string(status.message()), "\n");
    static_cast<void>(!write(STDERR_FILENO, line.data(), line.size()));
    _exit(1);
  };
  absl::StatusOr<std::unique_ptr<queue::Queue>> queue = queue::Queue::Open(std::move(options));
  if (!queue.ok()) return queue.status();
  std::unique_ptr<DirectQueue> direct(new DirectQueue);
  direct->queue_ = *std::move(queue);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(rpc::kMessageBytesMax);
  builder.RegisterService(direct->queue_->service());
  direct->server_ = builder.BuildAndStart();
  if (direct->server_ == nullptr) return absl::InternalError("the queue's service does not start");
  return direct;
}

DirectQueue::~DirectQueue() {
  if (queue_ != nullptr) queue_->CloseStreams();
  if (server_ != nullptr) {
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
  if (queue_ != nullptr) queue_->Stop();
}

std::shared_ptr<grpc::Channel> DirectQueue::channel() const {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(rpc::kMessageBytesMax);
  return server_->InProcessChannel(arguments);
}

}  // namespace postfleet::commands
