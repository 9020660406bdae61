#include "services/queue/membership/peer_calls.h"

#include <grpcpp/client_context.h>

#include <mutex>
#include <set>
#include <utility>

#include "libs/rpc/leader.h"

namespace postfleet::queue::membership {
namespace {

namespace v1 = cluster::v1;

absl::Status ToStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace

struct PeerCalls::Open {
  rpc::PendingCalls pending;
  std::mutex mutex;
  std::set<grpc::ClientContext*> contexts;
  bool stopped = false;

  // False: too late, nothing may begin.
  bool Begin(grpc::ClientContext* context) {
    std::lock_guard lock(mutex);
    if (stopped) return false;
    contexts.insert(context);
    pending.Begin();
    return true;
  }
  void End(grpc::ClientContext* context) {
    {
      std::lock_guard lock(mutex);
      contexts.erase(context);
    }
    pending.End();
  }
};

template <typename Request, typename Response>
struct PeerCalls::Call {
  std::unique_ptr<v1::Cluster::Stub> stub;
  grpc::ClientContext context;
  Request request;
  Response response;

  absl::StatusOr<Response> Result(const grpc::Status& status) {
    if (!status.ok()) return ToStatus(status);
    return std::move(response);
  }
};

PeerCalls::PeerCalls(runtime::EventLoop* loop, Connect connect)
    : loop_(loop), connect_(std::move(connect)), open_(std::make_shared<Open>()) {}

PeerCalls::~PeerCalls() { Stop(); }

template <typename Request, typename Response>
std::shared_ptr<PeerCalls::Call<Request, Response>> PeerCalls::Begin(const std::string& address,
                                                                     const Request& request,
                                                                     std::chrono::seconds bound) {
  if (channels_.size() >= kChannelsMax) channels_.clear();
  std::shared_ptr<grpc::Channel>& channel = channels_[address];
  if (channel == nullptr) channel = connect_(address);
  auto call = std::make_shared<Call<Request, Response>>();
  call->stub = v1::Cluster::NewStub(channel);
  call->request = request;
  call->context.set_deadline(std::chrono::system_clock::now() + bound);
  return open_->Begin(&call->context) ? call : nullptr;
}

void PeerCalls::Introduce(const std::string& address, const v1::IntroduceRequest& request,
                          std::function<void(absl::StatusOr<v1::IntroduceResponse>)> done) {
  auto call =
      Begin<v1::IntroduceRequest, v1::IntroduceResponse>(address, request, kIntroduceSecondsMax);
  if (call == nullptr) return;
  call->stub->async()->Introduce(
      &call->context, &call->request, &call->response,
      [call, done = std::move(done), loop = loop_, open = open_](const grpc::Status& status) {
        loop->Post([done, result = call->Result(status)] { done(result); });
        open->End(&call->context);
      });
}

void PeerCalls::Join(
    const std::string& address, const v1::JoinRequest& request,
    std::function<void(absl::StatusOr<v1::JoinResponse>, std::string leader_address)> done) {
  auto call = Begin<v1::JoinRequest, v1::JoinResponse>(address, request, kJoinSecondsMax);
  if (call == nullptr) return;
  call->stub->async()->Join(
      &call->context, &call->request, &call->response,
      [call, done = std::move(done), loop = loop_, open = open_](const grpc::Status& status) {
        loop->Post([done, result = call->Result(status),
                    leader = rpc::LeaderToldBy(call->context)] { done(result, leader); });
        open->End(&call->context);
      });
}

void PeerCalls::Stop() {
  {
    std::lock_guard lock(open_->mutex);
    open_->stopped = true;
    for (grpc::ClientContext* context : open_->contexts) context->TryCancel();
  }
  open_->pending.WaitForNone();
}

}  // namespace postfleet::queue::membership
