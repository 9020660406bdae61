#include "services/queue/public_queue.h"

#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <vector>

#include "libs/base/concat.h"
#include "libs/rpc/leader.h"
#include "libs/server/instance.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"
#include "services/queue/public_socket.h"
#include "services/queue/user_rights.h"

namespace postfleet::queue {
namespace {

constexpr size_t kMemoryBytesMax = 64u << 20;
constexpr int kStreamsOfConnectionMax = 4;
// A connection with calls that never end is not idle: it ends by its age, its last calls a while
// later. A client of gRPC goes on with a new one.
constexpr int kConnectionAgeMs = 600'000;
constexpr int kLastCallsMs = 300'000;
constexpr std::chrono::milliseconds kCallsCutAfter{200};
constexpr char kMayNotFlush[] = "not allowed to flush the mail queue";

// For users with the same rights.
class Service final : public v1::Queue::CallbackService {
 public:
  // `calls` counts those of all users.
  Service(Rights rights, rpc::LeaderChannel queue, std::atomic<int>& calls)
      : rights_(rights), queue_(std::move(queue)), calls_(calls) {}

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const v1::ListRequest* request,
                                 v1::ListResponse* response) override {
    if (!rights_.lists) return Deny(context, "not allowed to view the mail queue");
    return Forward(context, &Calls::List, request, response);
  }

  grpc::ServerUnaryReactor* Flush(grpc::CallbackServerContext* context,
                                  const v1::FlushRequest* request,
                                  v1::FlushResponse* response) override {
    if (!rights_.flushes) return Deny(context, kMayNotFlush);
    return Forward(context, &Calls::Flush, request, response);
  }

  // Of the administrator's actions only a flush (postqueue -i).
  grpc::ServerUnaryReactor* Administer(grpc::CallbackServerContext* context,
                                       const v1::AdministerRequest* request,
                                       v1::AdministerResponse* response) override {
    if (request->action() != v1::ACTION_FLUSH) {
      return Deny(context, "not allowed to administer the mail queue");
    }
    if (!rights_.flushes) return Deny(context, kMayNotFlush);
    return Forward(context, &Calls::Administer, request, response);
  }

 private:
  static grpc::ServerUnaryReactor* Deny(grpc::CallbackServerContext* context, const char* why) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish({grpc::StatusCode::PERMISSION_DENIED, why});
    return reactor;
  }

  using Calls = v1::Queue::StubInterface::async_interface;
  template <typename Request, typename Response>
  using Method = void (Calls::*)(grpc::ClientContext*, const Request*, Response*,
                                 std::function<void(grpc::Status)>);

  // What may be made again at another replica: all that is allowed here may.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Forward(grpc::CallbackServerContext* context,
                                    Method<Request, Response> method, const Request* request,
                                    Response* response) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    if (++calls_ > PublicQueue::kCallsMax) {
      --calls_;
      reactor->Finish(
          {grpc::StatusCode::RESOURCE_EXHAUSTED, "too many users ask at the same time; try again"});
      return reactor;
    }
    rpc::CallLeader<v1::Queue>(
        queue_, method, *request,
        // With the caller's deadline, and cancelled when the caller goes away.
        [context]() -> std::shared_ptr<grpc::ClientContext> {
          return grpc::ClientContext::FromCallbackServerContext(*context);
        },
        [=, this](const rpc::LeaderAnswer& answer, Response& answered) {
          --calls_;
          response->Swap(&answered);
          reactor->Finish(answer.no_leader ? rpc::NotLeader(context, "") : answer.status);
        });
    return reactor;
  }

  const Rights rights_;
  const rpc::LeaderChannel queue_;
  std::atomic<int>& calls_;
};

absl::Status Failed(std::string_view what) {
  const std::string reason = strerror(errno);
  return absl::UnavailableError(Concat(what, ": ", reason));
}

}  // namespace

PublicQueueOptions PublicQueueOptions::From(const config::Config& config) {
  return {.queue_directory = config.GetString("queue_directory"),
          .mail_owner = config.GetString("mail_owner"),
          .authorized_mailq_users = config.GetString("authorized_mailq_users"),
          .authorized_flush_users = config.GetString("authorized_flush_users")};
}

// gRPC does not tell a call whose connection it came by, but a server has only those connections
// that it was given: one server for each pair of rights.
struct PublicQueue::Parts {
  struct Server {
    Rights rights;
    std::unique_ptr<Service> service;
    std::unique_ptr<grpc::Server> server;
  };

  Parts(UserRights user_rights, rpc::LeaderChannel asked)
      : rights(std::make_shared<UserRights>(std::move(user_rights))), queue(std::move(asked)) {}
  absl::Status StartServers(const PublicQueueOptions& options);
  // On the socket's thread.
  void Take(int fd, uid_t user);

  std::mutex rights_mutex;
  std::shared_ptr<UserRights> rights;
  const rpc::LeaderChannel queue;
  std::atomic<int> calls = 0;
  std::vector<Server> servers;
  std::unique_ptr<PublicSocket> socket;
};

absl::Status PublicQueue::Parts::StartServers(const PublicQueueOptions& options) {
  grpc::ResourceQuota memory("public");
  memory.Resize(kMemoryBytesMax);
  for (const Rights of_server :
       {Rights{false, false}, Rights{false, true}, Rights{true, false}, Rights{true, true}}) {
    Server& one = servers.emplace_back();
    one.rights = of_server;
    one.service = std::make_unique<Service>(of_server, queue, calls);
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(kRequestBytesMax);
    builder.SetResourceQuota(memory);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsOfConnectionMax);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, options.idle_ms);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, kConnectionAgeMs);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, kLastCallsMs);
    builder.RegisterService(one.service.get());
    one.server = builder.BuildAndStart();
    if (one.server == nullptr) return absl::UnavailableError("cannot start a gRPC server");
  }
  return absl::OkStatus();
}

void PublicQueue::Parts::Take(int fd, uid_t user) {
  std::unique_lock lock(rights_mutex);
  const std::shared_ptr<UserRights> now = rights;
  lock.unlock();
  const Rights wanted = now->Of(user);
  for (const Server& one : servers) {
    if (one.rights == wanted) grpc::AddInsecureChannelFromFd(one.server.get(), fd);
  }
}

PublicQueue::PublicQueue(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

PublicQueue::~PublicQueue() {
  parts_->socket.reset();
  const auto deadline = std::chrono::system_clock::now() + kCallsCutAfter;
  for (const Parts::Server& one : parts_->servers) {
    if (one.server == nullptr) continue;
    one.server->Shutdown(deadline);
    one.server->Wait();
  }
}

absl::StatusOr<std::unique_ptr<PublicQueue>> PublicQueue::Serve(const PublicQueueOptions& options,
                                                                rpc::LeaderChannel queue) {
  absl::StatusOr<UserRights> rights = UserRights::Open(
      options.mail_owner, options.authorized_mailq_users, options.authorized_flush_users);
  if (!rights.ok()) return rights.status();
  // The launcher has made it, if there was one.
  const std::string folder = Concat(options.queue_directory, server::kPublicFolder);
  const std::string path = Concat(options.queue_directory, server::kPublicSocket);
  if (path.size() <= PublicSocket::kPathBytesMax && mkdir(folder.c_str(), 0755) != 0 &&
      errno != EEXIST) {
    return Failed("make folder " + folder);
  }

  std::unique_ptr<PublicQueue> serving(
      new PublicQueue(std::make_unique<Parts>(*std::move(rights), std::move(queue))));
  Parts& parts = *serving->parts_;
  if (absl::Status started = parts.StartServers(options); !started.ok()) return started;
  absl::StatusOr<std::unique_ptr<PublicSocket>> socket =
      PublicSocket::Listen(path, [&parts](int fd, uid_t user) { parts.Take(fd, user); });
  if (absl::IsUnavailable(socket.status())) {
    return absl::UnavailableError(
        Concat(std::string(socket.status().message()), "; ", folder,
               " must belong to mail_owner: start with `postfix start`, which sees to it"));
  }
  if (!socket.ok()) return socket.status();
  parts.socket = *std::move(socket);
  return serving;
}

absl::StatusOr<std::function<void()>> PublicQueue::Prepare(const config::Config& config) {
  const PublicQueueOptions options = PublicQueueOptions::From(config);
  absl::StatusOr<UserRights> opened = UserRights::Open(
      options.mail_owner, options.authorized_mailq_users, options.authorized_flush_users);
  if (!opened.ok()) return opened.status();
  return [this, rights = std::make_shared<UserRights>(*std::move(opened))] {
    const std::lock_guard lock(parts_->rights_mutex);
    parts_->rights = rights;
  };
}

}  // namespace postfleet::queue
