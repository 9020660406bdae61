#include "commands/cluster_client.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "commands/queue_client.h"
#include "libs/base/concat.h"
#include "libs/server/node_credentials.h"

namespace postfleet::commands {
namespace {

namespace v1 = cluster::v1;

using SystemTime = std::chrono::system_clock;

constexpr std::chrono::milliseconds kRetryInterval{300};
// Of members that are not listed, which others know.
constexpr size_t kFurtherMembersMax = 32;

// One question to one node; lives until its answer.
struct Question {
  config::ClusterMember asked;
  std::unique_ptr<v1::Cluster::Stub> stub;
  grpc::ClientContext context;
  v1::GetStatusRequest request;
  v1::GetStatusResponse response;
  bool answered = false;
};

std::vector<NodeAnswer> AskStatus(const std::vector<config::ClusterMember>& members) {
  std::mutex mutex;
  std::condition_variable all;
  size_t open = members.size();
  std::vector<std::unique_ptr<Question>> questions;
  for (const config::ClusterMember& member : members) {
    Question& question = *questions.emplace_back(std::make_unique<Question>());
    question.asked = member;
    question.stub = v1::Cluster::NewStub(OpenChannel(member.address));
    question.context.set_deadline(SystemTime::now() +
                                  std::chrono::seconds(ClusterClient::kStatusSecondsMax));
    question.stub->async()->GetStatus(&question.context, &question.request, &question.response,
                                      [&, asked = &question](const grpc::Status& status) {
                                        std::lock_guard lock(mutex);
                                        asked->answered = status.ok();
                                        if (--open == 0) all.notify_one();
                                      });
  }
  std::unique_lock lock(mutex);
  all.wait(lock, [&] { return open == 0; });
  std::vector<NodeAnswer> answers;
  for (const std::unique_ptr<Question>& question : questions) {
    NodeAnswer& answer = answers.emplace_back(NodeAnswer{question->asked, std::nullopt});
    if (question->answered) answer.status = std::move(question->response);
  }
  return answers;
}

// Those whom the answers name beside the ones that were asked.
std::vector<config::ClusterMember> FurtherMembers(const std::vector<NodeAnswer>& answers,
                                                  const std::vector<config::ClusterMember>& asked) {
  std::vector<config::ClusterMember> further;
  for (const NodeAnswer& answer : answers) {
    if (!answer.status) continue;
    for (const v1::ShardStatus& shard : answer.status->shards()) {
      for (const v1::Member& member : shard.membership().members()) {
        if (FindClusterMember(asked, member.name()) == nullptr &&
            FindClusterMember(further, member.name()) == nullptr && !member.address().empty() &&
            further.size() < kFurtherMembersMax) {
          further.push_back({member.name(), member.address()});
        }
      }
    }
  }
  return further;
}

template <typename Request, typename Response>
absl::Status Call(v1::Cluster::Stub& stub,
                  grpc::Status (v1::Cluster::Stub::*method)(grpc::ClientContext*, const Request&,
                                                            Response*),
                  const Request& request, Response* response) {
  grpc::ClientContext context;
  context.set_deadline(SystemTime::now() + std::chrono::seconds(ClusterClient::kChangeSecondsMax));
  const grpc::Status status = (stub.*method)(&context, request, response);
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return absl::UnavailableError("the leader does not answer");
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace

absl::StatusOr<ClusterClient> ClusterClient::Of(const config::Config& config) {
  if (absl::Status usable = server::UseNodeCredentials(config); !usable.ok()) return usable;
  std::vector<config::ClusterMember> members = ClusterMembersOf(config);
  if (members.empty()) {
    return absl::FailedPreconditionError(
        "there is no cluster: postfleet_cluster_members in main.cf names no members");
  }
  return ClusterClient(std::move(members));
}

absl::StatusOr<ClusterView> ClusterClient::AskAll() {
  std::vector<NodeAnswer> answers = AskStatus(members_);
  for (NodeAnswer& answer : AskStatus(FurtherMembers(answers, members_))) {
    answers.push_back(std::move(answer));
  }
  const bool silent = std::none_of(answers.begin(), answers.end(), [](const NodeAnswer& answer) {
    return answer.status.has_value();
  });
  if (silent) return absl::UnavailableError("no member of the cluster answers");
  return ViewOf(answers);
}

absl::Status ClusterClient::CallLeader(
    const std::function<absl::Status(Stub& leader, const ClusterView& view)>& call) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(kLeaderSecondsMax);
  while (true) {
    const absl::StatusOr<ClusterView> view = AskAll();
    absl::Status status = view.status();
    if (view.ok() && view->leader.empty()) {
      status = absl::UnavailableError("the cluster has no leader");
    } else if (view.ok()) {
      status = call(*v1::Cluster::NewStub(OpenChannel(view->leader_address)), *view);
    }
    if (!absl::IsUnavailable(status) || std::chrono::steady_clock::now() >= end) return status;
    std::this_thread::sleep_for(kRetryInterval);
  }
}

absl::Status ClusterClient::Remove(std::string_view name) {
  return CallLeader([&](Stub& leader, const ClusterView& view) {
    if (view.leader == name) {
      v1::TransferResponse handed_over;
      const absl::Status status =
          Call(leader, &Stub::Transfer, v1::TransferRequest(), &handed_over);
      // The next leader is asked to remove this one.
      return status.ok() ? absl::UnavailableError("the leader hands over") : status;
    }
    v1::RemoveRequest request;
    v1::RemoveResponse response;
    request.set_name(std::string(name));
    return Call(leader, &Stub::Remove, request, &response);
  });
}

absl::StatusOr<std::string> ClusterClient::Transfer(std::string_view name) {
  v1::TransferRequest request;
  v1::TransferResponse response;
  request.set_name(std::string(name));
  const absl::Status status = CallLeader([&](Stub& leader, const ClusterView& view) {
    // Asked for a second time, since the answer was lost: it has happened.
    if (!name.empty() && view.leader == name) {
      response.set_name(view.leader);
      return absl::OkStatus();
    }
    return Call(leader, &Stub::Transfer, request, &response);
  });
  if (!status.ok()) return status;
  return response.name();
}

}  // namespace postfleet::commands
