#include "services/queue/public_queue.h"

#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "libs/base/concat.h"
#include "libs/server/instance.h"
#include "proto/postfleet/queue/v1/queue.grpc.pb.h"

namespace postfleet::queue {
namespace {

constexpr std::string_view kEverybody = "static:anyone";
constexpr size_t kSocketPathBytesMax = 107;  // sockaddr_un's 108 with the zero (unix(7))
constexpr size_t kMemoryBytesMax = 64u << 20;
constexpr int kStreamsOfConnectionMax = 4;
constexpr int kHandshakeMs = 5'000;
constexpr int kIdleMs = 30'000;
constexpr std::chrono::milliseconds kCallsCutAfter{200};

class Service final : public v1::Queue::CallbackService {
 public:
  Service(const PublicQueueOptions& options, const std::shared_ptr<grpc::Channel>& queue)
      : options_(options), stub_(v1::Queue::NewStub(queue)) {}

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const v1::ListRequest* request,
                                 v1::ListResponse* response) override {
    return Forward(context, "authorized_mailq_users", options_.authorized_mailq_users,
                   [=, this](grpc::ClientContext* call, std::function<void(grpc::Status)> done) {
                     stub_->async()->List(call, request, response, std::move(done));
                   });
  }

  grpc::ServerUnaryReactor* Flush(grpc::CallbackServerContext* context,
                                  const v1::FlushRequest* request,
                                  v1::FlushResponse* response) override {
    return Forward(context, "authorized_flush_users", options_.authorized_flush_users,
                   [=, this](grpc::ClientContext* call, std::function<void(grpc::Status)> done) {
                     stub_->async()->Flush(call, request, response, std::move(done));
                   });
  }

 private:
  template <typename Ask>
  grpc::ServerUnaryReactor* Forward(grpc::CallbackServerContext* context,
                                    std::string_view parameter, const std::string& users, Ask ask) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    if (users != kEverybody) {
      reactor->Finish({grpc::StatusCode::PERMISSION_DENIED,
                       Concat("this is reserved for the superuser by ", parameter, " = ", users,
                              " (lists of users are not supported yet)")});
      return reactor;
    }
    if (++calls_ > PublicQueue::kCallsMax) {
      --calls_;
      reactor->Finish(
          {grpc::StatusCode::RESOURCE_EXHAUSTED, "too many users ask at the same time; try again"});
      return reactor;
    }
    // With the caller's deadline, and cancelled when the caller goes away.
    std::shared_ptr<grpc::ClientContext> call =
        grpc::ClientContext::FromCallbackServerContext(*context);
    ask(call.get(), [this, call, reactor](const grpc::Status& status) {
      --calls_;
      reactor->Finish(status);
    });
    return reactor;
  }

  const PublicQueueOptions options_;
  const std::unique_ptr<v1::Queue::Stub> stub_;
  std::atomic<int> calls_ = 0;
};

absl::Status Failed(std::string_view what) {
  const std::string reason = strerror(errno);
  return absl::UnavailableError(Concat(what, ": ", reason));
}

}  // namespace

PublicQueueOptions PublicQueueOptions::From(const config::Config& config) {
  return {.queue_directory = config.GetString("queue_directory"),
          .authorized_mailq_users = config.GetString("authorized_mailq_users"),
          .authorized_flush_users = config.GetString("authorized_flush_users")};
}

struct PublicQueue::Parts {
  Parts(const PublicQueueOptions& options, const std::shared_ptr<grpc::Channel>& queue)
      : service(options, queue) {}
  Service service;
  std::unique_ptr<grpc::Server> server;
};

PublicQueue::PublicQueue(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

PublicQueue::~PublicQueue() {
  parts_->server->Shutdown(std::chrono::system_clock::now() + kCallsCutAfter);
  parts_->server->Wait();
}

absl::StatusOr<std::unique_ptr<PublicQueue>> PublicQueue::Serve(
    const PublicQueueOptions& options, std::shared_ptr<grpc::Channel> queue) {
  const std::string path = Concat(options.queue_directory, server::kPublicSocket);
  if (path.size() > kSocketPathBytesMax) {
    return absl::InvalidArgumentError(Concat("the path of a unix socket has at most ",
                                             kSocketPathBytesMax, " bytes, ", path, " has ",
                                             path.size(), ": set a shorter queue_directory"));
  }
  // The launcher has made it, if there was one.
  const std::string folder = Concat(options.queue_directory, server::kPublicFolder);
  if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return Failed("make folder " + folder);

  auto parts = std::make_unique<Parts>(options, queue);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kRequestBytesMax);
  builder.SetResourceQuota(grpc::ResourceQuota("public").Resize(kMemoryBytesMax));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsOfConnectionMax);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kIdleMs);
  int bound = 0;
  builder.AddListeningPort("unix:" + path, grpc::InsecureServerCredentials(), &bound);
  builder.RegisterService(&parts->service);
  parts->server = builder.BuildAndStart();
  if (parts->server == nullptr || bound == 0) {
    return absl::UnavailableError(
        Concat("cannot listen on ", path, ": ", folder,
               " must belong to mail_owner; start with `postfix start`, which sees to it"));
  }
  std::unique_ptr<PublicQueue> serving(new PublicQueue(std::move(parts)));
  if (chmod(path.c_str(), 0666) != 0) return Failed("change the mode of " + path);
  return serving;
}

}  // namespace postfleet::queue
