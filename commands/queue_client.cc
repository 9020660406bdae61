#include "commands/queue_client.h"

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>

#include "commands/queue_leader.h"
#include "libs/base/concat.h"
#include "libs/rpc/leader.h"
#include "libs/rpc/payload.h"
#include "libs/server/instance.h"
#include "libs/server/node_credentials.h"

namespace postfleet::commands {
namespace {

namespace v1 = queue::v1;

void SetDeadline(grpc::ClientContext* context, std::chrono::milliseconds wait) {
  context->set_deadline(std::chrono::system_clock::now() + wait);
}

// One request, one answer.
template <typename Request, typename Response>
absl::StatusOr<Response> Call(v1::Queue::Stub& stub,
                              grpc::Status (v1::Queue::Stub::*method)(grpc::ClientContext*,
                                                                      const Request&, Response*),
                              const Request& request) {
  grpc::ClientContext context;
  SetCallDeadline(&context);
  Response response;
  if (const grpc::Status status = (stub.*method)(&context, request, &response); !status.ok()) {
    return ToStatus(status, context);
  }
  return response;
}

// The stream has ended well only with an answer that is `done`.
template <typename Response>
absl::Status ReadAll(const grpc::ClientContext& context, grpc::ClientReader<Response>& reader,
                     const std::function<void(const Response&)>& progress) {
  Response response;
  bool done = false;
  while (reader.Read(&response)) {
    progress(response);
    done = response.done();
  }
  const grpc::Status status = reader.Finish();
  if (!status.ok()) return ToStatus(status, context);
  return done ? absl::OkStatus() : absl::InternalError("the queue's answer ended too early");
}

}  // namespace

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

absl::Status ToStatus(const grpc::Status& status, const grpc::ClientContext& context) {
  return rpc::IsNotLeader(context) ? absl::UnavailableError(kNoLeader) : ToStatus(status);
}

void SetCallDeadline(grpc::ClientContext* context) {
  SetDeadline(context, std::chrono::seconds(kCallSecondsMax));
}

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
  return grpc::CreateCustomChannel(address, server::ChannelCredentials(address), arguments);
}

absl::StatusOr<config::Config> LoadQueueConfig(const std::string& directory, Console& console) {
  return console.LoadUnchecked(directory, {"queue_directory", "postfleet_cluster_members",
                                           "postfleet_control_socket", "postfleet_queue_address"});
}

QueueClient::QueueClient(std::shared_ptr<grpc::Channel> channel)
    : stub_(v1::Queue::NewStub(channel)) {}

absl::StatusOr<QueueClient> QueueClient::At(const config::Config& config, QueuePower power) {
  if (absl::Status usable = server::UseNodeCredentials(config); !usable.ok()) return usable;
  const absl::StatusOr<std::vector<std::string>> addresses =
      QueueAddresses(config, power, geteuid());
  if (!addresses.ok()) return addresses.status();
  // gRPC says no more than that nobody answers.
  constexpr std::string_view kUnix = "unix:";
  for (const std::string& address : *addresses) {
    if (address.starts_with(kUnix) && access(address.c_str() + kUnix.size(), W_OK) != 0 &&
        errno == EACCES) {
      return absl::PermissionDeniedError(
          Concat("open ", address.substr(kUnix.size()), ": Permission denied"));
    }
  }
  const absl::StatusOr<std::shared_ptr<grpc::Channel>> leader =
      OpenLeader(*addresses, kLeaderWaitMax);
  if (!leader.ok()) return leader.status();
  return QueueClient(*leader);
}

absl::StatusOr<QueueClient> QueueClient::AtOrDirect(const config::Config& config, QueuePower power,
                                                    const Console& console) {
  if (!DirectQueue::IsWanted(config)) return At(config, power);
  absl::StatusOr<std::unique_ptr<DirectQueue>> direct = DirectQueue::Open(config, console);
  if (!direct.ok()) return direct.status();
  QueueClient client((*direct)->channel());
  client.direct_ = *std::move(direct);
  return client;
}

absl::StatusOr<QueueClient> QueueClient::Open(const std::string& directory, QueuePower power,
                                              Console& console) {
  const absl::StatusOr<config::Config> config = LoadQueueConfig(directory, console);
  if (!config.ok()) return config.status();
  return AtOrDirect(*config, power, console);
}

absl::StatusOr<v1::AdministerResponse> QueueClient::Administer(
    const v1::AdministerRequest& request) {
  return Call(*stub_, &v1::Queue::Stub::Administer, request);
}

absl::Status QueueClient::AdministerAll(
    const v1::AdministerAllRequest& request,
    const std::function<void(const v1::AdministerAllProgress&)>& progress) {
  grpc::ClientContext context;
  const auto reader = stub_->AdministerAll(&context, request);
  return ReadAll<v1::AdministerAllProgress>(context, *reader, progress);
}

absl::StatusOr<v1::ListJobsResponse> QueueClient::ListJobs() {
  return Call(*stub_, &v1::Queue::Stub::ListJobs, v1::ListJobsRequest());
}

absl::StatusOr<v1::StopJobResponse> QueueClient::StopJob(uint64_t id) {
  v1::StopJobRequest request;
  request.set_id(id);
  return Call(*stub_, &v1::Queue::Stub::StopJob, request);
}

absl::StatusOr<v1::FlushResponse> QueueClient::Flush(std::string_view site) {
  v1::FlushRequest request;
  request.set_site(std::string(site));
  return Call(*stub_, &v1::Queue::Stub::Flush, request);
}

absl::StatusOr<v1::InspectResponse> QueueClient::Inspect(std::string_view queue_id,
                                                         uint32_t from_recipient) {
  v1::InspectRequest request;
  request.set_queue_id(std::string(queue_id));
  request.set_from_recipient(from_recipient);
  return Call(*stub_, &v1::Queue::Stub::Inspect, request);
}

absl::StatusOr<v1::ShapeResponse> QueueClient::Shape(const v1::ShapeRequest& request) {
  return Call(*stub_, &v1::Queue::Stub::Shape, request);
}

absl::Status QueueClient::Verify(const std::function<void(const v1::VerifyProgress&)>& progress) {
  grpc::ClientContext context;
  const auto reader = stub_->Verify(&context, v1::VerifyRequest());
  return ReadAll<v1::VerifyProgress>(context, *reader, progress);
}

int CallFailed(Console& console, std::string_view what, const absl::Status& status) {
  // Of the public socket, "not allowed to view the mail queue"; Postfix's words.
  if (absl::IsPermissionDenied(status)) {
    const uid_t user = geteuid();
    const passwd* entry = getpwuid(user);
    const std::string name = entry != nullptr ? entry->pw_name : "unknown";
    return console.Fatal(Concat("User ", name, "(", user, ") is ", std::string(status.message())));
  }
  return console.Fatal(Concat(what, " - ", std::string(status.message())));
}

bool IsUp(const std::shared_ptr<grpc::Channel>& channel, int wait_ms) {
  // Debian ships no stub of grpc.health.v1. The service asked for is field 1, a string; the answer
  // SERVING is field 1 with value 1.
  constexpr std::string_view kService = server::kUpService;
  std::string text = {'\x0a', static_cast<char>(kService.size())};
  text += kService;
  const grpc::Slice question(text);
  const grpc::ByteBuffer request(&question, 1);
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
