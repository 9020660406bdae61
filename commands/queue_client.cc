#include "commands/queue_client.h"

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "libs/base/concat.h"
#include "libs/rpc/payload.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

// What gRPC itself says ("failed to connect to all addresses; last error: ...") helps nobody.
absl::Status ToStatus(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return absl::UnavailableError("mail system is down");
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::DeadlineExceededError(
          Concat("mail system does not answer, not even after ", kCallSecondsMax, " s"));
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::UnimplementedError(
          "what answers there is not the queue, or one of another version; see "
          "postfleet_control_socket and postfleet_queue_address in main.cf");
    default:
      break;
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

void SetDeadline(grpc::ClientContext* context, std::chrono::milliseconds wait) {
  context->set_deadline(std::chrono::system_clock::now() + wait);
}

}  // namespace

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address) {
  // What fails is said by the command, in its own words.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(rpc::kMessageBytesMax);
  // Our own servers are never behind the web's proxy of the environment.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

QueueClient::QueueClient(std::shared_ptr<grpc::Channel> channel)
    : stub_(v1::Queue::NewStub(channel)) {}

absl::StatusOr<QueueClient> QueueClient::At(const config::Config& config, QueuePower power) {
  const absl::StatusOr<std::string> address = QueueAddress(config, power, geteuid());
  if (!address.ok()) return address.status();
  return QueueClient(OpenChannel(*address));
}

absl::StatusOr<v1::ListResponse> QueueClient::List(const v1::ListRequest& request) {
  grpc::ClientContext context;
  SetDeadline(&context, std::chrono::seconds(kCallSecondsMax));
  v1::ListResponse response;
  if (grpc::Status status = stub_->List(&context, request, &response); !status.ok()) {
    return ToStatus(status);
  }
  return response;
}

absl::StatusOr<std::vector<std::string>> QueueClient::Delete(
    const std::vector<std::string>& queue_ids) {
  grpc::ClientContext context;
  SetDeadline(&context, std::chrono::seconds(kCallSecondsMax));
  v1::DeleteRequest request;
  *request.mutable_queue_ids() = {queue_ids.begin(), queue_ids.end()};
  v1::DeleteResponse response;
  if (grpc::Status status = stub_->Delete(&context, request, &response); !status.ok()) {
    return ToStatus(status);
  }
  return std::vector<std::string>(response.deleted().begin(), response.deleted().end());
}

absl::StatusOr<std::vector<std::string>> QueueClient::Flush(
    const std::vector<std::string>& queue_ids) {
  grpc::ClientContext context;
  SetDeadline(&context, std::chrono::seconds(kCallSecondsMax));
  v1::FlushRequest request;
  *request.mutable_queue_ids() = {queue_ids.begin(), queue_ids.end()};
  v1::FlushResponse response;
  if (grpc::Status status = stub_->Flush(&context, request, &response); !status.ok()) {
    return ToStatus(status);
  }
  return std::vector<std::string>(response.missing().begin(), response.missing().end());
}

bool IsServing(const std::shared_ptr<grpc::Channel>& channel, int wait_ms) {
  // Debian ships no stub of grpc.health.v1. Asking for the whole server is an empty message; the
  // answer SERVING is field 1 with value 1.
  grpc::Slice nothing;
  const grpc::ByteBuffer request(&nothing, 1);
  grpc::ByteBuffer response;
  grpc::ClientContext context;
  SetDeadline(&context, std::chrono::milliseconds(wait_ms));
  context.set_wait_for_ready(true);
  grpc::CompletionQueue queue;
  grpc::GenericStub stub(channel);
  const auto call =
      stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
  call->StartCall();
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool finished = false;
  queue.Next(&tag, &finished);  // by its deadline at the latest
  grpc::Slice answer;
  if (!finished || !status.ok() || !response.DumpToSingleSlice(&answer).ok()) return false;
  return std::string_view(reinterpret_cast<const char*>(answer.begin()), answer.size()) ==
         std::string_view("\x08\x01");
}

}  // namespace postfleet::commands
